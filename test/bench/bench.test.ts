// The bench as its user meets it, at the smallest size: it measures, it judges nothing, it leaves nothing behind. No figure is
// asserted; how fast something is on a busy machine is not a matter for tests.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readlinkSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const HAS_CONSOLE_PEERS = ["websockify", "openssl"].every((program) => Bun.which(program) !== null);

const HAS_WRK_AND_NGINX = ["wrk", "nginx"].every((program) => Bun.which(program) !== null);
const HAS_TLS_PEERS = HAS_WRK_AND_NGINX && ["haproxy", "openssl"].every((program) => Bun.which(program) !== null);
const HAS_TUNNEL_PEER = ["haproxy", "nginx"].every((program) => Bun.which(program) !== null);

const MAIN = join(import.meta.dir, "../../bench/main.ts");

/** Where the bench makes its scratch directories: a directory of this test's own. */
let scratch = "";

beforeEach(() => {
  scratch = realpathSync(mkdtempSync(join(tmpdir(), "route-bench-test-")));
});

afterEach(() => rmSync(scratch, { recursive: true }));

describe("bench", () => {
  test("moves bytes through the router and prints figures and bounds", async () => {
    const { code, stdout } = await bench("--tiny", "--from-source", "transfer");
    expect(stdout).toMatch(/identical +route-gateway, upload: 8388608 bytes, SHA-256/);
    expect(stdout).toMatch(/identical +route-gateway, download: 8388608 bytes, SHA-256/);
    expect(stdout).toMatch(/download, route-gateway +[\d,.]+ MB\/s/);
    expect(stdout).toMatch(/not judged slow reader, growth of the process: at most 8 MiB; found [\d,.-]+ MiB/);
    expect(stdout).toMatch(/\n0 held, 0 missed, 0 failed, \d skipped\n$/);
    expect(code).toBe(0);
    expect(leftBehind()).toEqual({ files: [], processes: [] });
  }, 60_000);

  test.skipIf(!HAS_CONSOLE_PEERS)("opens consoles through the router and through websockify, and prints their ratios", async () => {
    const { code, stdout } = await bench("--tiny", "--from-source", "consoles");
    for (const name of ["route-gateway", "websockify", "route-gateway, TLS"]) {
      expect(stdout).toMatch(new RegExp(`64 KiB frames, ${name} +[\\d,.]+ MB/s`));
      expect(stdout).toMatch(new RegExp(`64-byte echo, ${name} +[\\d,.]+ us p50 +p99 [\\d,.]+ us`));
      expect(stdout).toMatch(new RegExp(`idle session, ${name} +[\\d,.-]+ KiB`));
    }
    expect(stdout).toMatch(/not judged 64 KiB frames, MB\/s of route-gateway beside websockify: at least 1 x; found [\d.]+ x/);
    expect(stdout).toMatch(/not judged 64-byte echo, p50 of route-gateway beside websockify: at most 1 x; found [\d.]+ x/);
    expect(stdout).toMatch(/not judged idle session, memory of route-gateway beside websockify: below 1 x; found [\d.-]+ x/);
    expect(stdout).toMatch(/\n0 held, 0 missed, 0 failed, 0 skipped\n$/);
    expect(code).toBe(0);
    expect(leftBehind()).toEqual({ files: [], processes: [] });
  }, 60_000);

  test.skipIf(!HAS_TUNNEL_PEER)("passes connections through the router and through a peer, and prints their ratios", async () => {
    const { code, stdout } = await bench("--tiny", "--from-source", "passthrough");
    for (const name of ["route-gateway", "haproxy, tcp"]) {
      expect(stdout).toMatch(new RegExp(`bulk, ${name} +[\\d,.]+ MB/s +[\\d,.]+ us CPU/MB`));
      expect(stdout).toMatch(new RegExp(`new connections, ${name} +[\\d,.]+ /s +[\\d,.]+ us CPU/connection`));
      expect(stdout).toMatch(new RegExp(`idle tunnel, ${name} +[\\d,.-]+ KiB \\(of 20\\)`));
    }
    expect(stdout).toMatch(/not judged idle tunnel, memory: at most 8 KiB; found [\d.-]+ KiB/);
    expect(stdout).toMatch(/\n0 held, 0 missed, 0 failed, [01] skipped\n$/);
    expect(code).toBe(0);
    expect(leftBehind()).toEqual({ files: [], processes: [] });
  }, 60_000);

  test.skipIf(!HAS_TLS_PEERS)("ends TLS in the router, with fixed and with registered services, and in haproxy, and prints their ratios", async () => {
    const { code, stdout } = await bench("--tiny", "--from-source", "tls");
    for (const name of ["route-gateway", "haproxy", "route-gateway, registered"]) {
      expect(stdout).toMatch(new RegExp(`kept connections, ${name} +[\\d,.]+ req/s +p99 [\\d,.]+ ms`));
      expect(stdout).toMatch(new RegExp(`full handshakes, ${name} +[\\d,.]+ /s +p99 [\\d,.]+ ms`));
    }
    expect(stdout).toMatch(/not judged kept connections, req\/s beside haproxy: at least 1 x; found [\d.]+ x/);
    expect(stdout).toMatch(/not judged full handshakes, \/s beside haproxy: at least 1 x; found [\d.]+ x/);
    expect(stdout).toMatch(/\n0 held, 0 missed, 0 failed, 0 skipped\n$/);
    expect(code).toBe(0);
    expect(leftBehind()).toEqual({ files: [], processes: [] });
  }, 60_000);

  test.skipIf(!HAS_WRK_AND_NGINX)("registers services while others are asked for, and starts with many", async () => {
    const { code, stdout } = await bench("--tiny", "--from-source", "registry");
    for (const [asked, count] of [[10, 10], [10, 100], [100, 100]]) expect(stdout).toMatch(new RegExp(`requests for ${asked}, ${count} services +[\\d,.]+ req/s`));
    expect(stdout).toMatch(/not judged requests\/s for the same ten beside ten services: at least 0\.9 x; found [\d.]+ x/);
    expect(stdout).toMatch(/not judged one more among 100, from the call to its first answer: below 50 ms; found [\d,.]+ ms/);
    expect(stdout).toMatch(/not judged first answer after exec, 100 files: below 2,000 ms; found [\d,.]+ ms/);
    expect(stdout).toMatch(/\n0 held, 0 missed, 0 failed, 0 skipped\n$/);
    expect(code).toBe(0);
    expect(leftBehind()).toEqual({ files: [], processes: [] });
  }, 60_000);

  test.skipIf(!HAS_WRK_AND_NGINX)("asks caches for a page, ours and nginx, and counts what a stampede costs their upstream", async () => {
    const { code, stdout } = await bench("--tiny", "--from-source", "cache");
    for (const name of ["route-gateway", "nginx", "Bun.serve alone, no log", "route-gateway, gzip", "nginx, gzip"]) {
      expect(stdout).toMatch(new RegExp(`  ${name} +[\\d,.]+ req/s +p99 [\\d,.]+ ms .* bytes on the wire`));
    }
    for (const name of ["route-gateway", "nginx"]) expect(stdout).toMatch(new RegExp(`stampede, ${name} +1 requests upstream +the last of 50 has it`));
    expect(stdout).toMatch(/not judged cache hits\/s beside nginx: at least 1\.5 x; found [\d.]+ x/);
    expect(stdout).toMatch(/not judged cache hits\/s with gzip beside nginx: at least 1\.5 x; found [\d.]+ x/);
    expect(stdout).toMatch(/not judged stampede, requests upstream of 50: at most 1; found 1/);
    expect(stdout).toMatch(/\n0 held, 0 missed, 0 failed, 0 skipped\n$/);
    expect(code).toBe(0);
    expect(leftBehind()).toEqual({ files: [], processes: [] });
  }, 60_000);

  test.skipIf(!HAS_WRK_AND_NGINX)("kills one of four servers, and sees who is asked and that no request fails", async () => {
    const { code, stdout } = await bench("--tiny", "--from-source", "balance");
    for (const name of ["route-gateway", "nginx"]) {
      expect(stdout).toMatch(new RegExp(`  ${name} +[\\d,.]+ req/s .* heavy [\\d.]+%, medium [\\d.]+%, light [\\d.]+%, feather [\\d.]+%`));
      expect(stdout).toMatch(new RegExp(`  ${name}, one of four dead +[\\d,.]+ req/s +\\d+ failed requests a round +back after [\\d,.]+ ms`));
    }
    expect(stdout).toMatch(/not judged shares beside weights, after one came back: at most 2 points; found [\d.]+ points/);
    expect(stdout).toMatch(/not judged failed requests in the worst round: at most 0; found \d+/);
    expect(stdout).toMatch(/\n0 held, 0 missed, 0 failed, 0 skipped\n$/);
    expect(code).toBe(0);
    expect(leftBehind()).toEqual({ files: [], processes: [] });
  }, 60_000);

  test.skipIf(!HAS_WRK_AND_NGINX)("compresses a long text in each coding, and prints what it costs and makes of it", async () => {
    const { code, stdout } = await bench("--tiny", "--from-source", "gzip");
    for (const name of ["gzip, route-gateway", "zstd, route-gateway", "br, route-gateway", "gzip, nginx"]) {
      expect(stdout).toMatch(new RegExp(`whole, ${name} +[\\d,.]+ req/s .* [12]\\d,\\d{3} bytes on the wire`));
    }
    expect(stdout).toMatch(/not judged whole, gzipped answers\/s beside nginx: at least 0\.8 x; found [\d.]+ x/);
    expect(stdout).toMatch(/\n0 held, 0 missed, 0 failed, 0 skipped\n$/);
    expect(code).toBe(0);
    expect(leftBehind()).toEqual({ files: [], processes: [] });
  }, 60_000);

  test("lets requests hang at one pod while another is asked", async () => {
    const { code, stdout } = await bench("--tiny", "--from-source", "long-polls");
    for (const what of ["quiet", "beside hanging ones"]) expect(stdout).toMatch(new RegExp(`route-gateway, ${what} +[\\d,.]+ ms p50 +p99 [\\d,.]+ ms`));
    expect(stdout).toMatch(/not judged p50 beside hanging requests, to a quiet one: at most 1\.2 x; found [\d.]+ x/);
    expect(stdout).toMatch(/\n0 held, 0 missed, 0 failed, [01] skipped\n$/);
    expect(code).toBe(0);
    expect(leftBehind()).toEqual({ files: [], processes: [] });
  }, 60_000);

  test("names the peer that is not installed, and measures the router alone", async () => {
    const { code, stdout } = await ended(start(["--tiny", "--from-source", "consoles"], { PATH: scratch }));
    expect(stdout).toContain("skipped    consoles beside websockify: websockify is not installed");
    expect(stdout).toContain("skipped    consoles with TLS to the API: openssl is not installed");
    expect(stdout).toMatch(/64 KiB frames, route-gateway +[\d,.]+ MB\/s/);
    expect(stdout).not.toContain("beside websockify: at");
    expect(stdout).toMatch(/\n0 held, 0 missed, 0 failed, 2 skipped\n$/);
    expect(code).toBe(0);
  }, 60_000);

  test("leaves nothing behind when it is interrupted", async () => {
    const child = start(["--tiny", "--from-source", "transfer"]);
    const reader = child.stdout.getReader();
    const decoder = new TextDecoder();
    let text = "";
    // Printed once both ends and the router are running.
    while (!text.includes("identical")) {
      const { value, done } = await reader.read();
      if (done) break;
      text += decoder.decode(value, { stream: true });
    }
    expect(leftBehind().processes).not.toBeEmpty();
    child.kill("SIGINT");
    expect(await child.exited).toBe(130);
    expect(leftBehind()).toEqual({ files: [], processes: [] });
  }, 60_000);

  test("refuses a scenario that it does not know and suggests the nearest", async () => {
    const { code, stderr } = await bench("websockets");
    expect(stderr).toContain('unknown scenario "websockets" (did you mean "websocket"?)');
    expect(code).toBe(2);
  });
});

function start(words: readonly string[], env: Record<string, string> = {}): Bun.Subprocess<"ignore", "pipe", "pipe"> {
  const command = [process.execPath, MAIN, ...words];
  return Bun.spawn(command, { env: { ...process.env, TMPDIR: scratch, ...env }, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
}

function bench(...words: string[]): ReturnType<typeof ended> {
  return ended(start(words));
}

async function ended(child: ReturnType<typeof start>): Promise<{ code: number; stdout: string; stderr: string }> {
  const [stdout, stderr] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { code: await child.exited, stdout, stderr };
}

/** Scratch files, and processes: all that the bench starts work in its scratch directory. */
function leftBehind(): { files: string[]; processes: string[] } {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return { files: readdirSync(scratch), processes: pids.filter((pid) => workingDirectory(pid).startsWith(scratch)) };
}

function workingDirectory(pid: string): string {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    // It has ended in the meantime, or is somebody else's.
    return "";
  }
}
