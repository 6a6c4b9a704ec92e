// The TLS front under test as the program builds it: a real Proxy behind real servers, plain HTTP beside it, a registry that is a
// map, certificates of a test's own authority. What the front logs is kept, and so is what a client would see of it.

import { writeFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { readCertificate } from "../../src/certificate/read.ts";
import type { Certificate } from "../../src/certificate.ts";
import { parseSettings } from "../../src/config/parse.ts";
import { HttpEntrypoint, IDLE_TIMEOUT_S } from "../../src/entrypoint/http.ts";
import { HttpsServers } from "../../src/entrypoint/https.ts";
import { TlsFront, type TlsFrontLog, type TlsRoute } from "../../src/entrypoint/tls.ts";
import type { Backend, Gateway } from "../../src/gateway.ts";
import { Sweeper } from "../../src/lib/deadlines.ts";
import { Log } from "../../src/lib/log.ts";
import { Edge } from "../../src/proxy/edge.ts";
import { GatewayRoutes, hostName } from "../../src/proxy/gateways.ts";
import { Proxy } from "../../src/proxy/proxy.ts";
import { Snapshot } from "../../src/proxy/snapshot.ts";
import { TokenFront } from "../../src/token/token-front.ts";
import { CertificateAuthority } from "./certificates.ts";

const CONFIG = `
entrypoints: { http: "127.0.0.1:0" }
upstream: { connectTimeout: 1s }
services: { table: { text: "the table\\n" } }
routes:
  - { path: /table, service: table }
`;

export type TlsGatewayOptions = {
  readonly tunnelIdleTimeoutMs?: number;
  readonly connectTimeoutMs?: number;
  readonly peekingLimit?: number;
  /** Certificates that are served at a time. */
  readonly servers?: number;
  readonly redirectPort?: number | null;
};

export type Refused = { readonly client: string; readonly serverName: string | null; readonly reason: string };
export type Tunnelled = Parameters<TlsFrontLog["tunnelled"]>[0];

export class TlsGateway {
  readonly authority = new CertificateAuthority("tests");
  /** By domain; immutable for its readers, replaced as a whole. */
  gateways: ReadonlyMap<string, Gateway> = new Map();
  certificates: readonly Certificate[] = [];
  /** Whose certificate unknown names get; null: none. */
  fallback: Certificate | null = null;
  readonly challenges = new Map<string, string>();
  /** Added to the clock that deadlines are looked at with, ms. */
  skewMs = 0;
  readonly refused: Refused[] = [];
  readonly tunnelled: Tunnelled[] = [];
  /** Bytes by service, as they were said to have moved. */
  readonly moved = new Map<string, { in: number; out: number }>();
  readonly routes: GatewayRoutes;
  readonly servers: HttpsServers;
  readonly front: TlsFront;
  readonly http: HttpEntrypoint;
  readonly proxy: Proxy;
  readonly sweeper = new Sweeper(() => performance.now() + this.skewMs);
  readonly #directory = mkdtempSync(join(tmpdir(), "route-tls-"));
  readonly #log: Log;
  readonly #snapshot: Snapshot;
  #text = "";

  constructor(options: TlsGatewayOptions = {}) {
    const parsed = parseSettings(CONFIG, "routes.yaml", { env: {}, readResolvConf: () => "nameserver 127.0.0.1\n" });
    if (!("settings" in parsed)) throw new Error(JSON.stringify(parsed.mistakes));
    const { settings } = parsed;
    this.#log = new Log("json", { write: (text, done) => { this.#text += text; queueMicrotask(done); }, writeSync: (text) => { this.#text += text; } });
    this.#snapshot = new Snapshot(settings, { tokens: TokenFront.empty(), sweeper: this.sweeper, log: this.#log, createCache: () => null });
    const own = this; // eslint-disable-line -- a getter of the source has a `this` of its own
    this.routes = new GatewayRoutes({ get gateways() { return own.gateways; } }, 10_000, () => performance.now() + this.skewMs);
    const edge = new Edge({
      gateways: this.routes, redirectPort: options.redirectPort === undefined ? 443 : options.redirectPort,
      challenge: (token) => this.challenges.get(token) ?? null,
      certificateFor: (host) => this.certificateFor(host),
      defaultName: null,
    });
    this.proxy = new Proxy(this.#snapshot, this.#log, this.sweeper, IDLE_TIMEOUT_S, edge, this.routes);
    this.http = new HttpEntrypoint({ host: "127.0.0.1", port: 0 }, settings, this.proxy);
    this.servers = options.servers === undefined ? new HttpsServers(settings, this.proxy) : new HttpsServers(settings, this.proxy, options.servers);
    this.front = new TlsFront({
      listen: { host: "127.0.0.1", port: 0 }, connectTimeoutMs: options.connectTimeoutMs ?? 1000, servers: this.servers,
      tunnelIdleTimeoutMs: options.tunnelIdleTimeoutMs ?? 3_600_000,
      ...(options.peekingLimit === undefined ? {} : { peekingLimit: options.peekingLimit }),
      route: (serverName) => this.#route(serverName),
      failed: (backend) => this.routes.failed(backend),
      moved: (service, bytesIn, bytesOut) => {
        const before = this.moved.get(service) ?? { in: 0, out: 0 };
        this.moved.set(service, { in: before.in + bytesIn, out: before.out + bytesOut });
      },
      log: {
        refused: (client, serverName, reason) => this.refused.push({ client, serverName, reason }),
        tunnelled: (tunnel) => this.tunnelled.push(tunnel),
      },
    }, this.sweeper);
    writeFileSync(this.caFile, this.authority.pem);
  }

  get port(): number {
    return this.front.port;
  }

  get caFile(): string {
    return join(this.#directory, "ca.crt");
  }

  /** A file of this gateway's own, removed with it. */
  file(name: string): string {
    return join(this.#directory, name);
  }

  /** Access lines so far. */
  get lines(): Array<Record<string, unknown>> {
    this.#log.close();
    return this.#text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  register(fqdn: string, backends: readonly Backend[], isPassthrough = false): Gateway {
    const gateway: Gateway = { id: `workload-${fqdn}`, service: `service-${fqdn}`, fqdn, isPassthrough, backends, resolver: null, certificateNames: [] };
    this.gateways = new Map([...this.gateways, [fqdn, gateway]]);
    return gateway;
  }

  /** A new certificate for these names, which takes the place of one for the same names. */
  certify(...names: string[]): Certificate {
    const { cert, key } = this.authority.sign({ names: names.map((name) => `DNS:${name}`) });
    const certificate = readCertificate(cert, key);
    this.certificates = [...this.certificates.filter((other) => other.names.join() !== certificate.names.join()), certificate];
    this.servers.keep(this.certificates);
    return certificate;
  }

  certificateFor(host: string): Certificate | null {
    const wildcard = `*${host.slice(host.indexOf("."))}`;
    return this.certificates.find(({ names }) => names.includes(host)) ?? this.certificates.find(({ names }) => names.includes(wildcard)) ?? null;
  }

  #route(serverName: string | null): TlsRoute | null {
    const match = serverName === null ? null : this.routes.match(serverName);
    if (match?.route.service.kind === "gateway" && match.route.service.gateway.isPassthrough) {
      return { kind: "passthrough", service: match.route.service.name, backends: this.routes.targets(match.route.service) };
    }
    const certificate = (serverName === null ? null : this.certificateFor(hostName(serverName))) ?? this.fallback;
    return certificate === null ? null : { kind: "terminate", certificate };
  }

  // ---- clients

  /** A TLS connection whose peer was verified for `servername`. */
  async connect(servername: string, options: ConnectionOptions = {}): Promise<TLSSocket> {
    const socket = connect({ host: "127.0.0.1", port: this.port, servername, ca: this.authority.pem, ...options });
    await new Promise<void>((resolve, reject) => {
      socket.once("secureConnect", resolve);
      socket.once("error", reject);
    });
    socket.on("error", () => {});
    return socket;
  }

  /** curl against `https://name/...`, which it resolves to the front. @returns its standard output */
  async curl(name: string, path: string, ...options: string[]): Promise<string> {
    const { code, stdout, stderr } = await run(["curl", "-sS", "--max-time", "30", "--noproxy", "*", "--cacert", this.caFile, "--resolve", `${name}:${this.port}:127.0.0.1`, ...options, `https://${name}:${this.port}${path}`]);
    if (code !== 0) throw new Error(`curl ended with ${code}: ${stderr}`);
    return stdout;
  }

  /** `openssl s_client`, which says both on its two outputs. */
  async openssl(options: readonly string[], input = ""): Promise<string> {
    const { stdout, stderr } = await run(["openssl", "s_client", "-connect", `127.0.0.1:${this.port}`, "-CAfile", this.caFile, ...options], input);
    return stdout + stderr;
  }

  async stop(): Promise<void> {
    this.front.stop();
    await Promise.all([this.servers.stop(), this.http.stop()]);
    this.#snapshot.release(null);
    this.#snapshot.pool.close();
    this.sweeper.close();
    this.#log.close();
    this.authority.remove();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** What a real client sends first. */
export async function helloOf(servername: string, options: ConnectionOptions = {}): Promise<Buffer> {
  const { promise, resolve } = Promise.withResolvers<Buffer>();
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: (socket, chunk) => { resolve(Buffer.from(chunk)); socket.terminate(); }, error() {} } });
  const client = connect({ host: "127.0.0.1", port: listener.port, servername, rejectUnauthorized: false, ...options });
  client.on("error", () => {});
  const hello = await promise;
  client.destroy();
  listener.stop(true);
  return hello;
}

/** A program to its end; the server under test lives in this process, so it must not be waited for synchronously. */
export async function run(command: readonly string[], input = ""): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = Bun.spawn([...command], { stdin: Buffer.from(input), stdout: "pipe", stderr: "pipe", timeout: 60_000 });
  const [code, stdout, stderr] = await Promise.all([child.exited, child.stdout.text(), child.stderr.text()]);
  return { code, stdout, stderr };
}
