import { describe, expect, test } from "bun:test";
import { constants, createHmac, type KeyObject, sign } from "node:crypto";
import fc from "fast-check";
import { RouteError } from "../../src/errors.ts";
import type { JwtAlgorithm } from "../../src/settings.ts";
import { isWellFormed } from "../../src/token/jws.ts";
import { verifyToken } from "../../src/token/verify.ts";
import { sampleKeys } from "./sample-keys.ts";

fc.configureGlobal({ seed: 7 }); // The same cases every run: a failure can be looked at.

const NOW = 1_800_000_000_000;
const S = NOW / 1000;
const keys = sampleKeys(2048);
const other = sampleKeys(2048, "b");
const CLAIMS = { key: 0, nfb: S - 5, hash: "AAEC", exp: S + 300 };
const RS256 = { algorithms: ["RS256"], requireExp: true } as const;
const text = (value: unknown) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");

/** Signs whatever it is given; strings are taken as they are, so that broken JSON can be signed too. */
function token(claims: unknown, header: unknown = { alg: "RS256", typ: "JWT" }, key: KeyObject = keys.signingPrivate): string {
  const signed = `${text(header)}.${text(claims)}`;
  return `${signed}.${sign("sha256", Buffer.from(signed), key).toString("base64url")}`;
}

function reason(jwt: string, rules: { algorithms: readonly JwtAlgorithm[]; requireExp: boolean } = RS256, now = NOW): string {
  try {
    verifyToken(jwt, [keys.signingPublic], rules, now);
    return "accepted";
  } catch (error) {
    expect(error).toBeInstanceOf(RouteError);
    const { status, publicText, message } = error as RouteError;
    expect([status, publicText]).toEqual([401, "unauthorized"]);
    if (jwt.length >= 20) expect(message).not.toContain(jwt.slice(0, 20));
    return message;
  }
}

