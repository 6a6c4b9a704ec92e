// Certificates that somebody else keeps: pairs of files, watched. What is replaced is served from the next connection on. While
// the two files of a pair don't fit (one is new, the other still old) or cannot be read, the last good ones stay.

import { type Certificate, dateFault } from "../certificate.ts";
import { fileFault } from "../lib/file-fault.ts";
import { type FileWatchOptions, watchFiles } from "../lib/file-watch.ts";
import { readSmallFile } from "../lib/small-file.ts";
import type { CertificateSet } from "./certificate-set.ts";
import { CertificateError, isFor, readCertificate } from "./read.ts";

const CERTIFICATE_LIMIT_BYTES = 1024 * 1024;
const KEY_LIMIT_BYTES = 64 * 1024;

export type CertificatePair = { readonly certFile: string; readonly keyFile: string };

export type CertificateFileState = {
  readonly certFile: string;
  /** What is served: the last good one; null: there was none. */
  readonly certificate: Certificate | null;
  /** Why the files cannot be used now, or why clients refuse what they hold; null: all is well. */
  readonly problem: CertificateProblem | null;
};
export type CertificateProblem = { readonly message: string; readonly atMs: number };

export interface CertificateFileEvents {
  loaded(pair: CertificatePair, certificate: Certificate): void;
  /** Said once for each new reason. */
  broken(pair: CertificatePair, reason: string): void;
}

/** @throws CertificateError with the path in its message */
export function readCertificatePair({ certFile, keyFile }: CertificatePair): Certificate {
  const certPem = read(certFile, CERTIFICATE_LIMIT_BYTES, "certificate");
  const keyPem = read(keyFile, KEY_LIMIT_BYTES, "key");
  try {
    return readCertificate(certPem, keyPem);
  } catch (error) {
    throw new CertificateError(`cannot use ${certFile} with ${keyFile}: ${(error as Error).message}`);
  }
}

export class CertificateFiles {
  readonly #pairs: WatchedPair[];

  /** Reads all pairs at once; a broken one is told, and waits to be mended. */
  constructor(pairs: readonly CertificatePair[], certificates: CertificateSet, events: CertificateFileEvents, options?: FileWatchOptions) {
    this.#pairs = pairs.map((pair) => new WatchedPair(pair, certificates, events, options));
  }

  /** One of each pair, in the order of the settings. */
  states(nowMs: number): CertificateFileState[] {
    return this.#pairs.map((pair) => pair.state(nowMs));
  }

  /** In all certificates, as they are now; wildcards as they stand there. */
  get names(): ReadonlySet<string> {
    return new Set(this.#pairs.flatMap(({ current }) => current?.names ?? []));
  }

  /** Whether one of them is for `name` and does not end before `untilMs`, Unix time in ms. */
  cover(name: string, untilMs: number): boolean {
    return this.#pairs.some(({ current }) => current !== null && current.notAfterMs >= untilMs && isFor(current, name));
  }

  close(): void {
    for (const pair of this.#pairs) pair.close();
  }
}

class WatchedPair {
  #problem: CertificateProblem | null = null;
  #current: Certificate | null = null;
  #loadedMs = 0;
  readonly #watch: { close(): void };

  constructor(readonly pair: CertificatePair, private readonly certificates: CertificateSet,
    private readonly events: CertificateFileEvents, options?: FileWatchOptions) {
    this.#watch = watchFiles([pair.certFile, pair.keyFile], () => this.#load(), options);
    this.#load();
  }

  /** The last good one. */
  get current(): Certificate | null {
    return this.#current;
  }

  close(): void {
    this.#watch.close();
  }

  state(nowMs: number): CertificateFileState {
    const certificate = this.#current;
    const fault = certificate === null ? null : dateFault(certificate, nowMs);
    const outdated = certificate === null || fault === null ? null : { message: `the certificate ${fault}`, atMs: Math.max(this.#loadedMs, nowMs > certificate.notAfterMs ? certificate.notAfterMs : 0) };
    return { certFile: this.pair.certFile, certificate, problem: this.#problem ?? outdated };
  }

  #load(): void {
    let certificate: Certificate;
    try {
      certificate = readCertificatePair(this.pair);
    } catch (error) {
      const { message } = error as Error;
      if (message === this.#problem?.message) return;
      this.#problem = { message, atMs: Date.now() };
      return this.events.broken(this.pair, message);
    }
    this.#problem = null;
    if (certificate.fingerprint === this.#current?.fingerprint && certificate.certPem === this.#current.certPem) return;
    this.certificates.replace(this.#current, certificate);
    this.#current = certificate;
    this.#loadedMs = Date.now();
    this.events.loaded(this.pair, certificate);
  }
}

function read(path: string, limitBytes: number, what: string): string {
  try {
    return readSmallFile(path, limitBytes, what);
  } catch (error) {
    throw new CertificateError(`cannot read ${path}: ${fileFault(error)}`);
  }
}
