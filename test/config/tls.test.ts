// The sections tls, gateway and admin: what they become, and every mistake in them with its place. What one value can be wrong
// in is refused by the JSON Schema as well, so that an editor says it while it is written.

import { describe, expect, test } from "bun:test";
import { parse } from "yaml";
import { jsonSchema } from "../../src/config/schema.ts";
import { accepts } from "./json-schema.ts";
import { marked, mistakesOf, settingsOf, TABLE } from "./support.ts";

const schema = jsonSchema();
/** What is registered can be served over TLS, whatever else there is. */
const GATEWAY = `gateway: {}\n${TABLE}`;
const PAIR = "{ certFile: /c.pem, keyFile: /k.pem }";

/** Both say yes. */
function expectFine(text: string): void {
  expect(mistakesOf(text + TABLE)).toEqual([]);
  expect(accepts(schema, parse(text + TABLE))).toBe(true);
}

describe("the section tls", () => {
  test("is not there: there is plain HTTP only, whatever the entrypoint says", () => {
    expect(settingsOf(`entrypoints: { https: ":8443" }\n${TABLE}`).tls).toBeNull();
  });

  test("is empty: TLS with the defaults, and the certificates of what is registered", () => {
    expect(settingsOf(`tls: {}\n${GATEWAY}`).tls).toEqual({
      https: { host: "", port: 443 }, files: [], names: [], defaultName: null, acme: null, localAuthority: null, redirect: true, hstsS: 0,
    });
  });

  test("says all that it can", () => {
    const text = `entrypoints: { https: "127.0.0.1:8443" }
tls:
  certificates: [${PAIR}, { certFile: "\${PLACE:-/etc}/c.pem", keyFile: /k2.pem }]
  names: [Desk.Example.ORG]
  default: desk.example.org
  acme: { directory: "https://ca.example/directory", email: a@example.org, caFile: /ca.pem, keyType: rsa-2048, storage: /acme }
  redirect: false
  hsts: 365d
`;
    expectFine(text);
    expect(settingsOf(text + TABLE, { env: { PLACE: "/run" } }).tls).toEqual({
      https: { host: "127.0.0.1", port: 8443 }, names: ["desk.example.org"], defaultName: "desk.example.org", redirect: false, hstsS: 31_536_000,
      files: [{ certFile: "/c.pem", keyFile: "/k.pem" }, { certFile: "/run/c.pem", keyFile: "/k2.pem" }], localAuthority: null,
      acme: { directoryUrl: "https://ca.example/directory", email: "a@example.org", caFile: "/ca.pem", keyType: "rsa-2048", storage: "/acme" },
    });
  });

  test("asks Let's Encrypt for certificates, and keeps them with the gateway's things when there is one", () => {
    const acme = "tls: { names: [desk.test], acme: {} }\n";
    expect(settingsOf(acme + TABLE).tls?.acme).toEqual({
      directoryUrl: "https://acme-v02.api.letsencrypt.org/directory", email: null, caFile: null, keyType: "ecdsa-p256", storage: "/var/lib/route-gateway/acme",
    });
    expect(settingsOf(`${acme}gateway: { root: /gw }\n${TABLE}`).tls?.acme?.storage).toBe("/gw/acme");
  });

  test.each([
    ["a half pair", "tls: { certificates: [▸{ certFile: /c.pem }] }\n", "missing key \"keyFile\": a file name"],
    ["a certificate without its key's name", "tls: { certificates: [{ certFile: /c.pem, keyFile: ▸\"\" }] }\n", "expected a file name, found \"\""],
    ["one pair that is no list", `tls: { certificates: ▸${PAIR} }\n`, "expected a list, each entry a map of keys and values, found a map"],
    ["a misspelt key", "tls: { ▸certificate: [] }\n", "unknown key \"certificate\" (did you mean \"certificates\"?)"],
    ["a name with a scheme", "tls: { localAuthority: /ca, names: [▸\"https://desk.test\"] }\n", "expected a domain name such as desk.example.org, found \"https://desk.test\""],
    ["a wildcard among the names", "tls: { localAuthority: /ca, names: [▸\"*.desk.test\"] }\n", "expected a domain name such as desk.example.org, found \"*.desk.test\""],
    ["an address among the names", "tls: { localAuthority: /ca, names: [▸\"192.0.2.1\"] }\n", "expected a domain name such as desk.example.org, found \"192.0.2.1\""],
    ["a name with an underscore", "tls: { localAuthority: /ca, names: [desk.test, ▸desk_2.test] }\n", "no certificate can ever be had for \"desk_2.test\": names in certificates have no underscore (RFC 5280 section 4.2.1.6)"],
    ["a default that is a port", "tls: { default: ▸443 }\n", "expected a domain name such as desk.example.org, found \"443\""],
    ["an e-mail address that is none", "tls: { acme: { email: ▸foo } }\n", "expected an e-mail address such as admin@example.org, found \"foo\""],
    ["a directory over plain HTTP", "tls: { acme: { directory: ▸\"http://ca.test/dir\" } }\n", "expected an https URL such as https://ca.example/directory, found \"http://ca.test/dir\""],
    ["a kind of key that is not made", "tls: { acme: { keyType: ▸ed25519 } }\n", "expected one of ecdsa-p256, rsa-2048, found \"ed25519\""],
    ["a redirect in words", "tls: { redirect: ▸permanent }\n", "expected true or false, found \"permanent\""],
    ["HSTS in plain seconds", "tls: { hsts: ▸31536000 }\n", "expected a duration such as 500ms, 30s or 10m, or 0, found \"31536000\" (did you mean \"31536000s\"?)"],
    ["nothing in its place", "tls:▸\n", "expected a map of keys and values, found nothing"],
    ["a list in its place", "tls: ▸[]\n", "expected a map of keys and values, found an empty list"],
  ])("refuses %s, at its place, as the JSON Schema does", (_what, source, message) => {
    const { text, place } = marked(source);
    expect(mistakesOf(text + TABLE)).toEqual([`${place}: ${message}`]);
    expect(accepts(schema, parse(text + TABLE))).toBe(false);
  });

  test.each([
    ["names that nobody makes certificates for", "tls:\n  certificates: []\n  names: ▸[desk.test]\n", "certificates for \"names\" come from \"acme\" or \"localAuthority\": neither is there"],
    ["two places that certificates come from", "tls: { names: [desk.test], localAuthority: /ca, acme: ▸{} }\n", "certificates come from \"acme\" or from \"localAuthority\": remove one of them"],
    ["an e-mail address as a URL", "tls: { acme: { email: ▸\"mailto:a@desk.test\" } }\n", "expected an e-mail address, found \"mailto:a@desk.test\" (did you mean \"a@desk.test\"?)"],
    ["an address that is none", "entrypoints: { https: ▸\"desk:70000\" }\ntls: {}\n", "port 70000 is not one from 0 to 65535"],
    ["a port that is none, alone", "entrypoints: { https: ▸\"70000\" }\ntls: {}\n", "expected an address to listen on such as \":80\" or \"127.0.0.1:8080\", found \"70000\""],
    ["HSTS for longer than anybody lives with it", "tls: { hsts: ▸4000d }\n", "expected a duration such as 500ms, 30s or 10m, or 0, found \"4000d\""],
  ])("refuses %s, at its place", (_what, source, message) => {
    const { text, place } = marked(source);
    expect(mistakesOf(text + TABLE)).toEqual([`${place}: ${message}`]);
  });

  test.each([
    ["nothing at all", "tls: ▸{}\n"], ["an authority that is never asked", "tls:\n  ▸acme: { email: a@desk.test }\n"],
    ["an authority of our own that is never asked", "tls: ▸{ localAuthority: /ca }\n"], ["empty lists", "tls: ▸{ names: [], certificates: \"${NONE:-}\" }\n"],
  ])("refuses to serve nothing over TLS: %s", (_what, source) => {
    const { text, place } = marked(source);
    expect(mistakesOf(text + TABLE)).toEqual([`${place}: there is nothing to serve over TLS: "tls" has neither "certificates" nor "names", and there is no "gateway"`]);
    expectFine(`gateway: {}\n${text}`);
    // A mistake in what would be served is not told twice.
    expect(mistakesOf(`tls: { localAuthority: /ca, names: ["*"] }\n${TABLE}`)).toEqual([expect.stringContaining("expected a domain name")]);
  });

  test("refuses a default that no certificate is for, unless a file or the registry may bring it", () => {
    const { text, place } = marked("tls: { names: [desk.test], localAuthority: /ca, default: ▸dusk.test }\n");
    expect(mistakesOf(text + TABLE)).toEqual([`${place}: no certificate is for "dusk.test": it is none of "names" (did you mean "desk.test"?)`]);
    expectFine(text.replace("dusk", "desk"));
    expectFine(`gateway: {}\n${text}`);
    expectFine(text.replace("names", `certificates: [${PAIR}], names`));
  });
});

