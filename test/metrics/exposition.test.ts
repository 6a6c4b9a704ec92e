import { describe, expect, test } from "bun:test";
import { createExposition, type ExpositionOptions } from "../../src/metrics/exposition.ts";
import { Meter } from "../../src/metrics/meter.ts";

/** What the original reads: the series with its service, and the sum for each service. */
function originalReads(text: string): Record<"requests" | "responses", Record<string, number>> {
  const sums = { requests: {} as Record<string, number>, responses: {} as Record<string, number> };
  const pattern = /traefik_service_(requests|responses)_bytes_total\{code="(.*)",method="(.*)",protocol="(.*)",service="(.*)@file"\} (\S+)/;
  for (const line of text.split("\n")) {
    const [, kind, , , , service = "", value] = pattern.exec(line) ?? [];
    if (kind !== undefined) sums[kind as "requests"][service] = (sums[kind as "requests"][service] ?? 0) + Number(value);
  }
  return sums;
}

function exposition(options: Partial<ExpositionOptions> = {}): () => Promise<string> {
  return createExposition({
    meter: new Meter(), requests: () => 0, sessions: () => 0, upstreamConnections: () => ({ open: 0, idle: 0 }),
    services: () => [], cache: () => null, gateways: () => [], registryProblems: () => 0, certificates: () => [], keyProblems: () => 0, isConfigRefused: () => false, ...options,
  });
}

const samples = (text: string): string[] => text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
const named = (text: string, name: string): string[] => samples(text).filter((line) => line.startsWith(name));

describe("exposition", () => {
  test("shows the two series of the original as its regular expressions read them", async () => {
    const meter = new Meter();
    meter.moved("37-2039-testname", { code: "200", method: "GET", protocol: "http" }, 12, 345);
    meter.moved("37-2039-testname", { code: "101", method: "GET", protocol: "websocket" }, 1000, 2000);
    meter.moved("40-1976-workloadname", { code: "0", method: "", protocol: "tcp" }, 7, 9);
    const text = await exposition({ meter })();
    expect(originalReads(text)).toEqual({
      requests: { "37-2039-testname": 1012, "40-1976-workloadname": 7 },
      responses: { "37-2039-testname": 2345, "40-1976-workloadname": 9 },
    });
    expect(text).toContain('\ntraefik_service_requests_bytes_total{code="200",method="GET",protocol="http",service="37-2039-testname@file"} 12\n');
    expect(text).toContain('\ntraefik_service_responses_bytes_total{code="0",method="",protocol="tcp",service="40-1976-workloadname@file"} 9\n');
  });

  test("names each family once, also one of thousands of series, and its series follow", async () => {
    const meter = new Meter();
    for (let i = 0; i < 1501; i += 1) meter.moved(`w${i}`, { code: "200", method: "GET", protocol: "http" }, i, 1);
    const text = await exposition({ meter })();
    const name = "traefik_service_requests_bytes_total";
    const block = text.split("\n\n").find((family) => family.startsWith(`# HELP ${name} `))?.split("\n") ?? [];
    expect(block[1]).toBe(`# TYPE ${name} counter`);
    expect(block.length).toBe(1503);
    expect(block.slice(2).every((line) => line.startsWith(`${name}{`))).toBe(true);
    expect(text.match(new RegExp(`# TYPE ${name} `, "g"))?.length).toBe(1);
  });

  test("shows no series of what is not there: servers, services, certificates", async () => {
    const text = await exposition()();
    expect(samples(text).filter((line) => /^(?:route_serv|route_certificate_[er]|traefik_)/.test(line))).toEqual([]);
    expect(text).toContain("# TYPE route_server_up gauge\n");
    expect(text).not.toContain("\n\n\n");
  });

  test("escapes what a service's name holds", async () => {
    const meter = new Meter();
    meter.moved('a"} 1\nb\\c', { code: "200", method: "GET", protocol: "http" }, 5, 6);
    const lines = named(await exposition({ meter })(), "traefik_service_requests");
    expect(lines).toEqual(['traefik_service_requests_bytes_total{code="200",method="GET",protocol="http",service="a\\"} 1\\nb\\\\c@file"} 5']);
  });

  test("writes numbers beyond 32 bits in full", async () => {
    const meter = new Meter();
    meter.moved("a", { code: "200", method: "GET", protocol: "http" }, 2 ** 53, 1);
    expect(await exposition({ meter })()).toContain('service="a@file"} 9007199254740992\n');
  });

  test("shows a deleted service in one scrape more", async () => {
    const meter = new Meter();
    const scrape = exposition({ meter });
    meter.moved("a", { code: "200", method: "GET", protocol: "http" }, 5, 6);
    meter.forget("a");
    expect(originalReads(await scrape())).toEqual({ requests: { a: 5 }, responses: { a: 6 } });
    expect(originalReads(await scrape())).toEqual({ requests: {}, responses: {} });
  });

  test("keeps a deleted service for the next scrape when one fails", async () => {
    const meter = new Meter();
    meter.moved("a", { code: "200", method: "GET", protocol: "http" }, 5, 6);
    meter.forget("a");
    const broken = exposition({ meter, sessions: () => { throw new Error("closed"); } });
    await expect(broken()).rejects.toThrow("closed");
    expect(originalReads(await exposition({ meter })()).requests).toEqual({ a: 5 });
  });

  test("shows both of two scrapers at a time the same deleted service", async () => {
    const meter = new Meter();
    const scrape = exposition({ meter });
    meter.moved("a", { code: "200", method: "GET", protocol: "http" }, 5, 6);
    meter.forget("a");
    const texts = await Promise.all([scrape(), scrape()]);
    expect(texts.map((text) => originalReads(text).requests)).toEqual([{ a: 5 }, { a: 5 }]);
  });

  test("answers for 10,000 services within two seconds, and lets others run meanwhile", async () => {
    const meter = new Meter();
    for (let i = 0; i < 10_000; i += 1) meter.moved(`37-${i}-workload`, { code: "200", method: "GET", protocol: "http" }, i, i + 1);
    let turns = 0;
    const timer = setInterval(() => { turns += 1; }, 1);
    const startedMs = performance.now();
    const text = await exposition({ meter })();
    clearInterval(timer);
    expect(performance.now() - startedMs).toBeLessThan(2000);
    expect(turns).toBeGreaterThan(4);
    const { requests, responses } = originalReads(text);
    expect(Object.keys(requests).length).toBe(10_000);
    expect(Object.values(requests).reduce((sum, value) => sum + value, 0)).toBe(49_995_000);
    expect(responses["37-9999-workload"]).toBe(10_000);
  });
});

