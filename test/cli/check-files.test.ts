// What check says about the files that a configuration names: what serve would say about them.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "../../src/cli/args.ts";
import { command } from "../../src/cli/check.ts";
import { DAY_MS, newCertificate } from "../certificate/fixtures.ts";
import { TABLE } from "../config/support.ts";
import { sampleKeys } from "../token/sample-keys.ts";

let root = "";
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "route-check-files-"));
  const pair = async (name: string, startMs: number): Promise<void> => {
    const { certPem, keyPem } = await newCertificate([`${name}.test`], () => startMs);
    writeFileSync(join(root, `${name}.pem`), certPem);
    writeFileSync(join(root, `${name}-key.pem`), keyPem);
  };
  await pair("good", Date.now());
  await pair("old", Date.now() - 200 * DAY_MS);
  await pair("early", Date.now() + 200 * DAY_MS);
  const { signingPublicKey, payloadPrivateKey } = sampleKeys(2048).pem;
  for (const [name, text] of Object.entries({ "signing.pem": signingPublicKey, "payload.pem": payloadPrivateKey, "weak.pem": sampleKeys(1024).pem.signingPublicKey, "secret": "s".repeat(19), "token": "t".repeat(5), "garbage": "x" })) {
    writeFileSync(join(root, name), text);
  }
  mkdirSync(join(root, "directory"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const DESKTOP = (keys: string): string => `token: { desktop: ${keys} }\n${TABLE}  - { path: /d, token: [query], service: d }\n`.replace("routes:", "  d: { target: desktop, port: 80 }\nroutes:");
const CONSOLE = (rest: string, service = "kubernetes: \"ws://a\""): string => `token: { vm: { ${rest} } }\n${TABLE}  - { path: "/{token}/{vm}", identity: vm, service: k }\n`.replace("routes:", `  k: { ${service} }\nroutes:`);
const PAIR = (cert: string, key: string): string => `tls: { certificates: [{ certFile: ▸R/${cert}, keyFile: R/${key} }] }\n${TABLE}`;
const SECRET = `secret: ${"s".repeat(32)}`;

/** `R` is the directory, `▸` the place that is told; without one nothing is. */
async function notesOf(source: string): Promise<string[]> {
  const text = source.replaceAll("R/", `${root}/`);
  const at = text.indexOf("▸");
  const before = text.slice(0, Math.max(0, at)).split("\n");
  const file = join(root, "routes.yaml");
  writeFileSync(file, text.replace("▸", ""));
  let stderr = "";
  const code = await command.run(parseArgs([file], command.spec), { stdout: () => {}, stderr: (more) => { stderr += more; }, env: {} });
  expect(code).toBe(0);
  return stderr.split("\n").filter((line) => line !== "").map((line) => line.replace(`${file}:${before.length}:${(before.at(-1) ?? "").length + 1}: note: `, "").replaceAll(`${root}/`, "R/"));
}

describe("check notes at its place", () => {
  test.each<[string, string, string | RegExp]>([
    ["a signing key that is not there", DESKTOP("{ signingPublicKeys: [R/signing.pem, ▸R/absent], payloadPrivateKey: R/payload.pem }"), "the file R/absent cannot be read here: no such file"],
    ["a signing key that is a private one", DESKTOP("{ signingPublicKeys: [▸R/payload.pem], payloadPrivateKey: R/payload.pem }"), /^cannot load signing public key R\/payload\.pem: it holds a private key, expected /],
    ["a signing key that is weak", DESKTOP("{ signingPublicKeys: [▸R/weak.pem], payloadPrivateKey: R/payload.pem }"), /^cannot load signing public key R\/weak\.pem: the RSA key has 1024 bits/],
    ["a payload key that is none", DESKTOP("{ signingPublicKeys: [R/signing.pem], payloadPrivateKey: ▸R/garbage }"), /^cannot load payload private key R\/garbage: it holds no PEM/],
    ["a console secret that is a directory", CONSOLE("secretFile: ▸R/directory"), "the file R/directory cannot be read here: is a directory"],
    ["a console secret that is short", CONSOLE("secretFile: ▸R/secret"), /^cannot load console token secret R\/secret: it has 19 bytes, expected 32 or more /],
    ["a service account that is not there", CONSOLE(SECRET, "kubernetes: \"wss://a\", caFile: R/good.pem, tokenFile: ▸R/absent"), "the file R/absent cannot be read here: no such file"],
    ["a service account whose CA is none", CONSOLE(SECRET, "kubernetes: \"wss://a\", caFile: ▸R/garbage, tokenFile: R/token"), /^cannot load service account CA R\/garbage: it holds no PEM/],
    ["a certificate that is not there", PAIR("absent", "good-key.pem"), "the file R/absent cannot be read here: no such file"],
    ["a key of another certificate", PAIR("good.pem", "old-key.pem"), "cannot use R/good.pem with R/old-key.pem: the key belongs to another certificate"],
    ["a certificate that is none", PAIR("garbage", "good-key.pem"), "cannot use R/garbage with R/good-key.pem: there is no certificate in PEM"],
    ["a certificate that has ended", PAIR("old.pem", "old-key.pem"), /^the certificate in R\/old\.pem ended on \d{4}-.*Z$/],
    ["a certificate that has not begun", PAIR("early.pem", "early-key.pem"), /^the certificate in R\/early\.pem begins on \d{4}-.*Z$/],
    ["the root of an ACME server", `tls: { names: [a.test], acme: { caFile: ▸R/absent, storage: R/acme } }\n${TABLE}`, "the file R/absent cannot be read here: no such file"],
    ["a storage below a file", `tls: { names: [a.test], acme: { storage: ▸R/garbage/acme } }\n${TABLE}`, "the directory R/garbage/acme cannot be written here: what stands before a slash is not a directory"],
    ["a local authority that is a file", `tls: { names: [a.test], localAuthority: ▸R/garbage }\n${TABLE}`, "the directory R/garbage cannot be written here: is not a directory"],
    ["a cache where nothing can be kept", `cache: { directory: ▸R/garbage }\n${TABLE.replace("service: website }", "service: website, cache: true }")}`, "the directory R/garbage cannot be written here: is not a directory"],
    ["an admin token that is not there", `admin: { tokenFile: ▸R/absent }\nentrypoints: { admin: ":0" }\n${TABLE}`, "the file R/absent cannot be read here: no such file"],
    ["an admin token that is short", `admin: { tokenFile: ▸R/token }\nentrypoints: { admin: ":0" }\n${TABLE}`, "cannot use the admin token R/token: the token has 5 characters, and at least 16 are needed"],
    ["a challenge program that is none", `gateway: { root: R/gw, domain: gw.test, challengeProgram: ▸R/garbage }\n${TABLE}`, "cannot run the challenge program R/garbage: not permitted"],
    ["a root that is a file", `gateway: { root: ▸R/garbage }\n${TABLE}`, "the directory R/garbage cannot be written here: is not a directory"],
  ])("%s", async (_what, source, said) => {
    expect(await notesOf(source)).toEqual([typeof said === "string" ? said : expect.stringMatching(said)]);
  });
});

describe("check notes nothing", () => {
  test.each([
    ["keys that can be loaded", DESKTOP("{ signingPublicKeys: [R/signing.pem], payloadPrivateKey: R/payload.pem }")],
    ["weak ones where they are allowed", DESKTOP("{ signingPublicKeys: [R/weak.pem], payloadPrivateKey: R/payload.pem, allowWeakRsaKeys: true }")],
    ["a pair that fits, in its time", PAIR("good.pem", "good-key.pem").replace("▸", "")],
    ["directories that would be made", `tls: { names: [a.test], localAuthority: R/new/authority }\n${TABLE}`],
    ["a service account where none is used", CONSOLE(SECRET, "kubernetes: \"ws://a\", caFile: R/absent")],
    ["a service account that the file does not name", CONSOLE(SECRET, "kubernetes: \"wss://a\"")],
  ])("about %s", async (_what, source) => {
    expect(await notesOf(source)).toEqual([]);
  });
});
