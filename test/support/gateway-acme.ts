// A gateway with a real CA behind it: pebble with a record of what it was asked for, the real App or the program itself with
// certificates by ACME, and a clock that can be put forward. What a client sees of it is in gateway.ts.

import { X509Certificate } from "node:crypto";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { App } from "../../src/app.ts";
import type { Clock } from "../../src/certificate/clock.ts";
import { type GatewayOptions, loadGateway } from "../../src/config/gateway.ts";
import { Log } from "../../src/lib/log.ts";
import type { TlsSettings } from "../../src/settings.ts";
import { eventually } from "./eventually.ts";
import { GatewayClient, GatewayProcess, makeRoot, run } from "./gateway.ts";
import { Pebble } from "./pebble.ts";
import { MemorySink } from "./router.ts";

export type CaOptions = {
  /** Of a certificate; five years unless told. */
  readonly validityS?: number;
  /** Where pebble asks instead of its own mock DNS. */
  readonly dnsPort?: number;
};

export class TestCa {
  /** Where http-01 is validated: the gateway has to listen there. */
  readonly httpPort = lastingPort();
  #pebble: Pebble | null = null;
  #process: Subprocess | null = null;
  #starts = 0;

  private constructor() {}

  static async start(options: CaOptions = {}): Promise<TestCa> {
    const ca = new TestCa();
    ca.#pebble = await Pebble.start({ httpPort: ca.httpPort });
    if (options.validityS !== undefined || options.dnsPort !== undefined) await ca.up(options);
    else await ca.#keepRoot();
    return ca;
  }

  get pebble(): Pebble {
    if (this.#pebble === null) throw new Error("pebble is not there");
    return this.#pebble;
  }

  get directoryUrl(): string {
    return this.pebble.directoryUrl;
  }

  /** The root of what it issues: what clients of the gateway trust. Pebble makes a new one at every start; older ones stay trusted. */
  get rootFile(): string {
    return join(this.pebble.directory, "roots.pem");
  }

  /** What `route-gateway gateway` is told about it. */
  get flags(): string[] {
    return ["--acme-directory", this.directoryUrl, "--acme-ca", this.pebble.caFile];
  }

  /** Nobody listens at its address from now on; it forgets everything. */
  async down(): Promise<void> {
    await this.pebble.stopCa();
    this.#process?.kill("SIGKILL");
    await this.#process?.exited;
    this.#process = null;
  }

  /** Again, without what it knew. */
  async up({ validityS, dnsPort = this.pebble.dnsPort }: CaOptions = {}): Promise<void> {
    await this.down();
    const { directory } = this.pebble;
    const config = JSON.parse(readFileSync(join(directory, "pebble.json"), "utf8")) as { pebble: Record<string, unknown> };
    const file = join(directory, "again.json");
    writeFileSync(file, JSON.stringify({ pebble: { ...config.pebble, ...(validityS === undefined ? {} : { certificateValidityPeriod: validityS }) } }));
    this.#starts += 1;
    const log = Bun.file(this.#logFile);
    this.#process = Bun.spawn(["pebble", "-strict", "-config", file, "-dnsserver", `127.0.0.1:${dnsPort}`], {
      stdin: "ignore", stdout: log, stderr: log,
      env: { PEBBLE_VA_NOSLEEP: "1", PEBBLE_WFE_NONCEREJECT: "50", PEBBLE_AUTHZREUSE: "0" },
    });
    await eventually("pebble", () => this.pebble.isUp(), Boolean);
    await this.#keepRoot();
  }

  /** Names that it went to look for, each once for each time, since its start. */
  get asked(): string[] {
    return [...this.log.matchAll(/Pulled a task .*?Value:"([^"]+)"/g)].map(([, name = ""]) => name);
  }

  /** Orders since its start, and certificates that it issued. */
  get orders(): number {
    return this.log.match(/Added order /g)?.length ?? 0;
  }

  get issued(): number {
    return this.log.match(/Issued certificate /g)?.length ?? 0;
  }

  get log(): string {
    return readFileSync(this.#logFile, "utf8");
  }

  /** For names that are not on 127.0.0.1. */
  async setAddress(name: string, address: string): Promise<void> {
    await this.#manage("clear-a", { host: `${name}.` }); // The other adds.
    await this.#manage("add-a", { host: `${name}.`, addresses: [address] });
  }

  /** TXT questions that the mock DNS was asked about a name. */
  async txtQuestions(name: string): Promise<number> {
    const history = await (await this.#manage("dns-request-history", { host: name })).json() as ReadonlyArray<{ Question: { Qtype: number } }>;
    return history.filter(({ Question }) => Question.Qtype === 16).length;
  }

  async stop(): Promise<void> {
    if (this.#pebble === null) return;
    await this.down();
    await this.#pebble.stop();
  }

  get #logFile(): string {
    return join(this.pebble.directory, this.#starts === 0 ? "pebble.log" : `pebble-${this.#starts}.log`);
  }

  /** From pebble's other address, which may open a little later. */
  async #keepRoot(): Promise<void> {
    const pem = await eventually("pebble's root", () => this.pebble.issuerPem().catch(String), (text) => text.includes("BEGIN CERTIFICATE"));
    writeFileSync(this.rootFile, `${pem}\n`, { flag: "a" });
  }

  async #manage(command: string, body: object): Promise<Response> {
    const response = await fetch(`${this.pebble.managementUrl}/${command}`, { method: "POST", body: JSON.stringify(body) });
    if (!response.ok) throw new Error(`pebble-challtestsrv refuses ${command}: ${response.status}`);
    return response;
  }
}

/** A port that nobody gets by asking for any: it is free between two gateways of a test, and has to be there for the second. */
function lastingPort(): number {
  for (;;) {
    // Below what Linux and others take for port 0 (RFC 6335 section 6 has them above 49151).
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    try {
      Bun.listen({ hostname: "127.0.0.1", port, exclusive: true, socket: { data() {} } }).stop(true);
      return port;
    } catch {
      // Somebody's; another one then.
    }
  }
}

/** As GET /api/certificates has it. */
export type ShownCertificate = {
  readonly names: readonly string[];
  readonly issuer: string | null;
  readonly expiry: string | null;
  readonly nextRenewal: string | null;
  readonly lastError: { readonly message: string; readonly time: string } | null;
  readonly failures: number;
};

export type AcmeGatewayOptions = Partial<GatewayOptions> & {
  readonly clock?: Clock;
  /** What a configuration file can say beside the flags. */
  readonly tls?: Partial<TlsSettings>;
};

/** The real App, at the port that the CA validates at. */
export class AcmeGateway extends GatewayClient {
  private constructor(readonly ca: TestCa, readonly app: App, readonly root: string, private readonly sink: MemorySink) {
    super();
  }

