// The certificates that can be served now, found by server name. It is asked for every connection, so a look-up costs the same
// for ten certificates as for ten thousand.

import type { Certificate } from "../certificate.ts";

export class CertificateSet {
  /** By name as it stands in the certificate; of several for one name the last is the one that was put last. */
  readonly #byName = new Map<string, readonly Certificate[]>();
  readonly #byFingerprint = new Map<string, Certificate>();
  readonly #listeners = new Set<() => void>();

  /** @param now Unix time in ms */
  constructor(private readonly now: () => number = Date.now) {}

  /**
   * A certificate for exactly this name, or else a wildcard for the labels behind its first (RFC 6125 section 6.4.3); one that has ended
   * only where there is no other; null: there is none.
   */
  find(serverName: string): Certificate | null {
    const name = serverName.toLowerCase().replace(/\.$/, "");
    const nowMs = this.now();
    const exact = newest(this.#byName.get(name), nowMs);
    if (exact !== null && exact.notAfterMs > nowMs) return exact;
    const dot = name.indexOf(".");
    const wildcard = dot <= 0 ? null : newest(this.#byName.get(`*${name.slice(dot)}`), nowMs);
    return exact === null || (wildcard !== null && wildcard.notAfterMs > nowMs) ? wildcard : exact;
  }

  /** One that is there already is put last. */
  put(certificate: Certificate): void {
    this.#drop(certificate.fingerprint);
    this.#byFingerprint.set(certificate.fingerprint, certificate);
    for (const name of certificate.names) this.#byName.set(name, [...(this.#byName.get(name) ?? []), certificate]);
    this.#changed();
  }

  /** Of several for a name, those that are left serve it again. */
  remove(certificate: Certificate): void {
    if (this.#drop(certificate.fingerprint)) this.#changed();
  }

  /** At no time is there neither of them. */
  replace(old: Certificate | null, certificate: Certificate): void {
    if (old !== null) this.#drop(old.fingerprint);
    this.put(certificate);
  }

  all(): Certificate[] {
    return [...this.#byFingerprint.values()];
  }

  /** @returns what ends it */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #drop(fingerprint: string): boolean {
    const known = this.#byFingerprint.get(fingerprint);
    if (known === undefined) return false;
    this.#byFingerprint.delete(fingerprint);
    for (const name of known.names) {
      const others = (this.#byName.get(name) ?? []).filter((other) => other.fingerprint !== fingerprint);
      if (others.length === 0) this.#byName.delete(name);
      else this.#byName.set(name, others);
    }
    return true;
  }

  #changed(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}

/** The last of them, before it one that has not ended. */
function newest(certificates: readonly Certificate[] | undefined, nowMs: number): Certificate | null {
  if (certificates === undefined) return null;
  const last = certificates[certificates.length - 1] ?? null;
  if (certificates.length < 2 || last === null || last.notAfterMs > nowMs) return last;
  return certificates.findLast(({ notAfterMs }) => notAfterMs > nowMs) ?? last;
}
