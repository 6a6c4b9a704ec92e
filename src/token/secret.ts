// The shared key of console tokens: a text from the environment, or a file that is followed while it is rotated.
//
// Invariant: a key in use was good when it was read. A file that breaks, or goes away, while we run costs an error event
// and nothing else: its last good key stays.

import { createSecretKey, type KeyObject } from "node:crypto";
import { fileFault } from "../lib/file-fault.ts";
import { watchFiles } from "../lib/file-watch.ts";
import { readSmallFile } from "../lib/small-file.ts";
import { STRONG_SECRET_BYTES, type VmTokenSettings } from "../settings.ts";
import { KEY_REFUSED, KeyError, type KeyStoreEvents } from "./keys.ts";

const FILE_LIMIT_BYTES = 4096;

export type SecretSettings = Pick<VmTokenSettings, "secret" | "allowWeakSecret">;

export class SecretStore {
  #key: KeyObject | null = null;
  #failure: KeyError | null = null;
  #isWarned = false;
  #watch: { close(): void } | null = null;

  constructor(private readonly settings: SecretSettings, private readonly on: KeyStoreEvents) {}

  /** null while it was never loadable. */
  get key(): KeyObject | null {
    return this.#key;
  }

  /** Of the file, when it could not be read the last time. */
  get failures(): readonly KeyError[] {
    return this.#failure === null ? [] : [this.#failure];
  }

  /** @throws KeyError that names the file, or the setting, and says what is wrong; never what the secret is */
  load(): void {
    this.#accept(loadSecret(this.settings));
  }

  /** Follows the file from now on; a text does not change. */
  watch(): void {
    const { secret } = this.settings;
    if (secret.kind !== "file") return;
    this.#watch ??= watchFiles([secret.path], () => this.#reload());
    this.#reload();
  }

  close(): void {
    this.#watch?.close();
    this.#watch = null;
  }

  /** A file that goes on failing in the same way is reported once. */
  #reload(): void {
    try {
      const key = loadSecret(this.settings);
      this.#failure = null;
      if (this.#key?.equals(key)) return;
      this.#accept(key);
      this.on.changed();
    } catch (thrown) {
      const error = thrown as KeyError; // loadSecret throws nothing else.
      const known = this.#failure?.message;
      this.#failure = error;
      if (error.message !== known) this.on.error(KEY_REFUSED, error);
    }
  }

  #accept(key: KeyObject): void {
    this.#key = key;
    const bytes = key.symmetricKeySize ?? 0;
    if (bytes >= STRONG_SECRET_BYTES || this.#isWarned) return;
    this.#isWarned = true;
    this.on.warn(`weak secret accepted: it has ${bytes} bytes, below ${STRONG_SECRET_BYTES} (allowWeakSecret is set)`);
  }
}

/** @throws KeyError */
export function loadSecret({ secret, allowWeakSecret }: SecretSettings): KeyObject {
  const what = secret.kind === "file" ? `console token secret ${secret.path}` : "console token secret";
  try {
    // One line feed at the end is the editor's, everything else is the secret's.
    const text = secret.kind === "file" ? readSmallFile(secret.path, FILE_LIMIT_BYTES, "secret").replace(/\r?\n$/, "") : secret.text;
    const bytes = Buffer.from(text, secret.kind === "file" ? "latin1" : "utf8");
    if (bytes.length === 0) throw new Error("it is empty");
    if (bytes.length < STRONG_SECRET_BYTES && !allowWeakSecret) {
      throw new Error(`it has ${bytes.length} bytes, expected ${STRONG_SECRET_BYTES} or more `
        + "(to accept it, set allowWeakSecret: true in token.vm, or ROUTE_ALLOW_WEAK_SECRET=true)");
    }
    return createSecretKey(bytes);
  } catch (thrown) {
    throw new KeyError(`cannot load ${what}: ${fileFault(thrown)}`, { cause: thrown });
  }
}
