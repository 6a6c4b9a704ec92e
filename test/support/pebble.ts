// Let's Encrypt's own test CA, `pebble`, and its DNS server, `pebble-challtestsrv` (Debian package pebble): real ACME on ports
// of this test's own. Every name resolves to 127.0.0.1. It is stricter than it must be: half of all nonces are refused, no
// authorization is reused.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { CertificateAuthority, HAS_OPENSSL } from "./certificates.ts";
import { eventually } from "./eventually.ts";

export const HAS_PEBBLE = HAS_OPENSSL && Bun.which("pebble") !== null && Bun.which("pebble-challtestsrv") !== null;

export type PebbleOptions = {
  /** Where http-01 is validated. */
  readonly httpPort: number;
  /** Of nonces that are refused, percent. */
  readonly nonceReject?: number;
};

export class Pebble {
  readonly directory = mkdtempSync(join(tmpdir(), "route-pebble-"));
  readonly #authority = new CertificateAuthority("pebble");
  readonly #ports = freePorts("acme", "management", "dns", "challenges");
  #dns: Subprocess | null = null;
  #ca: Subprocess | null = null;

  private constructor(private readonly options: PebbleOptions) {}

  static async start(options: PebbleOptions): Promise<Pebble> {
    const pebble = new Pebble(options);
    pebble.#prepare();
    try {
      await pebble.#startDns();
      await pebble.startCa();
      return pebble;
    } catch (error) {
      await pebble.stop();
      throw error;
    }
  }

  get directoryUrl(): string {
    return `https://127.0.0.1:${this.#ports.acme}/dir`;
  }

  /** For the CA's own address. */
  get caPem(): string {
    return this.#authority.pem;
  }

  get caFile(): string {
    return join(this.directory, "ca.pem");
  }

  get dnsPort(): number {
    return this.#ports.dns;
  }

  get managementUrl(): string {
    return `http://127.0.0.1:${this.#ports.challenges}`;
  }

  async startCa(): Promise<void> {
    await this.stopCa();
    const { nonceReject = 50 } = this.options;
    const log = Bun.file(join(this.directory, "pebble.log"));
    this.#ca = Bun.spawn(["pebble", "-strict", "-config", join(this.directory, "pebble.json"), "-dnsserver", `127.0.0.1:${this.#ports.dns}`], {
      stdin: "ignore", stdout: log, stderr: log,
      env: { PEBBLE_VA_NOSLEEP: "1", PEBBLE_WFE_NONCEREJECT: String(nonceReject), PEBBLE_AUTHZREUSE: "0" },
    });
    await eventually("pebble", () => this.isUp(), Boolean);
  }

  async isUp(): Promise<boolean> {
    try {
      return (await fetch(this.directoryUrl, { tls: { ca: this.caPem } })).ok;
    } catch {
      return false; // Not listening (yet).
    }
  }

  /** All that it knew is forgotten, accounts too. */
  async stopCa(): Promise<void> {
    await stopped(this.#ca);
    this.#ca = null;
  }

  async stop(): Promise<void> {
    await Promise.all([stopped(this.#ca), stopped(this.#dns)]);
    this.#authority.remove();
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** @param fqdn with a dot at its end */
  async setTxt(fqdn: string, value: string): Promise<void> {
    await this.#manage("set-txt", { host: fqdn, value });
  }

  async clearTxt(fqdn: string): Promise<void> {
    await this.#manage("clear-txt", { host: fqdn });
  }

  async setCaa(fqdn: string, issuer: string): Promise<void> {
    await this.#manage("add-caa", { host: fqdn, policies: [{ tag: "issue", value: issuer }] });
  }

  /** What pebble signs with is made anew at every start. */
  async issuerPem(): Promise<string> {
    const url = `https://127.0.0.1:${this.#ports.management}/roots/0`;
    return (await fetch(url, { tls: { ca: this.caPem } })).text();
  }

  #prepare(): void {
    const { key, cert } = this.#authority.sign({ names: ["DNS:localhost", "IP:127.0.0.1"] });
    const at = (name: string): string => join(this.directory, name);
    writeFileSync(at("ca.pem"), this.caPem);
    writeFileSync(at("key.pem"), key);
    writeFileSync(at("cert.pem"), cert);
    writeFileSync(at("pebble.json"), JSON.stringify({
      pebble: {
        listenAddress: `127.0.0.1:${this.#ports.acme}`, managementListenAddress: `127.0.0.1:${this.#ports.management}`,
        certificate: at("cert.pem"), privateKey: at("key.pem"), httpPort: this.options.httpPort, tlsPort: 5001, ocspResponderURL: "",
        externalAccountBindingRequired: false, domainBlocklist: ["blocked.example.org"], retryAfter: { authz: 1, order: 1 },
      },
    }));
  }

  async #startDns(): Promise<void> {
    this.#dns = Bun.spawn(["pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", "",
      "-dns01", `127.0.0.1:${this.#ports.dns}`, "-management", `127.0.0.1:${this.#ports.challenges}`], { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
    await eventually("pebble-challtestsrv", () => fetch(this.managementUrl).then(() => true, () => false), Boolean);
  }

  async #manage(command: string, body: object): Promise<void> {
    const response = await fetch(`${this.managementUrl}/${command}`, { method: "POST", body: JSON.stringify(body) });
    if (!response.ok) throw new Error(`pebble-challtestsrv refuses ${command}: ${response.status}`);
  }
}

/** Pebble cannot say which ports it got: the kernel is asked for free ones before, for all at once, so that no two are the same. */
function freePorts<const Name extends string>(...names: readonly Name[]): Record<Name, number> {
  const listeners = names.map((name) => [name, Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } })] as const);
  const ports = Object.fromEntries(listeners.map(([name, { port }]) => [name, port])) as Record<Name, number>;
  for (const [, listener] of listeners) listener.stop(true);
  return ports;
}

async function stopped(child: Subprocess | null): Promise<void> {
  child?.kill("SIGKILL");
  await child?.exited;
}
