// Console tokens as clients bring them: which ones open a machine's console, and every kind that must not. A refusal is an HTTP
// answer, nothing is dialled for it, and the log has the reason and never the token.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { createSecretKey } from "node:crypto";
import { mintDesktopToken, mintVmToken, signHmacToken, signToken } from "../../src/token/mint.ts";
import { tokenHash } from "../../src/token/token-hash.ts";
import { VmTokens } from "../../src/token/vm-token.ts";
import { base64url, claims, ConsoleRouter, type Lab, remember, SECRET, SECRET_KEY, sign, type Signing, token } from "../support/console-router.ts";
import { waitFor } from "../support/ws-client.ts";

const SIDE_BY_SIDE = `
token:
  desktop: { signingPublicKeys: ["\${SIGNING_KEY}"], payloadPrivateKey: "\${PAYLOAD_KEY}" }
  vm: { secret: "\${SECRET_KEY}", algorithms: [HS256, HS384, HS512] }
services:
  desk: { target: desktop, port: 6081 }
  vnc: { kubernetes: "\${API}" }
routes:
  - { path: /desk, service: desk, token: [header:Authorization], websocket: true }
  - { path: "/console/{token}/{vm}", service: vnc, identity: vm }
`;

let router: ConsoleRouter;
let beside: ConsoleRouter;
beforeAll(async () => {
  router = await ConsoleRouter.builtIn();
  beside = await ConsoleRouter.file(SIDE_BY_SIDE);
});
afterEach(async () => {
  for (const one of [router, beside]) {
    await one.idle();
    one.expectNoSecretIn("");
  }
});
afterAll(async () => {
  await router.stop();
  await beside.stop();
});

const unauthorized = (reason: string) => ({ status: 401, body: "unauthorized", reason });
const forbidden = (reason: string) => ({ status: 403, body: "forbidden", reason });
/** Claims whose JSON text is edited, for what JSON.stringify never writes. */
const edited = (from: RegExp, to: string): string => JSON.stringify(claims()).replace(from, to);

describe("a good console token", () => {
  test("opens the console of a machine that it lists, in its own namespace", async () => {
    const good = remember(mintVmToken({ user: "u", lab: 1, labInstance: 2, namespace: "lab-2", vms: ["ubuntu"], secret: SECRET_KEY, ttlS: 60 }));
    const { client, seen } = await router.expectOpen(`/${good}/ubuntu`);
    expect(seen.requestLine).toBe("GET /apis/subresources.kubevirt.io/v1/namespaces/lab-2/virtualmachineinstances/ubuntu/vnc HTTP/1.1");
    expect(seen.head).not.toContain(good);
    client.close();
  });

  test("opens all of its machines, names with dots and dashes among them", async () => {
    const good = token();
    for (const vm of ["ubuntu", "win.office", "fedora-40"]) {
      const { client, seen } = await router.expectOpen(`/${good}/${vm}`);
      expect(seen.target).toEndWith(`/virtualmachineinstances/${vm}/vnc`);
      client.close();
    }
  });

  test.each<[string, Lab, Record<string, unknown>]>([
    ["additional data", { additional_data: { theme: "dark", list: [1, "ubuntu"] } }, {}], ["claims that nobody knows", {}, { iss: "lab", aud: ["x"], nfb: "never" }],
    ["no id", {}, { id: undefined }], ["nbf in the past", {}, { nbf: Date.now() / 1000 - 60 }], ["an exp in a thousand years", {}, { exp: 33_000_000_000 }],
    ["a namespace of 63 characters", { namespace_name: "n".repeat(63) }, {}], ["a namespace of digits", { namespace_name: "42" }, {}],
    ["names of machines elsewhere that are no names", { allowed_vmi_names: ["../x", "", "A B", "ubuntu"] }, {}],
    ["the same name twice", { allowed_vmi_names: ["ubuntu", "ubuntu"] }, {}],
  ])("may have %s", async (_name, lab, own) => {
    const { client } = await router.expectOpen(`/${token(lab, own)}/ubuntu`);
    client.close();
  });

  test("may be without typ, and with a kid that chooses nothing", async () => {
    const { client } = await router.expectOpen(`/${sign(claims(), { header: '{"kid":"../../etc/passwd","alg":"HS256"}' })}/ubuntu`);
    client.close();
  });

  test("opens as many sessions as are asked for", async () => {
    const good = token();
    const first = await router.expectOpen(`/${good}/ubuntu`);
    const second = await router.expectOpen(`/${good}/ubuntu`);
    expect(router.app.counts.sessions).toBe(2);
    first.client.close();
    second.client.close();
  });
});