describe("the flag --https", () => {
  test("wins over the file and the environment", () => {
    const options = { httpsListen: "127.0.0.1:9443", env: { HTTPS_LISTEN: ":8443" } };
    expect(settingsOf(`tls: {}\n${GATEWAY}`, { env: options.env }).tls?.https).toEqual({ host: "", port: 8443 });
    expect(settingsOf(`tls: {}\n${GATEWAY}`, options).tls?.https).toEqual({ host: "127.0.0.1", port: 9443 });
  });

  test("is a mistake when there is nothing to serve over TLS", () => {
    expect(mistakesOf(TABLE, { httpsListen: ":443" })).toEqual(["0:0: --https: there is nothing to serve over TLS (the configuration has no \"tls\")"]);
  });
});

describe("the section gateway", () => {
  test("brings TLS and the admin address with it", () => {
    const settings = settingsOf(`gateway: { domain: gw.test }\n${TABLE}`);
    expect(settings.tls).toMatchObject({ https: { host: "", port: 443 }, redirect: true });
    expect(settings.admin).toEqual({ listen: { host: "127.0.0.1", port: 9090 }, tokenFile: null });
    expect(settings.gateway).toEqual({
      root: "/var/cache/modules/gateway", domain: "gw.test", publicAddresses: [], checkDomains: true, allowLoopbackBackends: false, broker: null, dns: null, challengeProgram: null,
    });
  });

  test("says all that it can", () => {
    const text = `gateway:
  root: /gw
  domain: GW.Example.org
  publicAddresses: [192.0.2.1, "2001:DB8::1"]
  checkDomains: "\${CHECK:-false}"
  allowLoopbackBackends: true
  broker: tcp://:secret@redis:6379
  dns: ":53"
  challengeProgram: /usr/bin/publish
`;
    expectFine(text);
    expect(settingsOf(text + TABLE).gateway).toEqual({
      root: "/gw", domain: "gw.example.org", publicAddresses: ["192.0.2.1", "2001:db8::1"], checkDomains: false, allowLoopbackBackends: true,
      broker: "tcp://:secret@redis:6379", dns: { host: "", port: 53 }, challengeProgram: "/usr/bin/publish",
    });
  });

  test.each([
    ["a broker of another kind", "gateway: { broker: ▸\"redis://host\" }\n", "expected a broker such as unix:///var/run/redis.sock or tcp://:password@host:6379"],
    ["a domain without a dot", "gateway: { domain: ▸\"a b\" }\n", "expected a domain name such as desk.example.org, found \"a b\""],
    ["an empty root", "gateway: { root: ▸\"\" }\n", "expected a directory, found \"\""],
    ["a misspelt key", "gateway: { ▸publicAddress: [] }\n", "unknown key \"publicAddress\" (did you mean \"publicAddresses\"?)"],
    ["a check that is neither on nor off", "gateway: { checkDomains: ▸maybe }\n", "expected true or false, found \"maybe\""],
  ])("refuses %s, at its place, as the JSON Schema does", (_what, source, message) => {
    const { text, place } = marked(source);
    expect(mistakesOf(text + TABLE)).toEqual([`${place}: ${message}`]);
    expect(accepts(schema, parse(text + TABLE))).toBe(false);
  });

  test.each([
    ["a public address that is a name", "gateway: { publicAddresses: [▸gw.test] }\n", "expected an IP address, found \"gw.test\""],
    ["a public address with a zone", "gateway: { publicAddresses: [▸\"fe80::1%eth0\"] }\n", "expected an IP address, found \"fe80::1%eth0\""],
    ["DNS at no address", "gateway: { dns: ▸\"53\" }\n", "expected an address to listen on such as \":80\" or \"127.0.0.1:8080\", found \"53\" (did you mean \":53\"?)"],
  ])("refuses %s, at its place", (_what, source, message) => {
    const { text, place } = marked(source);
    expect(mistakesOf(text + TABLE)).toEqual([`${place}: ${message}`]);
  });

  test("repeats no password of a broker that is refused", () => {
    const [mistake = ""] = mistakesOf(`gateway: { broker: "tcp://:hunter2@host:port" }\n${TABLE}`);
    expect(mistake).toContain("expected a broker");
    expect(mistake).not.toContain("hunter2");
  });
});

