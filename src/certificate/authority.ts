// A certificate authority of one's own, for trying things out (--tls-local): a CA made once, which one's browser can be told to
// trust, and certificates signed by it for whatever name is asked for. Nothing of it is meant for the public.

import { createHash, createPrivateKey, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import { join } from "node:path";
import type { X509CertificateGenerator } from "@peculiar/x509";
import type { Certificate } from "../certificate.ts";
import { PRIVATE, PUBLIC, removeDurably, writeAtomically } from "../lib/atomic-file.ts";
import { lockFile } from "../lib/file-lock.ts";
import { makePrivateDirectory } from "../lib/private-directory.ts";
import { CertificateError, readCertificate } from "./read.ts";

const NAME = "route-gateway local authority";
const DAY_MS = 24 * 3_600_000;
const AUTHORITY_DAYS = 3650;
const LEAF_DAYS = 90;
/** An authority that has less than this left is made anew at the next start. */
const AUTHORITY_LEFT_MS = 365 * DAY_MS;
/** For clocks that are behind ours. */
const SKEW_MS = 3_600_000;
/** Names are asked for by clients: the oldest make room. */
const CACHE_LIMIT = 1000;
const HOST = /^(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;

const SIGNING = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

export type LocalAuthorityOptions = {
  /** Where the CA is kept; null: in memory, a new one each time. */
  readonly directory: string | null;
  /** Unix time in ms. */
  readonly now?: () => number;
};

type KeptAuthority = { readonly certPem: string; readonly keyPem: string };

export class LocalAuthority {
  readonly #cache = new Map<string, Certificate>();
  readonly #making = new Map<string, Promise<Certificate>>();

  private constructor(
    /** The CA's own certificate: what a client is to trust. */
    readonly certPem: string,
    /** The file that it stands in; null: in memory. */
    readonly caFile: string | null,
    private readonly signingKey: CryptoKey, private readonly now: () => number) {}

  /** Of this CA and no other, fit for a file's name. */
  get id(): string {
    return `local-${createHash("sha256").update(this.certPem).digest("hex").slice(0, 8)}`;
  }

  /** @throws CertificateError for a kept CA that cannot be used; Error of the file system */
  static async open({ directory, now = Date.now }: LocalAuthorityOptions): Promise<LocalAuthority> {
    const { certPem, keyPem } = directory === null ? await makeAuthority(now()) : await openAuthority(directory, now());
    const key = createPrivateKey(keyPem).export({ type: "pkcs8", format: "der" });
    const signingKey = await crypto.subtle.importKey("pkcs8", new Uint8Array(key), SIGNING, false, ["sign"]);
    return new LocalAuthority(certPem, directory === null ? null : join(directory, "ca.pem"), signingKey, now);
  }

  /** What is there already and has more than a third of its time left; null: `certificateFor` makes it. */
  find(name: string): Certificate | null {
    const kept = this.#cache.get(name.toLowerCase());
    if (kept === undefined) return null;
    return kept.notAfterMs - this.now() > (kept.notAfterMs - kept.notBeforeMs) / 3 ? kept : null;
  }

  /** @param name of a host, a wildcard or an address. @throws CertificateError for anything else */
  async certificateFor(name: string): Promise<Certificate> {
    const host = name.toLowerCase();
    const kept = this.find(host);
    if (kept !== null) return kept;
    const made = this.#making.get(host) ?? this.#make(host).finally(() => this.#making.delete(host));
    this.#making.set(host, made);
    return made;
  }

  /** As an issuer for others, who keep what they get. */
  async issue(names: readonly string[]): Promise<KeptAuthority> {
    const wrong = names.find((name) => isIP(name) === 0 && (name.length > 253 || !HOST.test(name)));
    if (wrong !== undefined || names.length === 0) throw new CertificateError(`no certificate can be made for ${JSON.stringify(wrong ?? "")}`);
    const x509 = await loadX509();
    const keys = await crypto.subtle.generateKey(SIGNING, true, ["sign", "verify"]);
    const issuer = new x509.X509Certificate(this.certPem);
    const leaf = await x509.X509CertificateGenerator.create({
      ...dates(this.now(), LEAF_DAYS), serialNumber: serial(), signingAlgorithm: SIGNING,
      issuer: issuer.subject, signingKey: this.signingKey, publicKey: keys.publicKey,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        await x509.AuthorityKeyIdentifierExtension.create(issuer),
        // RFC 5280 section 4.1.2.6: critical, because the subject is empty (a name may be longer than a common name).
        new x509.SubjectAlternativeNameExtension(names.map((value) => ({ type: isIP(value) === 0 ? "dns" : "ip", value })), true),
      ],
    });
    return { certPem: `${leaf.toString("pem")}\n`, keyPem: await exportKey(keys.privateKey) };
  }

  async #make(host: string): Promise<Certificate> {
    const { certPem, keyPem } = await this.issue([host]);
    const certificate = readCertificate(certPem, keyPem);
    this.#cache.delete(host);
    this.#cache.set(host, certificate);
    for (const oldest of this.#cache.keys()) {
      if (this.#cache.size <= CACHE_LIMIT) break;
      this.#cache.delete(oldest);
    }
    return certificate;
  }
}

/** One of several processes makes it. */
async function openAuthority(directory: string, nowMs: number): Promise<KeptAuthority> {
  await makePrivateDirectory(directory);
  using _ = await lockFile(join(directory, "ca.lock"), new AbortController().signal);
  const certFile = join(directory, "ca.pem");
  const keyFile = join(directory, "ca-key.pem");
  const [certPem, keyPem] = [await readOrNull(certFile), await readOrNull(keyFile)];
  if (certPem !== null && keyPem !== null && hasTimeLeft(certPem, keyPem, certFile, nowMs)) return { certPem, keyPem };
  const made = await makeAuthority(nowMs);
  // No crash leaves a pair that does not fit: the old certificate goes first, the new one comes last.
  await removeDurably(certFile);
  await writeAtomically(keyFile, made.keyPem, PRIVATE);
  await writeAtomically(certFile, made.certPem, PUBLIC);
  return made;
}

/** Somebody's own files are not overwritten: what does not fit is an error. */
function hasTimeLeft(certPem: string, keyPem: string, path: string, nowMs: number): boolean {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(certPem);
    if (!certificate.checkPrivateKey(createPrivateKey(keyPem))) throw new CertificateError("they don't fit");
  } catch {
    throw new CertificateError(`cannot use the local authority in ${path} with its key (remove both to get a new one)`);
  }
  return Date.parse(certificate.validTo) - nowMs > AUTHORITY_LEFT_MS;
}

