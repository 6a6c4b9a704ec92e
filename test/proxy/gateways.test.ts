import { describe, expect, test } from "bun:test";
import type { Backend, Gateway } from "../../src/gateway.ts";
import { GatewayRoutes, hostName } from "../../src/proxy/gateways.ts";
import type { GatewayService } from "../../src/service.ts";

const backend = (port: number, address = "10.0.0.1"): Backend => ({ address, port });

function gateway(fqdn: string, backends: readonly Backend[]): Gateway {
  return { id: `id-${fqdn}`, service: `service-${fqdn}`, fqdn, isPassthrough: false, backends, resolver: null, certificateNames: [] };
}

/** Routes over a registry of these, and a clock that stands still until it is set. */
function routesOf(...gateways: Gateway[]): { routes: GatewayRoutes; source: { gateways: ReadonlyMap<string, Gateway> }; clock: { ms: number } } {
  const source = { gateways: new Map(gateways.map((each) => [each.fqdn, each])) };
  const clock = { ms: 0 };
  return { source, clock, routes: new GatewayRoutes(source, 60_000, () => clock.ms) };
}

function serviceOf(routes: GatewayRoutes, host: string): GatewayService {
  const service = routes.match(host)?.route.service;
  if (service?.kind !== "gateway") throw new Error(`no gateway for ${host}`);
  return service;
}

const ports = (routes: GatewayRoutes, host: string): number[] => routes.targets(serviceOf(routes, host)).map(({ port }) => port);

describe("gateway routes", () => {
  test("are found by host: with a port, a trailing dot, in upper case", () => {
    const { routes } = routesOf(gateway("a.test", [backend(80)]));
    for (const host of ["a.test", "a.test:443", "A.Test", "a.test.", "A.TEST.:8443"]) {
      expect(routes.match(host)?.route).toMatchObject({ name: "id-a.test", service: { name: "service-a.test" } });
    }
  });

  test("are not found by anything that is only alike", () => {
    const { routes } = routesOf(gateway("a.test", [backend(80)]));
    for (const host of ["", "test", "x.a.test", "a.test.x", "a.test..", ".a.test", "a_test", "[::1]:80", "a.test:80:80", "constructor", "__proto__"]) expect(routes.match(host)).toBeNull();
  });

  test("follow the registry's newest snapshot", () => {
    const { routes, source } = routesOf(gateway("a.test", [backend(1)]));
    expect(ports(routes, "a.test")).toEqual([1]);
    source.gateways = new Map([["a.test", gateway("a.test", [backend(2)])]]);
    expect(ports(routes, "a.test")).toEqual([2]);
    source.gateways = new Map();
    expect(routes.match("a.test")).toBeNull();
  });

  test("are made once for each of ten thousand, and not again when another one changes", () => {
    const all = Array.from({ length: 10_000 }, (_, index) => gateway(`n${index}.test`, [backend(index + 1)]));
    const { routes, source } = routesOf(...all);
    const before = routes.match("n5000.test");
    source.gateways = new Map([...source.gateways, ["n1.test", gateway("n1.test", [backend(9)])]]);
    expect(routes.match("n5000.test")).toBe(before);
    expect(ports(routes, "n9999.test")).toEqual([10_000]);
  });

  test("ask for the client's host, no token and no limit of our own on time between messages", () => {
    const { routes } = routesOf(gateway("a.test", [backend(80)]));
    expect(routes.match("a.test")?.route).toMatchObject({ host: "client", tokenSources: [], websocket: true, idleTimeoutMs: 0, readTimeoutMs: 60_000 });
  });
});

describe("backends", () => {
  test("take turns, each of them first as often as the others, and all the others follow", () => {
    const { routes } = routesOf(gateway("a.test", [backend(1), backend(2), backend(3)]));
    expect(Array.from({ length: 4 }, () => ports(routes, "a.test"))).toEqual([[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 2, 3]]);
  });

  test("of one gateway don't move another's turn", () => {
    const { routes } = routesOf(gateway("a.test", [backend(1), backend(2)]), gateway("b.test", [backend(3), backend(4)]));
    expect([ports(routes, "a.test"), ports(routes, "b.test"), ports(routes, "a.test")]).toEqual([[1, 2], [3, 4], [2, 1]]);
  });

  test("that could not be connected to come last for ten seconds, then take their turns again", () => {
    const { routes, clock } = routesOf(gateway("a.test", [backend(1), backend(2)]));
    routes.failed(backend(1));
    expect([ports(routes, "a.test"), ports(routes, "a.test")]).toEqual([[2, 1], [2, 1]]);
    clock.ms = 9999;
    expect([ports(routes, "a.test"), ports(routes, "a.test")]).toEqual([[2, 1], [2, 1]]);
    clock.ms = 10_000;
    expect([ports(routes, "a.test"), ports(routes, "a.test")]).toEqual([[1, 2], [2, 1]]);
  });

  test("that fail again are out for as long again", () => {
    const { routes, clock } = routesOf(gateway("a.test", [backend(1), backend(2)]));
    routes.failed(backend(1));
    clock.ms = 5000;
    routes.failed(backend(2));
    clock.ms = 8000;
    routes.failed(backend(1));
    clock.ms = 16_000;
    expect([ports(routes, "a.test"), ports(routes, "a.test")]).toEqual([[2, 1], [2, 1]]);
  });

  test("that are all out are all tried", () => {
    const { routes } = routesOf(gateway("a.test", [backend(1), backend(2)]));
    for (const port of [1, 2]) routes.failed(backend(port));
    expect(ports(routes, "a.test")).toEqual([1, 2]);
  });

  test("are out by address and port, for every gateway that has them", () => {
    const { routes } = routesOf(gateway("a.test", [backend(1), backend(1, "10.0.0.2"), backend(1, "fd00::1")]), gateway("b.test", [backend(1), backend(2)]));
    routes.failed(backend(1));
    routes.failed(backend(1, "fd00::1"));
    expect(routes.targets(serviceOf(routes, "a.test")).map(({ key }) => key)).toEqual(["10.0.0.2:1", "10.0.0.1:1", "[fd00::1]:1"]);
    expect(ports(routes, "b.test")).toEqual([2, 1]);
  });

  test("are written as a Host header has them: the port left out when it is 80, IPv6 in brackets", () => {
    const { routes } = routesOf(gateway("a.test", [backend(80), backend(8080), backend(80, "fd00::1"), backend(81, "fd00::1")]));
    expect(routes.targets(serviceOf(routes, "a.test")).map(({ authority }) => authority)).toEqual(["10.0.0.1", "10.0.0.1:8080", "[fd00::1]", "[fd00::1]:81"]);
  });
});

test("a host's name is its text in lower case without port and trailing dot", () => {
  expect(["A.test", "a.test:1", "a.test.", "a.test.:1", "[::1]:80", "[::1]", ""].map(hostName)).toEqual(["a.test", "a.test", "a.test", "a.test", "[::1]", "[::1]", ""]);
});
