import { describe, expect, test } from "bun:test";
import { createHmac, createSecretKey } from "node:crypto";
import { mintDesktopToken, mintVmToken, signHmacToken } from "../../src/token/mint.ts";
import { openHash } from "../../src/token/decrypt.ts";
import { verifyToken } from "../../src/token/verify.ts";
import { VmTokens } from "../../src/token/vm-token.ts";
import { sampleKeys } from "./sample-keys.ts";

const NOW = 1_800_000_000_789;
const RULES = { algorithms: ["RS256"], requireExp: true } as const;

describe("mintDesktopToken", () => {
  test("makes the payload that the platform makes", () => {
    const { signingPrivate, payloadPublic } = sampleKeys(2048);
    const token = mintDesktopToken({ host: "pod", signingPrivateKey: signingPrivate, payloadPublicKey: payloadPublic, ttlS: 420, now: () => NOW });
    const [header = "", payload = ""] = token.split(".").map((part) => Buffer.from(part, "base64url").toString());
    expect(JSON.parse(header)).toEqual({ alg: "RS256", typ: "JWT" });
    expect(JSON.parse(payload)).toEqual({ key: 0, nfb: 1_800_000_000, hash: expect.stringMatching(/^[A-Za-z0-9+/]{342}==$/), exp: 1_800_000_420 });
  });

  test.each([1024, 2048, 4096])("makes tokens of %d bits, from PEM text, that open to their host", (bits) => {
    const { pem, signingPublic, payloadPrivate } = sampleKeys(bits);
    const token = mintDesktopToken({ host: "fd00::7", signingPrivateKey: pem.signingPrivateKey, payloadPublicKey: pem.payloadPublicKey, ttlS: 60, now: () => NOW });
    expect(openHash(payloadPrivate, verifyToken(token, [signingPublic], RULES, NOW).hash)).toBe("fd00::7");
  });

  test("makes another token each time", () => {
    const { signingPrivate, payloadPublic } = sampleKeys(2048);
    const mint = () => mintDesktopToken({ host: "pod", signingPrivateKey: signingPrivate, payloadPublicKey: payloadPublic, ttlS: 60, now: () => NOW });
    expect(mint()).not.toBe(mint());
  });
});

describe("mintVmToken", () => {
  const secret = createSecretKey(Buffer.from("strong-secret-of-32-bytes-and-no"));
  const request = { user: 7, lab: "algebra", labInstance: 12, namespace: "lab-12", vms: ["ubuntu", "kali"], secret, ttlS: 3600, now: () => NOW };

  test("makes the payload that the platform makes, with a fraction in exp", () => {
    const [header = "", payload = ""] = mintVmToken(request).split(".").map((part) => Buffer.from(part, "base64url").toString());
    expect(JSON.parse(header)).toEqual({ alg: "HS256", typ: "JWT" });
    expect(JSON.parse(payload)).toEqual({
      id: 7, exp: 1_800_003_600.789, lab_instance: { lab_id: "algebra", lab_instance_id: 12, namespace_name: "lab-12", allowed_vmi_names: ["ubuntu", "kali"] },
    });
  });

  test("makes tokens that are believed for as long as they were made for", () => {
    const at = (now: number) => new VmTokens(["HS256"], { key: secret }, () => now);
    expect(at(NOW + 3_599_999).identify(mintVmToken(request))).toMatchObject({ namespace: "lab-12", vms: ["ubuntu", "kali"] });
    expect(() => at(NOW + 3_600_000).identify(mintVmToken(request))).toThrow("token has expired");
  });

  test("makes no check of names: tests mint bad ones", () => {
    const payload = mintVmToken({ ...request, namespace: "../..", vms: ["a/b"] }).split(".")[1] ?? "";
    expect(JSON.parse(Buffer.from(payload, "base64url").toString())).toMatchObject({ lab_instance: { namespace_name: "../..", allowed_vmi_names: ["a/b"] } });
  });

  test.each(["HS256", "HS384", "HS512"])("signs any claims with %s", (alg) => {
    const [header = "", payload, signature] = signHmacToken({ a: 1 }, secret, alg).split(".");
    expect(JSON.parse(Buffer.from(header, "base64url").toString())).toEqual({ alg, typ: "JWT" });
    expect(signature).toBe(createHmac(`sha${alg.slice(2)}`, secret).update(`${header}.${payload}`).digest("base64url"));
  });
});

describe("generateKeys", () => {
  test("writes the forms that the platform has", () => {
    const first = (text: string) => text.split("\n")[0];
    const { signingPrivateKey, signingPublicKey, payloadPrivateKey, payloadPublicKey } = sampleKeys(2048).pem;
    expect([signingPrivateKey, signingPublicKey, payloadPrivateKey, payloadPublicKey].map(first)).toEqual([
      "-----BEGIN PRIVATE KEY-----", "-----BEGIN PUBLIC KEY-----", "-----BEGIN PRIVATE KEY-----", "-----BEGIN RSA PUBLIC KEY-----",
    ]);
  });
});
