// An admin listener over a real registry in a directory of its own, and a client of it.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CertificateState } from "../../src/admin/answers.ts";
import type { AdminOptions, Health } from "../../src/admin/api.ts";
import type { CacheControl } from "../../src/admin/cache-control.ts";
import { AdminServer } from "../../src/admin/server.ts";
import { Meter } from "../../src/metrics/meter.ts";
import { createExposition } from "../../src/metrics/exposition.ts";
import { GatewayCalls } from "../../src/registry/calls.ts";
import { Registry } from "../../src/registry/registry.ts";
import { rulesOf } from "../../src/registry/rules.ts";

export class TestAdmin {
  readonly meter = new Meter();
  readonly logged: string[] = [];
  certificates: CertificateState[] = [];
  services: object[] = [];
  cache: CacheControl = { stats: () => null, purge: () => 0 };
  health: Health = { status: "ok" };

  private constructor(readonly root: string, readonly registry: Registry, readonly options: AdminOptions, readonly server: AdminServer) {}

  static async start(changed: Partial<AdminOptions> = {}, host = "127.0.0.1"): Promise<TestAdmin> {
    const root = await mkdtemp(join(tmpdir(), "admin-"));
    const registry = await Registry.open({ directory: join(root, "proxy"), domain: "gent01.dev.grid.tf", log: { problem() {}, solved() {}, removed() {} } });
    // The options speak of the object that is made with them.
    let self: TestAdmin | null = null;
    const of = (): TestAdmin => self as TestAdmin;
    const calls = new GatewayCalls({
      registry, domain: "gent01.dev.grid.tf", rules: rulesOf({ publicAddresses: ["203.0.113.1"], allowLoopbackBackends: false }),
      checkDomain: async (fqdn) => (fqdn.startsWith("elsewhere") ? `domain "${fqdn}" points elsewhere` : null),
      meter: { totals: () => of().meter.totals() },
    });
    const metrics = (): Promise<string> => createExposition({
      meter: of().meter, requests: () => 0, sessions: () => 0, upstreamConnections: () => ({ open: 0, idle: 0 }), services: () => [], cache: () => null,
      gateways: () => registry.list(), registryProblems: () => registry.problems.size, certificates: () => of().certificates, keyProblems: () => 0, isConfigRefused: () => false,
    })();
    const log = (message: string, fields?: object): void => void of().logged.push(`${message} ${JSON.stringify(fields)}`);
    const options: AdminOptions = {
      token: null, hostNames: [], gateways: { calls, registry }, metrics, certificates: () => of().certificates, services: () => of().services, cache: { stats: () => of().cache.stats(), purge: (selector) => of().cache.purge(selector) }, health: () => of().health,
      log: { info: log, error: log }, ...changed,
    };
    self = new TestAdmin(root, registry, options, new AdminServer({ host, port: 0 }, options));
    return self;
  }

  async ask(method: string, path: string, options: { body?: unknown; headers?: Record<string, string> } = {}): Promise<{ status: number; json: any; text: string; headers: Headers }> {
    const body = typeof options.body === "string" ? options.body : JSON.stringify(options.body);
    const headers = new Headers(body === undefined ? {} : { "content-type": "application/json" });
    for (const [name, value] of Object.entries(options.headers ?? {})) headers.set(name, value);
    const response = await fetch(`${this.server.url}${path}`, { method, headers, redirect: "manual", ...(body === undefined ? {} : { body }) });
    const text = await response.text();
    const isJson = response.headers.get("content-type")?.startsWith("application/json") ?? false;
    return { status: response.status, json: isJson ? JSON.parse(text) : null, text, headers: response.headers };
  }

  async stop(): Promise<void> {
    await this.server.stop();
    this.registry.close();
    await rm(this.root, { recursive: true, force: true });
  }
}
