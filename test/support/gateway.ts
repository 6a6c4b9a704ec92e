// A gateway under test, whole: the real App with the settings that `route-gateway gateway` makes of its flags, certificates from a
// local authority, a root of its own; or the program itself in a process of its own. And the clients of both: curl, TLS, WebSocket,
// the admin API, the command line.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect as connectTcp } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { App } from "../../src/app.ts";
import { type GatewayOptions, loadGateway } from "../../src/config/gateway.ts";
import { Log } from "../../src/lib/log.ts";
import type { Pod } from "./pod.ts";
import { eventually } from "./eventually.ts";
import { MemorySink } from "./router.ts";
import { pattern, PeerServer } from "./tls-peer.ts";
import { type Handshake, WsClient } from "./ws-client.ts";

export const DOMAIN = "gw.test";

type Line = Readonly<Record<string, unknown>>;

/** What a client needs to know of a gateway, wherever it runs. */
export abstract class GatewayClient {
  abstract readonly root: string;
  abstract readonly httpPort: number;
  abstract readonly httpsPort: number;
  /** Without a slash at its end. */
  abstract readonly adminUrl: string;
  abstract readonly lines: readonly Line[];

  /** The local authority's own certificate. */
  get caFile(): string {
    return join(this.root, "local-authority/ca.pem");
  }

  /** Files of the registry. */
  get directory(): string {
    return join(this.root, "proxy");
  }

  /** Log lines with this message. */
  events(message: string): readonly Line[] {
    return this.lines.filter((line) => line["message"] === message);
  }

  /** Resolves when something of this message was logged. */
  async logged(message: string, fits: (line: Line) => boolean = () => true): Promise<Line> {
    const found = await eventually(`a log line "${message}"`, () => this.events(message).find(fits), (line) => line !== undefined);
    return found as Line;
  }

  admin(method: string, path: string, body?: unknown): Promise<Response> {
    const content = body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } };
    return fetch(`${this.adminUrl}${path}`, { method, ...content });
  }

  async json(path: string): Promise<unknown> {
    return (await this.admin("GET", path)).json();
  }

  /** Registers a name below {@link DOMAIN}, or a whole domain when it has a dot. */
  async set(id: string, name: string, backends: readonly string[], tlsPassthrough = false): Promise<void> {
    const answer = await this.admin("PUT", `/api/gateways/${encodeURIComponent(id)}`, { [name.includes(".") ? "fqdn" : "name"]: name, backends, tlsPassthrough });
    if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
  }

  async delete(id: string): Promise<void> {
    const answer = await this.admin("DELETE", `/api/gateways/${encodeURIComponent(id)}`);
    if (answer.status !== 204) throw new Error(`${answer.status}: ${await answer.text()}`);
  }

  /** A scrape. */
  async metrics(): Promise<string> {
    return (await this.admin("GET", "/metrics")).text();
  }

  /** The program's command line against this gateway. */
  cli(...args: string[]): Promise<Ended> {
    return program([...args, "--admin", this.adminUrl]);
  }

  /** curl against `https://name/path`, which it resolves to this gateway. @throws Error when curl does not end with 0 */
  async curl(name: string, path: string, ...options: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.tryCurl(name, path, ...options);
    if (code !== 0) throw new Error(`curl ended with ${code}: ${stderr}`);
    return stdout;
  }

  tryCurl(name: string, path: string, ...options: string[]): Promise<Ended> {
    const { httpsPort } = this;
    // The last --cacert counts.
    return run(["curl", "-sS", "--max-time", "30", "--noproxy", "*", "--cacert", this.caFile, "--resolve", `${name}:${httpsPort}:127.0.0.1`, ...options, `https://${name}:${httpsPort}${path}`]);
  }

  /** A TLS connection whose peer was verified for `servername`. @throws Error with the alert, for example */
  connect(servername: string, ca: string = readFileSync(this.caFile, "utf8")): Promise<TLSSocket> {
    const socket = connectTls({ host: "127.0.0.1", port: this.httpsPort, servername, ca });
    return new Promise((resolve, reject) => {
      socket.once("secureConnect", () => resolve(socket));
      socket.on("error", reject);
    });
  }

  /** Through TLS. @throws Error when the answer is not 101 */
  async webSocket(name: string, path = "/", options: Handshake = {}): Promise<WsClient> {
    const client = WsClient.over(await this.connect(name), this.httpsPort, path, { ...options, headers: { Host: name, ...options.headers } });
    await client.until(() => client.head !== "" || client.isClosed);
    if (client.status !== 101) throw new Error(`expected 101, got ${JSON.stringify(client.head.split("\r\n")[0])}`);
    return client;
  }

  /** Plain HTTP with any Host. Redirects are not followed. */
  plain(path: string, host: string): Promise<Response> {
    return fetch(`http://127.0.0.1:${this.httpPort}${path}`, { headers: { host }, redirect: "manual" });
  }
}

