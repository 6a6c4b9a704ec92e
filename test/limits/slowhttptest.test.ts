// slowhttptest (Debian: slowhttptest) against the real program: while it holds hundreds of connections, others are answered at once.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Pod } from "../support/pod.ts";
import { RawClient } from "../support/raw.ts";
import { TestRouter } from "../support/router.ts";

const CONNECTIONS = 300;
const SECONDS = 5;

const ATTACKS: ReadonlyArray<readonly [name: string, options: readonly string[]]> = [
  ["heads (slowloris)", ["-H", "-i", "2"]],
  ["bodies (R.U.D.Y.)", ["-B", "-i", "2", "-s", "60000"]],
  ["readers", ["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32"]],
  ["readers of ranges", ["-R"]],
];

let pod: Pod;
const routers: TestRouter[] = [];

beforeAll(async () => {
  pod = new Pod("127.0.1.1", ["any"]);
  const body = Buffer.alloc(1_000_000, "x");
  pod.answer((seen, connection) => {
    const answer = seen.target === "/quick" ? Buffer.from("ok") : body;
    connection.write(Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${answer.length}\r\n\r\n`), seen.method === "HEAD" ? Buffer.alloc(0) : answer]));
  });
  for (const limits of ["", "limits: { connections: 3000 }"]) {
    const config = `${limits}\nservices: { any: { url: "http://127.0.1.1:${pod.port("any")}" } }\nroutes: [{ path: /, service: any }]\n`;
    routers.push(await TestRouter.start({ config }));
  }
});

afterAll(async () => {
  for (const router of routers) await router.stop();
  pod.stop();
});

async function answersWithinMs(port: number): Promise<number> {
  const startedMs = performance.now();
  expect((await RawClient.ask(port, "GET /quick HTTP/1.1\r\nHost: a.test\r\n\r\n")).status).toBe(200);
  return performance.now() - startedMs;
}

describe.skipIf(Bun.which("slowhttptest") === null).each([["direct", 0], ["counted", 1]] as const)("slowhttptest, plain HTTP %s", (_kind, index) => {
  test.each(ATTACKS)(`${CONNECTIONS} slow %s`, async (_name, options) => {
    const router = routers[index] as TestRouter;
    const child = Bun.spawn(["slowhttptest", ...options, "-c", String(CONNECTIONS), "-r", "150", "-l", String(SECONDS), "-p", "1", "-u", router.url("/slow")], { stdout: "pipe", stderr: "ignore" });
    let slowestMs = 0;
    while (child.exitCode === null) {
      slowestMs = Math.max(slowestMs, await answersWithinMs(router.port));
      await Bun.sleep(50);
    }
    // It prints in colors.
    const said = Bun.stripANSI(await child.stdout.text());
    expect(said).toMatch(/service available: +YES/);
    expect(said).not.toMatch(/service available: +NO/);
    expect(slowestMs).toBeLessThan(3000);
  }, 30_000);
});