describe("a machine that the token does not list", () => {
  test.each(["debian", "ubunt", "ubuntu2", "win", "office", "win-office", "winxoffice", "0", "length", "constructor"])("is forbidden: %s", async (vm) => {
    const good = token();
    const line = await router.expectRefused(`/${good}/${vm}`, forbidden(`the token does not list the virtual machine "${vm}"`));
    expect(line).toMatchObject({ token: tokenHash(good), path: `/[token]/${vm}` });
  });

  test("is forbidden when the token lists none", async () => {
    await router.expectRefused(`/${token({ allowed_vmi_names: [] })}/ubuntu`, forbidden("the token does not list the virtual machine \"ubuntu\""));
  });

  test.each([
    ["a joined list", ["ubuntu,debian"]], ["another case", ["Ubuntu"]], ["spaces around it", [" ubuntu "]], ["a wildcard", ["*", ".*", "ubunt?"]],
    ["a list in it", ["[\"ubuntu\"]"]],
  ])(
    "is forbidden when its name is only a part of the list: %s", async (_name, names) => {
      await router.expectRefused(`/${token({ allowed_vmi_names: names })}/ubuntu`, forbidden("the token does not list the virtual machine \"ubuntu\""));
    });
});

describe("a list of machines that is none", () => {
  test.each<[string, unknown]>([
    ["the name as a string", "ubuntu"], ["a string that has the name in it", "debian, ubuntu, x"], ["an empty string", ""], ["missing", undefined], ["null", null],
    ["a map with the name as a key", { ubuntu: true }], ["a map that looks like a list", { 0: "ubuntu", length: 1 }], ["true", true], ["a number", 1],
    ["the name and a number", ["ubuntu", 1]], ["the name and null", ["ubuntu", null]], ["the name in a list", [["ubuntu"]]],
    ["the name in a map", [{ name: "ubuntu" }]],
    ["more than a thousand names", Array.from({ length: 1001 }, () => "").concat("ubuntu")],
  ])("makes the token worthless: %s", async (_name, list) => {
    const line = await router.expectRefused(`/${token({ allowed_vmi_names: list })}/ubuntu`, unauthorized("token allowed_vmi_names is not a list of names"));
    expect(line["token"]).toBeNull();
  });
});

describe("a token without a lab", () => {
  test.each<[string, unknown]>([
    ["missing", undefined], ["null", null], ["a list of labs", [claims()["lab_instance"]]], ["an empty list", []], ["a string", "lab-2"], ["a number", 2],
    ["true", true],
  ])("is refused: lab_instance is %s", async (_name, lab) => {
    await router.expectRefused(`/${token({}, { lab_instance: lab })}/ubuntu`, unauthorized("token has no lab_instance"));
  });

  test("is refused with the lab's claims beside it", async () => {
    await router.expectRefused(`/${token({}, { lab_instance: undefined, namespace_name: "lab-2", allowed_vmi_names: ["ubuntu"] })}/ubuntu`, unauthorized("token has no lab_instance"));
  });

  test("is refused with the lab in a prototype", async () => {
    const payload = `{"exp":33000000000,"__proto__":${JSON.stringify({ lab_instance: claims()["lab_instance"] })}}`;
    await router.expectRefused(`/${sign(payload)}/ubuntu`, unauthorized("token has no lab_instance"));
  });
});

