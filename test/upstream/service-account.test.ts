import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CredentialsError, readServiceAccount } from "../../src/upstream/service-account.ts";
import { CertificateAuthority, HAS_OPENSSL } from "../support/certificates.ts";

/** As long and as worded as a projected token: three base64url parts. */
const TOKEN = `${"a".repeat(90)}.${"b-_".repeat(250)}.${"c".repeat(342)}`;

let pem: string;
let directory: string;

beforeAll(() => {
  if (!HAS_OPENSSL) return;
  const authority = new CertificateAuthority();
  pem = authority.pem;
  authority.remove();
});
beforeEach(() => {
  rmSync(directory ?? "", { recursive: true, force: true });
  directory = mkdtempSync(join(tmpdir(), "route-account-"));
});
afterAll(() => {
  rmSync(directory ?? "", { recursive: true, force: true });
});

const path = (name: string): string => join(directory, name);

function file(name: string, content: string | Buffer): string {
  writeFileSync(path(name), content);
  return path(name);
}

/** Both files good, unless another path is given. */
function read(files: { caFile?: string; tokenFile?: string } = {}): ReturnType<typeof readServiceAccount> {
  return readServiceAccount({ caFile: files.caFile ?? file("ca.crt", pem), tokenFile: files.tokenFile ?? file("token", TOKEN) });
}

function refusal(files: { caFile?: string; tokenFile?: string }): string {
  try {
    read(files);
  } catch (error) {
    expect(error).toBeInstanceOf(CredentialsError);
    return (error as Error).message;
  }
  throw new Error("nothing was refused");
}

describe.skipIf(!HAS_OPENSSL)("a service account's files (needs openssl)", () => {
  test("are read as they are", () => {
    expect(read()).toEqual({ ca: pem, token: TOKEN });
  });

  test.each(["\n", "\r\n", " \n", "\n\n"])("a token may end with %p, which editors and shells leave", (end) => {
    expect(read({ tokenFile: file("token", `${TOKEN}${end}`) }).token).toBe(TOKEN);
  });

  test("may be symbolic links, as the kubelet makes them", () => {
    mkdirSync(path("..data-1"));
    file("..data-1/token", TOKEN);
    symlinkSync("..data-1", path("..data"));
    symlinkSync("..data/token", path("linked"));
    expect(read({ tokenFile: path("linked") }).token).toBe(TOKEN);
  });

  test("a CA file may hold several certificates, and words around them", () => {
    const bundle = `# old\n${pem}\n# new\n${pem}`;
    expect(read({ caFile: file("ca.crt", bundle) }).ca).toBe(bundle);
  });

  test("are read again each time", () => {
    read();
    expect(read({ tokenFile: file("token", "rotated") }).token).toBe("rotated");
  });
});

describe.skipIf(!HAS_OPENSSL)("a service account's files are refused by name (needs openssl)", () => {
  test("when one is missing", () => {
    expect(refusal({ caFile: path("no.crt") })).toStartWith(`cannot load service account CA ${path("no.crt")}: no such file`);
    expect(refusal({ tokenFile: path("no") })).toStartWith(`cannot load service account token ${path("no")}: no such file`);
  });

  test("when one is a directory", () => {
    mkdirSync(path("folder"));
    expect(refusal({ caFile: path("folder") })).toBe(`cannot load service account CA ${path("folder")}: it is not a file`);
    expect(refusal({ tokenFile: path("folder") })).toBe(`cannot load service account token ${path("folder")}: it is not a file`);
  });

  test("when a fifo or a device stands in its place, which would block", () => {
    expect(refusal({ tokenFile: "/dev/zero" })).toBe("cannot load service account token /dev/zero: it is not a file");
  });

  test.skipIf(process.getuid?.() === 0)("when one may not be read (needs another user than root)", () => {
    const closed = file("closed", TOKEN);
    chmodSync(closed, 0);
    expect(refusal({ tokenFile: closed })).toStartWith(`cannot load service account token ${closed}: not permitted`);
  });

  test.each(["", "\n", " \t\r\n"])("when the token is %p", (text) => {
    expect(refusal({ tokenFile: file("token", text) })).toBe(`cannot load service account token ${path("token")}: it is empty`);
  });

  test.each(["two words", "two\nlines", "a\r\nX-Injected: yes", "tab\there", "nul\0", "del\x7f", "ünicode", "\uFEFFbom"])(
    "when the token %p is not one word, which a header could not carry", (text) => {
      expect(refusal({ tokenFile: file("token", text) })).toBe(`cannot load service account token ${path("token")}: it holds more than one word`);
    });

  test("when one is far too large", () => {
    expect(refusal({ tokenFile: file("token", "x".repeat(64 * 1024 + 1)) })).toContain("it has 65537 bytes, more than any");
    expect(refusal({ caFile: file("ca.crt", `${pem}${"\n".repeat(1024 * 1024)}`) })).toContain("bytes, more than any");
  });

  test.each(["", "not a certificate", "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"])("when the CA %p holds no certificate", (text) => {
    expect(refusal({ caFile: file("ca.crt", text) })).toBe(
      `cannot load service account CA ${path("ca.crt")}: it holds no PEM, expected "-----BEGIN CERTIFICATE-----"`);
  });

  const BROKEN = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

  test.each([
    ["base64 that is none", "1 of 1", (good: string) => good.replace(/\n[A-Za-z0-9+/=]+\n/, "\n!!!!\n")],
    ["an end that is missing", "1 of 1", (good: string) => good.slice(0, 200)],
    ["bytes that are no certificate", "1 of 1", () => BROKEN],
    ["a second certificate that is broken", "2 of 2", (good: string) => good + BROKEN],
  ])("when the CA has %s", (_what, which, spoil) => {
    expect(refusal({ caFile: file("ca.crt", spoil(pem)) })).toBe(
      `cannot load service account CA ${path("ca.crt")}: certificate ${which} in it is broken`);
  });

  test("and never by the token itself", () => {
    expect(refusal({ tokenFile: file("token", "top secret") })).not.toContain("secret");
  });
});