describe("exposition of the program", () => {
  test("shows gateways, sessions, connections and problems", async () => {
    const text = await exposition({
      requests: () => 41, sessions: () => 3, upstreamConnections: () => ({ open: 7, idle: 5 }), registryProblems: () => 2,
      gateways: () => [{ isPassthrough: true }, { isPassthrough: false }, { isPassthrough: false }], keyProblems: () => 2, isConfigRefused: () => true,
    })();
    expect(samples(text)).toEqual(expect.arrayContaining([
      "route_requests_total 41", "route_sessions 3", 'route_upstream_connections{state="busy"} 2', 'route_upstream_connections{state="idle"} 5',
      "route_key_problems 2", "route_config_refused 1", "route_registry_problems 2", 'route_gateways{tls="terminated"} 2', 'route_gateways{tls="passthrough"} 1',
    ]));
    expect(named(text, "route_build_info")[0]).toMatch(/^route_build_info\{version="\d+\.\d+\.\d+",commit="\w+"\} 1$/);
  });

  test("shows when each name's certificate ends, the first of several, and what failed", async () => {
    const text = await exposition({ certificates: () => [
      { names: ["a.example", "b.example", "b.example"], notAfterMs: 1_800_000_000_000, failures: 1, file: null, lastError: null },
      { names: ["b.example"], notAfterMs: 1_700_000_000_000, failures: 2, file: "b.pem", lastError: { message: "it has ended" } },
      { names: ["c.example"], notAfterMs: null, failures: 4, file: null, lastError: { message: "rate limited" } },
    ] })();
    expect(named(text, "route_certificate_")).toEqual([
      'route_certificate_expiry_seconds{name="a.example"} 1800000000', 'route_certificate_expiry_seconds{name="b.example"} 1700000000',
      'route_certificate_renewal_failures_total{name="a.example"} 1', 'route_certificate_renewal_failures_total{name="b.example"} 3',
      'route_certificate_renewal_failures_total{name="c.example"} 4', "route_certificate_file_problems 1",
    ]);
  });

  test("shows the process in numbers that can be true", async () => {
    const text = await exposition()();
    const value = (name: string): number => Number(named(text, `${name} `)[0]?.split(" ")[1]);
    expect(value("process_resident_memory_bytes")).toBeGreaterThan(10_000_000);
    expect(value("process_cpu_seconds_total")).toBeGreaterThan(0);
    expect(Math.abs(value("process_start_time_seconds") - (Date.now() - performance.now()) / 1000)).toBeLessThan(60);
    expect(value("route_event_loop_lag_seconds")).toBeLessThan(10);
    if (process.platform === "linux") expect(value("process_open_fds")).toBeGreaterThan(2);
  });
});
