// The HTTP cache. Hits of a 10 KiB page, plain and for clients that take gzip, ours beside nginx's proxy_cache, and beside a Bun.serve
// that does nothing but answer: no handler in this runtime can be faster than that. Then a stampede: hundreds of clients ask at once
// for what is not there yet.

import { mkdtempSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { startCeiling } from "../lab/bare-server.ts";
import { startConfigured } from "../lab/configured-gateway.ts";
import type { Lab } from "../lab/lab.ts";
import { nginxMissing, startFilePod } from "../lab/nginx.ts";
import { startReverseProxy } from "../lab/nginx-reverse.ts";
import { type Report, text } from "../lab/report.ts";
import type { Bench, Scenario, Server } from "../lab/scenario.ts";
import { median, ratios } from "../lab/statistics.ts";
import { type Contender, describeSeen, inRounds, type Seen, type WrkRounds } from "../lab/wrk-rounds.ts";
import { wrkMissing } from "../lab/wrk.ts";
import type { PagePodCalls } from "../programs/page-pod.ts";
import { recordsJson } from "../programs/records.ts";
import type { StampedeCalls } from "../programs/stampede-client.ts";

const SIZES = {
  full: { rounds: 5, seconds: 4, warmupSeconds: 2, stampedes: 5, clients: 500 },
  quick: { rounds: 3, seconds: 2, warmupSeconds: 1, stampedes: 3, clients: 500 },
  tiny: { rounds: 1, seconds: 1, warmupSeconds: 0, stampedes: 1, clients: 50 },
};

const CONNECTIONS = 64;
const PAGE_BYTES = 10 * 1024;
/** Text that compresses as text does. */
const PAGE = recordsJson(PAGE_BYTES).slice(0, PAGE_BYTES);
/** Of a page that is not there yet: all have asked before it comes. */
const DELAY_MS = 200;

const CEILING = "Bun.serve alone, no log";

export const cache: Scenario = {
  name: "cache",
  summary: "hits of a 10 KiB page against nginx's proxy_cache; a stampede for a page that is not there yet",
  run: runCache,
};

async function runCache({ size, command, lab, report }: Bench): Promise<void> {
  const { rounds, seconds, warmupSeconds, stampedes, clients } = SIZES[size];
  const load = `10 KiB, ${CONNECTIONS} connections, ${rounds} interleaved rounds of ${seconds} s`;
  report.heading(`cache: ${load}, access logs on; ${stampedes} stampedes of ${text(clients)}`);
  const noPeer = nginxMissing();
  if (noPeer !== null) report.skip("cache beside nginx", noPeer);
  const missing = wrkMissing() ?? noPeer;
  if (missing === null) await hits({ lab, report, connections: CONNECTIONS, rounds, seconds, warmupSeconds }, command);
  else report.skip("cache hits", missing);
  await stampede(lab, command, report, stampedes, clients);
}

// ---- hits

async function hits(run: WrkRounds, command: readonly string[]): Promise<void> {
  const { lab, report } = run;
  const originLog = lab.path("origin.log");
  const origin = await startFilePod(lab, "page.html", PAGE, "add_header Cache-Control max-age=3600;", originLog);
  const [plain, gzipped] = [{}, { "Accept-Encoding": "gzip" }];
  // Compressing leaves a process another one: whoever answers plain clients has not done it.
  const [first, second] = [await startCaches(lab, command, `127.0.0.1:${origin}`), await startCaches(lab, command, `127.0.0.1:${origin}`)];
  const contenders = [
    contender(first.ours, plain), contender(first.nginx, plain), contender(await startCeiling(lab, CEILING, "text/html", PAGE), plain),
    contender(second.ours, gzipped), contender(second.nginx, gzipped),
  ];
  for (const each of contenders) await check(each);
  const seen = await inRounds(run, contenders);
  for (const one of seen) describeSeen(report, one, [`${text(median(one.wireBytes))} bytes on the wire`]);
  judge(report, seen);
  const asked = (await Bun.file(originLog).text()).split("\n").length - 1;
  // Once for each cache.
  if (asked > 4) report.fail(`the origin was asked ${asked} times: these were not hits`);
}

function contender(server: Server, headers: Readonly<Record<string, string>>): Contender {
  return { name: "Accept-Encoding" in headers ? `${server.name}, gzip` : server.name, server, path: "/page.html", headers };
}

/** @param origin `host:port` */
async function startCaches(lab: Lab, command: readonly string[], origin: string): Promise<{ ours: Server; nginx: Server }> {
  const ours = await startOurs(lab, command, origin);
  const nginx = await startReverseProxy(lab, {
    http: `proxy_cache_path ${mkdtempSync(lab.path("nginx-cache-"))} keys_zone=pages:10m max_size=64m use_temp_path=off;`,
    upstreams: { origin: `server ${origin};` },
    locations: { "/": `
      proxy_pass http://origin;
      proxy_cache pages;
      proxy_cache_lock on;
      # Otherwise each hit opens the file anew. Without sendfile, which is slower for a page of this size.
      open_file_cache max=1000 inactive=1h;
      open_file_cache_valid 1h;
      gzip on;
      gzip_comp_level 5;
      gzip_vary on;` },
  });
  return { ours, nginx };
}

function startOurs(lab: Lab, command: readonly string[], origin: string): Promise<Server> {
  return startConfigured(lab, command, `
services: { pages: { url: "http://${origin}" } }
routes: [{ path: /, service: pages, cache: true }]
`);
}

/** The first time it is no hit. @throws Error when what comes is not the page, in the coding that was asked for */
async function check({ name, server: { port }, path, headers }: Contender): Promise<void> {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, { headers, decompress: false });
  const body = Buffer.from(await answer.arrayBuffer());
  const coding = answer.headers.get("content-encoding") ?? undefined;
  if (answer.status !== 200 || coding !== headers["Accept-Encoding"]) throw new Error(`${name}: ${answer.status}, content-encoding ${coding}`);
  if ((coding === undefined ? body : gunzipSync(body)).toString() !== PAGE) throw new Error(`${name}: what comes is another page`);
}

