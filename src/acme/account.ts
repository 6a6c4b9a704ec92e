// The account at one CA: a key, and the address that the CA gave to it. Both stand in one file, so that they are never of two
// accounts. A file that is gone means a new account; one that cannot be read is an error, because a new account in its place
// would lose what the operator may have bound to the old one (CAA `accounturi`, RFC 8657).
//
// Of several processes that start at once, one makes the key and all use it. One registers it, and the others then find where:
// registering a key twice gives the same account (RFC 8555 section 7.3.1), but CAs fail at two that come at the same moment.

import { createHash, createPrivateKey, generateKeyPairSync } from "node:crypto";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { createAtomically, PRIVATE, writeAtomically } from "../lib/atomic-file.ts";
import { lockFile } from "../lib/file-lock.ts";
import { makePrivateDirectory } from "../lib/private-directory.ts";
import { AcmeError, reasonOf } from "./errors.ts";
import { stopError } from "./transport.ts";

export type Account = {
  readonly keyPem: string;
  /** null: not registered yet. */
  readonly url: string | null;
};

export class AccountFile {
  readonly path: string;

  /** @param directory of the resolver; CAs don't share accounts, so each directory URL has its own file */
  constructor(directory: string, readonly directoryUrl: string) {
    this.path = join(directory, `account-${fileNameOf(directoryUrl)}.json`);
  }

  /** The account that is kept, or a new key. @throws AcmeError storage */
  async open(): Promise<Account> {
    try {
      return (await this.#read()) ?? (await this.#create());
    } catch (error) {
      throw new AcmeError("storage", `cannot use the account in ${this.path}: ${reasonOf(error)}`, { cause: error });
    }
  }

  /**
   * Waits until nobody else, in this process or another one, registers this account.
   * @throws AcmeError storage, or why `signal` ended the wait
   */
  async lock(signal: AbortSignal): Promise<Disposable> {
    const path = `${this.path}.lock`;
    try {
      return await lockFile(path, signal);
    } catch (error) {
      if (signal.aborted) throw stopError(signal, error);
      throw new AcmeError("storage", reasonOf(error), { cause: error });
    }
  }

  /** @throws AcmeError storage */
  async keep(account: Account): Promise<void> {
    try {
      await writeAtomically(this.path, write(account), PRIVATE);
    } catch (error) {
      throw new AcmeError("storage", `cannot keep the account in ${this.path}: ${reasonOf(error)}`, { cause: error });
    }
  }

  async #read(): Promise<Account | null> {
    let text: string;
    try {
      text = await readFile(this.path, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
      throw error;
    }
    return parse(text);
  }

  async #create(): Promise<Account> {
    await makePrivateDirectory(dirname(this.path));
    const account = { keyPem: newAccountKey(), url: null };
    if (await createAtomically(this.path, write(account), PRIVATE)) return account;
    const other = await this.#read();
    if (other === null) throw new Error("it appears and disappears");
    return other;
  }
}

/** What belongs to one CA stands in files of this name: several may live on one host. */
export function fileNameOf(directoryUrl: string): string {
  const host = URL.parse(directoryUrl)?.hostname ?? "";
  return `${host.replace(/[^a-z0-9.-]/g, "")}-${createHash("sha256").update(directoryUrl).digest("hex").slice(0, 8)}`;
}

function write({ keyPem, url }: Account): string {
  return `${JSON.stringify({ url, key: keyPem }, null, 2)}\n`;
}

/** @throws Error that holds nothing of the text */
function parse(text: string): Account {
  try {
    const { key, url } = JSON.parse(text) as { key?: unknown; url?: unknown };
    if (typeof key === "string" && (url === null || typeof url === "string")) {
      createPrivateKey(key);
      return { keyPem: key, url };
    }
  } catch {
    // Said below, for every way of being wrong: what these errors quote may be the key.
  }
  throw new Error("it holds no account key (remove it to get a new account)");
}

function newAccountKey(): string {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return privateKey.export({ type: "pkcs8", format: "pem" }) as string;
}
