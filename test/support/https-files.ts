// Certificate files as an operator has them: pairs of PEM files in a directory, signed by a test's own authority, renewed by
// renaming new ones over the old ones as certbot, cert-manager and their like do.

import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CertificateAuthority, type ServerIdentity } from "./certificates.ts";

export class CertificateDirectory {
  readonly authority = new CertificateAuthority("tests of https");
  readonly path = mkdtempSync(join(tmpdir(), "route-https-"));
  #written = 0;

  constructor() {
    writeFileSync(this.caFile, this.authority.pem);
  }

  /** What a client has to trust. */
  get caFile(): string {
    return this.file("ca.crt");
  }

  file(name: string): string {
    return join(this.path, name);
  }

  /** A new certificate for these names; its fingerprint is what tells it from others. */
  sign(...names: string[]): ServerIdentity {
    return this.authority.sign({ names: names.map((name) => `DNS:${name}`) });
  }

  /** Both files of a pair, each replaced by a rename. */
  put(pair: string, ...names: string[]): ServerIdentity {
    const identity = this.sign(...names);
    this.replace(`${pair}.key`, identity.key);
    this.replace(`${pair}.crt`, identity.cert);
    return identity;
  }

  replace(name: string, text: string): void {
    this.#written += 1;
    writeFileSync(this.file(`.new-${this.#written}`), text, { mode: 0o600 });
    renameSync(this.file(`.new-${this.#written}`), this.file(name));
  }

  /** Its entry in `tls.certificates`. */
  entry(pair: string): string {
    return `{ certFile: "${this.file(`${pair}.crt`)}", keyFile: "${this.file(`${pair}.key`)}" }`;
  }

  /** A `tls` section that serves these pairs. @param lines further keys of the section */
  section(pairs: readonly string[], ...lines: string[]): string {
    return ["tls:", `  certificates: [${pairs.map((pair) => this.entry(pair)).join(", ")}]`, ...lines.map((line) => `  ${line}`), ""].join("\n");
  }

  remove(): void {
    this.authority.remove();
    rmSync(this.path, { recursive: true, force: true });
  }
}
