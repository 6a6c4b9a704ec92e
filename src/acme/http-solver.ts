// HTTP-01 (RFC 8555 section 8.3): the :80 entrypoint asks here for what stands behind `/.well-known/acme-challenge/<token>`.
// Only what runs is known, so a path of somebody's own making finds nothing, whatever it contains.

import type { ChallengeSolver } from "./solver.ts";

export class HttpSolver implements ChallengeSolver {
  readonly #running = new Map<string, string>();

  /** The body to answer with; null: there is no such challenge. @param token as it stands in the path */
  challenge(token: string): string | null {
    return this.#running.get(token) ?? null;
  }

  async present(_identifier: string, token: string, keyAuthorization: string): Promise<void> {
    this.#running.set(token, keyAuthorization);
  }

  async cleanup(_identifier: string, token: string): Promise<void> {
    this.#running.delete(token);
  }
}