export type TestGatewayOptions = Partial<GatewayOptions> & {
  /** As `tls.hsts` of a file has it. */
  readonly hstsS?: number;
};

export class TestGateway extends GatewayClient {
  private constructor(readonly app: App, readonly root: string, private readonly sink: MemorySink) {
    super();
  }

  static async start({ hstsS = 0, ...options }: TestGatewayOptions = {}): Promise<TestGateway> {
    const root = options.root ?? makeRoot();
    const settings = loadGateway({
      env: {}, root, domain: DOMAIN, http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0",
      isLocal: true, allowLoopbackBackends: true, checkDomains: false, ...options,
    });
    const sink = new MemorySink();
    const app = new App({ ...settings, tls: settings.tls === null ? null : { ...settings.tls, hstsS } }, { log: new Log("json", sink) });
    await app.start();
    return new TestGateway(app, root, sink);
  }

  get httpPort(): number {
    return this.app.port;
  }

  get httpsPort(): number {
    return Number(new URL(this.app.addresses.https ?? "").port);
  }

  get adminUrl(): string {
    return this.app.addresses.admin ?? "";
  }

  get lines(): Line[] {
    this.app.log.close();
    return parseLines(this.sink.text);
  }

  async stop(): Promise<void> {
    await this.app.stop(0);
    rmSync(this.root, { recursive: true, force: true });
  }
}

export class GatewayProcess extends GatewayClient {
  /** Both outputs. */
  log = "";
  readonly #ended: Promise<number>;

  private constructor(readonly root: string, readonly child: Bun.Subprocess<"ignore", "pipe", "pipe">) {
    super();
    // The last lines may arrive after the end of the process.
    this.#ended = Promise.all([child.exited, this.#read(child.stdout), this.#read(child.stderr)]).then(([code]) => code);
  }

  /** @param flags beside the addresses, which the kernel chooses, and the root */
  static async start(root: string, ...flags: string[]): Promise<GatewayProcess> {
    const free = ["--http", "--https", "--admin"].filter((flag) => !flags.includes(flag)).flatMap((flag) => [flag, "127.0.0.1:0"]);
    const child = Bun.spawn([process.execPath, MAIN, "gateway", "--root", root, ...free, ...flags], { env: ENV, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
    const started = new GatewayProcess(root, child);
    await eventually("the gateway to listen", () => started.isListening || child.exitCode !== null, (isSo) => isSo);
    if (child.exitCode !== null) throw new Error(`gateway ended with ${await started.#ended}: ${started.log}`);
    return started;
  }

  /** For trying things out, as the tests do. */
  static startLocal(root: string, ...flags: string[]): Promise<GatewayProcess> {
    return GatewayProcess.start(root, "--domain", DOMAIN, "--tls-local", "--allow-loopback-backends", "--skip-domain-check", ...flags);
  }

  get isListening(): boolean {
    return /"http":"/.test(this.log);
  }

  get httpPort(): number {
    return Number(/"http":"[^"]*:(\d+)"/.exec(this.log)?.[1]);
  }

  get httpsPort(): number {
    return Number(/"https":"[^"]*:(\d+)"/.exec(this.log)?.[1]);
  }

  get adminUrl(): string {
    return /"admin":"([^"]*)"/.exec(this.log)?.[1] ?? "";
  }

  get lines(): Line[] {
    return parseLines(this.log);
  }

  signal(name: NodeJS.Signals): void {
    this.child.kill(name);
  }

  /** The exit code; what a killed one has is above 128. */
  async exit(): Promise<number> {
    await eventually("the end of the gateway", () => this.child.exitCode ?? this.child.signalCode, (end) => end !== null, 20_000);
    return this.#ended;
  }

  async stop(): Promise<void> {
    if (this.child.exitCode === null) this.child.kill("SIGKILL");
    await this.#ended;
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of stream) this.log += decoder.decode(chunk, { stream: true });
  }
}

/** A new directory with nothing in it. */
export function makeRoot(): string {
  return mkdtempSync(join(tmpdir(), "route-gateway-"));
}

export type Ended = { readonly code: number; readonly stdout: string; readonly stderr: string };

