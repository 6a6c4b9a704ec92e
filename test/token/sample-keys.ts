// Keys for tests, made once a run for each size: making them is slow.

import { createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";
import { type DesktopKeys, generateKeys } from "../../src/token/mint.ts";

export type SampleKeys = {
  readonly pem: DesktopKeys;
  readonly signingPrivate: KeyObject;
  readonly signingPublic: KeyObject;
  readonly payloadPrivate: KeyObject;
  readonly payloadPublic: KeyObject;
};

const made = new Map<string, SampleKeys>();

/** @param set another letter, other keys */
export function sampleKeys(bits: number, set = "a"): SampleKeys {
  const known = made.get(`${bits}${set}`);
  if (known !== undefined) return known;
  const pem = generateKeys(bits);
  const keys = {
    pem,
    signingPrivate: createPrivateKey(pem.signingPrivateKey),
    signingPublic: createPublicKey(pem.signingPublicKey),
    payloadPrivate: createPrivateKey(pem.payloadPrivateKey),
    payloadPublic: createPublicKey(pem.payloadPublicKey),
  };
  made.set(`${bits}${set}`, keys);
  return keys;
}
