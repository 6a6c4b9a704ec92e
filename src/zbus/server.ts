// zbus over Redis: takes calls from the gateway's lists, has them done, and pushes each reply to the list that its caller waits on
// (seed 003: module gateway, object gateway, version 0.0.1). The message channel only: what the calls do is the handlers'.
//
// Three connections: one that BLPOP waits on for calls, one for the status call (which answers when all workers are busy), one
// for replies. A call that was taken is done once, and its reply outlives a broken connection. Two limits come with BLPOP and
// are the original's, too: a call that Redis sent into a connection that broke at that moment is lost, and so are the calls
// that run when this process is killed; their callers wait in vain and ask again (all four calls may be repeated).

import type { GatewayHandlers } from "../gateway.ts";
import type { Log } from "../lib/log.ts";
import { within } from "../lib/within.ts";
import { parseBroker } from "./broker.ts";
import { actionOf, CALL_LISTS, type Call, findCall, STATUS_LISTS } from "./calls.ts";
import { RedisConnection } from "./connection.ts";
import { Intake } from "./intake.ts";
import { Link } from "./link.ts";
import { decodeRequest, encodeReply, FaultyRequest, MESSAGE_LIMIT_BYTES, MessageError, type MessageId, type Reply, type Request } from "./message.ts";
import { pushReply } from "./replies.ts";
import { Oversized } from "./resp.ts";
import { Workers } from "./workers.ts";

/** A reply there would be taken for a request, and its expiry would remove the requests that wait. */
const OWN_LISTS: ReadonlySet<string> = new Set([...CALL_LISTS, ...STATUS_LISTS]);
/** Calls at once; more wait in Redis. */
const WORKERS = 16;
/** How long stop() waits for calls that run and replies that cannot be pushed, ms. */
const STOP_TIMEOUT_MS = 10_000;

export type ZbusOptions = {
  /** unix:///path or tcp://[:password@]host:port; see {@link parseBroker}. */
  readonly broker: string;
  readonly handlers: GatewayHandlers;
  readonly log: Pick<Log, "info" | "warn" | "error">;
  readonly stopTimeoutMs?: number;
};

export class ZbusServer {
  readonly #name: string;
  readonly #links: readonly [calls: Link, status: Link, replies: Link];
  readonly #intakes: readonly Intake[];
  readonly #workers = new Workers(WORKERS);
  #isUp = false;
  #lastFailure: string | null = null;
  #stopped: Promise<void> | null = null;

  /** @throws Error when the broker's address cannot be used */
  constructor(private readonly options: ZbusOptions) {
    const broker = parseBroker(options.broker);
    this.#name = broker.name;
    const makeLink = (): Link => new Link(() => RedisConnection.open(broker, MESSAGE_LIMIT_BYTES), {
      connected: () => this.#connected(),
      failed: (error) => this.#failed(error),
    });
    this.#links = [makeLink(), makeLink(), makeLink()];
    const wakeList = `gateway.wake.${crypto.randomUUID()}`;
    this.#intakes = [
      new Intake({ link: this.#links[0], lists: CALL_LISTS, wakeList: `${wakeList}.calls`, limit: WORKERS, handle: (message) => this.#serve(message, (action) => this.#workers.begin(action)) }),
      new Intake({ link: this.#links[1], lists: STATUS_LISTS, wakeList: `${wakeList}.status`, limit: 1, handle: (message) => this.#serve(message, () => () => {}) }),
    ];
  }

  /** All three connections stand. */
  get isConnected(): boolean {
    return this.#isUp;
  }

  /** Begins to take calls as soon as the broker can be reached; until then, and whenever it is lost, it tries again. */
  start(): void {
    if (this.#stopped !== null) return;
    void this.#links[2].get();
    for (const intake of this.#intakes) intake.start();
  }

  /** Takes no more calls; resolves when those that run are done and answered, or after ten seconds. */
  stop(): Promise<void> {
    return this.#stopped ??= this.#stop();
  }

  async #stop(): Promise<void> {
    const replies = this.#links[2];
    const wake = (list: string): void => void pushReply(replies, list, new Uint8Array(0));
    await within(Promise.all(this.#intakes.map((intake) => intake.stop(wake))), this.options.stopTimeoutMs ?? STOP_TIMEOUT_MS);
    const calls = this.#workers.states.filter(({ State }) => State === "busy").length;
    if (calls > 0) this.options.log.error("zbus calls were still running at the end: their callers get no reply", { calls });
    for (const link of this.#links) link.close();
    this.#isUp = false;
  }

  /** One message from its bytes to its reply. Never rejects. @param begin takes a worker */
  async #serve(message: Uint8Array | Oversized, begin: (action: string) => () => void): Promise<void> {
    const request = this.#read(message);
    if (request === null) return;
    if (OWN_LISTS.has(request.replyTo)) return this.#skipped("it wants its reply in a list of requests");
    if (request instanceof FaultyRequest) return this.#push(request.replyTo, refusal(request.id, request.message), "");
    const action = actionOf(request);
    const done = begin(action);
    await this.#push(request.replyTo, await this.#answer(request), action);
    done();
  }

  #read(message: Uint8Array | Oversized): Request | FaultyRequest | null {
    try {
      if (message instanceof Oversized) throw new MessageError(`it has ${message.bytes} bytes`);
      return decodeRequest(message);
    } catch (error) {
      if (error instanceof FaultyRequest) return error;
      this.#skipped((error as MessageError).message);
      return null;
    }
  }

  async #answer(request: Request): Promise<Reply> {
    const { id } = request;
    let call: Call;
    try {
      call = findCall(request, this.options.handlers, () => this.#workers.states);
    } catch (error) {
      // ProtocolError.
      return refusal(id, (error as Error).message);
    }
    try {
      return { id, data: await call.run(), failure: null, protocolError: null };
    } catch (error) {
      // What is not for the caller: paths of this machine, for example.
      const cause = error instanceof Error ? error.cause : undefined;
      if (cause instanceof Error) this.options.log.error("zbus call could not be carried out", { id: String(id), reason: cause.message });
      return { id, data: call.failed, failure: error instanceof Error ? error.message : String(error), protocolError: null };
    }
  }

  async #push(replyTo: string, reply: Reply, action: string): Promise<void> {
    const error = reply.protocolError ?? reply.failure;
    if (error !== null) this.options.log.warn("zbus call failed", { call: action, id: String(reply.id), error });
    const unsent = await pushReply(this.#links[2], replyTo, encodeReply(reply));
    if (unsent !== null) this.options.log.error("zbus reply could not be sent", { call: action, id: String(reply.id), error: unsent });
  }

  #skipped(reason: string): void {
    this.options.log.warn("zbus message skipped: it can be neither read nor answered", { reason });
  }

  #connected(): void {
    if (!this.#links.every((link) => link.isConnected)) return;
    this.#isUp = true;
    this.#lastFailure = null;
    this.options.log.info("zbus connected to its broker", { broker: this.#name });
  }

  /** One line for an outage, and one for each new reason why it lasts. */
  #failed({ message }: Error): void {
    const wasUp = this.#isUp;
    this.#isUp = false;
    if (!wasUp && message === this.#lastFailure) return;
    this.#lastFailure = message;
    const what = wasUp ? "zbus lost its broker" : "zbus cannot use its broker";
    this.options.log.warn(`${what}; trying again until it can be reached`, { broker: this.#name, error: message });
  }
}

function refusal(id: MessageId, protocolError: string): Reply {
  return { id, data: null, failure: null, protocolError };
}
