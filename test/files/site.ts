// A directory of a test's own with a website in it, and what answerFile says to a client of it.

import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, realpathSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { RouteError } from "../../src/errors.ts";
import { answerFile, type FileOptions } from "../../src/files/file-service.ts";

/** Long after every file of a test was written: its ETags are strong. */
const LATER_MS = 60_000;

export type Seen = { readonly status: number; readonly text: string; readonly headers: Readonly<Record<string, string>>; readonly contentLength: number };

export class Site {
  /** Holds `root`, and what lies beside it. */
  readonly directory = realpathSync(mkdtempSync(join(tmpdir(), "route-site-")));
  readonly root = join(this.directory, "root");

  constructor() {
    mkdirSync(this.root);
  }

  /** @param path below the root @returns the file's own path */
  write(path: string, content: string | Uint8Array, modifiedMs?: number): string {
    const file = join(this.root, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content);
    if (modifiedMs !== undefined) utimesSync(file, modifiedMs / 1000, modifiedMs / 1000);
    return file;
  }

  /** What a client sees; a refusal is its status and code. */
  async get(target: string, headers: Record<string, string> = {}, { method = "GET", fallback = null, now = () => Date.now() + LATER_MS }: Partial<FileOptions> & { method?: string } = {}): Promise<Seen> {
    const [path = "", query = ""] = target.split("?");
    try {
      const answer = await answerFile(this.root, { fallback, now }, { method, path, query, headers });
      const text = answer.body === null ? "" : await new Response(answer.body).text();
      return { status: answer.status, text, headers: Object.fromEntries(answer.headers), contentLength: answer.contentLength };
    } catch (error) {
      if (!(error instanceof RouteError)) throw error;
      return { status: error.status, text: error.code, headers: {}, contentLength: 0 };
    }
  }

  /** Descriptors of this process that lead into the directory. */
  openFiles(): string[] {
    return readdirSync("/proc/self/fd").flatMap((fd) => {
      try {
        const path = readlinkSync(`/proc/self/fd/${fd}`);
        return path.startsWith(this.directory) ? [path] : [];
      } catch {
        // The descriptor of the listing itself.
        return [];
      }
    });
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}