describe("the admin address", () => {
  test("is not there unless it is asked for", () => {
    expect(settingsOf(TABLE).admin).toBeNull();
    expect(settingsOf(TABLE, { adminListen: "[::1]:9090" }).admin).toEqual({ listen: { host: "::1", port: 9090 }, tokenFile: null });
  });

  test.each(["127.0.0.1:9090", "localhost:9090", "[::1]:9090", "127.8.0.1:9090"])("needs no token on loopback: %s", (address) => {
    expectFine(`entrypoints: { admin: "${address}" }\n`);
  });

  test.each([":9090", "0.0.0.0:9090", "10.0.0.1:9090", "admin.test:9090"])("needs a token elsewhere: %s", (address) => {
    const { text, place } = marked(`entrypoints:\n  admin: ▸"${address}"\n`);
    expect(mistakesOf(text + TABLE)).toEqual([expect.stringContaining(`${place}: an admin address that is not loopback needs`)]);
    expectFine(`${text}admin: { tokenFile: /run/secrets/admin }\n`);
  });

  test("needs a token elsewhere when a flag moves it there", () => {
    expect(mistakesOf(TABLE, { adminListen: ":9090" })).toEqual([expect.stringContaining("0:0: an admin address that is not loopback needs")]);
  });

  test.each([
    ["an empty token file", "admin: { tokenFile: ▸\"\" }\n", "expected a file name, found \"\""],
    ["the token itself", "admin: { ▸token: secret }\n", "unknown key \"token\" (did you mean \"tokenFile\"?)"],
  ])("refuses %s, at its place, as the JSON Schema does", (_what, source, message) => {
    const { text, place } = marked(source);
    expect(mistakesOf(text + TABLE)).toEqual([`${place}: ${message}`]);
    expect(accepts(schema, parse(text + TABLE))).toBe(false);
  });
});
