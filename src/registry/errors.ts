// What a registration can be refused for. The message is for whoever asked: it quotes what was given and says what is
// right; it holds no secrets, there are none here.

export type RegistryErrorCode =
  /** What was given is wrong: nothing but another call helps. */
  | "invalid"
  /** The domain belongs to another workload. */
  | "conflict"
  /** The domain's DNS does not point at this gateway, yet. */
  | "unresolved"
  /** The file could not be written or removed: what was registered before still is. */
  | "storage";

export class RegistryError extends Error {
  override readonly name = "RegistryError";

  /** @param faults one sentence each; the message joins them */
  constructor(readonly code: RegistryErrorCode, readonly faults: readonly string[], options?: { cause?: unknown }) {
    super(faults.join("; "), options);
  }
}

/** A value as messages show it: quoted, its control characters escaped, its length bounded. */
export function quoted(value: string): string {
  return JSON.stringify(value.length > 200 ? `${value.slice(0, 200)}…` : value);
}
