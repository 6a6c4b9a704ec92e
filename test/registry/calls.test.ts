import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GatewayCalls, type GatewayCallsOptions } from "../../src/registry/calls.ts";
import { Registry } from "../../src/registry/registry.ts";
import { rulesOf } from "../../src/registry/rules.ts";
import { gateway, PASSTHROUGH_FILE, Told } from "./examples.ts";

const GATEWAY = { publicAddresses: ["185.69.166.1"], allowLoopbackBackends: false };
const TOTALS = { Request: { "37-1": 3 }, Response: { "37-1": 5 } };

let directory: string;
let registry: Registry;
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "route-calls-"));
  registry = await Registry.open({ directory, domain: "gent01.dev.grid.tf", log: new Told(), watch: { pollMs: 3_600_000 } });
});
afterEach(() => {
  registry.close();
  rmSync(directory, { recursive: true, force: true });
});

function calls(options: Partial<GatewayCallsOptions> = {}): GatewayCalls {
  return new GatewayCalls({
    registry, domain: "gent01.dev.grid.tf", rules: rulesOf(GATEWAY), checkDomain: null, meter: { totals: () => TOTALS }, ...options,
  });
}

async function refusalOf(call: Promise<unknown>): Promise<{ code: string; message: string }> {
  const error = await call.then(() => new Error("it was not refused"), (error: unknown) => error as Error);
  return { code: (error as { code?: string }).code ?? "", message: error.message };
}

describe("SetNamedProxy", () => {
  test("registers the name below the gateway's domain, with the wildcard certificate, and returns the domain", async () => {
    expect(await calls().setNamedProxy("37-1", "Web", ["http://10.0.0.1:9000", "http://[2001:db8::1]"], false)).toBe("web.gent01.dev.grid.tf");
    expect(registry.get("37-1")).toEqual({
      id: "37-1", service: "37-1", fqdn: "web.gent01.dev.grid.tf", isPassthrough: false,
      backends: [{ address: "10.0.0.1", port: 9000 }, { address: "2001:db8::1", port: 80 }], resolver: "dnsresolver", certificateNames: ["*.gent01.dev.grid.tf"],
    });
  });

  test("asks for no certificate where TLS passes through", async () => {
    await calls().setNamedProxy("37-1", "web", ["10.0.0.1"], true);
    expect(registry.get("37-1")).toMatchObject({ isPassthrough: true, resolver: null, certificateNames: [], backends: [{ address: "10.0.0.1", port: 443 }] });
  });

  test("does not ask DNS: the whole domain is the gateway's", async () => {
    const checkDomain = (): never => { throw new Error("asked"); };
    expect(await calls({ checkDomain }).setNamedProxy("37-1", "web", ["http://10.0.0.1"], false)).toBe("web.gent01.dev.grid.tf");
  });

  test("is refused by a gateway without a domain", async () => {
    expect(await refusalOf(calls({ domain: null }).setNamedProxy("37-1", "web", ["http://10.0.0.1"], false))).toEqual({
      code: "invalid", message: "this gateway has no domain of its own, so there are no names below it (register a whole domain)",
    });
  });

  test("reports everything that is wrong in one error, and registers nothing", async () => {
    expect(await refusalOf(calls().setNamedProxy("a/b", "a.b", ["https://10.0.0.1", "http://185.69.166.1", "http://127.0.0.1:0"], false))).toEqual({
      code: "invalid",
      message: [
        'workload id "a/b" holds a "/", and ids become file names',
        'name "a.b" is not one of letters, digits, "_" and "-" (and at least one of them)',
        'backend "https://10.0.0.1": TLS ends at the gateway, so a backend is http://ip:port, not https://',
        'backend "http://185.69.166.1": 185.69.166.1 is this gateway\'s own address',
        'backend "http://127.0.0.1:0": 127.0.0.1 is a loopback address, this gateway itself',
        'backend "http://127.0.0.1:0": port "0" is not a number from 1 to 65535',
      ].join("; "),
    });
    expect(readdirSync(directory)).toEqual([]);
  });

  test("refuses a name that makes the domain too long", async () => {
    const domain = `${"abcdefg.".repeat(28)}example.org`;
    expect(await refusalOf(calls({ domain }).setNamedProxy("37-1", "x".repeat(40), ["http://10.0.0.1"], false))).toMatchObject({ code: "invalid", message: expect.stringContaining("a domain has at most 253") });
  });

  test("takes loopback backends where that is allowed", async () => {
    await calls({ rules: rulesOf({ ...GATEWAY, allowLoopbackBackends: true }) }).setNamedProxy("37-1", "web", ["http://127.0.0.1:80"], false);
    expect(registry.list()).toHaveLength(1);
  });
});

