// The RSA keys that tokens are checked and opened with, read from PEM files and kept up to date while they are rotated.
//
// Invariant: a key in use was good when it was read. A file that breaks, or goes away, while we run costs an error
// event and nothing else: its last good key stays. Which keys are in use changes only together with `version`.

import { createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";
import { fileFault } from "../lib/file-fault.ts";
import { watchFiles } from "../lib/file-watch.ts";
import { readSmallFile } from "../lib/small-file.ts";
import type { DesktopTokenSettings } from "../settings.ts";

/** What RFC 7518 section 3.3 and jose ask for; below it only with `allowWeakRsaKeys`. */
export const STRONG_RSA_BITS = 2048;
/** Below this, factoring is an afternoon's work: never accepted. */
export const MIN_RSA_BITS = 1024;
/** Above this, opening one token takes 20 ms and more. */
export const MAX_RSA_BITS = 8192;

/** PEM of an 8192-bit private key has 6.5 KB; text may stand before it. */
const FILE_LIMIT_BYTES = 64 * 1024;

/** For the log, with the reason beside it. */
export const KEY_REFUSED = "key refused, the old one stays";
export const KEY_MISSING = "key not loadable: token routes answer 503 until it is";

export type KeyKind = "public" | "private";

/** A file that holds no usable key. The message names the file, what was expected and what was found. */
export class KeyError extends Error {
  override readonly name = "KeyError";
}

export type KeyStoreEvents = {
  warn(message: string): void;
  /** A file cannot be read: the message says what follows from that, the cause names the file and why. */
  error(message: string, cause: KeyError): void;
  /** Other keys than before are in use from now on. */
  changed(): void;
};

export type KeyStoreSettings = Pick<
  DesktopTokenSettings, "signingPublicKeys" | "payloadPrivateKey" | "allowWeakRsaKeys"
>;

export class KeyStore {
  readonly #signing: KeyFile[];
  readonly #payload: KeyFile;
  readonly #warned = new Set<string>();
  #watch: { close(): void } | null = null;
  #version = 0;

  constructor(private readonly settings: KeyStoreSettings, private readonly on: KeyStoreEvents) {
    this.#signing = settings.signingPublicKeys.map((path) => new KeyFile(path, "public", "signing public key"));
    this.#payload = new KeyFile(settings.payloadPrivateKey, "private", "payload private key");
  }

  /** Keys that verify tokens, in the order of the settings, without those that were never loadable. */
  get signing(): readonly KeyObject[] {
    return this.#signing.flatMap(({ key }) => key ?? []);
  }

  /** The key that opens `hash`; null while it was never loadable. */
  get payload(): KeyObject | null {
    return this.#payload.key;
  }

  /** Grows whenever other keys than before are in use. */
  get version(): number {
    return this.#version;
  }

  /** Of files that could not be read the last time, one each. */
  get failures(): readonly KeyError[] {
    return this.#files.flatMap(({ failure }) => failure ?? []);
  }

  /** Reads every file; those that can be read are in use afterwards. @throws KeyError that names all that cannot */
  load(): void {
    for (const file of this.#files) this.#read(file);
    const [first, ...others] = this.#files.flatMap(({ failure }) => failure ?? []);
    if (first === undefined) return;
    throw others.length === 0 ? first : new KeyError([first, ...others].map(({ message }) => message).join("; "), { cause: first });
  }

  /** Follows the files from now on, what happened since `load` included. */
  watch(): void {
    this.#watch ??= watchFiles(this.#files.map(({ path }) => path), () => this.#reload());
    this.#reload();
  }

  close(): void {
    this.#watch?.close();
    this.#watch = null;
  }

  get #files(): readonly KeyFile[] {
    return [...this.#signing, this.#payload];
  }

  /** A file that goes on failing in the same way is reported once. */
  #reload(): void {
    const before = this.#version;
    for (const file of this.#files) {
      const known = file.failure?.message;
      this.#read(file);
      const { failure } = file;
      if (failure !== null && failure.message !== known) this.on.error(file.key === null ? KEY_MISSING : KEY_REFUSED, failure);
    }
    if (this.#version !== before) this.on.changed();
  }

  #read(file: KeyFile): void {
    if (file.read(this.settings.allowWeakRsaKeys)) this.#accept(file);
  }

  #accept({ path, key }: KeyFile): void {
    this.#version += 1;
    const bits = key === null ? 0 : rsaBits(key);
    if (bits >= STRONG_RSA_BITS || this.#warned.has(path)) return;
    this.#warned.add(path);
    this.on.warn(`weak RSA key accepted: ${path} has ${bits} bits, below ${STRONG_RSA_BITS} (allowWeakRsaKeys is set)`);
  }
}

/**
 * The RSA key in a PEM file.
 * @param what it is for, for messages: "signing public key"
 * @throws KeyError
 */
export function loadKey(path: string, kind: KeyKind, what: string, allowWeak: boolean): KeyObject {
  try {
    return parseKey(readSmallFile(path, FILE_LIMIT_BYTES, "key"), kind, allowWeak);
  } catch (thrown) {
    throw new KeyError(`cannot load ${what} ${path}: ${fileFault(thrown)}`, { cause: thrown });
  }
}

/** The one RSA key in the PEM text `pem`. @throws Error that says what was expected and what was found */
export function parseKey(pem: string, kind: KeyKind, allowWeak: boolean): KeyObject {
  const key = importKey(findBlock(pem, kind), kind);
  const { asymmetricKeyType: type } = key;
  if (type !== "rsa") throw new Error(`it holds a key of type ${type}, expected RSA`);
  const bits = rsaBits(key);
  if (bits > MAX_RSA_BITS) throw new Error(`the RSA key has ${bits} bits, at most ${MAX_RSA_BITS} are accepted`);
  if (bits < MIN_RSA_BITS) throw new Error(`the RSA key has ${bits} bits, below ${MIN_RSA_BITS} none is accepted`);
  if (bits >= STRONG_RSA_BITS || allowWeak) return key;
  throw new Error(`the RSA key has ${bits} bits, expected ${STRONG_RSA_BITS} or more `
    + "(to accept it, set allowWeakRsaKeys: true in the token settings, or ROUTE_ALLOW_WEAK_RSA_KEYS=true)");
}

export function rsaBits(key: KeyObject): number {
  return key.asymmetricKeyDetails?.modulusLength ?? 0;
}

/** One file, its last good key, and why it could not be read the last time. */
class KeyFile {
  key: KeyObject | null = null;
  failure: KeyError | null = null;

  constructor(readonly path: string, private readonly kind: KeyKind, private readonly what: string) {}

  /** True when there is another key than before. */
  read(allowWeak: boolean): boolean {
    try {
      const key = loadKey(this.path, this.kind, this.what, allowWeak);
      this.failure = null;
      if (this.key?.equals(key)) return false;
      this.key = key;
      return true;
    } catch (thrown) {
      this.failure = thrown as KeyError; // loadKey throws nothing else.
      return false;
    }
  }
}

const LABELS: Record<KeyKind, readonly string[]> = {
  public: ["PUBLIC KEY", "RSA PUBLIC KEY"],
  private: ["PRIVATE KEY", "RSA PRIVATE KEY"],
};

/** RFC 7468 section 2; any text may stand around the block. RFC 1421 headers (`Proc-Type: 4,ENCRYPTED`) have dashes. */
const PEM_BLOCK = /-----BEGIN ([A-Z0-9 ]{1,40})-----[ \t]*\r?\n(?:(?!-----)[^])*-----END \1-----/g;

function findBlock(pem: string, kind: KeyKind): string {
  const blocks = [...pem.matchAll(PEM_BLOCK)].map(([text, label = ""]) => ({ text, label }));
  if (blocks.length === 0) throw new Error(`it holds no PEM, ${expected(kind)}`);
  if (kind === "public" && blocks.some(({ label }) => label.endsWith("PRIVATE KEY"))) {
    throw new Error(`it holds a private key, ${expected(kind)}`);
  }
  const fitting = blocks.filter(({ label }) => LABELS[kind].includes(label));
  if (fitting.length > 1) throw new Error(`it holds ${fitting.length} ${kind} keys, expected one`);
  const [block] = fitting;
  if (block === undefined) throw new Error(`it holds ${described(blocks[0]?.label ?? "")}, ${expected(kind)}`);
  if (block.text.includes("ENCRYPTED")) throw new Error("it is encrypted with a passphrase, expected a plain key");
  return block.text;
}

function importKey(block: string, kind: KeyKind): KeyObject {
  try {
    return kind === "public" ? createPublicKey(block) : createPrivateKey(block);
  } catch (cause) {
    throw new Error(`what stands between BEGIN and END is no key, ${expected(kind)}`, { cause });
  }
}

function expected(kind: KeyKind): string {
  return `expected ${LABELS[kind].map((label) => `"-----BEGIN ${label}-----"`).join(" or ")}`;
}

function described(label: string): string {
  if (label === "CERTIFICATE") return "a certificate (openssl x509 -pubkey -noout prints its key)";
  if (label === "ENCRYPTED PRIVATE KEY") return "a private key encrypted with a passphrase";
  return `"${label}"`;
}