function judge(report: Report, seen: readonly Seen[]): void {
  const [ours, nginx, bare, oursGzip, nginxGzip] = seen as [Seen, Seen, Seen, Seen, Seen];
  for (const [one, other] of [[ours, nginx], [bare, nginx], [oursGzip, nginxGzip]] as const) {
    report.figure(`${one.contender.name} / nginx`, ratios(one.rate, other.rate), " x req/s", [`${text(median(ratios(one.cpuUs, other.cpuUs)))} x CPU/request`]);
  }
  report.bound({ what: "cache hits/s beside nginx", values: ratios(ours.rate, nginx.rate), unit: " x", limit: { atLeast: 1.5 } });
  report.bound({ what: "cache hits/s with gzip beside nginx", values: ratios(oursGzip.rate, nginxGzip.rate), unit: " x", limit: { atLeast: 1.5 } });
}

// ---- a stampede

async function stampede(lab: Lab, command: readonly string[], report: Report, rounds: number, clients: number): Promise<void> {
  const pod = lab.program<PagePodCalls>("page-pod.ts");
  const origin = `127.0.0.1:${await pod.call("listen", { bytes: PAGE_BYTES, delayMs: DELAY_MS })}`;
  const servers = nginxMissing() === null ? Object.values(await startCaches(lab, command, origin)) : [await startOurs(lab, command, origin)];
  const client = lab.program<StampedeCalls>("stampede-client.ts");
  const asked = servers.map((): number[] => []);
  const lastMs = servers.map((): number[] => []);
  for (let round = 0; round < rounds; round += 1) {
    for (const [index, { name, port }] of servers.entries()) {
      const took = await client.call("stampede", { port, path: `/cold-${round}`, clients, bytes: PAGE_BYTES });
      asked[index]?.push(await pod.call("takeCount", undefined));
      lastMs[index]?.push(took.lastMs);
      if (took.good < clients) report.fail(`stampede, ${name}: ${clients - took.good} of ${clients} clients did not get the page`);
    }
  }
  for (const [index, { name }] of servers.entries()) {
    report.figure(`stampede, ${name}`, asked[index]!, " requests upstream", [`the last of ${text(clients)} has it after ${text(median(lastMs[index]!))} ms (it takes ${DELAY_MS})`]);
  }
  report.bound({ what: `stampede, requests upstream of ${text(clients)}`, values: asked[0]!, unit: "", limit: { atMost: 1 } });
}
