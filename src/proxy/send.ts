// One request to the first target that takes it: what failed before it was sent goes to the next one, and what can be
// repeated as well.

import type { Target } from "../target.ts";
import { type ExchangeReceiver, isRepeatable, type UpstreamRequest, type UpstreamResponse } from "../upstream/exchange.ts";
import type { HttpPool } from "../upstream/http-pool.ts";
import type { Attempts } from "./attempts.ts";

export interface Sending {
  readonly pool: HttpPool;
  readonly attempts: Attempts;
  /** Somebody still wants an answer. */
  isWanted(): boolean;
  /** What goes to this target. */
  request(target: Target): UpstreamRequest;
  /** One of the two is called, once. What `answered` throws is a failure of its target. */
  answered(target: Target, response: UpstreamResponse): void;
  failed(error: Error): void;
}

/** @throws RouteError unavailable when there is no target at all */
export function send(sending: Sending): void {
  attempt(sending, sending.attempts.first());
}

function attempt(sending: Sending, target: Target): void {
  const request = sending.request(target);
  sending.pool.exchange(target, request, new Exchange(sending, target, request));
}

class Exchange implements ExchangeReceiver {
  constructor(private readonly sending: Sending, private readonly target: Target, private readonly request: UpstreamRequest) {}

  answered(response: UpstreamResponse): void {
    this.sending.attempts.answered(response.head.status);
    this.sending.answered(this.target, response);
  }

  failed(error: Error): void {
    const { sending, request } = this;
    // What is not repeatable may go elsewhere all the same when not a byte was sent, which `next` knows.
    const next = sending.isWanted() ? sending.attempts.next(error, isRepeatable(request), request.watcher) : null;
    if (next instanceof Promise) void whenReady(sending, next);
    else if (next === null) sending.failed(error);
    else attempt(sending, next);
  }
}

/** For a target that is waited for. */
async function whenReady(sending: Sending, waited: Promise<Target>): Promise<void> {
  let target: Target;
  try {
    target = await waited;
  } catch (error) {
    return sending.failed(error as Error);
  }
  attempt(sending, target);
}
