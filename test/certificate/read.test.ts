import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { generateKeyPairSync } from "node:crypto";
import type { Certificate } from "../../src/certificate.ts";
import { CertificateError, isFor, readCertificate } from "../../src/certificate/read.ts";
import { CertificateAuthority, HAS_OPENSSL, type ServerIdentity } from "../support/certificates.ts";
import { DAY_MS, newCertificate, START_MS } from "./fixtures.ts";

let good: Certificate;
beforeAll(async () => { good = await newCertificate(["a.example.org"]); });

/** What is wrong with them; never anything that stands in them. */
function refusal(certPem: string, keyPem: string): string {
  try {
    readCertificate(certPem, keyPem);
  } catch (error) {
    expect(error).toBeInstanceOf(CertificateError);
    const { message } = error as Error;
    for (const line of `${certPem}\n${keyPem}`.split("\n")) if (/^[A-Za-z0-9+/=]{20,}$/.test(line)) expect(message).not.toContain(line);
    return message;
  }
  return "not refused";
}

describe("readCertificate", () => {
  test("reads names in lower case, dates, issuer and fingerprint", async () => {
    const authority = await newCertificate(["Big.example.org".toLowerCase(), "*.x.example.org", "127.0.0.1"]);
    const certificate = readCertificate(authority.certPem, authority.keyPem);
    expect(certificate.names).toEqual(["big.example.org", "*.x.example.org", "127.0.0.1"]);
    expect(certificate.issuer).toBe("route-gateway local authority");
    expect(certificate.notAfterMs).toBe(START_MS + 90 * DAY_MS);
    expect(certificate.notBeforeMs).toBe(START_MS - 3_600_000);
    expect(certificate.fingerprint).toMatch(/^[0-9a-f]{64}$/);
  });

  test("finds key and chain in one file, in any order, with text between", () => {
    const file = `a comment\n${good.keyPem}subject=x\n${good.certPem.replaceAll("\n", "\r\n")}the end`;
    expect(readCertificate(file, file)).toEqual(good);
  });

  test("keeps the chain behind the leaf, and nothing of the key in it", async () => {
    const other = await newCertificate(["issuer.example.org"]);
    const { certPem, fingerprint } = readCertificate(`${good.certPem}${good.keyPem}${other.certPem}`, good.keyPem);
    expect(certPem).toBe(`${good.certPem}${other.certPem}`);
    expect(fingerprint).toBe(good.fingerprint);
  });

  test("refuses a key of another certificate", async () => {
    const other = await newCertificate(["a.example.org"]);
    expect(refusal(good.certPem, other.keyPem)).toBe("the key belongs to another certificate");
  });

  test("refuses a chain that stands before its certificate, and says so", async () => {
    const issuer = await newCertificate(["issuer.example.org"]);
    expect(refusal(`${issuer.certPem}${good.certPem}`, good.keyPem)).toBe("the certificate stands after its chain: put it first");
  });

  test("refuses what holds no certificate, or a damaged one", () => {
    expect(refusal("", good.keyPem)).toBe("there is no certificate in PEM");
    expect(refusal(good.keyPem, good.keyPem)).toBe("there is no certificate in PEM");
    expect(refusal(good.certPem.slice(0, 300), good.keyPem)).toBe("there is no certificate in PEM");
    expect(refusal(good.certPem.replace("MII", "AAA"), good.keyPem)).toBe("certificate 1 of 1 is damaged");
    expect(refusal(`${good.certPem}${good.certPem.replace("MII", "AAA")}`, good.keyPem)).toBe("certificate 2 of 2 is damaged");
  });

  test("refuses what holds no key, a damaged one, or one with a passphrase", () => {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const encrypted = privateKey.export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "x" }) as string;
    expect(refusal(good.certPem, "")).toBe("there is no private key in PEM");
    expect(refusal(good.certPem, good.keyPem.replace("MIG", "AAA"))).toBe("the private key is damaged");
    expect(refusal(good.certPem, encrypted)).toStartWith("the private key is encrypted");
  });
});

describe.skipIf(!HAS_OPENSSL)("readCertificate of openssl's certificates", () => {
  let authority: CertificateAuthority;
  let leaf: ServerIdentity;
  beforeAll(() => {
    authority = new CertificateAuthority("an issuer");
    leaf = authority.sign({ names: ["DNS:Mixed.Example.org", "IP:10.0.0.1", "email:a@example.org", "DNS:mixed.example.org"] });
  });
  afterAll(() => authority.remove());

  test("reads the names that a client can ask for, once", () => {
    const { names, issuer } = readCertificate(leaf.cert, leaf.key);
    expect(names).toEqual(["mixed.example.org", "10.0.0.1"]);
    expect(issuer).toBe("an issuer");
  });

  test("refuses a certificate without a name", () => {
    const { key, cert } = authority.sign({ names: ["email:a@example.org"] });
    expect(refusal(cert, key)).toStartWith("the certificate has no subject alternative name");
  });
});

describe("isFor", () => {
  const certificate = { names: ["a.example.org", "*.b.example.org"] } as unknown as Certificate;
  const NAMES: ReadonlyArray<readonly [name: string, is: boolean]> = [
    ["a.example.org", true], ["x.b.example.org", true], ["*.b.example.org", true],
    ["b.example.org", false], ["x.y.b.example.org", false], ["example.org", false], ["*.example.org", false], ["g", false], ["", false],
  ];
  for (const [name, is] of NAMES) test(`${is ? "is" : "is not"} for ${JSON.stringify(name)}`, () => expect(isFor(certificate, name)).toBe(is));
});
