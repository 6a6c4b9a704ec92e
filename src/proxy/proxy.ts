// The life of a request, in one file: match → identify → resolve → forward. Everything that can be answered at once is
// (no promise on the way of a cached token); everything that is refused ends in one place, with one log line.

import type { Server, ServerWebSocket } from "bun";
import type { CachedResponse } from "../cache/exchange.ts";
import type { Certificate } from "../certificate.ts";
import { asRouteError, RouteError } from "../errors.ts";
import type { Identity, VmIdentity } from "../identity.ts";
import { Batch } from "../lib/batch.ts";
import type { Log } from "../lib/log.ts";
import type { Match } from "../router/router.ts";
import type { BuiltinService, ConsoleService, TargetService } from "../service.ts";
import type { Target, Targets } from "../target.ts";
import { findToken } from "../token/source.ts";
import { ClientGoneError, type UpstreamResponse } from "../upstream/exchange.ts";
import { dialWebSocket, HandshakeRefusedError } from "../upstream/websocket.ts";
import type { Sweeper } from "../lib/deadlines.ts";
import { AccessLog } from "./access-log.ts";
import { type Attempts, OneTarget } from "./attempts.ts";
import { type BridgeRequest, passOnHandshake } from "./bridge-request.ts";
import { answerBuiltin, answerFromDirectory, type BuiltinAnswer } from "./builtin.ts";
import { cacheRequest, originOf } from "./caching.ts";
import { checkPlace } from "./check-place.ts";
import { identifyClient } from "./client.ts";
import { closingFor } from "./closing.ts";
import { askForConsole, consoleOf } from "./console.ts";
import { Delivery } from "./delivery.ts";
import type { Edge } from "./edge.ts";
import { errorResponse } from "./error-response.ts";
import { reasonOf, stackOf, upstreamError } from "./failure.ts";
import { type Ending, Forwarding, type Journey, type OutgoingBody } from "./forwarding.ts";
import type { GatewayRoutes } from "./gateways.ts";
import { requestBody } from "./request-body.ts";
import { maskedPath } from "./masked-path.ts";
import { locatedHeaders } from "./passage.ts";
import { type ClientRequest, readRequest } from "./request.ts";
import { RequestIds } from "./request-id.ts";
import type { Servers } from "./servers.ts";
import { type ClientLeg, Session } from "./session.ts";
import { Sessions } from "./sessions.ts";
import type { Snapshot } from "./snapshot.ts";
import { checkHandshake, checkOrigin, isBridged, offeredProtocols, wantsUpgrade } from "./upgrade.ts";
import { viewerAnswer, wantsViewer } from "./viewer.ts";
import { type Metering, Visit } from "./visit.ts";

export type GatewayServer = Server<ClientLeg>;
type Answer = Response | undefined | Promise<Response | undefined>;

/** Answers that were at hand, on their way to their clients. */
const AT_HAND = new Batch<{ readonly answer: Answer; readonly resolve: (answer: Answer) => void }>(({ answer, resolve }) => resolve(answer));