describe("a namespace that is none", () => {
  test.each<[string, unknown]>([
    ["missing", undefined], ["null", null], ["empty", ""], ["a number", 2], ["a list", ["lab-2"]], ["a slash", "lab/2"], ["a path", "lab-2/pods/x"],
    ["dots", ".."], ["one dot", "."],
    ["dots and a slash", "../kube-system"], ["encoded dots", "%2e%2e"], ["an encoded slash", "a%2fb"], ["upper case", "Lab-2"], ["a dot", "lab.2"],
    ["an underscore", "lab_2"],
    ["64 characters", "n".repeat(64)], ["a dash in front", "-lab"], ["a dash at the end", "lab-"], ["a space", "lab 2"], ["a line feed", "lab\n"],
    ["CR LF", "lab\r\nX: y"],
    ["a question mark", "lab?x"], ["a number sign", "lab#x"], ["NUL", "lab\0"], ["another alphabet", "läb"], ["a wide letter", "ｌab"], ["a variable", "{vmi_name}"],
  ])("makes the token worthless: %s", async (_name, namespace) => {
    await router.expectRefused(`/${token({ namespace_name: namespace })}/ubuntu`, unauthorized("token namespace_name is not a Kubernetes namespace"));
  });
});

describe("the signature", () => {
  const other = createSecretKey(Buffer.from("another-key-that-has-more-than-32-bytes"));
  const bad: ReadonlyArray<readonly [name: string, options: Signing]> = [
    ["another key", { key: other }], ["an empty key", { key: createSecretKey(Buffer.alloc(0)) }],
    ["the key and a line feed", { key: createSecretKey(Buffer.from(`${SECRET}\n`)) }],
    ["the key in base64", { key: createSecretKey(Buffer.from(Buffer.from(SECRET).toString("base64"))) }],
    ["HS512 under a header that says HS256", { hash: "sha512" }], ["HS384 under a header that says HS256", { hash: "sha384" }],
  ];
  test.each(bad)("is refused when it was made with %s", async (_name, options) => {
    await router.expectRefused(`/${sign(claims(), options)}/ubuntu`, unauthorized("bad signature"));
  });

  test("is refused with one bit changed, in the claims and in itself", async () => {
    const [head = "", payload = "", signature = ""] = token().split(".");
    const flipped = (text: string): string => {
      const bytes = Buffer.from(text, "base64url");
      bytes[9] = (bytes[9] as number) ^ 1;
      return bytes.toString("base64url");
    };
    await router.expectRefused(`/${remember(`${head}.${flipped(payload)}.${signature}`)}/ubuntu`, unauthorized("bad signature"));
    await router.expectRefused(`/${remember(`${head}.${payload}.${flipped(signature)}`)}/ubuntu`, unauthorized("bad signature"));
  });

  test("is refused when it is another token's", async () => {
    const [head = "", , signature = ""] = token().split(".");
    const [, payload = ""] = token({ allowed_vmi_names: ["ubuntu", "debian"] }).split(".");
    await router.expectRefused(`/${head}.${payload}.${signature}/ubuntu`, unauthorized("bad signature"));
  });

  test("is refused when it is cut", async () => {
    const [head = "", payload = "", signature = ""] = token().split(".");
    for (const bytes of [1, 16, 31]) {
      const cut = Buffer.from(signature, "base64url").subarray(0, bytes).toString("base64url");
      await router.expectRefused(`/${head}.${payload}.${cut}/ubuntu`, unauthorized("bad signature"));
    }
  });

  test("is refused when it is longer than the digest", async () => {
    const [head = "", payload = "", signature = ""] = token().split(".");
    const long = Buffer.concat([Buffer.from(signature, "base64url"), Buffer.from([0])]).toString("base64url");
    await router.expectRefused(`/${head}.${payload}.${long}/ubuntu`, unauthorized("bad signature"));
  });
});