async function makeAuthority(nowMs: number): Promise<KeptAuthority> {
  const x509 = await loadX509();
  const keys = await crypto.subtle.generateKey(SIGNING, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...dates(nowMs, AUTHORITY_DAYS), serialNumber: serial(), signingAlgorithm: SIGNING, name: `CN=${NAME}`, keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certPem: `${certificate.toString("pem")}\n`, keyPem: await exportKey(keys.privateKey) };
}

/** Not at every start: few programs run with a local authority. */
const loadX509 = () => import("@peculiar/x509");

function dates(nowMs: number, days: number): Pick<Parameters<typeof X509CertificateGenerator.create>[0], "notBefore" | "notAfter"> {
  return { notBefore: new Date(nowMs - SKEW_MS), notAfter: new Date(nowMs + days * DAY_MS) };
}

/** RFC 5280 section 4.1.2.2: positive, at most 20 bytes. */
function serial(): string {
  return `4${Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString("hex").slice(1)}`;
}

async function exportKey(key: CryptoKey): Promise<string> {
  const der = Buffer.from(await crypto.subtle.exportKey("pkcs8", key));
  return createPrivateKey({ key: der, format: "der", type: "pkcs8" }).export({ type: "pkcs8", format: "pem" }) as string;
}

async function readOrNull(path: string): Promise<string | null> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}