const MAIN = join(import.meta.dir, "../../src/main.ts");
const ENV = { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "" };

/** `route-gateway ...` to its end. @param env beside what every program has */
export function program(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> {
  return run([process.execPath, MAIN, ...args], env);
}

/** A program to its end; servers under test live in this process, so it must not be waited for synchronously. */
export async function run(command: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> {
  const child = Bun.spawn([...command], { env: { ...ENV, ...env }, stdin: "ignore", stdout: "pipe", stderr: "pipe", timeout: 60_000 });
  const [code, stdout, stderr] = await Promise.all([child.exited, child.stdout.text(), child.stderr.text()]);
  return { code, stdout, stderr };
}

/** A backend's address as it is registered where TLS ends at the gateway. */
export function backendOf(pod: Pod): string {
  const [port] = pod.ports.values();
  return `http://${pod.address}:${port}`;
}

/** A body of `pieces` × 100 kB, one piece every 10 ms. */
export function paced(pieces: number): { readonly answer: Parameters<Pod["answer"]>[0]; readonly body: Buffer } {
  const body = pattern(pieces * 100_000);
  return {
    body,
    answer: (seen, connection) => {
      if (seen.headers["upgrade"] !== undefined) return connection.accept(seen);
      connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`);
      let piece = 0;
      const timer = setInterval(() => {
        connection.write(body.subarray(piece * 100_000, (piece + 1) * 100_000));
        piece += 1;
        if (piece === pieces || connection.isClosed) clearInterval(timer);
      }, 10);
    },
  };
}

/** A port of this machine that nobody listens on. */
export function closedPort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  listener.stop(true);
  return listener.port;
}

/** True when nobody accepts connections there. */
export function isClosed(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connectTcp(port, "127.0.0.1");
  socket.once("connect", () => { socket.destroy(); resolve(false); });
  socket.once("error", () => resolve(true));
  return promise;
}

/** What curl begins a connection to this name with, whole. */
export async function clientHello(name: string): Promise<Buffer> {
  const ear = new PeerServer();
  const child = Bun.spawn(["curl", "-s", "--max-time", "5", "--noproxy", "*", "--resolve", `${name}:${ear.port}:127.0.0.1`, `https://${name}:${ear.port}/`], { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
  const peer = await ear.peer();
  // A record says its own length.
  const bytes = (): Buffer => Buffer.from(peer.text, "latin1");
  await peer.until(() => peer.receivedBytes > 5 && peer.receivedBytes >= 5 + bytes().readUInt16BE(3));
  ear.stop();
  await child.exited;
  return bytes().subarray(0, 5 + bytes().readUInt16BE(3));
}

export const HAS_NGINX = Bun.which("nginx") !== null;

/** A real nginx that speaks TLS with a certificate of its own, on 127.0.0.1. */
export class Nginx {
  private constructor(readonly port: number, private readonly directory: string, private readonly child: Bun.Subprocess) {}

  /** @param server lines of its only server, beside the address and the certificate */
  static async start(identity: { readonly key: string; readonly cert: string }, server: string): Promise<Nginx> {
    const directory = mkdtempSync(join(tmpdir(), "route-nginx-"));
    const port = closedPort();
    mkdirSync(join(directory, "logs"));
    writeFileSync(join(directory, "key.pem"), identity.key, { mode: 0o600 });
    writeFileSync(join(directory, "cert.pem"), identity.cert);
    const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `${kind}_temp_path ${directory}/${kind};`).join(" ");
    writeFileSync(join(directory, "nginx.conf"), `
      daemon off; master_process off; pid ${directory}/pid; error_log stderr;
      events {}
      http {
        access_log off; ${paths} client_max_body_size 100m;
        server { listen 127.0.0.1:${port} ssl http2; ssl_certificate ${directory}/cert.pem; ssl_certificate_key ${directory}/key.pem; root ${directory}; ${server} }
      }`);
    const child = Bun.spawn(["nginx", "-p", directory, "-c", join(directory, "nginx.conf")], { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
    const nginx = new Nginx(port, directory, child);
    await eventually("nginx", () => isClosed(port), (isIt) => !isIt);
    return nginx;
  }

  /** A file that it serves. */
  put(name: string, content: Uint8Array): void {
    writeFileSync(join(this.directory, name), content);
  }

  async stop(): Promise<void> {
    this.child.kill("SIGKILL");
    await this.child.exited;
    rmSync(this.directory, { recursive: true, force: true });
  }
}

function parseLines(text: string): Line[] {
  return text.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as Line);
}