/** What waits has methods of its own (#resolveLater and others): one with a closure in it makes a scope for that at each call, needed or not. */
export class Proxy {
  readonly sessions: Sessions;
  readonly #access: AccessLog;
  readonly #ids = new RequestIds();
  readonly #delivery: Delivery;
  /** Requests without an answer yet. */
  #running = 0;
  #handled = 0;
  #draining = false;
  /** Handshakes under way at upstreams: a drain waits for none of them, their sessions would be closed at once. */
  readonly #dials = new Set<{ abort(): void }>();
  #isCut = false;
  readonly #ending: Ending = {
    respond: (journey, target, answer) => this.#respond(journey, target, answer),
    done: (visit, response) => this.#done(visit, response),
    refuse: (visit, error) => this.#refuse(visit, error),
  };

  /** @param edge null: nothing stands before the table */
  constructor(private snapshot: Snapshot, private readonly log: Log, private readonly sweeper: Sweeper, private readonly idleTimeoutS: number,
    private readonly edge: Edge | null = null, private readonly gateways: GatewayRoutes | null = null, private readonly metering: Metering | null = null) {
    this.#delivery = new Delivery(sweeper);
    this.sessions = new Sessions(snapshot.settings.websocket);
    this.#access = new AccessLog(log, snapshot.settings.logFormat);
  }

  /** Requests since the start. */
  get handled(): number {
    return this.#handled;
  }

  /** Requests being served, sessions not counted: what a drain waits for. */
  get running(): number {
    return this.#running + this.#delivery.streams;
  }

  /** New requests see the new configuration; those under way finish with the one they began with. */
  swap(snapshot: Snapshot): void {
    this.snapshot = snapshot;
    this.sessions.configure(snapshot.settings.websocket);
  }

  /** Sessions are closed and new ones are refused; running requests go on. */
  drain({ code, reason }: { readonly code: number; readonly reason: string }): void {
    this.#draining = true;
    for (const dial of [...this.#dials]) dial.abort();
    this.sessions.shutAll(code, reason);
  }

  /** What still runs is about to lose its connection, and by whom. */
  cut(): void {
    this.#isCut = true;
  }

  /**
   * @param peer address of the connection's other end
   * @param certificate that the connection was opened with; null for plain HTTP
   */
  handle(raw: Request, server: GatewayServer, peer: string, certificate: Certificate | null): Answer {
    const { snapshot } = this;
    const visit = new Visit(raw, server, this.idleTimeoutS, this.#access, snapshot, certificate !== null);
    this.#running += 1;
    this.#handled += 1;
    try {
      return this.#admit(visit, peer, certificate);
    } catch (error) {
      return this.#refuse(visit, error);
    }
  }

  // ---- match → identify

  #admit(visit: Visit, peer: string, certificate: Certificate | null): Answer {
    const { snapshot } = visit;
    visit.requestId = this.#ids.next();
    visit.client = peer;
    const request = readRequest(visit.raw, snapshot.settings.limits);
    visit.accept = request.headers["accept"];
    const client = identifyClient(peer, request.headers["x-forwarded-for"], snapshot.trustedProxies, certificate === null ? "http" : "https");
    visit.client = client.address;
    visit.path = maskedPath(request.path, null);
    snapshot.admission.countAddress(client.address);
    if (client.isTrustedPeer) visit.requestId = this.#ids.keep(request.headers["x-request-id"], visit.requestId);
    const match = this.edge === null ? snapshot.router.match(request.path) : this.#matchAtEdge(this.edge, visit, request, certificate);
    if (match instanceof Response) return match;
    if (match !== null && match.pathToken !== null) visit.path = maskedPath(request.path, match.pathToken);
    if (match === null) throw new RouteError("not_found", "no route");
    const route = match.route;
    visit.route = route.name;
    visit.service = route.service.name;
    visit.isWorkload = route.service.kind === "gateway";
    if (visit.isWorkload) visit.meter = this.metering;
    checkPlace(snapshot, request.path, match, client.address);
    const isUpgrade = wantsUpgrade(request) && isBridged(route, request);
    if (isUpgrade) {
      checkHandshake(request);
      checkOrigin(request, route);
      if (route.closeAfterUpgrade) visit.closingProtocol = offeredProtocols(request)[0] ?? "";
    } else if (route.service.kind === "console" && !wantsViewer(route, request)) {
      throw new RouteError("upgrade_required", "a console is a WebSocket");
    }
    const found = findToken(route.tokenSources, { headers: request.headers, query: request.query, pathToken: match.pathToken });
    const journey = { visit, snapshot, requestId: visit.requestId, request, client, match, found, isUpgrade };
    if (route.tokenSources.length === 0) return this.#resolve(journey, null);
    if (found === null) throw new RouteError("unauthorized", "no token");
    const identity = snapshot.tokens.identify(route.identity, found.token);
    return identity instanceof Promise ? this.#resolveLater(journey, identity) : this.#resolve(journey, identity);
  }

  #resolveLater(journey: Journey, identity: Promise<Identity>): Answer {
    return this.#after(journey.visit, identity, (proven) => this.#resolve(journey, proven));
  }

  /** By host before by path; a challenge is answered at once. */
  #matchAtEdge(edge: Edge, visit: Visit, request: ClientRequest, certificate: Certificate | null): Match | Response | null {
    const challenge = certificate === null ? edge.challenge(request) : null;
    if (challenge !== null) return this.#answerChallenge(visit, request, challenge);
    return edge.match(request, certificate) ?? visit.snapshot.router.match(request.path);
  }

  #answerChallenge(visit: Visit, request: ClientRequest, keyAuthorization: string): Response {
    visit.path = request.path;
    visit.route = "acme challenge";
    visit.finish(200, keyAuthorization.length);
    return this.#done(visit, new Response(keyAuthorization, { headers: { "content-type": "text/plain", "x-request-id": visit.requestId } })) as Response;
  }

  // ---- resolve

  #resolve(journey: Journey, identity: Identity | null): Answer {
    const { visit, snapshot, match } = journey;
    const service = match.route.service;
    if (identity !== null) {
      visit.tokenHash = identity.tokenHash;
      snapshot.admission.countToken(identity.tokenHash);
    }
    if (service.kind === "builtin") return this.#builtin(journey, service);
    if (service.kind === "fixed") {
      const servers = snapshot.services.fixed(service);
      if (match.route.cache && !journey.isUpgrade) return this.#throughCache(journey, servers);
      return this.#forward(journey, servers.attempts(journey.request, journey.client));
    }
    if (service.kind === "gateway" && this.gateways !== null) return this.#forward(journey, this.gateways.attempts(service));
    if (service.kind === "console" && identity?.kind === "vm") return this.#console(journey, service, identity);
    if (service.kind !== "target" || identity?.kind !== "desktop") throw new RouteError("internal", "a service without its kind of token");
    const targets = snapshot.targets.desktop(service, match, identity, visit);
    return targets instanceof Promise ? this.#toDesktopLater(journey, service, targets) : this.#toDesktop(journey, service, targets);
  }

  #toDesktopLater(journey: Journey, service: TargetService, targets: Promise<Targets>): Answer {
    return this.#after(journey.visit, targets, (found) => this.#toDesktop(journey, service, found));
  }

  #toDesktop(journey: Journey, service: TargetService, targets: Targets): Answer {
    return this.#forward(journey, journey.snapshot.services.desktop(service, targets, journey.visit.startedMs));
  }

  #console(journey: Journey, service: ConsoleService, identity: VmIdentity): Answer {
    const { visit, request, match } = journey;
    const vmConsole = consoleOf(match, identity);
    if (journey.isUpgrade) {
      const asked = askForConsole(service, vmConsole, request);
      return this.#bridge(journey, new OneTarget(asked.target), () => asked);
    }
    return this.#after(visit, viewerAnswer("", request), (answer) => this.#answer(journey, answer));
  }

  #builtin(journey: Journey, { answer }: BuiltinService): Answer {
    const { visit, request, match } = journey;
    if (answer.kind !== "files") return this.#after(visit, answerBuiltin(answer, match, request), (made) => this.#answer(journey, made));
    return this.#after(visit, answerFromDirectory(answer, match, request), ({ body, ...head }) => this.#delivered(visit, this.#delivery.whole(journey, head, body)));
  }

  #answer({ visit }: Journey, { status, body, bytes, contentType, headers: own }: BuiltinAnswer): Response | undefined {
    const { headers } = visit.headers.make([["content-type", contentType]], visit.requestId);
    // Over the configured ones, which are meant for what upstreams send: the viewer's page has its token in the address.
    for (const [name, value] of own) headers.set(name, value);
    visit.finish(status, visit.raw.method === "HEAD" ? 0 : bytes);
    return this.#done(visit, new Response(body, { status, headers }));
  }

  // ---- forward

  #forward(journey: Journey, attempts: Attempts): Answer {
    const { visit } = journey;
    visit.attempts = attempts;
    const waiting = attempts.enter(visit);
    return waiting === null ? this.#forwardNow(journey, attempts) : this.#forwardLater(journey, attempts, waiting);
  }

  #forwardLater(journey: Journey, attempts: Attempts, waiting: Promise<void>): Answer {
    return this.#after(journey.visit, waiting, () => this.#forwardNow(journey, attempts));
  }

  #forwardNow(journey: Journey, attempts: Attempts): Answer {
    const { visit, request, match } = journey;
    if (journey.isUpgrade) return this.#bridgeOn(journey, attempts);
    const { content, framing, isChunked } = requestBody(visit.raw, request, match.route);
    return content instanceof Promise ? this.#forwardShort(journey, attempts, content, framing) : this.#exchange(journey, attempts, { content, framing, isChunked });
  }

  #bridgeOn(journey: Journey, attempts: Attempts): Answer {
    return this.#bridge(journey, attempts, (target) => passOnHandshake(journey, target));
  }

  /** With a body that is short enough to be read first. */
  #forwardShort(journey: Journey, attempts: Attempts, body: Promise<Uint8Array>, framing: string): Answer {
    const { visit } = journey;
    visit.awaitBody();
    return this.#after(visit, body, (content) => {
      visit.bytesIn = content.length;
      return this.#exchange(journey, attempts, { content, framing, isChunked: false });
    });
  }

  #exchange(journey: Journey, attempts: Attempts, body: OutgoingBody): Promise<Response | undefined> {
    journey.visit.upstreamStartedMs = performance.now();
    return Forwarding.answer(journey, attempts, body, this.#ending);
  }

  #respond(journey: Journey, target: Target, { head, body, ended }: UpstreamResponse): Response | Promise<Response> {
    const { visit, match, snapshot } = journey;
    visit.answered();
    const headers = locatedHeaders(journey, target, head.headers);
    if (match.route.cache) snapshot.cache?.invalidate(cacheRequest(journey), head.status, headers);
    return this.#delivery.answer(journey, { status: head.status, headers, contentLength: head.contentLength, body, ended });
  }

  // ---- cache

  #throughCache(journey: Journey, servers: Servers): Answer {
    const { visit, request, snapshot } = journey;
    const { cache } = snapshot;
    if (cache === null || (request.method !== "GET" && request.method !== "HEAD")) return this.#forward(journey, servers.attempts(request, journey.client));
    const answer = cache.answer(cacheRequest(journey, () => visit.raw.signal), originOf(journey, servers, visit));
    if (answer instanceof Promise) return this.#after(visit, answer, (cached) => this.#answerCached(journey, cached));
    const cached = this.#answerCached(journey, answer);
    return new Promise((resolve) => AT_HAND.add({ answer: cached, resolve }));
  }

  #answerCached(journey: Journey, { status, headers, contentLength, body, cacheStatus, forms }: CachedResponse): Answer {
    const { visit } = journey;
    visit.cacheStatus = cacheStatus;
    return this.#delivered(visit, this.#delivery.whole(journey, { status, headers, contentLength }, body, forms));
  }

  // ---- bridge

  #bridge(journey: Journey, attempts: Attempts, ask: (target: Target) => BridgeRequest): Answer {
    return this.#after(journey.visit, this.#openFirst(journey, attempts, ask), () => this.#done(journey.visit, undefined));
  }

  async #openFirst(journey: Journey, attempts: Attempts, ask: (target: Target) => BridgeRequest): Promise<void> {
    const { visit } = journey;
    for (let target: Target | null = attempts.first(); target !== null;) {
      visit.target = target.key;
      try {
        await this.#openSession(journey, ask(target));
        return attempts.answered(101);
      } catch (error) {
        if (error instanceof HandshakeRefusedError) attempts.answered(error.status);
        // A handshake changes nothing: it may be repeated.
        target = visit.raw.signal.aborted || this.#draining ? null : await attempts.next(error as Error, true, visit);
        if (target === null) throw error;
      }
    }
  }

  async #openSession(journey: Journey, asked: BridgeRequest): Promise<void> {
    const { visit, snapshot, match } = journey;
    const { settings } = snapshot;
    if (this.#draining) throw new RouteError("unavailable", "shutting down");
    visit.upstreamStartedMs = performance.now();
    let dial: { abort(): void } | null = null;
    const slow = (begun: { abort(): void }): void => {
      this.#dials.add(dial = begun);
      visit.slow(begun);
    };
    const upstream = await dialWebSocket({
      address: asked.target.address, port: asked.target.port, tls: asked.target.tls, socketPath: asked.target.socketPath, head: asked.head.slice(0, -2), protocols: asked.protocols,
      connectTimeoutMs: settings.upstream.connectTimeoutMs, handshakeTimeoutMs: match.route.readTimeoutMs,
      messageLimitBytes: settings.websocket.messageLimitBytes, readsRefusal: asked.refusal !== null, watcher: { slow },
    }, this.sweeper).finally(() => { if (dial !== null) this.#dials.delete(dial); }).catch((error: unknown) => {
      if (this.#draining && error instanceof ClientGoneError && !visit.raw.signal.aborted) throw new RouteError("unavailable", "shutting down");
      throw error instanceof HandshakeRefusedError ? asked.refusal?.(error) ?? error : error;
    });
    visit.answered();
    if (this.#draining) {
      upstream.terminate();
      throw new RouteError("unavailable", "shutting down");
    }
    const session = new Session(upstream, match.route.compressText, match.route.idleTimeoutMs, (ended, end) => {
      this.sessions.delete(ended);
      visit.bytesIn = end.bytesIn;
      visit.reason = end.reason;
      visit.closeCode = end.code;
      visit.finish(101, end.bytesOut);
    }, this.#countMessages(visit));
    this.sessions.add(session);
    const said = upstream.takeHeaders();
    if (visit.upgrade(session, asked.clientProtocol(upstream.protocol), asked.passesHeaders ? said : [])) return;
    this.sessions.delete(session);
    upstream.terminate();
    throw new ClientGoneError("client went away during the handshake");
  }

  #countMessages({ meter, service }: Visit): ((bytesIn: number, bytesOut: number) => void) | null {
    if (meter === null) return null;
    return (bytesIn, bytesOut) => meter.moved(service ?? "", { code: "101", method: "GET", protocol: "websocket" }, bytesIn, bytesOut);
  }

  // ---- the end of a request

  /** Goes on when something has been waited for. What `next` answers is done; what fails before that is refused here. */
  async #after<T>(visit: Visit, waited: Promise<T>, next: (value: T) => Answer): Promise<Response | undefined> {
    try {
      return await next(await waited);
    } catch (error) {
      return this.#refuse(visit, error);
    }
  }

  #delivered(visit: Visit, delivered: Response | Promise<Response>): Answer {
    return delivered instanceof Promise ? this.#deliveredLater(visit, delivered) : this.#done(visit, delivered);
  }

  #deliveredLater(visit: Visit, delivered: Promise<Response>): Answer {
    return this.#after(visit, delivered, (response) => this.#done(visit, response));
  }

  #done(visit: Visit, response: Response | undefined): Response | undefined {
    this.#running -= 1;
    // Bun.serve dates every answer but that to HEAD.
    if (response !== undefined && visit.raw.method === "HEAD" && !response.headers.has("date")) response.headers.set("date", new Date().toUTCString());
    return response;
  }

  #refuse(visit: Visit, thrown: unknown): Response | undefined {
    const error = asRouteError(upstreamError(thrown));
    visit.reason = reasonOf(error);
    if (error.code === "internal") this.log.error("request failed", { request_id: visit.requestId, reason: visit.reason, stack: stackOf(error) });
    const isGone = thrown instanceof ClientGoneError;
    if (visit.closingProtocol !== null && !isGone) {
      const closing = closingFor(error);
      if (visit.upgrade(closing, visit.closingProtocol)) {
        visit.closeCode = closing.code;
        visit.finish(101, 0);
        return this.#done(visit, undefined);
      }
    }
    if (isGone && this.#isCut) visit.reason = "cut by the shutdown";
    const { response, bytes } = errorResponse(error, visit.accept, visit.requestId, visit.headers.own);
    // 499 is what nginx logs for a client that left; it is never sent, because nobody is there.
    visit.finish(isGone ? 499 : error.status, isGone ? 0 : bytes);
    return this.#done(visit, response);
  }
}

/** Bun.serve's handlers for the bridge. */
export const websocketHandlers = {
  open(ws: ServerWebSocket<ClientLeg>) { ws.data.opened(ws); },
  message(ws: ServerWebSocket<ClientLeg>, message: string | Buffer) { ws.data.clientMessage(ws, message); },
  ping(ws: ServerWebSocket<ClientLeg>) { ws.data.clientAlive(); },
  pong(ws: ServerWebSocket<ClientLeg>) { ws.data.clientAlive(); },
  drain(ws: ServerWebSocket<ClientLeg>) { ws.data.clientDrained(ws); },
  close(ws: ServerWebSocket<ClientLeg>, code: number, reason: string) { ws.data.clientClosed(code, reason); },
};
