import { describe, expect, test } from "bun:test";
import { mintDesktopToken } from "../../src/token/mint.ts";
import { openHash } from "../../src/token/decrypt.ts";
import { verifyToken } from "../../src/token/verify.ts";
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

describe("generateKeys", () => {
  test("writes the forms that the platform has", () => {
    const first = (text: string) => text.split("\n")[0];
    const { signingPrivateKey, signingPublicKey, payloadPrivateKey, payloadPublicKey } = sampleKeys(2048).pem;
    expect([signingPrivateKey, signingPublicKey, payloadPrivateKey, payloadPublicKey].map(first)).toEqual([
      "-----BEGIN PRIVATE KEY-----", "-----BEGIN PUBLIC KEY-----", "-----BEGIN PRIVATE KEY-----", "-----BEGIN RSA PUBLIC KEY-----",
    ]);
  });
});
