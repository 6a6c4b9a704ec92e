import { describe, expect, test } from "bun:test";
import { caaIdentitiesOf, knownCaaIdentities } from "../../src/acme/caa.ts";

describe("what a CA is called in CAA records", () => {
  test("is known of Let's Encrypt before its directory was read, and of nobody else", () => {
    for (const host of ["acme-v02", "acme-staging-v02"]) expect(knownCaaIdentities(`https://${host}.api.letsencrypt.org/directory`)).toEqual(["letsencrypt.org"]);
    const others = ["https://acme.zerossl.com/v2/DV90", "https://127.0.0.1:14000/dir", "https://ca.test/.api.letsencrypt.org/", "https://api.letsencrypt.org.ca.test/", ""];
    for (const url of others) expect(knownCaaIdentities(url)).toEqual([]);
  });

  test("is what its directory says", () => {
    expect(caaIdentitiesOf({ newNonce: "https://ca.test/nonce", meta: { caaIdentities: ["sectigo.com", "UserTrust.com", "sectigo.com"] } })).toEqual(["sectigo.com", "usertrust.com"]);
  });

  test("is nothing where a directory says nothing, or nothing usable", () => {
    for (const meta of [undefined, null, {}, { caaIdentities: [] }, { caaIdentities: "ca.test" }, { caaIdentities: ["two words", "192.0.2.1", "", "x;y", 7, null] }]) {
      expect(caaIdentitiesOf({ meta })).toEqual([]);
    }
    for (const directory of [null, undefined, "<html>", 7, []]) expect(caaIdentitiesOf(directory)).toEqual([]);
  });

  test("has a bound", () => {
    expect(caaIdentitiesOf({ meta: { caaIdentities: Array.from({ length: 1000 }, (_, index) => `ca${index}.test`) } })).toHaveLength(16);
  });
});
