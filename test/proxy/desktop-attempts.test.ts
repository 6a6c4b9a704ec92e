// Which address of a desktop comes next, where a socket cannot be made to fail as it should.

import { describe, expect, test } from "bun:test";
import { Sweeper } from "../../src/lib/deadlines.ts";
import { DesktopAttempts } from "../../src/proxy/desktop-attempts.ts";
import type { Holding } from "../../src/proxy/holding.ts";
import { Services, type ServiceParts } from "../../src/proxy/services.ts";
import type { TargetService } from "../../src/service.ts";
import { plainTarget, type Target, type Targets } from "../../src/target.ts";
import { ConnectError, ConnectTimeoutError, UpstreamClosedError } from "../../src/upstream/exchange.ts";
import { isNotThereYet } from "../../src/upstream/hold.ts";

const WAITER = { slow: () => {} };
const [A, B, C] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map((address) => plainTarget(address, 80, "two.pod")) as [Target, Target, Target];

const refused = (): Error => new ConnectError("cannot connect", { cause: Object.assign(new Error("refused"), { code: "ECONNREFUSED" }) });
const late = (): Error => new ConnectTimeoutError("connecting took too long");
const unreachable = (): Error => new ConnectError("cannot connect", { cause: Object.assign(new Error("no route"), { code: "ENETUNREACH" }) });

/** What is waited for is written down, and the last of it begins to listen at once. */
function attempts(targets: Targets): { attempts: DesktopAttempts; waited: Array<readonly Target[]>; waitedFromMs: number[] } {
  const waited: Array<readonly Target[]> = [];
  const waitedFromMs: number[] = [];
  const holding = {
    isOff: false, isWorthWaiting: isNotThereYet,
    untilListening: (all: Targets, _error: Error, startedMs: number) => { waited.push(all); waitedFromMs.push(startedMs); return Promise.resolve(all.at(-1)); },
  } as unknown as Holding;
  return { attempts: new DesktopAttempts(targets, holding, 0, null, null), waited, waitedFromMs };
}

describe("the next address of a desktop", () => {
  test.each<[string, () => Error]>([["refuses", refused], ["does not answer in time", late], ["cannot be reached", unreachable]])("is tried when one %s", (_what, fail) => {
    const { attempts: way, waited } = attempts([A, B, C]);
    expect(way.first()).toBe(A);
    expect(way.next(fail(), false, WAITER)).toBe(B);
    expect(way.next(fail(), false, WAITER)).toBe(C);
    expect(waited).toEqual([]);
  });

  test("is not tried when the request may have been sent", () => {
    expect(attempts([A, B]).attempts.next(new UpstreamClosedError("closed"), true, WAITER)).toBeNull();
  });

  test("after the last one is one of those that refused, once it listens; the others are not waited for", async () => {
    const { attempts: way, waited } = attempts([A, B, C]);
    way.next(refused(), false, WAITER);
    way.next(refused(), false, WAITER);
    expect(await way.next(unreachable(), false, WAITER)).toBe(B);
    // It refuses once more, and again both are waited for; then it is something else.
    expect(await way.next(refused(), false, WAITER)).toBe(B);
    expect(waited).toEqual([[A, B], [A, B]]);
    expect(way.next(late(), false, WAITER)).toBeNull();
  });

  test("is waited for from the request on, or else from when the others had their turn, which may have taken all of that time", async () => {
    const alone = attempts([A]);
    await alone.attempts.next(refused(), false, WAITER);
    expect(alone.waitedFromMs).toEqual([0]);
    const { attempts: way, waitedFromMs } = attempts([A, B]);
    const beginMs = performance.now();
    way.next(refused(), false, WAITER);
    await way.next(late(), false, WAITER);
    await way.next(refused(), false, WAITER);
    const [first = 0, second = 0] = waitedFromMs;
    expect(first).toBeGreaterThanOrEqual(beginMs);
    expect(second).toBe(first);
  });

  test("is nowhere when none refused", () => {
    const { attempts: way, waited } = attempts([A, B]);
    way.next(late(), false, WAITER);
    expect(way.next(unreachable(), false, WAITER)).toBeNull();
    expect(waited).toEqual([]);
  });
});

test("the places at a desktop are the same in whatever order its addresses come", async () => {
  const sweeper = new Sweeper();
  const services = new Services([], { holding: { isOff: true }, sweeper } as unknown as ServiceParts, null);
  const service = { kind: "target", name: "filer", port: 80, limits: { maxConnections: 1, queue: 0, queueTimeoutMs: 1000 } } as TargetService;
  const first = services.desktop(service, [A, B], 0);
  expect(first.enter(WAITER)).toBeNull();
  const second = services.desktop(service, [B, A], 0);
  await expect(second.enter(WAITER) as Promise<void>).rejects.toMatchObject({ code: "unavailable" });
  second.release();
  first.release();
  sweeper.close();
});
