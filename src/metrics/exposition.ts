// What Prometheus scrapes. All values come in through functions: this file knows of no other part of the program.
//
// The two `traefik_*` series are read by others with
//   traefik_service_requests_bytes_total\{code="(.*)",method="(.*)",protocol="(.*)",service="(.*)@file"\} (\S+)
// so the order of their labels is part of their name.

import { readdir } from "node:fs/promises";
import type { Gateway } from "../gateway.ts";
import { COMMIT, VERSION } from "../lib/build-info.ts";
import { familiesText, type Family, type Sample } from "./family-text.ts";
import type { Meter, Reading } from "./meter.ts";

export type ExpositionOptions = {
  readonly meter: Meter;
  /** Since the start. */
  readonly requests: () => number;
  /** Bridged WebSockets that are open. */
  readonly sessions: () => number;
  /** `open` counts the idle ones too. */
  readonly upstreamConnections: () => { readonly open: number; readonly idle: number };
  /** Key files that could not be read the last time. */
  readonly keyProblems: () => number;
  /** The newest configuration was refused, and an older one is in use. */
  readonly isConfigRefused: () => boolean;
  readonly services: () => Iterable<ServiceMetrics>;
  /** null: no route is cached. */
  readonly cache: () => CacheMetrics | null;
  readonly gateways: () => Iterable<Pick<Gateway, "isPassthrough">>;
  /** Files that cannot be used. */
  readonly registryProblems: () => number;
  readonly certificates: () => Iterable<CertificateMetrics>;
};

export type ServiceMetrics = {
  readonly name: string;
  readonly waiting: number;
  readonly servers: ReadonlyArray<{ readonly server: string; readonly state: string; readonly running: number; readonly requests: number; readonly failures: number }>;
};

export type CacheMetrics = { readonly bytes: number; readonly entries: number; readonly hits: number; readonly misses: number; readonly stale: number };

export type CertificateMetrics = {
  readonly names: readonly string[];
  /** Unix time in ms; null: there is none yet. */
  readonly notAfterMs: number | null;
  /** Attempts to obtain or renew it that failed, since the start. */
  readonly failures: number;
  /** That it is read from; null: it is obtained. */
  readonly file: string | null;
  /** null: all is well. */
  readonly lastError: object | null;
};

/** Makes the function that answers a scrape. Who asks during one gets the same text. */
export function createExposition(options: ExpositionOptions): () => Promise<string> {
  let running: Promise<string> | null = null;
  return () => running ??= scrape(options).finally(() => { running = null; });
}

async function scrape(options: ExpositionOptions): Promise<string> {
  const [openFiles, lagS] = [await countOpenFiles(), await eventLoopLagS()];
  const readings = options.meter.read();
  const text = await familiesText([
    ...serviceFamilies(readings), ...programFamilies(options), ...serverFamilies(options.services()), ...cacheFamilies(options.cache()), ...gatewayFamilies(options),
    ...certificateFamilies(options.certificates()), ...processFamilies(openFiles, lagS),
  ]);
  options.meter.scraped(readings);
  return text;
}

function serviceFamilies(readings: readonly Reading[]): Family[] {
  const labelled = readings.map((reading) => {
    const { code, method, protocol } = reading.labels;
    return { reading, labels: { code, method, protocol, service: `${reading.service}@file` } };
  });
  return [
    counter("traefik_service_requests_bytes_total", "Bytes from clients, by service", labelled.map(({ labels, reading }) => ({ labels, value: reading.bytesIn }))),
    counter("traefik_service_responses_bytes_total", "Bytes towards clients, by service", labelled.map(({ labels, reading }) => ({ labels, value: reading.bytesOut }))),
  ];
}

function programFamilies({ requests, sessions, upstreamConnections, keyProblems, isConfigRefused }: ExpositionOptions): Family[] {
  const { open, idle } = upstreamConnections();
  return [
    gauge("route_build_info", "Which build this is; always 1", [{ labels: { version: VERSION, commit: COMMIT }, value: 1 }]),
    counter("route_requests_total", "Requests since the start", requests()),
    gauge("route_sessions", "Bridged WebSockets that are open", sessions()),
    gauge("route_upstream_connections", "HTTP connections to upstreams, by state", by("state", [["busy", open - idle], ["idle", idle]])),
    gauge("route_key_problems", "Key files that could not be read the last time; their last good keys stay in use", keyProblems()),
    gauge("route_config_refused", "Whether the newest configuration was refused and an older one is in use: 1, or 0", isConfigRefused() ? 1 : 0),
  ];
}

