import { describe, expect, test } from "bun:test";
import { createHash, createHmac, createSecretKey, type KeyObject } from "node:crypto";
import fc from "fast-check";
import { SignJWT } from "jose";
import { RouteError } from "../../src/errors.ts";
import type { HmacAlgorithm } from "../../src/settings.ts";
import { mintVmToken, signHmacToken, signToken } from "../../src/token/mint.ts";
import { type SecretSource, VmTokens } from "../../src/token/vm-token.ts";
import { sampleKeys } from "./sample-keys.ts";

fc.configureGlobal({ seed: 7 }); // The same cases every run: a failure can be looked at.

const NOW = 1_800_000_000_000;
const S = NOW / 1000;
const SECRET = "0123456789abcdef0123456789abcdef";
const secret = createSecretKey(Buffer.from(SECRET));
const other = createSecretKey(Buffer.from("another key, also of 32 bytes ..."));
const LAB = { lab_id: 1, lab_instance_id: 12, namespace_name: "lab-12", allowed_vmi_names: ["ubuntu", "kali"] };
const CLAIMS = { id: 7, exp: S + 3600, lab_instance: LAB };
const ALL = ["HS256", "HS384", "HS512"] as const;

function tokens(algorithms: readonly HmacAlgorithm[] = ["HS256"], now = NOW, source: SecretSource = { key: secret }): VmTokens {
  return new VmTokens(algorithms, source, () => now);
}

/** Why a token is refused, for the log; "accepted" when it is not. */
function reason(token: string, verifier = tokens()): string {
  try {
    verifier.identify(token);
    return "accepted";
  } catch (error) {
    expect(error).toBeInstanceOf(RouteError);
    const { status, publicText, message } = error as RouteError;
    expect([status, publicText]).toEqual([401, "unauthorized"]);
    if (token.length >= 20) expect(message).not.toContain(token.slice(0, 20));
    return message;
  }
}

const withLab = (lab: unknown): string => signHmacToken({ ...CLAIMS, lab_instance: lab }, secret);
const withTimes = (times: object): string => signHmacToken({ ...CLAIMS, ...times }, secret);

/** Signs whatever text it is given as header and payload. */
function signText(header: string, payload: string, key: KeyObject = secret): string {
  const signed = [header, payload].map((part) => Buffer.from(part).toString("base64url")).join(".");
  return `${signed}.${createHmac("sha256", key).update(signed).digest("base64url")}`;
}

describe("a good console token", () => {
  test("yields the namespace, the machines and its end", () => {
    const token = mintVmToken({ user: 7, lab: 1, labInstance: 12, namespace: "lab-12", vms: ["ubuntu", "kali"], secret, ttlS: 3600, now: () => NOW });
    expect(tokens().identify(token)).toEqual({
      kind: "vm", namespace: "lab-12", vms: ["ubuntu", "kali"], expiresAtMs: NOW + 3_600_000,
      tokenHash: createHash("sha256").update(token).digest("hex").slice(0, 8),
    });
  });

  test("is believed as a Python program writes it: another order in the header, an exp with a fraction, more claims", () => {
    // {"typ":"JWT","alg":"HS256"} and additional_data, signed with Python's hmac.
    const token = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJpZCI6NywiZXhwIjoxODAwMDAzNjAwLjUsImxhYl9pbnN0YW5jZSI6eyJsYWJfaWQiOjEsImxhYl9pbnN0YW5jZV9pZCI6MTIs"
      + "Im5hbWVzcGFjZV9uYW1lIjoibGFiLTEyIiwiYWxsb3dlZF92bWlfbmFtZXMiOlsidWJ1bnR1Iiwia2FsaSJdLCJhZGRpdGlvbmFsX2RhdGEiOm51bGx9fQ.pgFTgq8Z-F4qGV7L46VPN5VTZOmeWK_AeGD3pUdzWb0";
    expect(tokens().identify(token)).toMatchObject({ namespace: "lab-12", vms: ["ubuntu", "kali"], expiresAtMs: NOW + 3_600_500 });
  });

  test.each(ALL)("is believed as jose signs it with %s", async (alg) => {
    const key = createSecretKey(Buffer.alloc(64, 7));
    const token = await new SignJWT(CLAIMS).setProtectedHeader({ alg, typ: "JWT" }).sign(key);
    expect(reason(token, tokens([alg], NOW, { key }))).toBe("accepted");
    expect(reason(token, tokens([alg]))).toBe("bad signature");
  });

  test("is checked with the key of the moment, and forgotten with it", () => {
    const source = { key: secret };
    const verifier = tokens(["HS256"], NOW, source);
    const token = signHmacToken(CLAIMS, secret);
    expect(reason(token, verifier)).toBe("accepted");
    source.key = other;
    expect(reason(token, verifier)).toBe("bad signature");
    expect(reason(signHmacToken(CLAIMS, other), verifier)).toBe("accepted");
  });

  test("may be signed with a key that is shorter than the digest: the key store decides about that", () => {
    const key = createSecretKey(Buffer.from("short"));
    expect(reason(signHmacToken(CLAIMS, key, "HS512"), tokens(ALL, NOW, { key }))).toBe("accepted");
  });
});

