// Large transfers through /filer, up and down: whole and byte-identical, with little memory, and as fast as nginx without
// request buffering. And the slow reader: a client that takes 1 MB/s from a pod that sends as fast as it can.

import { type Gateway, startGateway } from "../lab/gateway.ts";
import { freeDesktopAddress, type Program } from "../lab/lab.ts";
import { nginxMissing, startPlainProxy } from "../lab/nginx.ts";
import { cpuSeconds, growthBytes } from "../lab/process-stats.ts";
import { type Report, text } from "../lab/report.ts";
import type { Bench, Scenario, Server } from "../lab/scenario.ts";
import { median, ratios } from "../lab/statistics.ts";
import type { Check } from "../programs/byte-stream.ts";
import type { TransferClientCalls } from "../programs/transfer-client.ts";
import type { TransferPodCalls } from "../programs/transfer-pod.ts";

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

const SIZES = {
  full: { wholeBytes: 8 * GIB, rounds: 3, roundBytes: 2 * GIB, slowSeconds: 15 },
  quick: { wholeBytes: GIB, rounds: 3, roundBytes: 512 * MIB, slowSeconds: 5 },
  tiny: { wholeBytes: 8 * MIB, rounds: 1, roundBytes: 8 * MIB, slowSeconds: 0.3 },
};

const FILER_PORT = 29783;
const SLOW_BYTES_PER_SECOND = 1_000_000;

export const transfer: Scenario = {
  name: "transfer",
  summary: "8 GiB up and down: identical, memory, MB/s against nginx; a slow reader's memory",
  run: runTransfer,
};

type Direction = "upload" | "download";
type Ends = {
  readonly client: Program<TransferClientCalls>;
  readonly pod: Program<TransferPodCalls>;
  readonly token: string;
  readonly report: Report;
};

async function runTransfer({ size, command, lab, report }: Bench): Promise<void> {
  const { wholeBytes, rounds, roundBytes, slowSeconds } = SIZES[size];
  const then = `${rounds} interleaved rounds of ${text(roundBytes / GIB)} GiB`;
  report.heading(`transfer: ${text(wholeBytes / GIB)} GiB through /filer up and down, then ${then}`);
  const host = await freeDesktopAddress();
  const pod = lab.program<TransferPodCalls>("transfer-pod.ts");
  await pod.call("listen", { host, port: FILER_PORT });
  const gateway = await startGateway(lab, command);
  const ends = { client: lab.program<TransferClientCalls>("transfer-client.ts"), pod, token: gateway.token(host), report };
  const missing = nginxMissing();
  // Not to a file: what nginx does not buffer in memory it would write to disk.
  const nginx = missing === null ? await startPlainProxy(lab, `http://${host}:${FILER_PORT}`, `
        proxy_request_buffering off;
        proxy_max_temp_file_size 0;`) : null;
  for (const direction of ["upload", "download"] as const) {
    // The first ones make what is made once: compiled code, a token's verification.
    for (const server of [gateway, nginx]) if (server !== null) await move(ends, direction, server, MIB, "compare");
    await whole(ends, direction, gateway, wholeBytes);
    await speed(ends, direction, gateway, nginx, rounds, roundBytes);
  }
  await slowReader(ends, gateway, slowSeconds);
  if (missing !== null) report.skip("transfer beside nginx", missing);
}

/** @returns MB/s */
async function move(ends: Ends, direction: Direction, { name, port }: Server, bytes: number, check: Check): Promise<number> {
  const { client, pod, token, report } = ends;
  const wanted = { port, token, bytes, check };
  if (direction === "upload") {
    const { seconds, sha256, receipt } = await client.call("upload", wanted);
    verify(report, `${name}, upload`, bytes, receipt, sha256);
    return bytes / seconds / 1e6;
  }
  const downloaded = await client.call("download", wanted);
  verify(report, `${name}, download`, bytes, downloaded, (await pod.call("sent", undefined)).sha256);
  return bytes / downloaded.seconds / 1e6;
}

type Arrived = { readonly bytes: number; readonly isExact: boolean; readonly sha256: string | null };

function verify(report: Report, what: string, bytes: number, arrived: Arrived, sent: string | null): void {
  if (arrived.bytes !== bytes) report.fail(`${what}: ${arrived.bytes} of ${bytes} bytes arrived`);
  else if (!arrived.isExact) report.fail(`${what}: other bytes arrived than were sent`);
  else if (arrived.sha256 !== sent) report.fail(`${what}: SHA-256 ${arrived.sha256} arrived, ${sent} was sent`);
  else if (sent !== null) report.note(`identical  ${what}: ${bytes} bytes, SHA-256 ${sent.slice(0, 16)}... at both ends`);
}

async function whole(ends: Ends, direction: Direction, gateway: Gateway, bytes: number): Promise<void> {
  const growth = await growthBytes(gateway.pid, async () => void await move(ends, direction, gateway, bytes, "hash"));
  ends.report.bound({ what: `${direction}, growth of the process`, values: [growth / MIB], unit: " MiB", limit: { atMost: 64 } });
}

async function speed(
  ends: Ends, direction: Direction, gateway: Gateway, nginx: Server | null, rounds: number, bytes: number,
): Promise<void> {
  const rates = new Map<Server, number[]>();
  const cpuUs = new Map<Server, number[]>();
  for (let round = 0; round < rounds; round += 1) {
    for (const server of [gateway, nginx]) {
      if (server === null) continue;
      const before = cpuSeconds(server.pid);
      rates.set(server, [...rates.get(server) ?? [], await move(ends, direction, server, bytes, "compare")]);
      cpuUs.set(server, [...cpuUs.get(server) ?? [], (cpuSeconds(server.pid) - before) * 1e6 / (bytes / 1e6)]);
    }
  }
  for (const [server, values] of rates) {
    const cpu = `${text(median(cpuUs.get(server) ?? []))} us CPU/MB`;
    ends.report.figure(`${direction}, ${server.name}`, values, " MB/s", [cpu]);
  }
  if (nginx === null) return;
  const found = ratios(rates.get(gateway) ?? [], rates.get(nginx) ?? []);
  ends.report.bound({ what: `${direction}, MB/s beside nginx`, values: found, unit: " x", limit: { atLeast: 0.8 } });
}

async function slowReader({ client, pod, token, report }: Ends, gateway: Gateway, seconds: number): Promise<void> {
  let received = 0;
  const growth = await growthBytes(gateway.pid, async () => {
    const pace = { port: gateway.port, token, bytesPerSecond: SLOW_BYTES_PER_SECOND, seconds };
    const read = await client.call("downloadSlowly", pace);
    if (!read.isExact) report.fail("slow reader: other bytes arrived than were sent");
    received = read.bytes;
  });
  const { bytes: sent } = await pod.call("sent", undefined);
  report.note(`slow reader: ${text(received / 1e6)} MB read in ${seconds} s; the pod could send ${text(sent / 1e6)} MB`);
  report.bound({ what: "slow reader, growth of the process", values: [growth / MIB], unit: " MiB", limit: { atMost: 8 } });
}
