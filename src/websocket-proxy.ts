// KubeVirt's VM consoles for programs that serve them themselves: the class of the LabOrchestrator's WebsocketProxyLib
// (seed 004), with its arguments and its three methods. What it serves is what `route-gateway consoles` does.
//
// Invariant: between a start and its end there is one App, in this event loop or in a Worker; `stopThread` has closed all of it
// when it resolves, and so has a start that fails. The secret is nowhere to be read off the object.

import { isIP } from "node:net";
import { App, type SessionClose } from "./app.ts";
import { kindOf, readLibraryOptions } from "./config/library.ts";
import { isHost } from "./config/values.ts";
import { hostForUrl } from "./lib/address.ts";
import { warningsOnStderr } from "./lib/log.ts";
import { Thread } from "./lib/thread.ts";
import { type Settings, STRONG_SECRET_BYTES } from "./settings.ts";

/** What answers under way get, and clients to answer the close frame, ms. */
const DRAIN_MS = 1000;
/** RFC 6455 section 7.4.1: an endpoint is going away. */
const GOING_AWAY: SessionClose = { code: 1001, reason: "going away" };

export type WebsocketProxyOptions = {
  /**
   * Base URL of the Kubernetes API, without a path: `ws://localhost:8001` beside `kubectl proxy`, in a cluster
   * `wss://` with KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT. Source: seed 004, remote_url.
   */
  readonly remoteUrl: string;
  /**
   * Path at the API that leads to a machine's console, with `{namespace}` and `{vmi_name}` in it, such as
   * `/apis/subresources.kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstances/{vmi_name}/vnc`. The namespace comes
   * from the token, the name from the client's path and must stand in the token. Source: seed 004, api_path.
   */
  readonly apiPath: string;
  /**
   * true: plain ws and no credentials, so `remoteUrl` is `ws://`. false: TLS with the CA of `caFile` and the bearer token of
   * `tokenFile`, so it is `wss://`. Source: seed 004, local_dev_mode.
   */
  readonly localDevMode: boolean;
  /** Key that the clients' tokens (JWT) are signed with: 32 bytes or more as UTF-8, see `allowWeakSecret`. Source: seed 004, secret_key. */
  readonly secretKey: string;
  /**
   * Beginning of the path that a reverse proxy leaves there, one segment or several, with or without slashes at its ends, such as
   * `/ws_proxy`: clients connect to `/ws_proxy/TOKEN/VM`. None by default. Source: seed 004, host_path_prefix.
   */
  readonly hostPathPrefix?: string | null | undefined;
  /** PEM file with the CA of the API's certificate, read for each connection. Default: the service account's ca.crt. Not used with `localDevMode`. */
  readonly caFile?: string | undefined;
  /** File with the bearer token, read for each connection. Default: the service account's token. Not used with `localDevMode`. */
  readonly tokenFile?: string | undefined;
  /** Signatures that are accepted. Default: `["HS256"]`. */
  readonly algorithms?: ReadonlyArray<"HS256" | "HS384" | "HS512"> | undefined;
  /** true: a key of 1 to 31 bytes is accepted, with a warning. It can be guessed from one token. Default: false. */
  readonly allowWeakSecret?: boolean | undefined;
  /**
   * true: a refused WebSocket is opened and closed with the reason `invalid url`, `wrong path prefix` or `invalid token`, as the
   * original does. Default: false, it is answered with 401, 403 or 404.
   */
  readonly closeAfterUpgrade?: boolean | undefined;
  /** What a second viewer of one machine does: take the first one's place (default), or be refused. */
  readonly consolePolicy?: "takeover" | "preserve" | undefined;
  /** true: a browser that opens a console's address as a page gets noVNC. Default: false. */
  readonly viewer?: boolean | undefined;
  /** Pages that may open a console: `"any"` (default; no foreign page knows the token), `"same-host"`, or origins such as `https://host`. */
  readonly allowedOrigins?: "any" | "same-host" | readonly string[] | undefined;
  /** The whole log on standard output, in this form. Default: warnings, errors and failed requests only, as lines on standard error. */
  readonly log?: "json" | "pretty" | undefined;
};