test("without a secret nothing is judged: 503, for good and for bad tokens alike", () => {
  for (const token of [signHmacToken(CLAIMS, secret), "", "x"]) {
    expect(() => tokens(["HS256"], NOW, { key: null }).identify(token)).toThrow(expect.objectContaining({ code: "unavailable", publicText: "service unavailable" }));
  }
});

describe("the algorithm", () => {
  test.each(ALL)("%s is accepted when it is configured, and only then", (alg) => {
    const token = signHmacToken(CLAIMS, secret, alg);
    expect(reason(token, tokens([alg]))).toBe("accepted");
    expect(reason(token, tokens(ALL))).toBe("accepted");
    const others = ALL.filter((name) => name !== alg);
    expect(reason(token, tokens(others))).toBe(`token algorithm is not ${others.join(" or ")}`);
  });

  test("is the one that the header names: the digest of another one is a bad signature", () => {
    const [header, payload] = signHmacToken(CLAIMS, secret).split(".");
    for (const digest of ["sha1", "sha384", "sha512"]) {
      const mac = createHmac(digest, secret).update(`${header}.${payload}`).digest("base64url");
      expect(reason(`${header}.${payload}.${mac}`, tokens(ALL))).toBe("bad signature");
    }
  });

  test.each([["none"], ["None"], [""], [null], [undefined], ["hs256"], ["HS256 "], ["HS1"], [["HS256"]], ["RS256"], ["constructor"], [256]])("%p is refused", (alg) => {
    const payload = JSON.stringify(CLAIMS);
    expect(reason(signText(JSON.stringify({ alg }), payload), tokens(ALL))).toBe("token algorithm is not HS256 or HS384 or HS512");
    const [header, claims] = signText(JSON.stringify({ alg }), payload).split(".");
    expect(reason(`${header}.${claims}.`, tokens(ALL))).toBe("malformed token");
  });

  test("of desktop tokens is refused, whoever signed", () => {
    expect(reason(signToken(CLAIMS, sampleKeys(2048).signingPrivate))).toBe("token algorithm is not HS256");
  });

  test.each(["jwk", "jku", "x5u", "x5c", "crit"])("is nothing that a header with %s may talk about", (name) => {
    expect(reason(signText(JSON.stringify({ alg: "HS256", [name]: ["x"] }), JSON.stringify(CLAIMS)))).toBe(`token header has ${name}`);
  });
});

describe("the signature", () => {
  const [header, payload, signature = ""] = signHmacToken(CLAIMS, secret).split(".");

  test.each([1, 16, 31, 33, 48, 64, 256])("of %d bytes is refused like any other wrong one", (bytes) => {
    for (const fill of [0, 255]) expect(reason(`${header}.${payload}.${Buffer.alloc(bytes, fill).toString("base64url")}`)).toBe("bad signature");
  });

  test("that is a part of the right one, or the right one and more, is refused", () => {
    const right = Buffer.from(signature, "base64url");
    for (const bytes of [right.subarray(0, 31), right.subarray(1), Buffer.concat([right, Buffer.of(0)]), Buffer.from(right).fill(0, 31)]) {
      expect(reason(`${header}.${payload}.${bytes.toString("base64url")}`)).toBe("bad signature");
    }
  });

  test("of another key, other claims or another header is refused", () => {
    expect(reason(signHmacToken(CLAIMS, other))).toBe("bad signature");
    const forged = Buffer.from(JSON.stringify({ ...CLAIMS, lab_instance: { ...LAB, allowed_vmi_names: ["admin"] } })).toString("base64url");
    expect(reason(`${header}.${forged}.${signature}`)).toBe("bad signature");
    expect(reason(`${Buffer.from("{\"alg\":\"HS256\"}").toString("base64url")}.${payload}.${signature}`)).toBe("bad signature");
  });

  test("is looked at before any claim", () => {
    for (const claims of ["null", "{}", "not JSON", JSON.stringify({ ...CLAIMS, exp: 0 })]) {
      expect(reason(signText("{\"alg\":\"HS256\"}", claims, other))).toBe("bad signature");
    }
  });
});

