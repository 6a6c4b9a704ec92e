// Makes what others make: desktop tokens and the two key pairs behind them, and console tokens. For the command line, the demo and
// tests; nothing on the way of a request uses it. A host is not checked here: tests mint bad ones.
//
// node:crypto throughout: jose signs with 2048 bits and more only, and one way for all sizes is the simpler one.

import {
  constants, createHmac, createPrivateKey, createPublicKey, generateKeyPairSync, KeyObject, publicEncrypt, sign,
} from "node:crypto";

export type DesktopTokenRequest = {
  /** Host name or IP literal, at most the payload key's bytes less 11. */
  readonly host: string;
  readonly signingPrivateKey: KeyObject | string;
  readonly payloadPublicKey: KeyObject | string;
  readonly ttlS: number;
  /** Unix time in ms. */
  readonly now?: () => number;
};

/** PEM texts under the names that the platform's files have. */
export type DesktopKeys = {
  readonly signingPrivateKey: string;
  readonly signingPublicKey: string;
  readonly payloadPrivateKey: string;
  readonly payloadPublicKey: string;
};

/** RFC 8017 section 7.2.1. */
const PADDING_BYTES = 11;

/** A token for `host`, signed with RS256. @throws Error when a key is none or the host is too long for it */
export function mintDesktopToken(request: DesktopTokenRequest): string {
  const { host, signingPrivateKey, payloadPublicKey, ttlS, now = Date.now } = request;
  const issuedS = Math.floor(now() / 1000);
  const hash = encryptHost(host, toPublic(payloadPublicKey)).toString("base64");
  // `nfb`: a typo of the platform, kept because it is what the field has.
  return signToken({ key: 0, nfb: issuedS, hash, exp: issuedS + Math.floor(ttlS) }, signingPrivateKey);
}

export type VmTokenRequest = {
  readonly user: string | number;
  readonly lab: string | number;
  readonly labInstance: string | number;
  readonly namespace: string;
  /** Names of the virtual machines. */
  readonly vms: readonly string[];
  readonly secret: KeyObject;
  readonly ttlS: number;
  /** Unix time in ms. */
  readonly now?: () => number;
};

/** A console token with the claims of LabOrchestrator, signed with HS256. */
export function mintVmToken({ user, lab, labInstance, namespace, vms, secret, ttlS, now = Date.now }: VmTokenRequest): string {
  const claims = {
    id: user,
    exp: now() / 1000 + ttlS,
    lab_instance: { lab_id: lab, lab_instance_id: labInstance, namespace_name: namespace, allowed_vmi_names: vms },
  };
  return signHmacToken(claims, secret);
}

/** Any claims as an HMAC token. @param alg as the header names it; what it is really signed with follows from its last digits */
export function signHmacToken(claims: object, secret: KeyObject, alg = "HS256"): string {
  const signed = `${encode({ alg, typ: "JWT" })}.${encode(claims)}`;
  return `${signed}.${createHmac(`sha${alg.slice(2)}`, secret).update(signed).digest("base64url")}`;
}

/** Any claims as an RS256 token. */
export function signToken(claims: object, signingPrivateKey: KeyObject | string): string {
  const signed = `${encode({ alg: "RS256", typ: "JWT" })}.${encode(claims)}`;
  return `${signed}.${sign("sha256", Buffer.from(signed), toPrivate(signingPrivateKey)).toString("base64url")}`;
}

/** @param bits of each modulus, 1024 to 8192; blocks for 0.1 s with 2048, a second or so with 4096 */
export function generateKeys(bits: number): DesktopKeys {
  const signing = generateKeyPairSync("rsa", { modulusLength: bits });
  const payload = generateKeyPairSync("rsa", { modulusLength: bits });
  return {
    signingPrivateKey: pem(signing.privateKey, "pkcs8"),
    signingPublicKey: pem(signing.publicKey, "spki"),
    payloadPrivateKey: pem(payload.privateKey, "pkcs8"),
    // The control plane reads this one with a library that knows PKCS#1 only.
    payloadPublicKey: pem(payload.publicKey, "pkcs1"),
  };
}

function encryptHost(host: string, key: KeyObject): Buffer {
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  const [length, room] = [Buffer.byteLength(host), bits / 8 - PADDING_BYTES];
  if (length > room) {
    throw new Error(`host of ${length} bytes does not fit into a payload key of ${bits} bits (at most ${room})`);
  }
  // RSAES-PKCS1-v1_5: what the platform uses, see decrypt.ts.
  return publicEncrypt({ key, padding: constants.RSA_PKCS1_PADDING }, Buffer.from(host));
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

function toPublic(key: KeyObject | string): KeyObject {
  return key instanceof KeyObject ? key : createPublicKey(key);
}

function toPrivate(key: KeyObject | string): KeyObject {
  return key instanceof KeyObject ? key : createPrivateKey(key);
}

function pem(key: KeyObject, type: "pkcs1" | "pkcs8" | "spki"): string {
  return key.export({ type, format: "pem" } as { type: "pkcs1"; format: "pem" }).toString();
}