describe("the algorithm", () => {
  const not256 = unauthorized("token algorithm is not HS256");
  test.each([
    ["HS384", { alg: "HS384" }, "sha384"], ["HS512", { alg: "HS512" }, "sha512"], ["HS384 over a good HS256 signature", { alg: "HS384" }, "sha256"],
    ["RS256", { alg: "RS256" }, "sha256"], ["ES256", { alg: "ES256" }, "sha256"], ["none", { alg: "none" }, "sha256"],
    ["hs256 in lower case", { alg: "hs256" }, "sha256"],
    ["missing", { alg: undefined }, "sha256"], ["null", { alg: null }, "sha256"], ["empty", { alg: "" }, "sha256"], ["a list", { alg: ["HS256"] }, "sha256"],
    ["a space behind it", { alg: "HS256 " }, "sha256"],
  ] as const)("is refused where only HS256 is allowed: %s", async (_name, header, hash) => {
    await router.expectRefused(`/${sign(claims(), { header, hash })}/ubuntu`, not256);
  });

  test("is refused when it is RS256 for real", async () => {
    await router.expectRefused(`/${remember(signToken(claims(), router.keys.signingPrivateKey))}/ubuntu`, not256);
  });

  test("none is refused without a signature", async () => {
    const unsigned = remember(`${base64url('{"alg":"none"}')}.${base64url(JSON.stringify(claims()))}.`);
    await router.expectRefused(`/${unsigned}/ubuntu`, unauthorized("malformed token"));
    await router.expectRefused(`/${unsigned.slice(0, -1)}/ubuntu`, unauthorized("malformed token"));
  });

  test.each(["HS256", "HS384", "HS512"])("%s is accepted where it is in the list", async (alg) => {
    const { client, seen } = await beside.expectOpen(`/console/${remember(signHmacToken(claims(), SECRET_KEY, alg))}/ubuntu`);
    expect(seen.target).toContain("/namespaces/lab-2/");
    client.close();
  });

  test.each([
    ["HS256", "sha512"], ["HS512", "sha256"], ["HS384", "sha512"],
  ] as const)("%s is held to its digest where others are in the list as well", async (alg, hash) => {
    await beside.expectRefused(`/console/${sign(claims(), { header: { alg }, hash })}/ubuntu`, unauthorized("bad signature"));
  });
});

describe("a header that asks for more", () => {
  test.each<[string, unknown]>([
    ["crit", ["exp"]], ["crit", []], ["jwk", { kty: "oct", k: base64url(SECRET) }], ["jku", "https://evil.example/keys"], ["x5u", "https://evil.example/cert"],
    ["x5c", ["MII"]], ["jwk", null],
  ])("is refused under a good signature: %s", async (name, value) => {
    await router.expectRefused(`/${sign(claims(), { header: { [name]: value } })}/ubuntu`, unauthorized(`token header has ${name}`));
  });
});

