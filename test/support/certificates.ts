// A certificate authority of a test's own, made with the `openssl` program in a directory of its own, and the server
// certificates that it signs: good ones, and ones that are to be refused.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Without it there is no TLS to test: such tests are skipped. */
export const HAS_OPENSSL = Bun.which("openssl") !== null;

export type ServerIdentity = { readonly key: string; readonly cert: string };

export type CertificateRequest = {
  /** Subject alternative names, as openssl writes them: `DNS:localhost`, `IP:127.0.0.1`. */
  readonly names: readonly string[];
  /** It ended years ago. */
  readonly isExpired?: boolean;
};

/** `YYYYMMDDHHMMSSZ`; the end is far enough for a test run and near enough for no one to keep it. */
const PAST = ["20200101000000Z", "20200201000000Z"] as const;

const EC_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/** `openssl ca` is the only signer that has taken dates in every version since 1.0; it wants a database. */
const CONFIG = `
[req]
distinguished_name = subject
[subject]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[ca]
default_ca = tests
[tests]
dir = .
database = ./index.txt
new_certs_dir = .
certificate = ./ca.crt
private_key = ./ca.key
default_md = sha256
policy = any
unique_subject = no
rand_serial = yes
[any]
commonName = supplied
`;

export class CertificateAuthority {
  readonly #directory = mkdtempSync(join(tmpdir(), "route-ca-"));
  readonly pem: string;
  #made = 0;

  /** @param name its subject: two authorities of one name are told apart by their keys only */
  constructor(name = "kubernetes") {
    this.#write("ca.cnf", CONFIG);
    this.#write("index.txt", "");
    this.#run("req", "-x509", ...EC_KEY, "-config", "ca.cnf", "-extensions", "authority", "-subj", `/CN=${name}`,
      "-days", "2", "-keyout", "ca.key", "-out", "ca.crt");
    this.pem = this.#read("ca.crt");
  }

  sign({ names, isExpired = false }: CertificateRequest): ServerIdentity {
    this.#made += 1;
    const file = `server${this.#made}`;
    const dates = isExpired ? ["-startdate", PAST[0], "-enddate", PAST[1]] : ["-days", "2"];
    this.#write(`${file}.ext`, `subjectAltName = ${names.join(", ")}\nextendedKeyUsage = serverAuth\n`);
    this.#run("req", "-new", ...EC_KEY, "-config", "ca.cnf", "-subj", "/CN=kube-apiserver", "-keyout", `${file}.key`, "-out", `${file}.csr`);
    this.#run("ca", "-batch", "-notext", "-config", "ca.cnf", "-extfile", `${file}.ext`, ...dates, "-in", `${file}.csr`, "-out", `${file}.crt`);
    return { key: this.#read(`${file}.key`), cert: this.#read(`${file}.crt`) };
  }

  remove(): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #run(...command: string[]): void {
    const { exitCode, stderr } = Bun.spawnSync(["openssl", ...command], { cwd: this.#directory, stdin: "ignore" });
    if (exitCode !== 0) throw new Error(`openssl ${command[0]} failed: ${stderr.toString().trim()}`);
  }

  #write(name: string, text: string): void {
    writeFileSync(join(this.#directory, name), text);
  }

  #read(name: string): string {
    return readFileSync(join(this.#directory, name), "utf8");
  }
}
