// A request on its way to one of its targets, and its answer on the way back. An object with methods, not closures for each
// request: a third of what a request leaves to the garbage collector was closures and their scopes (counted).

import type { Target } from "../target.ts";
import type { UpstreamRequest, UpstreamResponse } from "../upstream/exchange.ts";
import type { HttpPool } from "../upstream/http-pool.ts";
import type { Attempts } from "./attempts.ts";
import { type Passage, upstreamHead } from "./passage.ts";
import { send, type Sending } from "./send.ts";
import type { Visit } from "./visit.ts";

/** A passage on its way: with its record, and whether it becomes a session. */
export type Journey = Passage & { readonly visit: Visit; readonly isUpgrade: boolean };

/** As it goes upstream. */
export type OutgoingBody = {
  readonly content: Uint8Array | ReadableStream<Uint8Array> | null;
  /** Header lines. */
  readonly framing: string;
  readonly isChunked: boolean;
};

type Resolve = (response: Response | undefined) => void;

/** What becomes of a request for its client. */
export interface Ending {
  respond(journey: Journey, target: Target, answer: UpstreamResponse): Response | Promise<Response>;
  done(visit: Visit, response: Response): Response | undefined;
  refuse(visit: Visit, error: unknown): Response | undefined;
}

export class Forwarding implements Sending {
  readonly pool: HttpPool;

  /** Resolves, once, with what the client gets. */
  static answer(journey: Journey, attempts: Attempts, body: OutgoingBody, ending: Ending): Promise<Response | undefined> {
    return new Promise((resolve) => new Forwarding(journey, attempts, body, ending, resolve).#start());
  }

  private constructor(private readonly journey: Journey, readonly attempts: Attempts, private readonly body: OutgoingBody,
    private readonly ending: Ending, private readonly resolve: Resolve) {
    this.pool = journey.snapshot.pool;
  }

  #start(): void {
    try {
      send(this);
    } catch (error) {
      this.failed(error);
    }
  }

  isWanted(): boolean {
    return !this.journey.visit.raw.signal.aborted;
  }

  request(target: Target): UpstreamRequest {
    const { journey, body } = this;
    const { bodyLimitBytes, readTimeoutMs, buffering } = journey.match.route;
    journey.visit.target = target.key;
    return {
      method: journey.request.method, head: upstreamHead(journey, target, body.framing), body: body.content, chunked: body.isChunked,
      bodyLimitBytes, readTimeoutMs, mayCollect: buffering, watcher: journey.visit,
    };
  }

  answered(target: Target, answer: UpstreamResponse): void {
    try {
      const response = this.ending.respond(this.journey, target, answer);
      if (response instanceof Promise) void this.#whenMade(response);
      else this.resolve(this.ending.done(this.journey.visit, response));
    } catch (error) {
      this.failed(error);
    }
  }

  failed(error: unknown): void {
    this.resolve(this.ending.refuse(this.journey.visit, error));
  }

  async #whenMade(made: Promise<Response>): Promise<void> {
    try {
      this.resolve(this.ending.done(this.journey.visit, await made));
    } catch (error) {
      this.failed(error);
    }
  }
}
