import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { keepAlive, notify, notifyReloading, watchdogIntervalMs } from "../../src/lib/notify.ts";
import { receive } from "../support/service-manager.ts";

describe("notify", () => {
  let directory: string;
  beforeAll(async () => { directory = await mkdtemp(join(tmpdir(), "notify-")); });
  afterAll(() => rm(directory, { recursive: true }));

  test("does nothing without NOTIFY_SOCKET", () => {
    expect([notify("READY=1", {}), notifyReloading({})]).toEqual([false, false]);
    keepAlive({})();
  });

  test("reports false for a socket that is not there, too long, or of another kind", () => {
    for (const NOTIFY_SOCKET of ["/nowhere/notify", `/${"x".repeat(200)}`, "vsock:2:9", "relative", ""]) {
      expect(notify("READY=1", { NOTIFY_SOCKET })).toBe(false);
    }
  });

  for (const kind of ["path", "abstract"]) {
    test.skipIf(!Bun.which("python3"))(`sends every state to a real datagram socket with ${kind} name (needs python3)`, async () => {
      const socket = kind === "path" ? join(directory, "notify") : `@route-notify-${process.pid}`;
      const manager = await receive(socket);
      try {
        const environment = { NOTIFY_SOCKET: socket, WATCHDOG_USEC: "20000" };
        expect(notify("READY=1\nSTATUS=listening on :80", environment)).toBe(true);
        expect(await manager.text()).toBe("READY=1\nSTATUS=listening on :80");
        expect(notifyReloading(environment)).toBe(true);
        const [reloading, clock] = await manager.datagram();
        const sentAt = Number(/^RELOADING=1\nMONOTONIC_USEC=(\d+)$/.exec(reloading)?.[1]);
        expect(sentAt).toBeGreaterThan(clock - 5e6);
        expect(sentAt).toBeLessThanOrEqual(clock);
        expect(notify("STOPPING=1", environment)).toBe(true);
        expect(await manager.text()).toBe("STOPPING=1");
        const end = keepAlive(environment);
        expect([await manager.text(), await manager.text()]).toEqual(["WATCHDOG=1", "WATCHDOG=1"]);
        end();
      } finally {
        await manager.stop();
      }
    });
  }

  test("beats twice per watchdog period, and only for its own process", () => {
    expect(watchdogIntervalMs({ WATCHDOG_USEC: "30000000" }, 7)).toBe(15_000);
    expect(watchdogIntervalMs({ WATCHDOG_USEC: "30000000", WATCHDOG_PID: "7" }, 7)).toBe(15_000);
    expect(watchdogIntervalMs({ WATCHDOG_USEC: "30000000", WATCHDOG_PID: "8" }, 7)).toBeNull();
    for (const WATCHDOG_USEC of [undefined, "", "0", "-1", "abc", "1e99"]) expect(watchdogIntervalMs({ WATCHDOG_USEC }, 7)).toBeNull();
  });
});
