// Where the answers to a CA's challenges are put.

/** Puts the answer to a challenge where the CA looks for it, and takes it away again. */
export interface ChallengeSolver {
  /**
   * @param identifier the name that is to be proved; for a wildcard, without its `*.`
   * @param keyAuthorization RFC 8555 section 8.1
   * @param signal ends waiting
   * @throws Error: the order fails with its message
   */
  present(identifier: string, token: string, keyAuthorization: string, signal: AbortSignal): Promise<void>;
  /** Called once for each `present`, even for one that threw. */
  cleanup(identifier: string, token: string, keyAuthorization: string): Promise<void>;
}