describe("SetFQDNProxy", () => {
  test("registers the domain with a certificate of its own", async () => {
    await calls().setFQDNProxy("37-1", "Remote.Example.org", ["http://10.0.0.1"], false);
    expect(registry.get("37-1")).toMatchObject({ fqdn: "remote.example.org", resolver: "resolver", certificateNames: [] });
  });

  test("writes what the original writes", async () => {
    await calls().setFQDNProxy("37-2039-testname", "remote.omar.grid.tf", ["https://137.184.106.152"], true);
    expect(readFileSync(join(directory, "37-2039-testname.yaml"), "utf8")).toBe(PASSTHROUGH_FILE);
  });

  test.each([["web.gent01.dev.grid.tf"], ["a.b.GENT01.dev.grid.tf"], ["gent01.dev.grid.tf"]])("refuses what is the gateway's own: %s", async (fqdn) => {
    expect(await refusalOf(calls().setFQDNProxy("37-1", fqdn, ["http://10.0.0.1"], false))).toEqual({
      code: "invalid", message: `"${fqdn}" is within this gateway's own domain "gent01.dev.grid.tf", and that is for name proxies`,
    });
  });

  test("takes a neighbour of the gateway's domain, and any domain when the gateway has none", async () => {
    await calls().setFQDNProxy("37-1", "xgent01.dev.grid.tf", ["http://10.0.0.1"], false);
    await calls({ domain: null }).setFQDNProxy("37-2", "web.gent01.dev.grid.tf", ["http://10.0.0.1"], false);
    expect(registry.list()).toHaveLength(2);
  });

  test("refuses a domain that does not point here, with what the check found", async () => {
    const asked: string[] = [];
    const checkDomain = async (fqdn: string): Promise<string> => {
      asked.push(fqdn);
      return "it resolves to 1.2.3.4";
    };
    expect(await refusalOf(calls({ checkDomain }).setFQDNProxy("37-1", "Web.example.org", ["http://10.0.0.1"], false))).toEqual({ code: "unresolved", message: "it resolves to 1.2.3.4" });
    expect(asked).toEqual(["web.example.org"]);
    expect(registry.list()).toEqual([]);
  });

  test("asks DNS neither for what is wrong nor for what is taken", async () => {
    await registry.set(gateway("a", "web.example.org"));
    const checkDomain = (): never => { throw new Error("asked"); };
    expect(await refusalOf(calls({ checkDomain }).setFQDNProxy("37-1", "web.example.org", [], false))).toMatchObject({ code: "invalid" });
    expect(await refusalOf(calls({ checkDomain }).setFQDNProxy("37-1", "web.example.org", ["http://10.0.0.1"], false))).toEqual({
      code: "conflict", message: 'domain "web.example.org" is already registered by workload "a", so workload "37-1" cannot have it',
    });
  });
});

describe("one workload", () => {
  test("updates what it registered, even to the other kind", async () => {
    const own = calls();
    await own.setNamedProxy("37-1", "web", ["http://10.0.0.1"], false);
    await own.setNamedProxy("37-1", "WEB", ["http://10.0.0.2"], false);
    expect(registry.get("37-1")?.backends).toEqual([{ address: "10.0.0.2", port: 80 }]);
    await own.setFQDNProxy("37-1", "web.example.org", ["10.0.0.3"], true);
    expect([...registry.gateways.keys()]).toEqual(["web.example.org"]);
    expect(readdirSync(directory)).toEqual(["37-1.yaml"]);
  });

  test("cannot take another one's domain, in whatever letters", async () => {
    await calls().setNamedProxy("37-1", "web", ["http://10.0.0.1"], false);
    expect(await refusalOf(calls().setNamedProxy("37-2", "WEB", ["http://10.0.0.1"], false))).toMatchObject({ code: "conflict" });
  });

  test("that deletes while its registration still waits for DNS ends deleted", async () => {
    const dns = Promise.withResolvers<null>();
    const own = calls({ checkDomain: () => dns.promise });
    const registered = own.setFQDNProxy("37-1", "web.example.org", ["http://10.0.0.1"], false);
    const deleted = own.deleteNamedProxy("37-1");
    dns.resolve(null);
    await Promise.all([registered, deleted]);
    expect(registry.list()).toEqual([]);
  });

  test("does not wait for another one's DNS", async () => {
    const never = calls({ checkDomain: () => new Promise<null>(() => {}) });
    void never.setFQDNProxy("37-1", "web.example.org", ["http://10.0.0.1"], false);
    expect(await never.setNamedProxy("37-2", "web", ["http://10.0.0.1"], false)).toBe("web.gent01.dev.grid.tf");
  });
});

describe("DeleteNamedProxy", () => {
  test("removes both kinds, and what is not there without an error", async () => {
    const own = calls();
    await own.setNamedProxy("37-1", "web", ["http://10.0.0.1"], false);
    await own.setFQDNProxy("37-2", "web.example.org", ["http://10.0.0.1"], false);
    for (const id of ["37-1", "37-2", "37-2", "never"]) await own.deleteNamedProxy(id);
    expect(readdirSync(directory)).toEqual([]);
  });

  test("refuses an id that leads out of the directory", async () => {
    expect(await refusalOf(calls().deleteNamedProxy("../../etc/x"))).toMatchObject({ code: "invalid" });
  });
});

test("Metrics are the meter's", () => {
  expect(calls().metrics()).toEqual(TOTALS);
});
