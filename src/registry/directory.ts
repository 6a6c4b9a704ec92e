// The directory of registered files as it is now: which files there are, whether one changed since it was last read, and
// what it holds. Says nothing about the meaning of the content.

import { lstatSync, statSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { FILE_EXTENSION, workloadIdFault } from "./validate.ts";

/** A real file has less than 1 KiB. */
export const FILE_LIMIT_BYTES = 256 * 1024;
/** Files read at the same time. */
const LANES = 32;
/** Files looked at before others have their turn: about half a millisecond. */
const LOOKS_AT_ONCE = 200;

export type Reading = { readonly name: string; readonly signature: string; readonly mtimeNs: bigint; readonly content: Content };
export type Content =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "unusable"; readonly reason: string }
  | { readonly kind: "absent" };

/** True for what belongs to the registry; dotfiles are files being written, ours or another's, and Kubernetes' links. */
export function isRegistered(name: string): boolean {
  return !name.startsWith(".") && /\.ya?ml$/i.test(name);
}

export function workloadIdOf(name: string): string {
  return name.slice(0, -FILE_EXTENSION.length);
}

export function fileNameOf(id: string): string {
  return `${id}${FILE_EXTENSION}`;
}

/** @throws Error when the directory cannot be read */
export async function listFiles(directory: string): Promise<string[]> {
  return (await readdir(directory)).filter(isRegistered);
}

/**
 * The files that are not as `known` has them: new, changed or gone.
 * @param known signatures of the last readings by name
 * @throws Error when the directory cannot be read: then nothing is known about any file.
 */
export async function changedFiles(directory: string, known: ReadonlyMap<string, { readonly signature: string }>): Promise<string[]> {
  const names = await listFiles(directory);
  const gone = new Set(known.keys());
  const changed: string[] = [];
  for (const [index, name] of names.entries()) {
    if (index % LOOKS_AT_ONCE === LOOKS_AT_ONCE - 1) await new Promise<void>((resolve) => { setImmediate(resolve); });
    gone.delete(name);
    if (look(join(directory, name)).signature !== known.get(name)?.signature) changed.push(name);
  }
  return [...changed, ...gone];
}

/** Reads files side by side. The result is in the order of their last change, then of their names. */
export async function readFiles(directory: string, names: readonly string[]): Promise<Reading[]> {
  const readings: Reading[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let name = names[next++]; name !== undefined; name = names[next++]) readings.push(await read(directory, name));
  };
  await Promise.all(Array.from({ length: Math.min(LANES, names.length) }, lane));
  return readings.sort((a, b) => (a.mtimeNs === b.mtimeNs ? (a.name < b.name ? -1 : 1) : a.mtimeNs < b.mtimeNs ? -1 : 1));
}

async function read(directory: string, name: string): Promise<Reading> {
  const path = join(directory, name);
  // Looked at before it is read: a file that is replaced in between is looked at again, and never taken for the old one.
  const { signature, mtimeNs, unusable } = look(path);
  if (signature === ABSENT) return { name, signature, mtimeNs, content: { kind: "absent" } };
  const reason = nameFault(name) ?? unusable;
  if (reason !== null) return { name, signature, mtimeNs, content: { kind: "unusable", reason } };
  try {
    return { name, signature, mtimeNs, content: { kind: "text", text: await readFile(path, "utf8") } };
  } catch (error) {
    // Its signature is none that a look could find: it is tried again at every poll.
    if (!isAbsence(error)) return { name, signature: "", mtimeNs, content: { kind: "unusable", reason: `cannot read it: ${(error as Error).message}` } };
    return { name, signature: ABSENT, mtimeNs, content: { kind: "absent" } };
  }
}

function nameFault(name: string): string | null {
  return name.endsWith(FILE_EXTENSION) ? workloadIdFault(workloadIdOf(name)) : `not read: its name must end in ${FILE_EXTENSION}`;
}

const ABSENT = "absent";

type Look = { readonly signature: string; readonly mtimeNs: bigint; readonly unusable: string | null };

/** Synchronous: thirty times as cheap as a promise. Links are followed: Kubernetes swaps what they lead to. */
function look(path: string): Look {
  try {
    const stats = statSync(path, { bigint: true });
    const { dev, ino, size, mtimeNs, ctimeNs } = stats;
    const signature = `${dev}.${ino}.${size}.${mtimeNs}.${ctimeNs}`;
    // A fifo or a device would block, and for ever.
    if (!stats.isFile()) return { signature, mtimeNs, unusable: stats.isDirectory() ? "is a directory" : "is not a file" };
    const isLarge = size > FILE_LIMIT_BYTES;
    return { signature, mtimeNs, unusable: isLarge ? `has ${size} bytes, more than any registration (${FILE_LIMIT_BYTES})` : null };
  } catch (error) {
    if (!isAbsence(error)) return { signature: "unreadable", mtimeNs: 0n, unusable: `cannot read it: ${(error as Error).message}` };
    return isLink(path) ? { signature: "link", mtimeNs: 0n, unusable: "is a link to nothing" } : { signature: ABSENT, mtimeNs: 0n, unusable: null };
  }
}

function isLink(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ?? false;
}

function isAbsence(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "ENOENT";
}
