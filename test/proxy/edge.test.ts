import { describe, expect, test } from "bun:test";
import type { Certificate } from "../../src/certificate.ts";
import { RouteError } from "../../src/errors.ts";
import type { Gateway } from "../../src/gateway.ts";
import { Edge, type EdgeOptions } from "../../src/proxy/edge.ts";
import { GatewayRoutes } from "../../src/proxy/gateways.ts";
import type { ClientRequest } from "../../src/proxy/request.ts";

const certificate = (fingerprint: string, ...names: string[]): Certificate => ({ names, fingerprint, certPem: "", keyPem: "", issuer: "", notBeforeMs: 0, notAfterMs: 0 });

const WILD = certificate("wild", "*.gw.test");
const EXACT = certificate("exact", "a.gw.test");
const OTHER = certificate("other", "other.test", "www.other.test");

const gateway = (fqdn: string, isPassthrough = false): Gateway => (
  { id: fqdn, service: fqdn, fqdn, isPassthrough, backends: [{ address: "10.0.0.1", port: 80 }], resolver: null, certificateNames: [] }
);
const GATEWAYS = [gateway("a.gw.test"), gateway("b.gw.test"), gateway("bare.test"), gateway("pass.gw.test", true)];

function certificateFor(host: string): Certificate | null {
  if (host === "a.gw.test") return EXACT;
  if (OTHER.names.includes(host)) return OTHER;
  return /^[^.]+\.gw\.test$/.test(host) ? WILD : null;
}

function edge(options: Partial<EdgeOptions> = {}): Edge {
  const gateways = new GatewayRoutes({ gateways: new Map(GATEWAYS.map((each) => [each.fqdn, each])) }, 1000);
  return new Edge({ gateways, redirectPort: 443, certificateFor, defaultName: null, challenge: (token) => (token === "token" ? "token.thumbprint" : null), ...options });
}

const request = (host: string, path = "/", query = ""): ClientRequest => ({ method: "GET", path, query, host, headers: {} });

function refusal(of: () => unknown): RouteError {
  try {
    of();
  } catch (error) {
    if (error instanceof RouteError) return error;
    throw error;
  }
  throw new Error("it was not refused");
}

describe("a plain request", () => {
  const to = (host: string, path?: string, query?: string, options?: Partial<EdgeOptions>): string | null => refusal(() => edge(options).match(request(host, path, query), null)).location;

  test("for a gateway's host, or one that has a certificate, is moved to https", () => {
    expect(refusal(() => edge().match(request("a.gw.test"), null))).toMatchObject({ code: "moved", status: 308 });
    expect([to("bare.test"), to("www.other.test"), to("pass.gw.test")]).toEqual(["https://bare.test/", "https://www.other.test/", "https://pass.gw.test/"]);
  });

  test("keeps its path and query, whatever they look like", () => {
    expect(to("a.gw.test", "/x/%2F;y", "a=1&b=?&c=https://evil.test")).toBe("https://a.gw.test/x/%2F;y?a=1&b=?&c=https://evil.test");
    expect(to("a.gw.test", "//evil.test/x")).toBe("https://a.gw.test//evil.test/x");
    expect(to("a.gw.test", "/@evil.test")).toBe("https://a.gw.test/@evil.test");
  });

  test("goes to the port of https, left out when it is 443; its own port stays behind", () => {
    expect(to("A.GW.test.:80")).toBe("https://a.gw.test/");
    expect(to("a.gw.test:8080", "/x", "", { redirectPort: 8443 })).toBe("https://a.gw.test:8443/x");
  });

  test("for a host that is not ours is moved nowhere", () => {
    for (const host of ["evil.test", "a.gw.test.evil.test", "gw.test", "x.y.gw.test", "127.0.0.1", "[::1]:80"]) expect(edge().match(request(host), null)).toBeNull();
  });

  test("stays where redirects are off, but for a host whose backends speak TLS themselves", () => {
    const off = edge({ redirectPort: null });
    expect(off.match(request("a.gw.test"), null)?.route.name).toBe("a.gw.test");
    expect(refusal(() => off.match(request("pass.gw.test"), null)).code).toBe("not_found");
  });
});

describe("a challenge", () => {
  test("is answered while it runs", () => {
    expect(edge().challenge(request("a.gw.test", "/.well-known/acme-challenge/token"))).toBe("token.thumbprint");
  });

  test("is not answered by anything but its token", () => {
    for (const path of ["/.well-known/acme-challenge/", "/.well-known/acme-challenge/other", "/.well-known/acme-challenge/token/", "/.well-known/acme-challenge/../token",
      "/x/.well-known/acme-challenge/token", "/.well-known/acme-challenge", "/.well-known/acme-challenge//token", "/"]) {
      expect(edge().challenge(request("a.gw.test", path))).toBeNull();
    }
  });
});

describe("a request over TLS", () => {
  const code = (host: string, own: Certificate): string => refusal(() => edge().match(request(host), own)).code;

  test("finds its gateway, and the table gets what is none", () => {
    expect(edge().match(request("b.gw.test:443"), WILD)?.route.name).toBe("b.gw.test");
    expect(edge().match(request("other.test"), OTHER)).toBeNull();
    expect(edge({ gateways: null }).match(request("a.gw.test"), EXACT)).toBeNull();
  });

  test("is misdirected when its host belongs to another certificate", () => {
    expect([code("other.test", WILD), code("b.gw.test", EXACT), code("a.gw.test", WILD), code("OTHER.test.:443", EXACT)]).toEqual(Array.from({ length: 4 }, () => "misdirected"));
  });

  test("is served on a connection of an older certificate that has the host by the same name", () => {
    expect(edge().match(request("a.gw.test"), certificate("older", "a.gw.test"))?.route.name).toBe("a.gw.test");
    expect(edge().match(request("b.gw.test"), certificate("older", "*.gw.test", "gw.test"))?.route.name).toBe("b.gw.test");
    expect(edge().match(request("www.other.test"), certificate("older", "www.other.test"))).toBeNull();
  });

  test("for a workload is misdirected on a certificate that does not have its host, also when no certificate has it", () => {
    expect([code("bare.test", OTHER), code("bare.test", WILD), code("b.gw.test", OTHER)]).toEqual(["misdirected", "misdirected", "misdirected"]);
    expect(edge().match(request("bare.test"), certificate("older", "bare.test"))?.route.name).toBe("bare.test");
  });

  test("for a workload without a certificate is served by the default one, which its clients get", () => {
    const byDefault = edge({ defaultName: "other.test" });
    expect(byDefault.match(request("bare.test"), OTHER)?.route.name).toBe("bare.test");
    for (const [host, own] of [["bare.test", WILD], ["b.gw.test", OTHER]] as const) expect(refusal(() => byDefault.match(request(host), own)).code).toBe("misdirected");
  });

  test("for a host that is neither a workload's nor any certificate's is the table's, whichever it came with", () => {
    expect(edge().match(request("127.0.0.1"), OTHER)).toBeNull();
  });

  test("is misdirected when its host is passed through, though the certificate has it", () => {
    expect(code("pass.gw.test", WILD)).toBe("misdirected");
    expect(code("pass.gw.test", EXACT)).toBe("misdirected");
  });
});
