// The four calls at a whole gateway, by each of the three ways that lead to them: zbus over a real Redis, REST, and the command line as a
// process. What a call did is looked at by another way, in the file, and by a TLS client that comes right after it.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { DnsServer } from "../registry/dns-server.ts";
import { CertificateAuthority, HAS_OPENSSL } from "../support/certificates.ts";
import { backendOf, DOMAIN, type GatewayClient, HAS_NGINX, Nginx, TestGateway, type TestGatewayOptions } from "../support/gateway.ts";
import { Pod } from "../support/pod.ts";
import { HAS_REDIS, type RedisCaller, RedisServer, SEED, ZbusCaller, zbusResult } from "../support/redis.ts";

type Totals = { Request: Record<string, number>; Response: Record<string, number> };

/** The four calls. Refusals are thrown with what the caller is told. */
interface Way {
  setName(id: string, name: string, backends: readonly string[], isPassthrough?: boolean): Promise<string>;
  setFqdn(id: string, fqdn: string, backends: readonly string[], isPassthrough?: boolean): Promise<void>;
  delete(id: string): Promise<void>;
  metrics(): Promise<Totals>;
}

class ZbusWay implements Way {
  constructor(private readonly caller: ZbusCaller) {}

  setName(id: string, name: string, backends: readonly string[], isPassthrough = false): Promise<string> {
    return this.#call("SetNamedProxy", id, name, backends, isPassthrough) as Promise<string>;
  }

  async setFqdn(id: string, fqdn: string, backends: readonly string[], isPassthrough = false): Promise<void> {
    await this.#call("SetFQDNProxy", id, fqdn, backends, isPassthrough);
  }

  async delete(id: string): Promise<void> {
    await this.#call("DeleteNamedProxy", id);
  }

  metrics(): Promise<Totals> {
    return this.#call("Metrics") as Promise<Totals>;
  }

  async #call(method: string, ...args: unknown[]): Promise<unknown> {
    return zbusResult(await this.caller.call(SEED, method, ...args));
  }
}

class RestWay implements Way {
  constructor(private readonly gateway: GatewayClient) {}

  async setName(id: string, name: string, backends: readonly string[], tlsPassthrough = false): Promise<string> {
    return (await this.#call("PUT", id, { name, backends, tlsPassthrough }) as { fqdn: string }).fqdn;
  }

  async setFqdn(id: string, fqdn: string, backends: readonly string[], tlsPassthrough = false): Promise<void> {
    await this.#call("PUT", id, { fqdn, backends, tlsPassthrough });
  }

  async delete(id: string): Promise<void> {
    await this.#call("DELETE", id);
  }

  metrics(): Promise<Totals> {
    return this.#call("GET", "metrics") as Promise<Totals>;
  }

  async #call(method: string, id: string, body?: object): Promise<unknown> {
    const answer = await this.gateway.admin(method, `/api/gateways/${encodeURIComponent(id)}`, body);
    const text = await answer.text();
    if (answer.ok) return text === "" ? null : JSON.parse(text);
    throw new Error((JSON.parse(text) as { error: string }).error);
  }
}

class CommandWay implements Way {
  constructor(private readonly gateway: GatewayClient) {}

