// The only trace of a token that may be written anywhere.

import { createHash } from "node:crypto";

/** First 8 hex digits of the token's SHA-256: enough to find a session in the log, useless to open one. */
export function tokenHash(token: string): string {
  return createHash("sha256").update(token).digest("hex").slice(0, 8);
}
