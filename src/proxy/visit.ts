// One request's record on its way through the proxy: what the access line will say, and the client's end of the wait
// (its abort signal and its idle timer, touched only when a request turns out to be slow).

import { MinimumRate, stallMsAt } from "../limits/minimum-rate.ts";
import { ClientStalledError, type ExchangeWatcher } from "../upstream/exchange.ts";
import type { Attempts } from "./attempts.ts";
import type { AccessLog } from "./access-log.ts";
import type { ClientLeg } from "./session.ts";
import type { HeaderPairs, ResponseHeaders } from "./response-headers.ts";
import type { Snapshot } from "./snapshot.ts";

/** Bun's per-request idle timer is at most 255 s; it is wound up again while we have a reason to wait. */
const PATIENCE_S = 255;
const REARM_MS = 10_000;
/** For a client that was given up: Bun.serve would keep what it has for it, and with it the connection. Bun counts in fours. */
const LEAVE_S = 4;
/** For the next byte of a short body, which is read before anybody is asked; Bun counts no upload below 16 kB/s. */
const SHORT_BODY_S = 60;

/** What is done to the client's connection, by the server that holds it. */
export interface ClientConnection {
  timeout(request: Request, seconds: number): void;
  /** null: the request is over, its answer has left. */
  requestIP(request: Request): unknown;
  upgrade(request: Request, options: { readonly data: ClientLeg; readonly headers: [string, string][] }): boolean;
}

/** The bytes of services that are billed by them: bodies and messages, without heads. */
export interface Metering {
  moved(service: string, labels: { readonly code: string; readonly method: string; readonly protocol: "http" | "websocket" | "tcp" }, bytesIn: number, bytesOut: number): void;
}

export class Visit implements ExchangeWatcher {
  requestId = "";
  client = "";
  accept: string | undefined = undefined;
  path = "";
  route: string | null = null;
  service: string | null = null;
  target: string | null = null;
  tokenHash: string | null = null;
  bytesIn = 0;
  reason: string | null = null;
  /** How a session was closed; null: there is none. */
  closeCode: number | null = null;
  /** What the cache says of it (RFC 9211); null: it was not asked. */
  cacheStatus: string | null = null;
  upstreamMs: number | null = null;
  upstreamStartedMs = 0;
  /**
   * A refusal comes as a close frame after an upgrade that answers this subprotocol, "" for none; null: it does not. A browser
   * that offered some fails a handshake which answers none, and its script would see no reason.
   */
  closingProtocol: string | null = null;
  /** The way that the request takes; its place is free when the request is over. null: it takes none. */
  attempts: Attempts | null = null;
  /** Who counts what passes; null: nobody. */
  meter: Metering | null = null;
  /** What answers is a registered workload, whose headers are its own. */
  isWorkload = false;
  /** The client stopped reading: its connection has to go. */
  isStalled = false;
  readonly startedMs = performance.now();
  #waitingFor: { abort(): void } | null = null;
  #isWatched = false;
  #armedMs = 0;
  #isLogged = false;
  /** How slowly the client may send, and take; null: as slowly as it likes, or nobody has waited for it yet. */
  #sending: MinimumRate | null = null;
  #taking: MinimumRate | null = null;

  /** @param snapshot the configuration that this request began with and ends with */
  constructor(readonly raw: Request, private readonly server: ClientConnection, private readonly idleTimeoutS: number,
    private readonly log: AccessLog, readonly snapshot: Snapshot, /** The connection is TLS. */ readonly isSecure: boolean) {}

  /** What every answer of ours carries on this connection, refusals too. */
  get headers(): ResponseHeaders {
    return this.isSecure ? this.snapshot.secureHeaders : this.snapshot.plainHeaders;
  }

  /** What the answers of this request's service carry. */
  get serviceHeaders(): ResponseHeaders {
    if (!this.isWorkload) return this.headers;
    return this.isSecure ? this.snapshot.secureWorkloadHeaders : this.snapshot.plainWorkloadHeaders;
  }

  /** The request waits for an upstream: its client may leave, and may not be cut for being patient. */
  slow(exchange: { abort(): void }): void {
    this.#waitingFor = exchange;
    this.keepClient();
    const signal = this.raw.signal;
    const abort = (): void => this.#waitingFor?.abort();
    // Also when it was watched: the client may have left between the dial, which it ended in vain, and this exchange.
    if (signal.aborted) return queueMicrotask(abort);
    if (this.#isWatched) return;
    this.#isWatched = true;
    signal.addEventListener("abort", abort, { once: true });
  }

  /** Bytes of a request body arrived. @param bytes so far @throws ClientStalledError */
  bodyBytes(bytes: number, waitedMs: number): void {
    const { minimumRate } = this.snapshot.settings.limits;
    if (minimumRate > 0 && !(this.#sending ??= new MinimumRate(minimumRate)).moved(bytes - this.bytesIn, waitedMs)) throw new ClientStalledError("client sends too slowly");
    this.bytesIn = bytes;
    // Bun does not count an upload slower than about 16 kB/s as activity.
    if (performance.now() - this.#armedMs > REARM_MS) this.keepClient();
  }

  taken(bytes: number, waitedMs: number): boolean {
    const { minimumRate } = this.snapshot.settings.limits;
    return minimumRate === 0 || (this.#taking ??= new MinimumRate(minimumRate)).moved(bytes, waitedMs);
  }

  get stallMs(): number {
    return stallMsAt(this.snapshot.settings.limits.minimumRate);
  }

  /** Keeps no more of the request alive than it has to. */
  delivery(): () => boolean {
    const { server, raw } = this;
    return () => server.requestIP(raw) === null;
  }

  /** A short body is collected. */
  awaitBody(): void {
    this.#armedMs = performance.now();
    this.server.timeout(this.raw, SHORT_BODY_S);
  }

  keepClient(): void {
    this.#armedMs = performance.now();
    this.server.timeout(this.raw, PATIENCE_S);
  }

  /** @param protocol "" for none @param said by the upstream with its 101 @returns false when the client is not there any more */
  upgrade(data: ClientLeg, protocol: string, said: HeaderPairs = []): boolean {
    const headers: [string, string][] = [...this.serviceHeaders.make(said, this.requestId).headers];
    // Always there: without it Bun answers with the first that the client offered; an empty one is not sent.
    headers.push(["sec-websocket-protocol", protocol]);
    const cookie = this.attempts?.cookie(this.isSecure) ?? null;
    if (cookie !== null) headers.push(["set-cookie", cookie]);
    return this.server.upgrade(this.raw, { data, headers });
  }

  answered(): void {
    this.upstreamMs = performance.now() - this.upstreamStartedMs;
  }

  finish(status: number, bytesOut: number): void {
    if (this.#isLogged) return;
    this.#isLogged = true;
    this.#waitingFor = null;
    this.attempts?.release();
    // A changed timer would stick to the connection after this request.
    if (this.#armedMs > 0 && status !== 101) this.server.timeout(this.raw, this.isStalled ? LEAVE_S : this.idleTimeoutS);
    if (status !== 101) this.meter?.moved(this.service ?? "", { code: String(status), method: this.raw.method, protocol: "http" }, this.bytesIn, bytesOut);
    this.log.write({
      requestId: this.requestId, client: this.client, method: this.raw.method, path: this.path, route: this.route,
      service: this.service, target: this.target, status, bytesIn: this.bytesIn, bytesOut,
      durationMs: performance.now() - this.startedMs, upstreamMs: this.upstreamMs, tokenHash: this.tokenHash, cacheStatus: this.cacheStatus, closeCode: this.closeCode, reason: this.reason,
    });
  }
}
