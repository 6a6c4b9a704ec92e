import { afterEach, describe, expect, test } from "bun:test";
import { createHash, type KeyObject } from "node:crypto";
import { RouteError } from "../../src/errors.ts";
import { openHash } from "../../src/token/decrypt.ts";
import { DesktopTokens, type DesktopTokenRules, type OpenHash } from "../../src/token/desktop-token.ts";
import { mintDesktopToken, signToken } from "../../src/token/mint.ts";
import { type SampleKeys, sampleKeys } from "./sample-keys.ts";

const keys = sampleKeys(2048);
const next = sampleKeys(2048, "b");

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
const open: DesktopTokens[] = [];
afterEach(() => {
  for (const tokens of open.splice(0)) tokens.close();
});

/** Tokens with a clock that is set, keys that are exchanged, and a count of the decryptions. */
function make(cache: Partial<DesktopTokenRules["cache"]> = {}, decrypt?: OpenHash) {
  const bench = { now: 1_800_000_000_000, decryptions: 0, keys: sourceOf(keys) };
  const rules: DesktopTokenRules = {
    algorithms: ["RS256"], requireExp: true, cache: { ttlMs: 600_000, entries: 1000, bytes: 1e6, failureTtlMs: 1000, ...cache },
  };
  const counted: OpenHash = async (key, ciphertext) => {
    bench.decryptions += 1;
    return decrypt === undefined ? openHash(key, ciphertext) : decrypt(key, ciphertext);
  };
  const tokens = new DesktopTokens(rules, bench.keys, { now: () => bench.now, decrypt: counted });
  open.push(tokens);
  const mint = (host = "10.0.0.7", ttlS = 300, set: SampleKeys = keys) => mintDesktopToken({
    host, ttlS, signingPrivateKey: set.signingPrivate, payloadPublicKey: set.payloadPublic, now: () => bench.now,
  });
  return Object.assign(bench, { tokens, mint });
}

function sourceOf(set: SampleKeys): Mutable<{ signing: KeyObject[]; payload: KeyObject | null; version: number }> {
  return { signing: [set.signingPublic], payload: set.payloadPrivate, version: 1 };
}

async function failure(tokens: DesktopTokens, token: string): Promise<{ status: number; message: string; text: string }> {
  try {
    await tokens.identify(token);
  } catch (error) {
    if (error instanceof RouteError) return { status: error.status, message: error.message, text: error.publicText };
    throw error;
  }
  throw new Error("accepted");
}

describe("identify", () => {
  test("gives a promise of the identity first, and the identity itself from then on", async () => {
    const { tokens, mint, now } = make();
    const token = mint("Pod.example.");
    const first = tokens.identify(token);
    expect(first).toBeInstanceOf(Promise);
    const identity = await first;
    expect(identity).toEqual({
      kind: "desktop", host: "pod.example", expiresAtMs: now + 300_000, tokenHash: createHash("sha256").update(token).digest("hex").slice(0, 8),
    });
    expect(tokens.identify(token)).toBe(identity);
  });

  test("resolves concurrent first uses of one token once", async () => {
    const bench = make();
    const token = bench.mint();
    const identities = await Promise.all(Array.from({ length: 100 }, () => bench.tokens.identify(token)));
    expect(new Set(identities).size).toBe(1);
    expect(bench.decryptions).toBe(1);
  });

  test("gives the real pool its work when no other decryption is named", async () => {
    const { mint } = make();
    const rules = { algorithms: ["RS256"], requireExp: true, cache: { ttlMs: 600_000, entries: 1000, bytes: 1e6, failureTtlMs: 1000 } } as const;
    const tokens = new DesktopTokens(rules, sourceOf(keys), { now: () => 1_800_000_000_000 });
    open.push(tokens);
    const hosts = Array.from({ length: 30 }, (_, at) => `10.0.0.${at}`);
    const identities = await Promise.all(hosts.map((host) => tokens.identify(mint(host))));
    expect(identities.map(({ host }) => host)).toEqual(hosts);
  });
});

describe("the cache", () => {
  test("never gives out an identity at or past exp", async () => {
    const bench = make();
    const token = bench.mint("pod", 10);
    await bench.tokens.identify(token);
    bench.now += 9_999;
    expect(bench.tokens.identify(token)).not.toBeInstanceOf(Promise);
    bench.now += 1;
    expect(await failure(bench.tokens, token)).toEqual({ status: 401, message: "token has expired", text: "unauthorized" });
  });

  test("looks again after the time to live, although exp is far", async () => {
    const bench = make({ ttlMs: 60_000 });
    const token = bench.mint("pod", 9999);
    await bench.tokens.identify(token);
    bench.now += 60_000;
    await bench.tokens.identify(token);
    expect(bench.decryptions).toBe(2);
  });

  test("does not keep what would live for a second or less", async () => {
    const bench = make();
    for (const [ttlS, kept] of [[1, 0], [2, 1]] as const) {
      await bench.tokens.identify(bench.mint("pod", ttlS));
      expect(bench.tokens.size).toBe(kept);
    }
  });

  test("refuses a token that expired while it was opened", async () => {
    const bench = make({}, async (key, ciphertext) => {
      bench.now += 5_000;
      return openHash(key, ciphertext);
    });
    expect((await failure(bench.tokens, bench.mint("pod", 3))).message).toBe("token has expired");
    expect(bench.tokens.size).toBe(0);
  });

  test("holds no more entries than it may", async () => {
    const bench = make({ entries: 10 });
    for (let at = 0; at < 30; at++) await bench.tokens.identify(bench.mint(`10.0.0.${at}`));
    expect(bench.tokens.size).toBe(10);
  });

  test("holds no more bytes than it may", async () => {
    const bench = make({ bytes: 5_000 });
    for (let at = 0; at < 30; at++) await bench.tokens.identify(bench.mint(`10.0.0.${at}`));
    expect(bench.tokens.size).toBeGreaterThan(1);
    expect(bench.tokens.size).toBeLessThan(6);
  });
});

