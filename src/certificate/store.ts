// The certificates of one resolver on disk: `<directory>/<name>.pem`, chain and key in one file, so that they always fit each
// other, readable by their owner only. Several processes may use one directory; whoever wants to change an entry holds its lock.
// Beside it `<name>.failed` while the last attempt at it failed.

import { readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { type Certificate, certificateNameFault } from "../certificate.ts";
import { PRIVATE, removeAbandoned, removeDurably, writeAtomically } from "../lib/atomic-file.ts";
import { fileFault } from "../lib/file-fault.ts";
import { lockFile } from "../lib/file-lock.ts";
import { makePrivateDirectory } from "../lib/private-directory.ts";
import { readSmallFile } from "../lib/small-file.ts";
import { type Failure, readFailure, writeFailure } from "./failure.ts";
import { CertificateError, isFor, readCertificate } from "./read.ts";
import { isRemembered } from "./schedule.ts";

/** `*` would be expanded by every shell that comes near; no name contains this. */
const WILDCARD = "+";
const EXTENSION = ".pem";
const LOCK = ".lock";
const FAILED = ".failed";
const FAILURE_LIMIT_BYTES = 16 * 1024;

/** So long after its end nobody renews it any more: its name was given up. */
const GIVEN_UP_MS = 30 * 24 * 3_600_000;

export type StoreContent = {
  readonly certificates: Map<string, Certificate>;
  /** Recent ones. */
  readonly failures: Map<string, Failure>;
  readonly problems: StoreProblem[];
};
export type StoreProblem = { readonly path: string; readonly reason: string };

export class CertificateStore {
  /** @param directory made when it is needed */
  constructor(readonly directory: string) {}

  /** @throws CertificateError for what cannot be the name of a certificate */
  pathOf(name: string): string {
    return this.#path(name, EXTENSION);
  }

  /** Where the last failure is kept. @throws CertificateError for what cannot be the name of a certificate */
  failurePathOf(name: string): string {
    return this.#path(name, FAILED);
  }

  #path(name: string, extension: string): string {
    const fault = certificateNameFault(name); // What is a name of a certificate is also one of a file.
    if (fault !== null) throw new CertificateError(fault);
    return join(this.directory, `${name.replace("*", WILDCARD)}${extension}`);
  }

  /** Everything that can be used, by name; what cannot is told, and left as it is. Removes what was given up long ago. */
  async load(nowMs: number = Date.now()): Promise<StoreContent> {
    const certificates = new Map<string, Certificate>();
    const problems: StoreProblem[] = [];
    await removeAbandoned(this.directory, nowMs);
    await this.#removeLocks(nowMs);
    for (const file of await this.#files(EXTENSION, problems)) {
      const name = nameOf(file, EXTENSION);
      try {
        const certificate = await this.read(name);
        if (certificate === null) continue;
        if (nowMs - certificate.notAfterMs > GIVEN_UP_MS) await this.remove(name);
        else certificates.set(name, certificate);
      } catch (error) {
        problems.push({ path: join(this.directory, file), reason: fileFault(error) });
      }
    }
    return { certificates, failures: await this.#failures(nowMs, problems), problems };
  }

  /** @returns null when there is none. @throws CertificateError for one that cannot be used; Error of the file system */
  async read(name: string): Promise<Certificate | null> {
    let text: string;
    try {
      text = await readFile(this.pathOf(name), "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
      throw error;
    }
    const certificate = readCertificate(text, text);
    if (!isFor(certificate, name)) throw new CertificateError(`it is for ${certificate.names.join(", ")}`);
    return certificate;
  }

  /** @throws Error of the file system: what was there still is */
  async write(name: string, { certPem, keyPem }: Certificate): Promise<void> {
    await makePrivateDirectory(this.directory);
    await writeAtomically(this.pathOf(name), `${certPem}${keyPem}`, PRIVATE);
  }

  async remove(name: string): Promise<void> {
    await removeDurably(this.pathOf(name));
  }

  /** @throws Error of the file system */
  async keepFailure(name: string, failure: Failure): Promise<void> {
    await writeAtomically(this.failurePathOf(name), writeFailure(failure), PRIVATE);
  }

  /** @throws Error of the file system */
  async forgetFailure(name: string): Promise<void> {
    await removeDurably(this.failurePathOf(name));
  }

  /**
   * Runs `job` while no other process does so for this name.
   * @throws Error when the directory cannot be written: nothing should be asked for that could not be kept
   */
  async exclusively<T>(name: string, signal: AbortSignal, job: () => Promise<T>): Promise<T> {
    const path = this.pathOf(name);
    await makePrivateDirectory(this.directory);
    using _ = await lockFile(`${path.slice(0, -EXTENSION.length)}${LOCK}`, signal);
    return await job();
  }

  /**
   * Of names that nobody has used for long. A lock that is removed while somebody holds it locks nothing: then two ask a CA
   * for one certificate, and no more than that happens.
   */
  async #removeLocks(nowMs: number): Promise<void> {
    const files = await readdir(this.directory).catch((): string[] => []); // What is wrong with it is told by whoever reads it.
    for (const file of files.filter((file) => file.endsWith(LOCK) && !files.includes(`${file.slice(0, -LOCK.length)}${EXTENSION}`))) {
      const path = join(this.directory, file);
      const stats = await stat(path).catch(() => null);
      if (stats !== null && nowMs - stats.mtimeMs > GIVEN_UP_MS) await rm(path, { force: true });
    }
  }

  /** One that cannot be read is told and removed, as one is that says nothing any more: nothing hangs on it. */
  async #failures(nowMs: number, problems: StoreProblem[]): Promise<Map<string, Failure>> {
    const failures = new Map<string, Failure>();
    for (const file of await this.#files(FAILED, [])) { // What is wrong with the directory was told before.
      const path = join(this.directory, file);
      try {
        const failure = readFailure(Buffer.from(readSmallFile(path, FAILURE_LIMIT_BYTES, "failure"), "latin1").toString("utf8"));
        if (isRemembered(failure, nowMs)) failures.set(nameOf(file, FAILED), failure);
        else await rm(path, { force: true });
      } catch (error) {
        problems.push({ path, reason: (error as Error).message });
        await rm(path, { force: true }).catch(() => {}); // A directory, say: told again by the next start.
      }
    }
    return failures;
  }

  async #files(extension: string, problems: StoreProblem[]): Promise<string[]> {
    try {
      return (await readdir(this.directory)).filter((file) => file.endsWith(extension)).toSorted();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") problems.push({ path: this.directory, reason: fileFault(error) });
      return [];
    }
  }
}

/** Of the certificate that a file is about. */
function nameOf(file: string, extension: string): string {
  return file.slice(0, -extension.length).replace(WILDCARD, "*");
}