describe("a good token", () => {
  test("yields its hash and its end", () => {
    const claims = verifyToken(token(CLAIMS), [keys.signingPublic], RS256, NOW);
    expect([...claims.hash]).toEqual([0, 1, 2]);
    expect(claims.expiresAtMs).toBe(NOW + 300_000);
  });

  test.each([1024, 2048, 4096])("is believed with a key of %d bits", (bits) => {
    const { signingPrivate, signingPublic } = sampleKeys(bits);
    const jwt = token(CLAIMS, undefined, signingPrivate);
    expect(verifyToken(jwt, [signingPublic], RS256, NOW).expiresAtMs).toBe(NOW + 300_000);
    expect(() => verifyToken(jwt, [other.signingPublic], RS256, NOW)).toThrow("bad signature");
  });

  test("may be signed with any of several keys, in any place of the list", () => {
    const jwt = token(CLAIMS);
    for (const list of [[keys, other], [other, keys]]) {
      expect(() => verifyToken(jwt, list.map((each) => each.signingPublic), RS256, NOW)).not.toThrow();
    }
    expect(() => verifyToken(jwt, [], RS256, NOW)).toThrow("bad signature");
  });

  test("may say what nobody asks: typ, kid, other claims, the misspelt nfb", () => {
    expect(reason(token({ ...CLAIMS, nfb: "never", iss: "x", aud: 7 }, { alg: "RS256", typ: "at+jwt", kid: "../../dev/null" }))).toBe("accepted");
    expect(reason(token({ ...CLAIMS, nfb: S + 1e6 }, { alg: "RS256" }))).toBe("accepted");
  });

  test.each<[JwtAlgorithm, string, boolean]>([
    ["RS256", "sha256", false], ["RS384", "sha384", false], ["RS512", "sha512", false],
    ["PS256", "sha256", true], ["PS384", "sha384", true], ["PS512", "sha512", true],
  ])("may use %s when that is configured, and only then", (alg, digest, pss) => {
    const signed = `${text({ alg })}.${text(CLAIMS)}`;
    const scheme = pss
      ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
      : { padding: constants.RSA_PKCS1_PADDING };
    const jwt = `${signed}.${sign(digest, Buffer.from(signed), { key: keys.signingPrivate, ...scheme }).toString("base64url")}`;
    const others = (["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] as const).filter((name) => name !== alg);
    expect(reason(jwt, { algorithms: [alg], requireExp: true })).toBe("accepted");
    expect(reason(jwt, { algorithms: others, requireExp: true })).toStartWith("token algorithm is not");
  });
});

describe("the clock", () => {
  test.each<[string, unknown, string]>([
    ["in a second", S + 1, "accepted"], ["now", S, "token has expired"], ["a second ago", S - 1, "token has expired"],
    ["in half a second", S + 0.5, "accepted"], ["half a second ago", S - 0.5, "token has expired"],
    ["in the far future", 1e99, "accepted"], ["zero", 0, "token has expired"], ["negative", -1e99, "token has expired"],
    ["a string", String(S + 300), "token exp is not a number"], ["null", null, "token exp is not a number"],
    ["true", true, "token exp is not a number"], ["a list", [S + 300], "token exp is not a number"], ["missing", undefined, "token has no exp"],
  ])("exp %s", (_, exp, result) => {
    expect(reason(token({ ...CLAIMS, exp }))).toBe(result);
  });

  test("exp beyond all numbers is none", () => {
    expect(reason(token(`{"hash":"AAEC","exp":1e999}`))).toBe("token exp is not a number");
  });

  test("there is no leeway, to the millisecond", () => {
    const jwt = token({ ...CLAIMS, exp: S + 0.25 });
    expect([reason(jwt, RS256, NOW + 249), reason(jwt, RS256, NOW + 250)]).toEqual(["accepted", "token has expired"]);
  });

  test("a token without exp never ends when that is allowed; a bad exp stays bad", () => {
    const lenient = { ...RS256, requireExp: false };
    expect(verifyToken(token({ hash: "AAEC" }), [keys.signingPublic], lenient, NOW).expiresAtMs).toBe(Infinity);
    expect(reason(token({ hash: "AAEC", exp: null }), lenient)).toBe("token exp is not a number");
    expect(reason(token({ hash: "AAEC", exp: S - 1 }), lenient)).toBe("token has expired");
  });

  test.each<[string, unknown, string]>([
    ["past", S - 1, "accepted"], ["now", S, "accepted"], ["in half a second", S + 0.5, "token is not valid yet"],
    ["in a second", S + 1, "token is not valid yet"], ["a string", "1", "token nbf is not a number"], ["null", null, "token nbf is not a number"],
  ])("nbf %s", (_, nbf, result) => {
    expect(reason(token({ ...CLAIMS, nbf }))).toBe(result);
  });
});

describe("a forged token is refused", () => {
  const [header = "", payload = "", signature = ""] = token(CLAIMS).split(".");

  test("HS256 with the text of the public key as secret", () => {
    for (const pem of [keys.pem.signingPublicKey, keys.pem.signingPublicKey.trim()]) {
      for (const alg of ["HS256", "RS256"]) {
        const signed = `${text({ alg, typ: "JWT" })}.${payload}`;
        const mac = createHmac("sha256", pem).update(signed).digest("base64url");
        expect(reason(`${signed}.${mac}`)).toBe(alg === "RS256" ? "bad signature" : "token algorithm is not RS256");
      }
    }
  });

  test.each([["none"], ["None"], ["NONE"], [""], [null], [undefined], [["RS256"]], ["rs256"], ["RS256 "], ["ES256"], ["EdDSA"], [0], ["constructor"]])(
    "alg %p, with a signature or without one", (alg) => {
      expect(reason(token(CLAIMS, { alg }))).toBe("token algorithm is not RS256");
      expect(reason(`${text({ alg })}.${payload}.`)).toBe("malformed token");
      expect(reason(`${text({ alg })}.${payload}.AA`)).toBe("token algorithm is not RS256");
    },
  );

  test.each(["jwk", "jku", "x5u", "x5c", "crit"])("a header with %s", (name) => {
    expect(reason(token(CLAIMS, { alg: "RS256", [name]: ["x"] }))).toBe(`token header has ${name}`);
  });

  test("signed with another key, changed, or with a signature of the wrong size", () => {
    expect(reason(token(CLAIMS, undefined, other.signingPrivate))).toBe("bad signature");
    expect(reason(`${header}.${text({ ...CLAIMS, exp: S + 9999 })}.${signature}`)).toBe("bad signature");
    expect(reason(`${text({ alg: "RS256" })}.${payload}.${signature}`)).toBe("bad signature");
    for (const bytes of [1, 255, 257, 512]) expect(reason(`${header}.${payload}.${Buffer.alloc(bytes).toString("base64url")}`)).toBe("bad signature");
    for (const fill of [0, 255]) expect(reason(`${header}.${payload}.${Buffer.alloc(256, fill).toString("base64url")}`)).toBe("bad signature");
  });

  test("every cut of a good token", () => {
    const whole = token(CLAIMS);
    for (let length = 0; length < whole.length; length += 7) expect(reason(whole.slice(0, length))).not.toBe("accepted");
    expect(reason(whole)).toBe("accepted");
  });
});

describe("a malformed token is refused", () => {
  const whole = token(CLAIMS);
  const [header = "", payload = "", signature = ""] = whole.split(".");

  test.each([
    ["nothing", ""], ["dots", ".."], ["one part", header], ["two parts", `${header}.${payload}`], ["a fourth part", `${whole}.AA`], ["five parts", `${whole}.AA.AA`],
    ["a dot behind", `${whole}.`], ["a dot in front", `.${whole}`], ["an empty part", `${header}..${signature}`],
    ["padding", `${whole}==`], ["a space in front", ` ${whole}`], ["a space behind", `${whole} `], ["a line feed", `${whole}\n`],
    ["a space inside", `${header}. ${payload}.${signature}`], ["a tab inside", `${header}.${payload.slice(0, 9)}\t${payload.slice(9)}.${signature}`],
    ["plus and slash", `${header}.${payload}.+/${signature.slice(2)}`], ["a comma", `${whole},${whole}`], ["percent-encoding", whole.replace(".", "%2E")],
    ["NUL", `${whole}\0`], ["binary garbage", "\x00\xff\x7f\x80"], ["wide characters", whole.replace("e", "\uff45")],
    ["JSON serialisation", JSON.stringify({ payload, protected: header, signature })],
  ])("%s", (_, jwt) => {
    expect(reason(jwt)).toBe("malformed token");
    expect(isWellFormed(jwt)).toBe(false);
  });

  test("64 KiB", () => {
    expect(reason(`${whole}${"A".repeat(65536)}`)).toBe("token longer than 8192 characters");
    expect(reason(`${header}.${"A".repeat(65536)}.${signature}`)).toBe("token longer than 8192 characters");
    expect(isWellFormed("A".repeat(65536))).toBe(false);
  });

  test.each(["null", "1", "[]", `"x"`, "{", "", "{}x", `{"alg":"RS256"`, "\ufeff{}"])("header %p", (json) => {
    const jwt = json === "" ? `.${payload}.${signature}` : token(CLAIMS, json);
    expect(reason(jwt)).toBe(json === "" ? "malformed token" : "token header is not a JSON object");
  });

  test.each(["null", "1", "[]", `"x"`, "{", `{"exp":`])("payload %p", (json) => {
    expect(reason(token(json))).toBe("token payload is not a JSON object");
  });

  test("payload that is no UTF-8", () => {
    const signed = `${header}.${Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]).toString("base64url")}`;
    const jwt = `${signed}.${sign("sha256", Buffer.from(signed), keys.signingPrivate).toString("base64url")}`;
    expect(reason(jwt)).toBe("token payload is not a JSON object");
  });

  test("claims that only a prototype has", () => {
    expect(reason(token(`{"__proto__":{"hash":"AAEC","exp":${S + 300}}}`))).toBe("token has no exp");
    expect(reason(token(CLAIMS, `{"__proto__":{"alg":"RS256"}}`))).toBe("token algorithm is not RS256");
  });

  test.each<[unknown, string]>([
    [undefined, "token has no hash"], ["", "token hash is not base64"], [null, "token hash is not base64"], [5, "token hash is not base64"],
    [["AAEC"], "token hash is not base64"], ["AAE", "token hash is not base64"], ["AA==AA==", "token hash is not base64"], ["AAF=\n", "token hash is not base64"],
    ["AB==", "token hash is not base64"], ["-_-_", "token hash is not base64"], ["AA EC", "token hash is not base64"], ["AAEC\n", "token hash is not base64"],
    ["AAEC=", "token hash is not base64"], ["+/+/", "accepted"], ["AA==", "accepted"],
  ])("hash %p", (hash, result) => {
    expect(reason(token({ ...CLAIMS, hash }))).toBe(result);
  });
});

describe("the parser", () => {
  const part = fc.uint8Array({ minLength: 1, maxLength: 60 }).map((bytes) => Buffer.from(bytes).toString("base64url"));

  test("takes three encoded parts, and no other spelling of the same bytes", () => {
    const lastBits = (encoded: string, flip: number) => {
      const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
      return encoded.slice(0, -1) + alphabet[alphabet.indexOf(encoded.at(-1) ?? "") ^ flip];
    };
    fc.assert(fc.property(part, part, part, (a, b, c) => {
      expect(isWellFormed(`${a}.${b}.${c}`)).toBe(true);
      for (const odd of [`${a}=.${b}.${c}`, `${a}.${b}.${c}=`, `${a}.${b} .${c}`, `${a}.${b}.${c}\n`, `${a}.${b}.`]) expect(isWellFormed(odd)).toBe(false);
      if (c.length % 4 !== 0) expect(isWellFormed(`${a}.${b}.${lastBits(c, 1)}`)).toBe(false);
    }), { numRuns: 500 });
  });

  test("throws nothing but refusals, whatever it is given", () => {
    const alike = fc.array(fc.oneof(part, fc.constantFrom(".", "..", "=", " ", "eyJhbGciOiJSUzI1NiJ9"), fc.string()), { maxLength: 8 }).map((parts) => parts.join(""));
    fc.assert(fc.property(fc.oneof(alike, fc.string({ unit: "binary" }), fc.tuple(part, part, part).map((parts) => parts.join("."))), (jwt) => {
      expect(reason(jwt)).not.toBe("accepted");
    }), { numRuns: 1000 });
  });

  test("refuses a good token with any one character changed", () => {
    const whole = token(CLAIMS);
    fc.assert(fc.property(fc.nat(whole.length - 1), fc.string({ unit: "binary-ascii", minLength: 1, maxLength: 1 }), (at, character) => {
      fc.pre(whole[at] !== character);
      expect(reason(whole.slice(0, at) + character + whole.slice(at + 1))).not.toBe("accepted");
    }), { numRuns: 1000 });
  });

  test("judges any JSON as claims without failing", () => {
    fc.assert(fc.property(fc.jsonValue(), (claims) => {
      expect(reason(token(JSON.stringify(claims)))).toMatch(/^token /);
    }), { numRuns: 100 });
  });
});