  async setName(id: string, name: string, backends: readonly string[], isPassthrough = false): Promise<string> {
    return (await this.#run("set-name", id, name, ...flags(backends, isPassthrough))).trimEnd();
  }

  async setFqdn(id: string, fqdn: string, backends: readonly string[], isPassthrough = false): Promise<void> {
    await this.#run("set-fqdn", id, fqdn, ...flags(backends, isPassthrough));
  }

  async delete(id: string): Promise<void> {
    await this.#run("delete", id);
  }

  async metrics(): Promise<Totals> {
    return JSON.parse(await this.#run("metrics", "--json")) as Totals;
  }

  async #run(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.gateway.cli("gateways", ...args);
    if (code !== 0) throw new Error(stderr.trimEnd());
    return stdout;
  }
}

function flags(backends: readonly string[], isPassthrough: boolean): string[] {
  return [...backends.map((backend) => `--backend=${backend}`), ...(isPassthrough ? ["--passthrough"] : [])];
}

const WAYS = ["zbus", "REST", "command line"] as const;
type WayName = (typeof WAYS)[number];

let pod: Pod;
let other: Pod;
let redis: RedisServer | null = null;
let caller: RedisCaller | null = null;
let gateway: TestGateway;
let ways: Record<WayName, Way>;

beforeAll(async () => {
  pod = new Pod("127.0.0.1", ["web"]);
  other = new Pod("127.0.0.1", ["other"]);
  redis = HAS_REDIS ? await RedisServer.start() : null;
  caller = await redis?.connect() ?? null;
  gateway = await TestGateway.start({ broker: redis?.unixUrl });
  ways = waysTo(gateway, caller);
});
afterAll(async () => {
  await gateway.stop();
  caller?.close();
  await redis?.stop();
  pod.stop();
  other.stop();
});

function waysTo(of: TestGateway, redis: RedisCaller | null): Record<WayName, Way> {
  return { zbus: new ZbusWay(new ZbusCaller(redis as RedisCaller)), REST: new RestWay(of), "command line": new CommandWay(of) };
}

/** A gateway for one test, with a Redis of its own where that is the way. */
async function atAnother(options: TestGatewayOptions, wayName: WayName, run: (way: Way, gateway: TestGateway) => Promise<void>): Promise<void> {
  const server = wayName === "zbus" ? await RedisServer.start("a password, with / and @") : null;
  const connection = await server?.connect() ?? null;
  const started = await TestGateway.start({ ...options, broker: server?.tcpUrl });
  try {
    await run(waysTo(started, connection)[wayName], started);
  } finally {
    await started.stop();
    connection?.close();
    await server?.stop();
  }
}

/** By each way that there is. */
const byEach = WAYS.map((name) => [name, name.replace(/\W/g, "-").toLowerCase()] as const).filter(([name]) => HAS_REDIS || name !== "zbus");
const skipped = HAS_REDIS ? [] : ["zbus (redis-server is not here)"];
if (skipped.length > 0) test.skip.each(skipped)("by %s", () => {});

/** Which pod answered. */
async function answering(of: GatewayClient, name: string): Promise<string> {
  return (JSON.parse(await of.curl(name, "/")) as { port: string }).port;
}

async function listed(id: string): Promise<unknown> {
  return (await gateway.json("/api/gateways") as Array<{ id: string }>).find((found) => found.id === id);
}

function fileOf(id: string): string {
  return readFileSync(join(gateway.directory, `${id}.yaml`), "utf8");
}

describe.each(byEach)("by %s", (wayName, id) => {
  test("a name is served from the moment that the call returns, and is in the list, the table and the file", async () => {
    const fqdn = await ways[wayName].setName(`1-${id}`, `Blog-${id}`, [backendOf(pod)]);
    expect(fqdn).toBe(`blog-${id}.${DOMAIN}`);
    expect(await answering(gateway, fqdn)).toBe("web");
    expect(await listed(`1-${id}`)).toEqual({
      id: `1-${id}`, fqdn, service: `1-${id}`, tlsPassthrough: false, backends: [backendOf(pod)], certificateResolver: "dnsresolver", certificateNames: [`*.${DOMAIN}`],
    });
    expect((await gateway.cli("gateways", "list")).stdout).toMatch(new RegExp(`^1-${id} +${fqdn} +terminated +${backendOf(pod)}$`, "m"));
    expect(fileOf(`1-${id}`)).toContain(`rule: Host(\`${fqdn}\`)`);
    expect(fileOf(`1-${id}`)).toContain("certResolver: dnsresolver");
  });

  test("a domain is served from the moment that the call returns, with a certificate of its own", async () => {
    await ways[wayName].setFqdn(`2-${id}`, `Shop.${id}.example`, [backendOf(pod)]);
    const socket = await gateway.connect(`shop.${id}.example`);
    expect(socket.getPeerCertificate().subjectaltname).toBe(`DNS:shop.${id}.example`);
    socket.destroy();
    expect(await answering(gateway, `shop.${id}.example`)).toBe("web");
    expect(fileOf(`2-${id}`)).toContain("certResolver: resolver");
  });

  test.skipIf(!HAS_NGINX || !HAS_OPENSSL)("passthrough leads to the backend's own certificate (nginx)", async () => {
    const authority = new CertificateAuthority("a workload");
    const fqdn = `own-${id}.${DOMAIN}`;
    const nginx = await Nginx.start(authority.sign({ names: [`DNS:${fqdn}`] }), "return 200 'nginx itself';");
    try {
      expect(await ways[wayName].setName(`3-${id}`, `own-${id}`, [`https://127.0.0.1:${nginx.port}`], true)).toBe(fqdn);
      const socket = await gateway.connect(fqdn, authority.pem);
      expect(socket.getPeerCertificate().subjectaltname).toBe(`DNS:${fqdn}`);
      socket.destroy();
      expect(fileOf(`3-${id}`)).toMatch(/HostSNI[^]*passthrough: "true"[^]*address: 127\.0\.0\.1:\d+/);
    } finally {
      await nginx.stop();
      authority.remove();
    }
  });

  test("the same id again is an update: other backends, then another domain, and the old one is gone", async () => {
    await ways[wayName].setFqdn(`4-${id}`, `a.${id}.example`, [backendOf(pod)]);
    await ways[wayName].setFqdn(`4-${id}`, `a.${id}.example`, [backendOf(other)]);
    expect(await answering(gateway, `a.${id}.example`)).toBe("other");
    await ways[wayName].setFqdn(`4-${id}`, `b.${id}.example`, [backendOf(other)]);
    expect(await answering(gateway, `b.${id}.example`)).toBe("other");
    await expect(gateway.connect(`a.${id}.example`)).rejects.toThrow(/unrecognized.name/i);
  });

  test("a domain that another workload has is a conflict that names both, and nothing changes", async () => {
    await ways[wayName].setName(`5-${id}`, `taken-${id}`, [backendOf(pod)]);
    const refused = ways[wayName].setName(`6-${id}`, `TAKEN-${id}`, [backendOf(other)]);
    await expect(refused).rejects.toThrow(`domain "taken-${id}.${DOMAIN}" is already registered by workload "5-${id}", so workload "6-${id}" cannot have it`);
    expect(await listed(`6-${id}`)).toBeUndefined();
    expect(existsSync(join(gateway.directory, `6-${id}.yaml`))).toBe(false);
    expect(await answering(gateway, `taken-${id}.${DOMAIN}`)).toBe("web");
  });

  test("a deleted name is refused from the moment that the call returns; deleting what is not there is no error", async () => {
    const fqdn = await ways[wayName].setName(`7-${id}`, `gone-${id}`, [backendOf(pod)]);
    expect(await answering(gateway, fqdn)).toBe("web");
    await ways[wayName].delete(`7-${id}`);
    await expect(gateway.connect(fqdn)).rejects.toThrow(/unrecognized.name/i);
    expect(existsSync(join(gateway.directory, `7-${id}.yaml`))).toBe(false);
    await ways[wayName].delete(`7-${id}`);
    await ways[wayName].delete(`never-${id}`);
  });

  test("a domain within the gateway's own is refused, and the gateway's own as well", async () => {
    await expect(ways[wayName].setFqdn(`8-${id}`, `x.${DOMAIN}`, [backendOf(pod)])).rejects.toThrow(`"x.${DOMAIN}" is within this gateway's own domain "${DOMAIN}", and that is for name proxies`);
    await expect(ways[wayName].setFqdn(`8-${id}`, DOMAIN.toUpperCase(), [backendOf(pod)])).rejects.toThrow("is within this gateway's own domain");
  });

  test("all that is wrong is said at once", async () => {
    const refused = ways[wayName].setName(`a/${id}`, "no.label", ["http://backend:80", "https://10.0.0.1:80", "http://10.0.0.1:0", "http://10.0.0.1:http"]);
    for (const fault of [
      `workload id "a/${id}" holds a "/"`, 'name "no.label" is not one of letters', 'backend "http://backend:80": "backend" is a host name, and an IP address is needed',
      'backend "https://10.0.0.1:80": TLS ends at the gateway, so a backend is http://ip:port', 'backend "http://10.0.0.1:0": port "0" is not a number from 1 to 65535',
      'backend "http://10.0.0.1:http": port "http" is not',
    ]) await expect(refused).rejects.toThrow(fault);
  });

  test("backends that fit the other kind are refused", async () => {
    await expect(ways[wayName].setName(`9-${id}`, `n-${id}`, ["http://10.0.0.1:443"], true)).rejects.toThrow("with TLS passthrough a backend is ip:port or https://ip:port, not http://");
    await expect(ways[wayName].setName(`9-${id}`, `n-${id}`, ["10.0.0.1:80"])).rejects.toThrow("a backend is http://ip:port, the http:// is missing");
  });

  test("metrics are the same by every way", async () => {
    const fqdn = await ways[wayName].setName(`10-${id}`, `counted-${id}`, [backendOf(pod)]);
    const sent = await gateway.curl(fqdn, "/", "-d", "x".repeat(1000));
    const { Request, Response } = await ways[wayName].metrics();
    expect([Request[`10-${id}`], Response[`10-${id}`]]).toEqual([1000, sent.length]);
    expect(await ways.REST.metrics()).toEqual({ Request, Response });
  });
});

describe("a gateway without a domain", () => {
  test.each(byEach)("has no names, and says so by %s", (wayName) => atAnother({ domain: undefined }, wayName, async (way, bare) => {
    await expect(way.setName("1", "blog", [backendOf(pod)])).rejects.toThrow("this gateway has no domain of its own, so there are no names below it (register a whole domain)");
    await way.setFqdn("2", `blog.${DOMAIN}`, [backendOf(pod)]);
    expect(await answering(bare, `blog.${DOMAIN}`)).toBe("web");
  }));
});

describe("a gateway's own listeners", () => {
  test.each(byEach)("are no backends, whatever is allowed, by %s", async (wayName, id) => {
    const ports = [gateway.httpsPort, Number(new URL(gateway.adminUrl).port)];
    for (const port of ports) {
      await expect(ways[wayName].setFqdn(`11-${id}`, `loop.${id}.example`, [`127.0.0.1:${port}`], true)).rejects.toThrow(`backend "127.0.0.1:${port}": 127.0.0.1:${port} is where this gateway itself listens`);
      await expect(ways[wayName].setName(`11-${id}`, `loop-${id}`, [`http://127.0.0.1:${port}`])).rejects.toThrow("is where this gateway itself listens");
    }
    // Another address of this machine, where we are not bound, is another server's.
    await ways[wayName].setFqdn(`11-${id}`, `loop.${id}.example`, [`127.0.0.2:${gateway.httpsPort}`], true);
  });
});

describe("a gateway with public addresses", () => {
  const OWN = "192.0.2.7";
  const STRICT = { checkDomains: true, publicAddresses: [OWN], allowLoopbackBackends: false } as const;
  let dns: DnsServer;
  beforeAll(async () => {
    dns = await DnsServer.start({
      "here.example": [{ type: "A", data: OWN }], "alias.example": [{ type: "CNAME", data: "here.example" }], "elsewhere.example": [{ type: "A", data: "198.51.100.1" }],
    }, { "broken.example": "SERVFAIL" });
  });
  afterAll(() => dns.stop());

  test.each(byEach)("takes domains that point at it, and says by %s where the others point", (wayName) => atAnother({ ...STRICT, nameserver: dns.address }, wayName, async (way, strict) => {
    await way.setFqdn("1", "here.example", ["http://10.0.0.1"]);
    await way.setFqdn("2", "alias.example", ["http://10.0.0.1"]);
    await expect(way.setFqdn("3", "elsewhere.example", ["http://10.0.0.1"])).rejects.toThrow('"elsewhere.example" resolves to 198.51.100.1 and should resolve to 192.0.2.7');
    await expect(way.setFqdn("3", "nowhere.example", ["http://10.0.0.1"])).rejects.toThrow('"nowhere.example" has no address and should resolve to 192.0.2.7');
    await expect(way.setFqdn("3", "broken.example", ["http://10.0.0.1"])).rejects.toThrow('cannot resolve "broken.example": the DNS server failed');
    const { status } = await strict.admin("PUT", "/api/gateways/3", { fqdn: "elsewhere.example", backends: ["http://10.0.0.1"] });
    expect([status, (await strict.json("/api/gateways") as unknown[]).length]).toEqual([422, 2]);
  }));

  test("asks nobody about names below its own domain", () => atAnother({ ...STRICT, nameserver: dns.address }, "REST", async (way) => {
    const before = dns.asked.length;
    await way.setName("1", "blog", ["http://10.0.0.1"]);
    expect(dns.asked.length).toBe(before);
  }));

  test.each(byEach)("takes neither itself nor loopback for a backend, by %s", (wayName) => atAnother(STRICT, wayName, async (way) => {
    await expect(way.setName("1", "blog", [`http://${OWN}`, "http://127.0.0.2", "http://[::1]:80", "http://0.0.0.0"])).rejects.toThrow(
      `backend "http://${OWN}": ${OWN} is this gateway's own address; backend "http://127.0.0.2": 127.0.0.2 is a loopback address, this gateway itself; `
      + 'backend "http://[::1]:80": ::1 is a loopback address, this gateway itself; backend "http://0.0.0.0": 0.0.0.0 is not an address that can be connected to');
    await expect(way.setName("1", "blog", [`https://${OWN}`], true)).rejects.toThrow("is this gateway's own address");
  }));

  test("that has none to compare with says at its start that domains are not checked", () => atAnother({ checkDomains: true }, "REST", async (way, unchecked) => {
    expect(unchecked.events("domains are registered wherever they point: no public address is configured to compare with (gateway.publicAddresses, or --public-address)").length).toBe(1);
    await way.setFqdn("1", "anywhere.example", ["http://10.0.0.1"]);
  }));
});
