// A request's place among those that a service may have at a time.

import { type Gate, GateError } from "../balance/gate.ts";
import { RouteError } from "../errors.ts";
import { ClientGoneError } from "../upstream/exchange.ts";
import type { Waiter } from "./attempts.ts";

export class Place {
  #isInside = false;

  constructor(private readonly gate: Gate) {}

  /** null: taken at once. @throws RouteError unavailable, ClientGoneError, as rejections */
  enter(waiter: Waiter): null | Promise<void> {
    const waiting = this.gate.enter(waiter);
    if (waiting !== null) return this.#waitFor(waiting);
    this.#isInside = true;
    return null;
  }

  async #waitFor(waiting: Promise<void>): Promise<void> {
    await waiting.catch(rethrow);
    this.#isInside = true;
  }

  leave(): void {
    if (!this.#isInside) return;
    this.#isInside = false;
    this.gate.leave();
  }
}

function rethrow(error: unknown): never {
  if (!(error instanceof GateError)) throw error;
  if (error.reason === "left") throw new ClientGoneError(error.message, { cause: error });
  throw new RouteError("unavailable", error.message, { cause: error, retryAfterS: error.retryAfterS });
}
