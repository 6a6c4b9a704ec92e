// A JSON answer of 100 KiB for clients that take gzip, level 5, ours beside nginx: collected with its length, and streamed in chunks.
// Beside them what zstd and brotli cost us for the same text, and what each makes of it.

import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from "node:zlib";
import { startConfigured } from "../lab/configured-gateway.ts";
import type { Lab } from "../lab/lab.ts";
import { nginxMissing } from "../lab/nginx.ts";
import { startReverseProxy } from "../lab/nginx-reverse.ts";
import { type Report, text } from "../lab/report.ts";
import type { Bench, Scenario, Server } from "../lab/scenario.ts";
import { median, ratios } from "../lab/statistics.ts";
import { type Contender, describeSeen, inRounds, type Seen } from "../lab/wrk-rounds.ts";
import { wrkMissing } from "../lab/wrk.ts";
import { recordsJson } from "../programs/records.ts";
import type { RecordsPodCalls } from "../programs/records-pod.ts";

const KINDS = ["whole", "streamed"] as const;
type Kind = typeof KINDS[number];

const SIZES = {
  full: { rounds: 5, seconds: 3, warmupSeconds: 1, kinds: KINDS },
  quick: { rounds: 3, seconds: 1, warmupSeconds: 1, kinds: KINDS },
  // wrk takes a second for each. That both come right is looked at before.
  tiny: { rounds: 1, seconds: 1, warmupSeconds: 0, kinds: ["whole"] as const },
};

const BYTES = 100 * 1024;
const CONNECTIONS = 32;
const LEVEL = 5;

const DECODE = { gzip: gunzipSync, zstd: zstdDecompressSync, br: brotliDecompressSync } as const;
type Encoding = keyof typeof DECODE;

export const gzip: Scenario = {
  name: "gzip",
  summary: "100 KiB of JSON compressed, whole and streamed: requests/s and CPU against nginx; zstd and brotli beside it",
  run: runGzip,
};

type Compressed = Contender & { readonly kind: Kind; readonly encoding: Encoding };

async function runGzip({ size, command, lab, report }: Bench): Promise<void> {
  const { rounds, seconds, warmupSeconds, kinds } = SIZES[size];
  report.heading(`gzip: 100 KiB of JSON, level ${LEVEL}, ${CONNECTIONS} connections, ${rounds} interleaved rounds of ${seconds} s, access logs on`);
  const missing = wrkMissing();
  if (missing !== null) return report.skip("gzip", missing);
  const port = await lab.program<RecordsPodCalls>("records-pod.ts").call("listen", { bytes: BYTES });
  const servers = await startServers(lab, command, report, `127.0.0.1:${port}`);
  const contenders = servers.flatMap((server) => contendersOf(server));
  const plain = recordsJson(BYTES);
  for (const contender of contenders) await check(contender, plain);
  const measured = contenders.filter(({ kind }) => kinds.some((wanted) => wanted === kind));
  const seen = await inRounds({ lab, report, connections: CONNECTIONS, rounds, seconds, warmupSeconds }, measured);
  for (const one of seen) describeSeen(report, one, [`${text(median(one.wireBytes))} bytes on the wire`]);
  for (const kind of KINDS) judge(report, kind, seen);
}

async function startServers(lab: Lab, command: readonly string[], report: Report, pod: string): Promise<Server[]> {
  const ours = await startConfigured(lab, command, `
compression: { level: ${LEVEL} }
services: { records: { url: "http://${pod}" } }
routes: [{ path: /, service: records }]
`);
  const missing = nginxMissing();
  if (missing !== null) {
    report.skip("gzip beside nginx", missing);
    return [ours];
  }
  return [ours, await startReverseProxy(lab, {
    upstreams: { records: `server ${pod};` },
    locations: { "/": `
      proxy_pass http://records;
      # The whole answer has room in memory.
      proxy_buffers 16 16k;
      proxy_max_temp_file_size 0;
      gzip on;
      gzip_comp_level ${LEVEL};
      gzip_types application/json;
      gzip_vary on;` },
  })];
}

/** nginx has neither zstd nor brotli. */
function contendersOf(server: Server): Compressed[] {
  const encodings: readonly Encoding[] = server.name === "nginx" ? ["gzip"] : ["gzip", "zstd", "br"];
  return KINDS.flatMap((kind) => encodings.map((encoding) => (
    { name: `${kind}, ${encoding}, ${server.name}`, server, path: `/${kind}`, headers: { "Accept-Encoding": encoding }, kind, encoding }
  )));
}

/** @throws Error when what comes is not the text, compressed */
async function check({ name, server: { port }, path, headers, encoding }: Compressed, plain: string): Promise<void> {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, { headers, decompress: false });
  const body = await answer.arrayBuffer();
  const coding = answer.headers.get("content-encoding");
  if (answer.status !== 200 || coding !== encoding) throw new Error(`${name}: ${answer.status}, content-encoding ${coding}`);
  if (DECODE[encoding](Buffer.from(body)).toString() !== plain) throw new Error(`${name}: what comes is another text`);
}

function judge(report: Report, kind: Kind, seen: readonly Seen[]): void {
  const found = (name: string): Seen | undefined => seen.find(({ contender }) => contender.name === `${kind}, gzip, ${name}`);
  const [ours, nginx] = [found("route-gateway"), found("nginx")];
  if (ours === undefined || nginx === undefined) return;
  const beside = ratios(ours.rate, nginx.rate);
  report.figure(`${kind}, ours / nginx`, beside, " x req/s", [`${text(median(ratios(ours.cpuUs, nginx.cpuUs)))} x CPU/request`, `${text(median(ratios(ours.wireBytes, nginx.wireBytes)))} x bytes`]);
  report.bound({ what: `${kind}, gzipped answers/s beside nginx`, values: beside, unit: " x", limit: { atLeast: 0.8 } });
}
