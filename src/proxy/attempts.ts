// Where one request may go: the first target, what comes after one that failed, and what is learned from how it went. The
// proxy asks and tells; whether there is one desktop behind it or forty servers, it does not know.

import { RouteError } from "../errors.ts";
import type { Target } from "../target.ts";
import { ConnectError, ConnectTimeoutError, UpstreamClosedError } from "../upstream/exchange.ts";

/** Who waits, and how the wait can be given up. */
export interface Waiter {
  /** The request waits for something that may be given up when its client leaves. */
  slow(wait: { abort(): void }): void;
}

export interface Attempts {
  /** Takes a place among the requests that the service may have at a time; null: at once. @throws RouteError unavailable, as a rejection */
  enter(waiter: Waiter): null | Promise<void>;
  /** @throws RouteError unavailable when there is no server */
  first(): Target;
  /**
   * The last one failed without a byte of an answer, or with one. Where to go next, at once or when it has been waited for; null: nowhere, the error stands.
   * @param isRepeatable the request may be sent a second time: it is idempotent, and its body is in hand
   */
  next(error: Error, isRepeatable: boolean, waiter: Waiter): Target | null | Promise<Target>;
  /** The last one answered. */
  answered(status: number): void;
  /** A cookie that leads the client back to the last one; null: it has it, or needs none. */
  cookie(isSecure: boolean): string | null;
  /** The request is over; its place is free. To be called once, also when `enter` or `first` failed. */
  release(): void;
}

/** Nothing was sent: any method may go elsewhere. */
export function isUnsent(error: Error): boolean {
  return error instanceof ConnectError || error instanceof ConnectTimeoutError;
}

/** Something may have been sent, but nothing came back. */
export function isUnanswered(error: Error): boolean {
  return error instanceof UpstreamClosedError && error.isUnanswered;
}

/** One target and no other. */
export class OneTarget implements Attempts {
  constructor(private readonly target: Target) {}

  enter(): null {
    return null;
  }

  first(): Target {
    return this.target;
  }

  next(): null {
    return null;
  }

  answered(): void {}

  cookie(): null {
    return null;
  }

  release(): void {}
}

export function noServer(service: string): RouteError {
  return new RouteError("unavailable", `service "${service}" has no server at the moment`, { retryAfterS: 1 });
}
