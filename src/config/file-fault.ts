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
  const known = WORDS[(error as NodeJS.ErrnoException).code ?? ""];
  return known ?? (error instanceof Error ? error.message : String(error));
}