describe("the clock", () => {
  test.each<[string, unknown, string]>([
    ["in a second", S + 1, "accepted"], ["now", S, "token has expired"], ["a second ago", S - 1, "token has expired"],
    ["in half a second", S + 0.5, "accepted"], ["in the far future", 1e99, "accepted"], ["zero", 0, "token has expired"], ["negative", -1, "token has expired"],
    ["a string", String(S + 300), "token exp is not a number"], ["null", null, "token exp is not a number"], ["a list", [S + 300], "token exp is not a number"],
    ["true", true, "token exp is not a number"], ["missing", undefined, "token has no exp"],
  ])("exp %s", (_, exp, result) => {
    expect(reason(withTimes({ exp }))).toBe(result);
  });

  test("exp beyond all numbers is none", () => {
    expect(reason(signText("{\"alg\":\"HS256\"}", `{"exp":1e999,"lab_instance":${JSON.stringify(LAB)}}`))).toBe("token exp is not a number");
  });

  test.each([S + 0.25, S + 0.5, S + 100.125, S + 3600])("exp %d: alive a millisecond before, dead from then on", (exp) => {
    const token = withTimes({ exp });
    const at = (now: number): string => reason(token, tokens(["HS256"], now));
    expect([at(exp * 1000 - 1), at(exp * 1000), at(exp * 1000 + 1)]).toEqual(["accepted", "token has expired", "token has expired"]);
    expect(tokens(["HS256"], NOW).identify(token).expiresAtMs).toBe(exp * 1000);
  });

  test.each<[string, unknown, string]>([
    ["past", S - 1, "accepted"], ["now", S, "accepted"], ["in a millisecond", S + 0.001, "token is not valid yet"], ["a string", "1", "token nbf is not a number"],
    ["null", null, "token nbf is not a number"],
  ])("nbf %s", (_, nbf, result) => {
    expect(reason(withTimes({ nbf }))).toBe(result);
  });
});