  static async start(ca: TestCa, { clock, tls, ...options }: AcmeGatewayOptions = {}): Promise<AcmeGateway> {
    const root = options.root ?? makeRoot();
    const flags = loadGateway({
      env: {}, root, http: `127.0.0.1:${ca.httpPort}`, https: "127.0.0.1:0", admin: "127.0.0.1:0",
      acmeDirectory: ca.directoryUrl, acmeCaFile: ca.pebble.caFile, allowLoopbackBackends: true, checkDomains: false, ...options,
    });
    const settings = flags.tls === null ? flags : { ...flags, tls: { ...flags.tls, ...tls } };
    const sink = new MemorySink();
    const app = new App(settings, { log: new Log("json", sink), ...(clock === undefined ? {} : { clock }) });
    try {
      await app.start();
    } catch (error) {
      if (options.root === undefined) rmSync(root, { recursive: true });
      throw error;
    }
    return new AcmeGateway(ca, app, root, sink);
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

  override get caFile(): string {
    return this.ca.rootFile;
  }

  get lines(): ReadonlyArray<Readonly<Record<string, unknown>>> {
    this.app.log.close();
    return this.sink.text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  /** The root stays: for another one. */
  async stop(): Promise<void> {
    await this.app.stop(0);
  }

  /** For good. */
  async remove(): Promise<void> {
    await this.stop();
    rmSync(this.root, { recursive: true, force: true });
  }
}

/** The program itself with a CA. */
export function startProcess(ca: TestCa, root: string, ...flags: string[]): Promise<GatewayProcess> {
  return GatewayProcess.start(root, ...ca.flags, "--allow-loopback-backends", "--skip-domain-check", ...flags);
}

/** What the API says about the certificate of this name; undefined: nothing. */
export async function stateOf(gateway: GatewayClient, name: string): Promise<ShownCertificate | undefined> {
  const all = await gateway.json("/api/certificates") as readonly ShownCertificate[];
  return all.find(({ names }) => names.includes(name));
}

/** Resolves when there is a certificate that has this name. */
export async function certified(gateway: GatewayClient, name: string): Promise<ShownCertificate> {
  return await eventually(`a certificate for ${name}`, () => stateOf(gateway, name), (state) => state?.issuer != null, 20_000) as ShownCertificate;
}

/** Resolves when the last attempt at this name has failed. @returns why */
export async function refusal(gateway: GatewayClient, name: string, failures = 1): Promise<string> {
  const state = await eventually(`failure ${failures} of ${name}`, () => stateOf(gateway, name), (found) => (found?.failures ?? 0) >= failures, 20_000);
  return state?.lastError?.message ?? "";
}

export type Shown = { readonly serial: string; readonly names: readonly string[]; readonly issuer: string };

/** What `openssl s_client` is shown under this name; null when the handshake is refused with the alert `unrecognized_name`. */
export async function shownTo(gateway: Pick<GatewayClient, "httpsPort">, name: string): Promise<Shown | null> {
  const { code, stdout, stderr } = await run(["openssl", "s_client", "-connect", `127.0.0.1:${gateway.httpsPort}`, "-servername", name, "-showcerts"]);
  if (/unrecognized name|alert number 112/i.test(stderr)) return null;
  const pem = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/.exec(stdout)?.[0];
  if (pem === undefined) throw new Error(`openssl ended with ${code}: ${stderr}`);
  const leaf = new X509Certificate(pem);
  return { serial: leaf.serialNumber, issuer: leaf.issuer, names: (leaf.subjectAltName ?? "").split(", ").map((each) => each.replace("DNS:", "")) };
}

/** The system's clock, which can be put forward: what is due by then happens at once. Put back, it only shows another time. */
export class JumpingClock implements Clock {
  #aheadMs = 0;
  #passedMs = 0;
  readonly #waiting = new Set<{ readonly dueMs: number; readonly end: () => void }>();

  now(): number {
    return Date.now() + this.#aheadMs;
  }

  elapsed(): number {
    return performance.now() + this.#passedMs;
  }

  after(ms: number, callback: () => void): () => void {
    const cancel = (): void => {
      clearTimeout(timer);
      this.#waiting.delete(waiting);
    };
    const end = (): void => {
      cancel();
      callback();
    };
    const timer = setTimeout(end, ms);
    const waiting = { dueMs: this.elapsed() + ms, end };
    this.#waiting.add(waiting);
    return cancel;
  }

  advance(ms: number): void {
    this.#aheadMs += ms;
    this.#passedMs += Math.max(ms, 0);
    for (const { dueMs, end } of [...this.#waiting]) if (dueMs <= this.elapsed()) end();
  }
}
