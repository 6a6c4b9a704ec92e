// A Kubernetes API as far as KubeVirt's consoles need one: the protocol over real sockets (TLS with an authority of its own,
// or plain as `kubectl proxy` is), service account tokens, RBAC, `Status` objects, one viewer a machine and subresource, and
// bytes bridged to a real server (Xvnc, an echo). It knows no other resource, and keeps every request for tests to look at.

import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Server, ServerWebSocket, Socket } from "bun";
import { CertificateAuthority, type ServerIdentity } from "./certificates.ts";

export { HAS_OPENSSL } from "./certificates.ts";
export { CONSOLE_SECRET, ConsoleRouter, consoleRouter, consoleTarget, consoleToken, NAMESPACE } from "./kubernetes-router.ts";

export const KUBEVIRT_PROTOCOL = "plain.kubevirt.io";
/** Who the tests' token belongs to, as RBAC's messages name it. */
export const SERVICE_ACCOUNT = "system:serviceaccount:route:route-gateway";

const OWN_NAMES = ["IP:127.0.0.1", "DNS:localhost", "DNS:kubernetes.default.svc"];
const CONSOLE_PATH = /^\/apis\/subresources\.kubevirt\.io\/(?:v1|v1alpha3)\/namespaces\/([^/]+)\/virtualmachineinstances\/([^/]+)\/(vnc|console)$/;

export type TcpAddress = { readonly host: string; readonly port: number };

export type Vm = {
  readonly namespace: string;
  readonly name: string;
  readonly running?: boolean;
  /** What its screen and its serial line are; an echo by default. */
  readonly vnc?: TcpAddress;
  readonly console?: TcpAddress;
};

export type SeenRequest = {
  readonly method: string;
  readonly path: string;
  /** With its question mark; "" without one. */
  readonly query: string;
  readonly headers: Record<string, string>;
  readonly bearer: string | null;
};

export type ApiOptions = {
  readonly tls?: boolean;
  /** Subject alternative names of the server's certificate. */
  readonly names?: readonly string[];
  readonly isExpired?: boolean;
};

type Answer = (request: Request) => Response | Promise<Response>;

export class KubernetesApi {
  readonly seen: SeenRequest[] = [];
  readonly files: { readonly ca: string; readonly token: string };
  readonly #directory = mkdtempSync(join(tmpdir(), "route-kubernetes-"));
  readonly #vms = new Map<string, Vm>();
  readonly #denied = new Set<string>();
  /** The viewer of each machine's subresource. */
  readonly #viewers = new Map<string, Viewer>();
  readonly #open = new Set<Viewer>();
  readonly #echo = startEcho();
  #authority: CertificateAuthority | null;
  #token = "";
  #answer: Answer | null = null;
  #server: Server<Viewer>;