describe("failures", () => {
  test.each(["http://169.254.169.254/", "pod:80", "", "a@b", "0x7f.1", "pod\r\nHost: x", "x".repeat(200)])("a token for %p is the same 401 as one that cannot be opened", async (host) => {
    const { tokens, mint } = make();
    const bad = await failure(tokens, mint(host));
    expect(bad).toEqual(await failure(tokens, mint("10.0.0.7", 300, { ...keys, payloadPublic: next.payloadPublic })));
    expect(bad).toEqual({ status: 401, message: "token hash does not open to a host", text: "unauthorized" });
  });

  test("are remembered for a second and then looked at again", async () => {
    const bench = make();
    const token = bench.mint("a@b");
    for (let use = 0; use < 50; use++) await failure(bench.tokens, token);
    expect(bench.decryptions).toBe(1);
    bench.now += 1000;
    await failure(bench.tokens, token);
    expect(bench.decryptions).toBe(2);
  });

  test("are given to all who asked at the same time", async () => {
    const bench = make();
    const token = bench.mint("a@b");
    const results = await Promise.allSettled(Array.from({ length: 20 }, async () => bench.tokens.identify(token)));
    expect(results.every(({ status }) => status === "rejected")).toBe(true);
    expect(bench.decryptions).toBe(1);
  });

  test("of bad signatures never reach the private key", async () => {
    const bench = make();
    const good = bench.mint();
    for (const token of [bench.mint("pod", 300, next), bench.mint("pod", -1), `${good.slice(0, -8)}AAAAAAAA`, `${good}.`, "", "x".repeat(65536)]) {
      expect((await failure(bench.tokens, token)).status).toBe(401);
    }
    expect(bench.decryptions).toBe(0);
  });

  test("of claims say why in the log's message and nothing to the client", async () => {
    const bench = make();
    const token = signToken({ hash: "AAEC" }, keys.signingPrivate);
    expect(await failure(bench.tokens, token)).toEqual({ status: 401, message: "token has no exp", text: "unauthorized" });
  });

  test("other than refusals are not remembered", async () => {
    let broken = true;
    const bench = make({}, async () => {
      if (broken) throw new RouteError("unavailable", "too many");
      return "pod";
    });
    const token = bench.mint();
    expect((await failure(bench.tokens, token)).status).toBe(503);
    broken = false;
    expect((await bench.tokens.identify(token)).host).toBe("pod");
  });

  test("of a decryption that fails at once leave nothing behind", async () => {
    let broken = true;
    const bench = make();
    const tokens = new DesktopTokens(
      { algorithms: ["RS256"], requireExp: true, cache: { ttlMs: 1e5, entries: 9, bytes: 1e5, failureTtlMs: 1000 } }, bench.keys,
      { now: () => bench.now, decrypt: () => {
        if (broken) throw new Error("synchronous");
        return Promise.resolve("pod");
      } },
    );
    open.push(tokens);
    const token = bench.mint();
    await expect(Promise.resolve(tokens.identify(token))).rejects.toThrow("synchronous");
    await Promise.allSettled([tokens.identify(token)]);
    broken = false;
    expect((await tokens.identify(token)).host).toBe("pod");
  });
});

describe("keys", () => {
  test("that were never loadable make 503, until they are there", async () => {
    const bench = make();
    const { signing, payload } = bench.keys;
    for (const missing of [{ signing: [] }, { payload: null }]) {
      Object.assign(bench.keys, { signing, payload }, missing);
      expect(await failure(bench.tokens, bench.mint())).toEqual({ status: 503, message: "keys not loadable", text: "service unavailable" });
    }
    Object.assign(bench.keys, { signing, payload });
    expect((await bench.tokens.identify(bench.mint())).host).toBe("10.0.0.7");
  });

  test("that are exchanged end what the old ones proved, and what they refused", async () => {
    const bench = make();
    const [before, after] = [bench.mint("10.0.0.1"), bench.mint("10.0.0.2", 300, next)];
    await bench.tokens.identify(before);
    expect((await failure(bench.tokens, after)).message).toBe("bad signature");
    Object.assign(bench.keys, sourceOf(next), { version: 2 });
    expect((await bench.tokens.identify(after)).host).toBe("10.0.0.2");
    expect((await failure(bench.tokens, before)).message).toBe("bad signature");
  });

  test("that are exchanged while a token is opened: its answer is given, not kept", async () => {
    const gate = Promise.withResolvers<void>();
    const bench = make({}, async (key, ciphertext) => {
      await gate.promise;
      return openHash(key, ciphertext);
    });
    const token = bench.mint();
    const early = bench.tokens.identify(token);
    bench.keys.version = 2;
    const late = bench.tokens.identify(token);
    expect(late).not.toBe(early);
    gate.resolve();
    expect((await early).host).toBe("10.0.0.7");
    expect(await late).not.toBe(await early);
    expect(bench.tokens.identify(token)).toBe(await late);
    expect(bench.decryptions).toBe(2);
  });
});