/** @internal What the thread is told. */
export type ThreadOrder =
  | { readonly kind: "start"; readonly settings: Settings; readonly isQuiet: boolean }
  | { readonly kind: "stop"; readonly drainMs: number; readonly close: SessionClose };

/** What was bound, and how to end it. */
type Server = { readonly port: number; stop(): Promise<void> };

/** One start, from its beginning until all of it is closed. */
type Serving = {
  readonly host: string;
  started: Promise<Server>;
  server: Server | null;
  stopped: Promise<void> | null;
  readonly ended: PromiseWithResolvers<void>;
};

/**
 * Adds token authentication to KubeVirt's console WebSockets: clients connect to `/TOKEN/VM`, and to no machine that their token
 * does not list.
 */
export class WebsocketProxy {
  readonly #settings: Settings;
  readonly #isQuiet: boolean;
  readonly #prefix: string;
  #serving: Serving | null = null;

  /** Opens nothing. @throws TypeError with every wrong, missing or unknown option, one a line; never with the secret */
  constructor(options: WebsocketProxyOptions) {
    this.#settings = readLibraryOptions(options, STRONG_SECRET_BYTES);
    this.#isQuiet = options.log === undefined;
    const console = this.#settings.routes.find(({ service }) => service.kind === "console");
    this.#prefix = console?.match.path.replace("/{token}/{vm}", "") ?? "";
  }

  /**
   * Serves in this event loop until {@link stopThread}. Source: seed 004, run.
   * @param host address or name to listen on; `0.0.0.0` all of IPv4, `""` all addresses
   * @param port 0 to 65535; 0: the kernel chooses, see {@link port}
   * @returns settles when all is closed
   * @throws (rejects) TypeError for a wrong argument; Error while this object serves already; Error with `code` (such as
   *   EADDRINUSE) when the address cannot be bound, and nothing is left open then
   */
  async run(host: string, port: number): Promise<void> {
    const serving = this.#begin(host, port, (settings) => this.#serveHere(settings));
    await serving.started;
    await serving.ended.promise;
  }

  /**
   * Serves in a Worker, apart from this event loop: however busy the program is, consoles go on. The process stays until
   * {@link stopThread}. A Worker that dies of an error ends with that error uncaught in this thread, and may be started again.
   * Source: seed 004, run_in_thread.
   * @param host as in {@link run}
   * @param port as in {@link run}
   * @returns resolves when it listens
   * @throws (rejects) as {@link run}
   */
  async runInThread(host: string, port: number): Promise<void> {
    await this.#begin(host, port, (settings) => this.#serveInThread(settings)).started;
  }

  /**
   * Ends either: no new connections, clients hear close code 1001 and get a second to answer it. Does nothing when nothing
   * runs; during a start it waits for that; called again it waits for the same end. Source: seed 004, stop_thread.
   * @returns resolves within about two seconds, when the port is free, all sockets are closed and the Worker is gone
   */
  async stopThread(): Promise<void> {
    const serving = this.#serving;
    if (serving === null) return;
    serving.stopped ??= this.#end(serving);
    await serving.stopped;
  }

  /** The port that is listened on; 0 when nothing runs. */
  get port(): number {
    return this.#serving?.server?.port ?? 0;
  }

  /** `ws://host:port` and the prefix, to be followed by `/TOKEN/VM`: where this machine reaches it. Empty when nothing runs. */
  get url(): string {
    return this.port === 0 ? "" : `ws://${hostForUrl(reachable(this.#serving?.host ?? ""))}:${this.port}${this.#prefix}`;
  }

