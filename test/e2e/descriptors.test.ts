// A router that has no descriptor left for a connection: it says so, and blames nobody else.

import { afterEach, expect, test } from "bun:test";
import { join } from "node:path";

const PROGRAM = `
import { openSync } from "node:fs";
import { TestRouter } from ${JSON.stringify(join(import.meta.dir, "../support/router.ts"))};
const listener = Bun.listen({ hostname: "127.0.1.38", port: 0, socket: { data: () => {} } });
const front = await TestRouter.start({ env: { ROUTE_DIAL_TIMEOUT: "20s", FILE_SERVICE_TCP_PORT: String(listener.port), PYOS_FQDN: "127.0.1.38", PYOS_SERVICE_PORT: String(listener.port) } });
const desktop = { headers: { authorization: "Bearer " + front.token("127.0.1.38") } };
// Over a connection that stays: to accept another one would take a descriptor as well.
await (await fetch(front.url("/healthz"))).text();
try { for (;;) openSync("/dev/null", "r"); } catch {}
const answers = [];
for (const [path, init] of [["/filer/x", desktop], ...Array.from({ length: 6 }, () => ["/API/x", {}])]) {
  const response = await fetch(front.url(path), init);
  answers.push([response.status, await response.text()]);
}
const { lines } = front;
console.log(JSON.stringify({ answers, reasons: lines.flatMap(({ reason }) => reason ?? []), left: lines.filter(({ message }) => message === "server is left alone after failures").length, limits: lines.flatMap(({ limit }) => limit ?? []) }));
process.exit();
`;

let child: Bun.Subprocess<"ignore", "pipe", "inherit"> | null = null;
afterEach(() => { child?.kill(); });

test("answers 503 without holding, names the reason, and counts it against no server", async () => {
  child = Bun.spawn(["bash", "-c", 'ulimit -n 100; exec "$0" -e "$1"', process.execPath, PROGRAM], { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
  const { answers, reasons, left, limits } = JSON.parse(await new Response(child.stdout).text()) as { answers: unknown[]; reasons: string[]; left: number; limits: number[] };
  expect(answers).toEqual(Array.from({ length: 7 }, () => [503, "service unavailable\n"]));
  expect(new Set(reasons)).toEqual(new Set(["cannot connect: too many open files"]));
  expect(left).toBe(0);
  // Said at the start.
  expect(limits).toEqual([100]);
}, 15_000);
