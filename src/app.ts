// The program as an object: builds the parts, joins them, starts and stops them. The command line and the tests start this
// same object; it binds what it is told and owns everything that it opens.

import { statSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import type { Clock } from "./certificate/clock.ts";
import { Admission } from "./entrypoint/admission.ts";
import { HttpEntrypoint, IDLE_TIMEOUT_S } from "./entrypoint/http.ts";
import type { Front } from "./front.ts";
import { Sweeper } from "./lib/deadlines.ts";
import { descriptorLimit } from "./lib/descriptors.ts";
import { Log } from "./lib/log.ts";
import { within } from "./lib/within.ts";
import { Proxy } from "./proxy/proxy.ts";
import type { ServiceState } from "./proxy/services.ts";
import { Snapshot, type SnapshotParts } from "./proxy/snapshot.ts";
import type { Settings } from "./settings.ts";
import { TokenFront, type TokenSettings } from "./token/token-front.ts";
import { withAddresses } from "./upstream/nameservers.ts";
import { readServiceAccount } from "./upstream/service-account.ts";

/** What a few hundred clients may need; common limits are far above. */
const FEW_DESCRIPTORS = 4096;
/** How often a drain looks whether it is done. */
const DRAIN_LOOK_MS = 20;
/** What clients get to answer the close frames that a drain sends. */
const CLOSE_GRACE_MS = 1000;

/** Set by build.ts for the library. */
declare const ROUTE_WITHOUT_FRONT: true | undefined;

/** Longer than any look-up of a name or a token may take. */
const RETIRE_MS = 15_000;

export type SessionClose = { readonly code: number; readonly reason: string };
const RESTART: SessionClose = { code: 1012, reason: "service restart" };

export class App {
  readonly log: Log;
  readonly #sweeper = new Sweeper();
  /** What the listening servers and the log were made with. */
  readonly #started: Settings;
  #isConfigRefused = false;
  #snapshot: Snapshot | null = null;
  #tokens: TokenFront | null = null;
  #proxy: Proxy | null = null;
  #http: HttpEntrypoint | null = null;
  #front: Front | null = null;
  readonly #hurry = Promise.withResolvers<void>();
  #isHurried = false;
  readonly #retired = new Set<{ timer: ReturnType<typeof setTimeout>; release: () => void }>();

  /** @param options.clock by which certificates are renewed; the system's by default */
  constructor(private settings: Settings, private readonly options: { log?: Log; clock?: Clock } = {}) {
    this.#started = settings;
    this.log = options.log ?? new Log(settings.logFormat);
  }

  /** @throws Error when keys cannot be loaded, the name of a nameserver is not known or the address cannot be bound; nothing is left open then */
  async start(): Promise<void> {
    try {
      this.settings = { ...this.settings, dns: await withAddresses(this.settings.dns) };
      this.#tokens = this.#openTokens(this.settings);
      this.#lookAtCredentials(this.settings);
      this.#lookAtDirectories(this.settings);
      this.#lookAtParameters(this.settings);
      this.#lookAtDescriptors();
      this.#snapshot = this.#makeSnapshot(this.settings, this.#tokens, await loadCache(this.settings), null);
      const front = this.#front = await openFront(this.settings, this.log, this.options.clock);
      this.#proxy = new Proxy(this.#snapshot, this.log, this.#sweeper, IDLE_TIMEOUT_S, front?.edge, front?.gateways, front?.meter);
      // One count for all addresses.
      const admission = Admission.of(this.settings, this.log);
      this.#http = new HttpEntrypoint(this.settings.http, this.settings, this.#proxy, admission, this.#sweeper);
      this.#snapshot.start();
      front?.listen(this.#proxy, this.#sweeper, admission, {
        requests: () => this.#proxy?.handled ?? 0, sessions: () => this.counts.sessions, upstreamConnections: () => this.counts.upstream,
        services: () => this.services, cache: () => this.#snapshot?.cache ?? null, keyProblems: () => this.#tokens?.failures.length ?? 0, isConfigRefused: () => this.#isConfigRefused,
      });
    } catch (error) {
      await Promise.all([this.#http?.stop(), this.#front?.stop()]);
      this.#release();
      throw error;
    }
    this.log.info("listening", { http: this.#http.url, routes: this.settings.routes.length, config: this.settings.source });
  }

  /** The port that was bound. */
  get port(): number {
    return this.#http?.port ?? 0;
  }

  get url(): string {
    return this.#http?.url ?? "";
  }

  /** Of TLS and of the admin API, where they are open. */
  get addresses(): { readonly https?: string; readonly admin?: string } {
    return this.#front?.addresses ?? {};
  }

  /** The servers of all services and how they are. */
  get services(): readonly ServiceState[] {
    return this.#snapshot?.services.states ?? [];
  }

  /** Open things, for tests that look for leaks. */
  get counts(): { running: number; sessions: number; upstream: { open: number; idle: number } } {
    return {
      running: this.#proxy?.running ?? 0, sessions: this.#proxy?.sessions.size ?? 0,
      upstream: this.#snapshot?.pool.size ?? { open: 0, idle: 0 },
    };
  }

  /**
   * Serves new requests by another configuration; nothing that runs is disturbed. Listening addresses stay as they are.
   * @throws Error when its keys cannot be loaded or the name of a nameserver is not known; the old configuration stays then
   */
  async apply(changed: Settings): Promise<void> {
    // First of all: what follows must not be interrupted by another call.
    const settings = { ...changed, dns: await withAddresses(changed.dns) };
    const createCache = await loadCache(settings);
    const old = this.#snapshot;
    if (old === null || this.#proxy === null) throw new Error("cannot apply settings before the start");
    const previous = this.#tokens;
    const keep = previous !== null && isDeepStrictEqual(tokenSettings(settings), tokenSettings(this.settings));
    const tokens = keep ? previous : this.#openTokens(settings);
    // Whoever reloads wants to know about files as well that were broken before; new ones have just said so.
    if (keep) for (const { message } of tokens.failures) this.log.error("a key file is still not loadable", { reason: message });
    this.#lookAtCredentials(settings);
    this.#lookAtDirectories(settings);
    this.#lookAtParameters(settings);
    let next: Snapshot;
    try {
      next = this.#makeSnapshot(settings, tokens, createCache, old);
    } catch (error) {
      if (!keep) tokens.close();
      throw error;
    }
    next.start();
    for (const name of needingRestart(this.#started, settings)) this.log.warn(`a changed ${name} takes effect after a restart`);
    this.settings = settings;
    this.#tokens = tokens;
    this.#snapshot = next;
    this.#proxy.swap(next);
    this.#retire(() => {
      old.release(next);
      if (!keep) previous?.close();
    });
    this.#isConfigRefused = false;
    this.log.info("configuration applied", { routes: settings.routes.length, config: settings.source });
  }

  /** A configuration could not be loaded or applied: for the log and the metrics. */
  refuse(reason: string): void {
    this.#isConfigRefused = true;
    this.log.error("configuration refused, the old one stays", { reason });
  }

  /**
   * Drains and stops: no new connections, running requests finish, sessions are closed.
   * @param timeoutMs what running requests get; the setting `drainTimeout` by default
   * @param close what sessions hear: 1012 "service restart" unless this is the end of it (RFC 6455 section 7.4.1)
   * @returns false when something had to be cut
   */
  async stop(timeoutMs: number = this.settings.drainTimeoutMs, close: SessionClose = RESTART): Promise<boolean> {
    const proxy = this.#proxy;
    const http = this.#http;
    if (proxy === null || http === null) return true;
    this.#proxy = null;
    http.stopAccepting();
    const front = this.#front;
    const endingCalls = front?.stopAccepting();
    const startedMs = performance.now();
    const graceMs = proxy.sessions.size > 0 ? Math.min(CLOSE_GRACE_MS, timeoutMs) : 0;
    proxy.drain(close);
    const left = (): number => (this.#isHurried ? 0 : startedMs + timeoutMs - performance.now());
    // A request is done when its answer is made; its client may have far less of it.
    const running = (): number => Math.max(proxy.running, http.pending, front?.pending ?? 0);
    while (running() > 0 && left() > 0) await Bun.sleep(DRAIN_LOOK_MS);
    const cut = running();
    if (endingCalls !== undefined) await Promise.race([within(endingCalls, Math.max(0, left())), this.#hurry.promise]);
    proxy.cut();
    // Closing a socket that still brings frames sends a reset, which would overtake the close frame.
    await Promise.race([Bun.sleep(Math.max(0, startedMs + graceMs - performance.now())), this.#hurry.promise]);
    await within(Promise.all([http.stop(), endingCalls, front?.stop()]), CLOSE_GRACE_MS);
    this.#release();
    this.log.info("stopped", { cut });
    return cut === 0;
  }

  /** What `stop` waits for, or will wait for, is cut: somebody does not want to wait any longer. */
  hurry(): void {
    this.#isHurried = true;
    this.#hurry.resolve();
  }

  #makeSnapshot(settings: Settings, tokens: TokenFront, createCache: SnapshotParts["createCache"], previous: Snapshot | null): Snapshot {
    return new Snapshot(settings, { tokens, sweeper: this.#sweeper, log: this.log, createCache }, previous);
  }

  /** Lets go of what requests under way may still wait for, when the last of them has had its answer. */
  #retire(release: () => void): void {
    const timer = setTimeout(() => {
      this.#retired.delete(entry);
      release();
    }, RETIRE_MS).unref();
    const entry = { timer, release };
    this.#retired.add(entry);
  }

  #openTokens(settings: Settings): TokenFront {
    const tokens = TokenFront.open(settings, {
      warn: (message) => this.log.warn(message),
      error: (message, { message: reason }) => this.log.error(message, { reason }),
      changed: () => this.log.info("keys reloaded"),
    });
    tokens.watch();
    return tokens;
  }

  /** Says at the start what would otherwise be found out at the first console. */
  #lookAtCredentials(settings: Settings): void {
    const files = new Map(settings.routes.flatMap(({ service }) => {
      return service.kind === "console" && service.credentials !== null ? [[service.name, service.credentials] as const] : [];
    }));
    for (const [service, credentials] of files) {
      try {
        readServiceAccount(credentials);
      } catch (error) {
        this.log.error(`service "${service}" answers 503 until its credentials are there`, { reason: (error as Error).message });
      }
    }
  }

  /** Says at the start what would otherwise be a 404 to everything. */
  #lookAtDirectories({ routes }: Settings): void {
    const roots = new Map(routes.flatMap(({ service }) => {
      return service.kind === "builtin" && service.answer.kind === "files" && service.answer.root !== null ? [[service.name, service.answer.root] as const] : [];
    }));
    for (const [service, root] of roots) {
      if (!statSync(root, { throwIfNoEntry: false })?.isDirectory()) this.log.warn(`the directory of service "${service}" is not there: its paths are answered 404`, { directory: root });
    }
  }

  /** What nginx takes in the same place, and we do not do. */
  #lookAtParameters({ dns }: Settings): void {
    if (dns.ignored.length > 0) this.log.warn("parameters of nginx's resolver have no effect here", { nameserver: dns.ignored.join(" ") });
  }

  /** A client and its upstream are two descriptors; whoever has none left accepts nobody, /healthz included. */
  #lookAtDescriptors(): void {
    const limit = descriptorLimit();
    if (limit !== null && limit < FEW_DESCRIPTORS) this.log.warn("few files may be open at a time: raise the limit (ulimit -Hn, LimitNOFILE=, --ulimit nofile=), or bound limits.connections", { limit });
  }

  #release(): void {
    for (const { timer, release } of this.#retired) {
      clearTimeout(timer);
      release();
    }
    this.#retired.clear();
    this.#tokens?.close();
    this.#tokens = null;
    this.#snapshot?.release(null);
    this.#snapshot?.pool.close();
    this.#snapshot = null;
    this.#http = null;
    this.#front = null;
    this.#sweeper.close();
  }
}

/** @param old settings that the listening servers and the log were made with */
function needingRestart(old: Settings, next: Settings): string[] {
  // Strict-Transport-Security is sent by the snapshot.
  const listening = ({ tls }: Settings): unknown => tls === null ? null : { ...tls, hstsS: 0 };
  const compresses = (settings: Settings): boolean => settings.routes.some((route) => route.compressText);
  return [
    isDeepStrictEqual(old.http, next.http) ? "" : "listen address",
    isDeepStrictEqual(listening(old), listening(next)) ? "" : "tls",
    isDeepStrictEqual(old.gateway, next.gateway) ? "" : "gateway",
    isDeepStrictEqual(old.admin, next.admin) ? "" : "admin",
    old.logFormat === next.logFormat ? "" : "log.format",
    isDeepStrictEqual(admissionSettings(old), admissionSettings(next)) ? "" : "limits.connections, limits.connectionsPerAddress or proxyProtocol",
    old.limits.minimumRate === next.limits.minimumRate || (old.tls === null && Admission.of(old, null) === null) ? "" : "limits.minimumRate (for clients that take nothing)",
    old.websocket.messageLimitBytes === next.websocket.messageLimitBytes ? "" : "websocket.messageLimit (towards clients)",
    compresses(old) === compresses(next) ? "" : "compressText",
  ].filter((name) => name !== "");
}

function admissionSettings({ limits: { connections, connectionsPerAddress }, proxyProtocol }: Settings): unknown {
  return { connections, connectionsPerAddress, proxyProtocol };
}

/** Loaded when it is needed: a plain router starts without it. */
async function openFront(settings: Settings, log: Log, clock?: Clock): Promise<Front | null> {
  if (settings.tls === null && settings.gateway === null && settings.admin === null) return null;
  // The library serves consoles only: its build drops this branch, and with it all that stands behind the import.
  if (typeof ROUTE_WITHOUT_FRONT === "undefined") return (await import("./front.ts")).Front.open(settings, log, clock);
  throw new Error("tls, gateway and admin are not part of the library");
}

/** Loaded when it is needed, as the front is. */
async function loadCache({ routes }: Settings): Promise<SnapshotParts["createCache"]> {
  if (!routes.some(({ cache }) => cache)) return () => null;
  if (typeof ROUTE_WITHOUT_FRONT === "undefined") {
    const { HttpCache } = await import("./cache/http-cache.ts");
    return ({ memoryBytes, objectBytes, disk }, log) => new HttpCache({ name: "route-gateway", memoryBytes, objectBytes, disk, log });
  }
  throw new Error("the cache is not part of the library");
}

function tokenSettings({ desktopToken, vmToken }: Settings): TokenSettings {
  return { desktopToken, vmToken };
}