  private constructor(private readonly options: ApiOptions) {
    this.files = { ca: join(this.#directory, "ca.crt"), token: join(this.#directory, "token") };
    this.#authority = options.tls === false ? null : this.#newAuthority();
    this.rotateToken();
    this.#server = this.#listen(0);
  }

  static async start(options: ApiOptions = {}): Promise<KubernetesApi> {
    return new KubernetesApi(options);
  }

  get port(): number {
    return this.#server.port as number;
  }

  get url(): string {
    return `${this.#authority === null ? "ws" : "wss"}://127.0.0.1:${this.port}`;
  }

  /** What `route-gateway consoles` is told about it. */
  get env(): Record<string, string> {
    const local: Record<string, string> = this.#authority === null ? { LOCAL_DEV_MODE: "true" } : {};
    return { WS_REMOTE_URL: this.url, ROUTE_CA_FILE: this.files.ca, ROUTE_TOKEN_FILE: this.files.token, ...local };
  }

  /** The authority behind the server's certificate. @throws Error when it is plain */
  get authority(): CertificateAuthority {
    if (this.#authority === null) throw new Error("a plain API has no certificate");
    return this.#authority;
  }

  /** Bridged sessions now. */
  get open(): number {
    return this.#open.size;
  }

  /** Adds a machine, or replaces the one of its name. */
  addVm(vm: Vm): void {
    this.#vms.set(`${vm.namespace}/${vm.name}`, vm);
  }

  /** Overrides every answer, credentials or not, until null. */
  answer(next: Answer | null): void {
    this.#answer = next;
  }

  /** As the kubelet does it: from now on the file's new content is the only token. @returns it */
  rotateToken(): string {
    this.#token = `token-${randomBytes(24).toString("base64url")}`;
    writeFileSync(this.files.token, `${this.#token}\n`);
    return this.#token;
  }

  /** A new authority, in the file and behind the server's certificate, on the same port. Sessions end. */
  async rotateCa(): Promise<void> {
    this.authority.remove();
    const port = this.port;
    await this.#server.stop(true);
    this.#authority = this.#newAuthority();
    this.#server = this.#listen(port);
  }

  /** RBAC: `get` on `virtualmachineinstances/<subresource>`. */
  grant(subresource: string, allowed: boolean): void {
    if (allowed) this.#denied.delete(subresource);
    else this.#denied.add(subresource);
  }

  async stop(): Promise<void> {
    for (const viewer of this.#open) viewer.end();
    await this.#server.stop(true);
    this.#echo.stop(true);
    this.#authority?.remove();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #newAuthority(): CertificateAuthority {
    const authority = new CertificateAuthority();
    writeFileSync(this.files.ca, authority.pem);
    return authority;
  }

  #listen(port: number): Server<Viewer> {
    const { names = OWN_NAMES, isExpired = false } = this.options;
    const tls: { tls?: ServerIdentity } = this.#authority === null ? {} : { tls: this.#authority.sign({ names, isExpired }) };
    return Bun.serve<Viewer>({
      hostname: "127.0.0.1", port, ...tls,
      fetch: (request, server) => this.#handle(request, server),
      websocket: {
        perMessageDeflate: false, backpressureLimit: 0, maxPayloadLength: 64 * 1024 * 1024,
        open: (ws) => ws.data.opened(ws),
        message: (ws, data) => ws.data.message(typeof data === "string" ? Buffer.from(data) : data),
        drain: (ws) => ws.data.drained(),
        close: (ws) => ws.data.end(),
      },
    });
  }

  async #handle(request: Request, server: Server<Viewer>): Promise<Response | undefined> {
    const { pathname: path, search: query } = new URL(request.url);
    const bearer = /^Bearer (.+)$/.exec(request.headers.get("authorization") ?? "")?.[1] ?? null;
    this.seen.push({ method: request.method, path, query, headers: Object.fromEntries(request.headers), bearer });
    if (this.#answer !== null) return this.#answer(request);
    // In the order of the real one: who asks, may he, is it there, can it be done.
    if (this.#authority !== null && bearer !== this.#token) return status(401, "Unauthorized", "Unauthorized");
    const [, namespace = "", name = "", subresource = ""] = CONSOLE_PATH.exec(path) ?? [];
    if (namespace === "") return status(404, "NotFound", "the server could not find the requested resource");
    if (this.#denied.has(subresource)) return status(403, "Forbidden", forbidden(namespace, name, subresource));
    const vm = this.#vms.get(`${namespace}/${name}`);
    if (vm === undefined) return status(404, "NotFound", `virtualmachineinstance.kubevirt.io "${name}" not found`);
    if (vm.running === false) return status(400, "BadRequest", "VMI is not running");
    if (!offers(request, KUBEVIRT_PROTOCOL)) return status(400, "BadRequest", `subprotocol ${KUBEVIRT_PROTOCOL} was not offered`);
    const key = `${namespace}/${name}/${subresource}`;
    if (query === "?preserveSession=true" && this.#viewers.has(key)) {
      return status(503, "ServiceUnavailable", "Active VNC connection. Request denied.");
    }
    return this.#bridge(request, server, key, vm[subresource as "vnc" | "console"] ?? { host: "127.0.0.1", port: this.#echo.port });
  }

  async #bridge(request: Request, server: Server<Viewer>, key: string, address: TcpAddress): Promise<Response | undefined> {
    const viewer = new Viewer((ended) => {
      this.#open.delete(ended);
      if (this.#viewers.get(key) === ended) this.#viewers.delete(key);
    });
    try {
      await viewer.connect(address);
    } catch (error) {
      return status(500, "InternalError", `dialing VM at ${address.host}:${address.port}: ${(error as Error).message}`);
    }
    const before = this.#viewers.get(key);
    this.#viewers.set(key, viewer);
    this.#open.add(viewer);
    if (!server.upgrade(request, { data: viewer, headers: { "Sec-WebSocket-Protocol": KUBEVIRT_PROTOCOL } })) {
      viewer.end();
      return status(400, "BadRequest", "the client is not using the websocket protocol");
    }
    before?.end();
    return undefined;
  }
}

/** One viewer: binary frames on one side, the bytes of a TCP connection on the other; who does not read stops the other. */
class Viewer {
  #socket: Socket<Viewer> | null = null;
  #ws: ServerWebSocket<Viewer> | null = null;
  /** Frames that the TCP side has not taken yet. */
  #waiting: Buffer[] = [];
  #isOver = false;

  constructor(private readonly onEnd: (viewer: Viewer) => void) {}

  async connect({ host, port }: TcpAddress): Promise<void> {
    this.#socket = await Bun.connect<Viewer>({
      hostname: host, port, data: this,
      socket: {
        // A server that speaks first has to wait for the upgrade.
        open: (socket) => { socket.pause(); },
        data: (_socket, chunk) => this.#fromVm(chunk),
        drain: () => this.#flush(),
        close: () => this.end(),
        error: () => this.end(),
      },
    });
  }

  opened(ws: ServerWebSocket<Viewer>): void {
    this.#ws = ws;
    if (this.#isOver) return ws.close(1000, "");
    this.#socket?.resume();
  }

  message(data: Buffer): void {
    this.#waiting.push(Buffer.from(data));
    this.#flush();
    if (this.#waiting.length > 0) this.#ws?.pause();
  }

  drained(): void {
    this.#socket?.resume();
  }

  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#ws?.close(1000, "");
    this.#socket?.end();
    this.onEnd(this);
  }

  #fromVm(chunk: Buffer): void {
    if (this.#ws?.sendBinary(chunk) === -1) this.#socket?.pause();
  }

  #flush(): void {
    while (this.#waiting.length > 0) {
      const first = this.#waiting[0] as Buffer;
      const taken = this.#socket?.write(first, 0, first.length) ?? -1;
      if (taken < 0) return;
      if (taken < first.length) {
        this.#waiting[0] = first.subarray(taken);
        return;
      }
      this.#waiting.shift();
    }
    this.#ws?.resume();
  }
}

/** A refusal as the API machinery words it. */
export function status(code: number, reason: string, message: string): Response {
  return Response.json({ kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message, reason, code }, { status: code });
}

function forbidden(namespace: string, name: string, subresource: string): string {
  return `virtualmachineinstances.subresources.kubevirt.io "${name}" is forbidden: User "${SERVICE_ACCOUNT}" cannot get resource `
    + `"virtualmachineinstances/${subresource}" in API group "subresources.kubevirt.io" in the namespace "${namespace}"`;
}

function offers(request: Request, protocol: string): boolean {
  return (request.headers.get("sec-websocket-protocol") ?? "").split(",").some((name) => name.trim() === protocol);
}

type Echo = { waiting: Buffer[] };

/** Every byte comes back; a side that does not read stops it. */
function startEcho(): Bun.TCPSocketListener<Echo> {
  const flush = (socket: Socket<Echo>): void => {
    const { waiting } = socket.data;
    while (waiting.length > 0) {
      const first = waiting[0] as Buffer;
      const taken = socket.write(first, 0, first.length);
      if (taken < first.length) {
        if (taken > 0) waiting[0] = first.subarray(taken);
        return void socket.pause();
      }
      waiting.shift();
    }
    socket.resume();
  };
  return Bun.listen<Echo>({
    hostname: "127.0.0.1", port: 0,
    socket: {
      open: (socket) => { socket.data = { waiting: [] }; },
      data: (socket, chunk) => { socket.data.waiting.push(chunk); flush(socket); },
      drain: flush,
      error: () => {},
    },
  });
}
