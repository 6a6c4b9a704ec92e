// What commands that speak to a running instance share: where its admin API is, its token, and what its errors say.

import { readFileSync } from "node:fs";
import { ADMIN_MARK } from "../admin/mark.ts";
import { fileFault } from "../lib/file-fault.ts";
import type { FlagSpec } from "./args.ts";
import { type Arguments, UsageError } from "./args.ts";
import type { Io } from "./command.ts";

/** Longest wait for a whole answer. A change may have to look up a domain or empty a disk; what is only read is there at once. */
const LONGEST_MS = { read: 10_000, change: 30_000 };

export const ADMIN_FLAGS: readonly FlagSpec[] = [
  { name: "admin", value: "URL", default: "http://127.0.0.1:9090", help: "the admin API" },
  { name: "admin-token", value: "FILE", help: "file with its bearer token" },
  { name: "json", help: "the answer as it came" },
];

export class AdminClient {
  readonly #base: string;
  readonly #token: string | null;

  /** @throws UsageError */
  constructor(args: Arguments, private readonly longestMs = LONGEST_MS) {
    const text = args.require("admin");
    const url = URL.parse(/^[a-z]+:\/\//i.test(text) ? text : `http://${text}`);
    if (url === null || !/^https?:$/.test(url.protocol)) throw new UsageError(`--admin: not a URL: "${text}" (such as http://127.0.0.1:9090)`);
    this.#base = url.origin;
    const file = args.get("admin-token");
    this.#token = file === undefined ? null : readToken(file);
  }

  /** The answer's JSON; null when it has none. @throws Error that a user can read: nobody there, somebody else, or what it said */
  async call(method: string, path: string, body?: object): Promise<unknown> {
    return (await this.#exchange(method, path, body)).value;
  }

  /** @returns false when it was not there @throws Error as for {@link call} */
  async delete(path: string): Promise<boolean> {
    return (await this.#exchange("DELETE", path)).headers.get("x-deleted") !== "false";
  }

  async #exchange(method: string, path: string, body?: object): Promise<{ readonly value: unknown; readonly headers: Headers }> {
    // A stranger might do what it is told. It need not be told the token either.
    if (method !== "GET") await this.#ask("GET", "/healthz", null);
    const { response, text } = await this.#ask(method, path, this.#token, body);
    const value: unknown = text === "" ? null : JSON.parse(text);
    if (response.ok) return { value, headers: response.headers };
    const said = (value as { error?: string } | null)?.error ?? `the admin API answered ${response.status}`;
    throw new Error(response.status === 401 ? `${said}: give it with --admin-token FILE` : said);
  }

  /** @throws Error when it is no admin API that answers, or nobody does */
  async #ask(method: string, path: string, token: string | null, body?: object): Promise<{ response: Response; text: string }> {
    const answer = await this.#fetch(method, path, token, body);
    const { headers, status } = answer.response;
    if (headers.get(ADMIN_MARK.header) === ADMIN_MARK.value) return answer;
    throw new Error(`${this.#base} is not an admin API, what it answers (${status}) is somebody else's: it is at "entrypoints.admin", 127.0.0.1:9090 by default (choose another with --admin URL)`);
  }

  async #fetch(method: string, path: string, token: string | null, body?: object): Promise<{ response: Response; text: string }> {
    const longestMs = method === "GET" ? this.longestMs.read : this.longestMs.change;
    try {
      const response = await fetch(`${this.#base}${path}`, {
        // A proxy of the environment would get the token, and cannot reach our loopback.
        method, redirect: "manual", proxy: false, signal: AbortSignal.timeout(longestMs),
        headers: { ...(token === null ? {} : { authorization: `Bearer ${token}` }), ...(body === undefined ? {} : { "content-type": "application/json" }) },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      return { response, text: await response.text() };
    } catch (error) {
      throw new Error(`cannot reach the admin API at ${this.#base}: ${faultOf(error as Error, longestMs)} (is it running? choose another with --admin URL)`, { cause: error });
    }
  }
}

/** The runtime's sentences behind its codes speak to programmers. */
function faultOf(error: Error & { readonly code?: unknown }, longestMs: number): string {
  if (error.name === "TimeoutError") return `no answer within ${longestMs / 1000} s`;
  return typeof error.code === "string" ? error.code : error.message;
}

/** @throws UsageError */
function readToken(file: string): string {
  try {
    return readFileSync(file, "utf8").trim();
  } catch (error) {
    throw new UsageError(`--admin-token: cannot read ${file}: ${fileFault(error)}`);
  }
}

/** Runs one call; what it says goes to stderr when it fails. @returns the exit code */
export async function withAdmin(args: Arguments, io: Io, run: (admin: AdminClient) => Promise<void>): Promise<number> {
  try {
    await run(new AdminClient(args));
    return 0;
  } catch (error) {
    if (error instanceof UsageError) throw error;
    io.stderr(`${(error as Error).message}\n`);
    return 1;
  }
}