function serverFamilies(services: Iterable<ServiceMetrics>): Family[] {
  const all = [...services];
  const each = (value: (server: ServiceMetrics["servers"][number]) => number): Sample[] => {
    return all.flatMap(({ name, servers }) => servers.map((server) => ({ labels: { service: name, server: server.server }, value: value(server) })));
  };
  return [
    counter("route_server_requests_total", "Requests that a server was chosen for", each(({ requests }) => requests)),
    counter("route_server_failures_total", "Requests that failed at a server", each(({ failures }) => failures)),
    gauge("route_server_up", "Whether a server gets requests: 1, or 0 while it is ejected or unhealthy", each(({ state }) => (state === "up" ? 1 : 0))),
    gauge("route_server_running", "Requests and sessions under way at a server", each(({ running }) => running)),
    gauge("route_service_waiting", "Requests that wait for a place at a service", all.map(({ name, waiting }) => ({ labels: { service: name }, value: waiting }))),
  ];
}

function cacheFamilies(cache: CacheMetrics | null): Family[] {
  if (cache === null) return [];
  const { hits, misses, stale } = cache;
  return [
    counter("route_cache_requests_total", "Requests to the HTTP cache, by what came of them", by("result", Object.entries({ hit: hits, miss: misses, stale }))),
    gauge("route_cache_entries", "Answers that are kept in memory", cache.entries),
    gauge("route_cache_bytes", "What they take", cache.bytes),
  ];
}

function gatewayFamilies({ gateways, registryProblems }: ExpositionOptions): Family[] {
  const count = { terminated: 0, passthrough: 0 };
  for (const { isPassthrough } of gateways()) count[isPassthrough ? "passthrough" : "terminated"] += 1;
  return [
    gauge("route_gateways", "Registered gateways, by what becomes of their TLS", by("tls", Object.entries(count))),
    gauge("route_registry_problems", "Files of the registry that cannot be used", registryProblems()),
  ];
}

function certificateFamilies(certificates: Iterable<CertificateMetrics>): Family[] {
  const ends = new Map<string, number>();
  const failures = new Map<string, number>();
  let fileProblems = 0;
  for (const certificate of certificates) {
    if (certificate.file !== null && certificate.lastError !== null) fileProblems += 1;
    for (const name of new Set(certificate.names)) {
      failures.set(name, (failures.get(name) ?? 0) + certificate.failures);
      if (certificate.notAfterMs !== null) ends.set(name, Math.min(ends.get(name) ?? Infinity, certificate.notAfterMs / 1000));
    }
  }
  return [
    gauge("route_certificate_expiry_seconds", "When a name's certificate ends, Unix time in seconds; of several the first to end", by("name", ends)),
    counter("route_certificate_renewal_failures_total", "Attempts to obtain or renew a name's certificate that failed", by("name", failures)),
    gauge("route_certificate_file_problems", "Certificates in files that cannot be used, or that clients refuse; the last good ones stay in use", fileProblems),
  ];
}

/** `process_*` are called what Prometheus' own client libraries call them: dashboards know the names. */
function processFamilies(openFiles: number | null, lagS: number): Family[] {
  const { user, system } = process.cpuUsage();
  return [
    counter("process_cpu_seconds_total", "Processor time, user and system", (user + system) / 1e6),
    gauge("process_resident_memory_bytes", "Resident memory", process.memoryUsage.rss()),
    gauge("process_start_time_seconds", "When the process started, Unix time in seconds", Math.round(performance.timeOrigin) / 1000),
    ...(openFiles === null ? [] : [gauge("process_open_fds", "Open file descriptors", openFiles)]),
    gauge("route_event_loop_lag_seconds", "One turn of the event loop, during this scrape", lagS),
  ];
}

function counter(name: string, help: string, value: number | readonly Sample[]): Family {
  return { kind: "counter", name, help, samples: typeof value === "number" ? [{ labels: {}, value }] : value };
}

function gauge(name: string, help: string, value: number | readonly Sample[]): Family {
  return { ...counter(name, help, value), kind: "gauge" };
}

function by(label: string, values: Iterable<readonly [string, number]>): Sample[] {
  return Array.from(values, ([key, value]) => ({ labels: { [label]: key }, value }));
}

/** null where there is no /proc. */
async function countOpenFiles(): Promise<number | null> {
  const names = await readdir("/proc/self/fd").catch(() => null);
  // One of them is the directory that was just read.
  return names === null ? null : names.length - 1;
}

async function eventLoopLagS(): Promise<number> {
  const startedMs = performance.now();
  await new Promise<void>((resolve) => { setImmediate(resolve); });
  return (performance.now() - startedMs) / 1000;
}