  #begin(host: string, port: number, serve: (settings: Settings) => Promise<Server>): Serving {
    const http = { host: checkHost(host), port: checkPort(port) };
    if (this.#serving !== null) throw new Error("cannot start: this WebsocketProxy serves already (await stopThread() first)");
    const ended = Promise.withResolvers<void>();
    const started = serve({ ...this.#settings, http });
    const serving: Serving = { host: http.host, server: null, stopped: null, ended, started };
    serving.started = started.then((server) => {
      serving.server = server;
      return server;
    }, (error: unknown) => {
      this.#forget(serving);
      throw bindError(error, http);
    });
    this.#serving = serving;
    return serving;
  }

  async #end(serving: Serving): Promise<void> {
    // Whoever started it hears why it failed.
    const server = await serving.started.catch(() => null);
    try {
      await server?.stop();
    } finally {
      this.#forget(serving);
    }
  }

  #forget(serving: Serving): void {
    if (this.#serving === serving) this.#serving = null;
    serving.ended.resolve();
  }

  async #serveHere(settings: Settings): Promise<Server> {
    const app = new App(settings, this.#isQuiet ? { log: warningsOnStderr() } : {});
    const stop = async (): Promise<void> => {
      await app.stop(DRAIN_MS, GOING_AWAY);
      await app.log.end();
    };
    await app.start();
    return { port: app.port, stop };
  }

  async #serveInThread(settings: Settings): Promise<Server> {
    const thread = new Thread<number, ThreadOrder>(startWorker(), { kind: "start", settings, isQuiet: this.#isQuiet }, (error) => {
      if (this.#serving !== null) this.#forget(this.#serving);
      // Nobody waits for it, and it must not pass unseen. Thrown by a timer: after an error in a microtask, Bun may sleep until
      // something else happens before it ends the program.
      setTimeout(() => { throw new Error(`the thread of a WebsocketProxy ended unexpectedly: ${error.message}`, { cause: error }); });
    });
    const port = await thread.started;
    return { port, stop: () => thread.stop({ kind: "stop", drainMs: DRAIN_MS, close: GOING_AWAY }) };
  }
}

/** The file beside this one, in the sources as well as in the package. */
function startWorker(): Worker {
  const file = import.meta.url.endsWith(".ts") ? "./websocket-proxy-worker.ts" : "./websocket-proxy-worker.js";
  return new Worker(new URL(file, import.meta.url), { name: "websocket-proxy" });
}

function checkHost(host: unknown): string {
  const bare = typeof host === "string" ? host.replace(/^\[(.*)\]$/, "$1") : null;
  if (bare !== null && (bare === "" || isHost(bare))) return bare;
  const found = bare === null ? kindOf(host) : `"${host}"`;
  throw new TypeError(`cannot listen: expected a host such as "127.0.0.1", "0.0.0.0" or "", found ${found}`);
}

function checkPort(port: unknown): number {
  if (typeof port === "number" && Number.isInteger(port) && port >= 0 && port <= 65535) return port;
  throw new TypeError(`cannot listen: expected a port from 0 (the kernel chooses) to 65535, found ${typeof port === "number" ? port : kindOf(port)}`);
}

/** In the words of a program: the gateway's own message speaks of its flags. */
function bindError(error: unknown, { host, port }: Settings["http"]): unknown {
  const { message, code: own, cause } = error as NodeJS.ErrnoException;
  const code = own ?? (cause as NodeJS.ErrnoException | undefined)?.code;
  if (code === undefined) return error;
  const fault = bindFault(code, host);
  return Object.assign(new Error(fault === null ? message : `cannot listen on ${hostForUrl(host) || "*"}:${port}: ${fault}`, { cause: error }), { code });
}

function bindFault(code: string, host: string): string | null {
  if (code === "EACCES") return "not permitted (ports below 1024 need CAP_NET_BIND_SERVICE or root)";
  if (code !== "EADDRINUSE") return null;
  // Bun says the same of a name that it cannot resolve.
  const isName = host !== "" && host !== "localhost" && isIP(host) === 0;
  return `the address is in use by another server${isName ? ", or the name cannot be resolved" : ""}`;
}

/** An address that stands for all of them is none to connect to. */
function reachable(host: string): string {
  return host === "0.0.0.0" ? "127.0.0.1" : host === "" || host === "::" ? "localhost" : host;
}