describe("the times of a token", () => {
  const nowS = (): number => Date.now() / 1000;
  test("refuse one that ended half a second ago", async () => {
    await router.expectRefused(`/${token({}, { exp: nowS() - 0.5 })}/ubuntu`, unauthorized("token has expired"));
  });

  test("accept one that ends in the middle of a second that has not come yet", async () => {
    const { client } = await router.expectOpen(`/${token({}, { exp: Math.floor(nowS()) + 20.5 })}/ubuntu`);
    client.close();
  });

  test("end a token at its exp to the millisecond, without leeway", () => {
    const at = (nowMs: number): number => new VmTokens(["HS256"], { key: SECRET_KEY }, () => nowMs).identify(sign(claims({}, { exp: 1_700_000_000.5 }))).expiresAtMs;
    expect(at(1_700_000_000_000)).toBe(1_700_000_000_500);
    expect(at(1_700_000_000_499)).toBe(1_700_000_000_500);
    for (const nowMs of [1_700_000_000_500, 1_700_000_000_501, 1_700_000_001_000]) expect(() => at(nowMs)).toThrow("token has expired");
  });

  test("begin a token at its nbf to the millisecond, without leeway", () => {
    const at = (nowMs: number): string => new VmTokens(["HS256"], { key: SECRET_KEY }, () => nowMs).identify(sign(claims({}, { nbf: 1_700_000_000.5, exp: 1_700_000_100 }))).namespace;
    expect(() => at(1_700_000_000_499)).toThrow("token is not valid yet");
    expect(at(1_700_000_000_500)).toBe("lab-2");
  });

  test.each<[string, string | object, string]>([
    ["exp missing", claims({}, { exp: undefined }), "token has no exp"], ["exp null", claims({}, { exp: null }), "token exp is not a number"],
    ["exp as a string", claims({}, { exp: "33000000000" }), "token exp is not a number"],
    ["exp as a date", claims({}, { exp: "2999-01-01T00:00:00Z" }), "token exp is not a number"],
    ["exp in a list", claims({}, { exp: [33_000_000_000] }), "token exp is not a number"], ["exp true", claims({}, { exp: true }), "token exp is not a number"],
    ["exp 1e999", edited(/"exp":[\d.]+/, '"exp":1e999'), "token exp is not a number"],
    ["exp NaN", edited(/"exp":[\d.]+/, '"exp":NaN'), "token payload is not a JSON object"],
    ["exp 0", claims({}, { exp: 0 }), "token has expired"], ["exp -1", claims({}, { exp: -1 }), "token has expired"],
    ["exp twice, the last one over", edited(/"exp":[\d.]+/, '"exp":33000000000,"exp":1'), "token has expired"],
    ["nbf in a minute", claims({}, { nbf: Date.now() / 1000 + 60 }), "token is not valid yet"],
    ["nbf as a string", claims({}, { nbf: "0" }), "token nbf is not a number"],
    ["nbf null", claims({}, { nbf: null }), "token nbf is not a number"], ["nbf 1e999", edited(/"exp"/, '"nbf":1e999,"exp"'), "token nbf is not a number"],
  ])("refuse %s", async (_name, payload, reason) => {
    await router.expectRefused(`/${sign(payload)}/ubuntu`, unauthorized(reason));
  });

  test("do not end a session that began before", async () => {
    const exp = nowS() + 1.2;
    const { client } = await router.expectOpen(`/${token({}, { exp })}/ubuntu`);
    await waitFor(() => nowS() > exp);
    await router.expectRefused(`/${sign(claims({}, { exp }))}/ubuntu`, unauthorized("token has expired"));
    client.send(2, "still there");
    await client.until(() => client.messages.length === 2);
    client.close();
  });
});

