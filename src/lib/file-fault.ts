// Why a file or directory could not be read or written, in words for people instead of the kernel's codes.

const WORDS: Readonly<Record<string, string>> = {
  ENOENT: "no such file",
  EISDIR: "is a directory",
  ENOTDIR: "what stands before a slash is not a directory",
  EACCES: "not permitted",
  EPERM: "not permitted",
  EROFS: "the file system is read-only",
  ENOSPC: "no space left",
};

/** @param error what a function of node:fs threw; a code without words of its own is shown as it came. */
export function fileFault(error: unknown): string {
  const known = WORDS[codeOf(error)];
  return known ?? (error instanceof Error ? error.message : String(error));
}

/** The same for what was to be written. */
export function writeFault(error: unknown): string {
  return /^(EACCES|EPERM)$/.test(codeOf(error)) ? "not permitted (this user needs write access there)" : fileFault(error);
}

/** The same for a directory that was to be made: of a file in its place is said only that it exists. */
export function makeFault(error: unknown): string {
  return codeOf(error) === "EEXIST" ? "is not a directory" : writeFault(error);
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? "";
}
