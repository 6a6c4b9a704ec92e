// A registry's directory, checked without serving it: what `route-gateway check DIR` prints. Reads every file with places,
// and finds the domains that two files claim, as registry.ts would at its start. What the gateway's own flags refuse it cannot know.

import { conflictOf } from "./claims.ts";
import { fileNameOf, listFiles, readFiles, workloadIdOf } from "./directory.ts";
import { type Mistake, parseCarefully } from "./format.ts";

/** `line` is 0 when the mistake is the file's as a whole. */
export type FileMistake = Mistake & { readonly file: string };

export type DirectoryReport = {
  /** That would be served. */
  readonly gateways: number;
  /** In the order of file names, then of lines. */
  readonly mistakes: readonly FileMistake[];
};

/** @throws Error when the directory cannot be read */
export async function checkDirectory(directory: string, domain: string | null): Promise<DirectoryReport> {
  const owners = new Map<string, string>();
  const mistakes: FileMistake[] = [];
  for (const { name: file, content } of await readFiles(directory, await listFiles(directory))) {
    if (content.kind === "unusable") mistakes.push({ file, line: 0, column: 0, message: content.reason });
    if (content.kind !== "text") continue;
    const parsed = parseCarefully(content.text, { id: workloadIdOf(file), domain });
    if ("mistakes" in parsed) {
      mistakes.push(...parsed.mistakes.map((mistake) => ({ file, ...mistake })));
      continue;
    }
    const { id, fqdn } = parsed.gateway;
    const owner = owners.get(fqdn);
    if (owner === undefined) owners.set(fqdn, id);
    else mistakes.push({ file, ...parsed.host, message: `${conflictOf(fqdn, owner, id)} (${fileNameOf(owner)})` });
  }
  return { gateways: owners.size, mistakes: mistakes.sort((a, b) => (a.file === b.file ? a.line - b.line || a.column - b.column : a.file < b.file ? -1 : 1)) };
}
