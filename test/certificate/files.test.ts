import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Certificate } from "../../src/certificate.ts";
import { CertificateSet } from "../../src/certificate/certificate-set.ts";
import { CertificateFiles, type CertificatePair, readCertificatePair } from "../../src/certificate/files.ts";
import { eventually } from "../support/eventually.ts";
import { newCertificate, START_MS } from "./fixtures.ts";

const WATCH = { debounceMs: 10, pollMs: 60_000 };

let root: string;
let pair: CertificatePair;
let set: CertificateSet;
let watched: CertificateFiles | null;
let loaded: string[];
let broken: string[];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "route-certificate-files-"));
  pair = { certFile: join(root, "tls.crt"), keyFile: join(root, "tls.key") };
  [set, watched, loaded, broken] = [new CertificateSet(), null, [], []];
});
afterEach(() => {
  watched?.close();
  rmSync(root, { recursive: true, force: true });
});

function watch(): CertificateFiles {
  watched = new CertificateFiles([pair], set, {
    loaded: (_, certificate) => loaded.push(certificate.fingerprint), broken: (_, reason) => broken.push(reason),
  }, WATCH);
  return watched;
}

function put(path: string, text: string): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

function putPair({ certPem, keyPem }: Certificate): void {
  put(pair.certFile, certPem);
  put(pair.keyFile, keyPem);
}

const served = (): string | null => set.find("a.example.org")?.fingerprint ?? null;
const newPair = (): Promise<Certificate> => newCertificate(["a.example.org"]);

describe("CertificateFiles", () => {
  test("serves a pair from the start, and another one when it is replaced", async () => {
    const [old, fresh] = [await newPair(), await newPair()];
    putPair(old);
    watch();
    expect(served()).toBe(old.fingerprint);
    putPair(fresh);
    await eventually("the new pair", served, (fingerprint) => fingerprint === fresh.fingerprint);
    expect(set.all()).toHaveLength(1);
    expect(loaded).toEqual([old.fingerprint, fresh.fingerprint]);
  });

  test("keeps the last good pair while only one file is replaced, says so once, and goes on", async () => {
    const [old, fresh] = [await newPair(), await newPair()];
    putPair(old);
    const files = watch();
    put(pair.keyFile, fresh.keyPem);
    await eventually("the complaint", () => broken.length, (count) => count > 0);
    expect(served()).toBe(old.fingerprint);
    expect(broken[0]).toBe(`cannot use ${pair.certFile} with ${pair.keyFile}: the key belongs to another certificate`);
    expect(files.states(START_MS).map(({ problem }) => problem?.message)).toEqual(broken);
    put(pair.keyFile, `${fresh.keyPem}\n`); // Still not the other half.
    put(pair.certFile, fresh.certPem);
    await eventually("the new pair", served, (fingerprint) => fingerprint === fresh.fingerprint);
    expect(broken).toHaveLength(1);
    expect(files.states(START_MS)).toMatchObject([{ certFile: pair.certFile, problem: null }]);
  });

  test("waits for files that are not there yet", async () => {
    const certificate = await newPair();
    watch();
    expect(served()).toBeNull();
    expect(broken).toHaveLength(1);
    putPair(certificate);
    await eventually("the pair", served, (fingerprint) => fingerprint === certificate.fingerprint);
  });

  test("keeps serving what was removed from disk", async () => {
    const certificate = await newPair();
    putPair(certificate);
    watch();
    rmSync(pair.certFile);
    await eventually("the complaint", () => broken.length, (count) => count > 0);
    expect(served()).toBe(certificate.fingerprint);
  });

  test("is not changed by a file that is written again as it was", async () => {
    const certificate = await newPair();
    putPair(certificate);
    watch();
    putPair(certificate);
    put(pair.keyFile, "garbage");
    await eventually("the complaint", () => broken.length, (count) => count > 0);
    expect(loaded).toHaveLength(1);
  });
});

describe("readCertificatePair", () => {
  test("names the file that cannot be read", () => {
    expect(() => readCertificatePair(pair)).toThrow(`cannot read ${pair.certFile}: no such file`);
    expect(() => readCertificatePair({ ...pair, certFile: root })).toThrow(`cannot read ${root}: it is not a file`);
  });

  test("reads no file that is too large for what it should hold", async () => {
    const { certPem } = await newPair();
    put(pair.certFile, certPem);
    put(pair.keyFile, "x".repeat(65 * 1024));
    expect(() => readCertificatePair(pair)).toThrow("more than any key");
  });
});