describe("the claims", () => {
  test.each([["missing", undefined], ["null", null], ["a list", [LAB]], ["a text", JSON.stringify(LAB)], ["a number", 1], ["true", true]])("lab_instance that is %s is none", (_, lab) => {
    expect(reason(withLab(lab))).toBe("token has no lab_instance");
  });

  test.each([
    ["missing", undefined], ["null", null], ["a number", 12], ["a list", ["lab-12"]], ["empty", ""], ["in capitals", "Lab-12"], ["a subdomain", "lab.12"],
    ["64 long", "a".repeat(64)], ["the directory above", ".."], ["with a slash", "lab/12"], ["with an encoded slash", "lab%2f12"], ["with a query", "lab?x"],
    ["with a line feed behind", "lab-12\n"], ["with a space in front", " lab-12"], ["of another alphabet", "läb"],
  ])("namespace_name that is %s is no namespace", (_, namespace_name) => {
    expect(reason(withLab({ ...LAB, namespace_name }))).toBe("token namespace_name is not a Kubernetes namespace");
  });

  test.each([
    ["missing", undefined], ["null", null], ["a text", "ubuntu"], ["a map", { 0: "ubuntu", length: 1 }], ["a list of numbers", [1]], ["a list with a null", ["ubuntu", null]],
    ["a list of lists", [["ubuntu"]]], ["longer than any lab", Array.from({ length: 1001 }, () => "")],
  ])("allowed_vmi_names that is %s is no list of names", (_, allowed_vmi_names) => {
    expect(reason(withLab({ ...LAB, allowed_vmi_names }))).toBe("token allowed_vmi_names is not a list of names");
  });

  test.each([["none", []], ["strings that are no names", ["", "../..", "UBUNTU", "a/b"]], ["a thousand", Array.from({ length: 1000 }, () => "a")]])(
    "allowed_vmi_names may list %s: the path's name is compared with them, and checked itself", (_, allowed_vmi_names) => {
      expect(tokens().identify(withLab({ ...LAB, allowed_vmi_names })).vms).toEqual(allowed_vmi_names);
    });

  test("other than these are nobody's business", () => {
    for (const more of [{ id: null }, { id: undefined }, { id: "x" }, { iss: "x", aud: 7 }, { nfb: "never" }]) expect(reason(signHmacToken({ ...CLAIMS, ...more }, secret))).toBe("accepted");
    for (const more of [{ lab_id: undefined }, { lab_instance_id: "x" }, { additional_data: { a: [1] } }]) expect(reason(withLab({ ...LAB, ...more }))).toBe("accepted");
  });

  test("that only a prototype has are none", () => {
    const header = "{\"alg\":\"HS256\"}";
    expect(reason(signText(header, `{"exp":${S + 60},"__proto__":{"lab_instance":${JSON.stringify(LAB)}}}`))).toBe("token has no lab_instance");
    expect(reason(signText(header, `{"exp":${S + 60},"lab_instance":{"__proto__":${JSON.stringify(LAB)}}}`))).toBe("token namespace_name is not a Kubernetes namespace");
  });

  test.each(["null", "1", "[]", "\"x\"", "{", ""])("in a payload of %p are none", (payload) => {
    expect(reason(signText("{\"alg\":\"HS256\"}", payload))).toBe(payload === "" ? "malformed token" : "token payload is not a JSON object");
  });
});

describe("whatever else it is given", () => {
  const whole = signHmacToken(CLAIMS, secret);

  test("a token longer than 8 KiB is refused unread", () => {
    expect(reason(withLab({ ...LAB, additional_data: "x".repeat(9000) }))).toBe("token longer than 8192 characters");
  });

  test("a good token with anything changed, added, removed or moved is refused", () => {
    const at = fc.nat(whole.length - 1);
    const character = fc.oneof(fc.constantFrom(..."ABCabc019-_.=+/ \n\0"), fc.string({ unit: "binary", minLength: 1, maxLength: 1 }));
    const mutated = fc.oneof(
      fc.tuple(at, character).map(([index, text]) => whole.slice(0, index) + text + whole.slice(index + 1)),
      fc.tuple(at, character).map(([index, text]) => whole.slice(0, index) + text + whole.slice(index)),
      fc.tuple(at, fc.integer({ min: 1, max: 40 })).map(([index, count]) => whole.slice(0, index) + whole.slice(index + count)),
      fc.tuple(at, at).map(([from, to]) => whole.slice(from) + whole.slice(0, to)),
      fc.shuffledSubarray(whole.split("."), { minLength: 1 }).map((parts) => parts.join(".")),
      fc.constantFrom(` ${whole}`, `${whole} `, `${whole}=`, `${whole}.`, whole.toUpperCase(), whole.toLowerCase(), `Bearer ${whole}`, encodeURIComponent(whole).replace(/\./g, "%2E")),
    ).filter((text) => text !== whole);
    fc.assert(fc.property(mutated, (token) => {
      expect(reason(token, tokens(ALL))).not.toBe("accepted");
    }), { numRuns: 3000 });
    expect(reason(whole, tokens(ALL))).toBe("accepted");
  });

  test("no text fails in any other way than by a refusal", () => {
    fc.assert(fc.property(fc.oneof(fc.string({ unit: "binary" }), fc.array(fc.base64String(), { maxLength: 5 }).map((parts) => parts.join("."))), (token) => {
      expect(reason(token)).not.toBe("accepted");
    }), { numRuns: 1000 });
  });

  test("any JSON as signed claims is judged, and none of it proves anything", () => {
    fc.assert(fc.property(fc.jsonValue(), fc.jsonValue(), (claims, lab) => {
      expect(reason(signText("{\"alg\":\"HS256\"}", JSON.stringify(claims)))).toStartWith("token ");
      expect(reason(withLab(lab))).toStartWith("token ");
    }), { numRuns: 300 });
  });
});