describe("a text that is no token", () => {
  const good = (): string => token();
  const parts = (): [string, string, string] => good().split(".") as [string, string, string];
  test.each<[string, () => string]>([
    ["a word", () => "token"], ["two parts", () => good().split(".").slice(0, 2).join(".")], ["four parts", () => `${good()}.AAAA`],
    ["a dot behind it", () => `${good()}.`],
    ["a dot before it", () => `.${good()}`], ["no header", () => `.${parts().slice(1).join(".")}`], ["no claims", () => `${parts()[0]}..${parts()[2]}`],
    ["padding behind it", () => `${good()}=`], ["encoded padding", () => `${good()}%3D`], ["padding inside", () => parts().join("=.")],
    ["an encoded space behind it", () => `${good()}%20`],
    ["an encoded space inside", () => parts().join(".%20")], ["an encoded line feed", () => `${good()}%0A`],
    ["an encoded letter", () => good().replace("ey", "%65y")],
    ["a plus", () => good().replace(/.{5}$/, "+$&")], ["a comma and another", () => `${good()},${good()}`], ["a semicolon", () => `${good()};x`],
    ["Bearer before it", () => `Bearer%20${good()}`],
    ["quotes around it", () => `%22${good()}%22`], ["stray last bits", () => strayBits(good())],
  ])("is refused: %s", async (_name, make) => {
    await router.expectRefused(`/${make()}/ubuntu`, unauthorized("malformed token"));
  });

  test("is refused when it is cut anywhere", async () => {
    const whole = good();
    for (const length of [1, 20, 36, 37, 60, whole.length - 1]) {
      const before = router.lines.length;
      expect((await router.tryUpgrade(`/${whole.slice(0, length)}/ubuntu`)).status).toBe(401);
      expect(["malformed token", "bad signature"]).toContain(router.lines.slice(before)[0]?.reason ?? "");
    }
  });

  test.each([
    ["a header that is no JSON", () => sign(claims(), { header: "HS256" }), "token header is not a JSON object"],
    ["a header that is a list", () => sign(claims(), { header: '[{"alg":"HS256"}]' }), "token header is not a JSON object"],
    ["a header behind a byte order mark", () => sign(claims(), { header: '\ufeff{"alg":"HS256"}' }), "token header is not a JSON object"],
    ["claims that are no JSON", () => sign("lab-2 ubuntu"), "token payload is not a JSON object"],
    ["claims that are a list", () => sign([claims()]), "token payload is not a JSON object"],
    ["claims that are null", () => sign("null"), "token payload is not a JSON object"],
    ["claims that are a string", () => sign('"{}"'), "token payload is not a JSON object"],
  ])("is refused: %s", async (_name, make, reason) => {
    await router.expectRefused(`/${make()}/ubuntu`, unauthorized(reason));
  });

  test("is refused from 8,193 characters on, without a look at it", async () => {
    const padded = (length: number): string => {
      // The signature is as long for all; the claims grow by 4 characters for 3 bytes.
      const bare = token({}, { x: "" }).length;
      return token({}, { x: "x".repeat(Math.floor((length - bare) * 3 / 4)) });
    };
    expect(padded(9000).length).toBeGreaterThan(8990);
    await router.expectRefused(`/${padded(9000)}/ubuntu`, unauthorized("token longer than 8192 characters"));
    const fits = padded(8180);
    expect(fits.length).toBeLessThanOrEqual(8192);
    const { client } = await router.expectOpen(`/${fits}/ubuntu`);
    client.close();
  });
});

describe("a token of the other kind", () => {
  const desktop = (): string => remember(mintDesktopToken({
    host: "127.0.1.1", signingPrivateKey: beside.keys.signingPrivateKey, payloadPublicKey: beside.keys.payloadPublicKey, ttlS: 60,
  }));

  test("for a desktop opens no console", async () => {
    await beside.expectRefused(`/console/${desktop()}/ubuntu`, unauthorized("token algorithm is not HS256 or HS384 or HS512"));
  });

  test("for a desktop opens no console when the shared key has signed it", async () => {
    const shared = sign({ key: 0, hash: Buffer.from("127.0.1.1").toString("base64"), exp: 33_000_000_000 });
    await beside.expectRefused(`/console/${shared}/ubuntu`, unauthorized("token has no lab_instance"));
  });

  test("for consoles opens no desktop", async () => {
    await beside.expectRefused("/desk", unauthorized("token algorithm is not RS256"), { headers: { Authorization: `Bearer ${token()}` } });
  });

  test("for consoles opens no desktop when the public key of desktop tokens has signed it as a secret", async () => {
    const key = createSecretKey(Buffer.from(beside.keys.signingPublicKey));
    await beside.expectRefused("/desk", unauthorized("token algorithm is not RS256"), { headers: { Authorization: `Bearer ${sign(claims({}, { hash: "x" }), { key })}` } });
  });
});

/** The same bytes in another spelling: the last character's unused bits are set. */
function strayBits(text: string): string {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  return text.slice(0, -1) + alphabet[alphabet.indexOf(text.at(-1) as string) | 1];
}
