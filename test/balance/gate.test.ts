import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Gate, GateError, type GateWaiter } from "../../src/balance/gate.ts";
import { Sweeper } from "../../src/lib/deadlines.ts";
import type { ServiceLimits } from "../../src/service.ts";
import { eventually } from "../support/eventually.ts";
import { ManualSweeper, settled } from "./members.ts";

const LIMITS: ServiceLimits = { maxConnections: 2, queue: 2, queueTimeoutMs: 5_000 };

/** A client: how its wait is going, and a way to leave. */
class Client implements GateWaiter {
  outcome = "outside";
  retryAfterS = 0;
  abort: () => void = () => {};

  constructor(readonly gate: Gate) {
    const wait = gate.enter(this);
    if (wait === null) {
      this.outcome = "inside";
      return;
    }
    this.outcome = "waiting";
    wait.then(() => { this.outcome = "inside"; return null; }, (error: unknown) => {
      if (!(error instanceof GateError)) throw error;
      this.outcome = error.reason;
      this.retryAfterS = error.retryAfterS;
    });
  }

  slow(wait: { abort(): void }): void {
    this.abort = () => wait.abort();
  }
}

function setup(limits: Partial<ServiceLimits> = {}): { gate: Gate; sweeper: ManualSweeper; come: (count: number) => Client[] } {
  const sweeper = new ManualSweeper();
  const gate = new Gate({ ...LIMITS, ...limits }, sweeper, sweeper.now);
  return { gate, sweeper, come: (count) => Array.from({ length: count }, () => new Client(gate)) };
}

async function outcomes(clients: readonly Client[]): Promise<string[]> {
  await settled();
  return clients.map(({ outcome }) => outcome);
}

describe("gate", () => {
  test("lets in up to the limit, lets some wait, and refuses the rest at once", async () => {
    const { gate, come } = setup();
    const clients = come(6);
    expect(await outcomes(clients)).toEqual(["inside", "inside", "waiting", "waiting", "full", "full"]);
    expect([gate.inside, gate.waiting, clients[5]?.retryAfterS]).toEqual([2, 2, 5]);
  });

  test("a place that is left goes to who has waited longest", async () => {
    const { gate, come } = setup();
    const clients = come(4);
    gate.leave();
    expect(await outcomes(clients)).toEqual(["inside", "inside", "inside", "waiting"]);
    gate.leave();
    expect(await outcomes(clients)).toEqual(["inside", "inside", "inside", "inside"]);
    expect([gate.inside, gate.waiting]).toEqual([2, 0]);
  });

  test("nobody overtakes who waits, not even between the leaving and the entering", async () => {
    const { gate, come } = setup({ maxConnections: 1 });
    const clients = come(2);
    gate.leave();
    const [late] = come(1) as [Client];
    expect(await outcomes([...clients, late])).toEqual(["inside", "inside", "waiting"]);
  });

  test("a wait ends at its deadline, and not before", async () => {
    const { gate, sweeper, come } = setup();
    const clients = come(3);
    sweeper.pass(1_000);
    clients.push(...come(1));
    sweeper.pass(3_999);
    expect(await outcomes(clients)).toEqual(["inside", "inside", "waiting", "waiting"]);
    sweeper.pass(1);
    expect(await outcomes(clients)).toEqual(["inside", "inside", "timeout", "waiting"]);
    expect([gate.inside, gate.waiting]).toEqual([2, 1]);
    sweeper.pass(1_000);
    expect(await outcomes(clients)).toEqual(["inside", "inside", "timeout", "timeout"]);
    expect(clients[3]?.retryAfterS).toBe(5);
  });

  test("the real sweeper ends a wait too, and is left alone afterwards", async () => {
    const sweeper = new Sweeper();
    const gate = new Gate({ maxConnections: 1, queue: 1, queueTimeoutMs: 1 }, sweeper);
    const clients = [new Client(gate), new Client(gate)];
    await eventually("the end of the wait", () => clients[1]?.outcome, (outcome) => outcome === "timeout");
    expect(sweeper.size).toBe(0);
    sweeper.close();
  });

  test("a client that leaves gives its place in the queue to another", async () => {
    const { gate, come } = setup();
    const clients = come(4);
    clients[2]?.abort();
    clients[2]?.abort();
    expect(await outcomes(clients)).toEqual(["inside", "inside", "left", "waiting"]);
    clients.push(...come(1));
    gate.leave();
    expect(await outcomes(clients)).toEqual(["inside", "inside", "left", "inside", "waiting"]);
  });

  test("a client that leaves when it has got its place keeps it until it says so", async () => {
    const { gate, come } = setup({ maxConnections: 1 });
    const clients = come(2);
    gate.leave();
    clients[1]?.abort();
    expect(await outcomes(clients)).toEqual(["inside", "inside"]);
    expect(gate.inside).toBe(1);
    gate.leave();
    expect(gate.inside).toBe(0);
  });

  test("a waiter that gives up on the spot has given up", async () => {
    const { gate } = setup({ maxConnections: 1 });
    gate.enter({ slow: () => {} });
    const wait = gate.enter({ slow: (wait) => wait.abort() });
    expect(await wait?.catch((error: GateError) => error.reason)).toBe("left");
    expect([gate.inside, gate.waiting]).toEqual([1, 0]);
  });

  test("no limit is no limit, and nothing waits or is swept", () => {
    const { gate, sweeper, come } = setup({ maxConnections: 0, queue: 0 });
    expect(new Set(come(10_000).map(({ outcome }) => outcome))).toEqual(new Set(["inside"]));
    expect([gate.inside, sweeper.items.size]).toEqual([10_000, 0]);
  });

  test("without a queue, who finds no place is refused", async () => {
    const { come } = setup({ queue: 0, queueTimeoutMs: 0 });
    const clients = come(3);
    expect(await outcomes(clients)).toEqual(["inside", "inside", "full"]);
    expect(clients[2]?.retryAfterS).toBe(1);
  });

  test("leaving twice is a mistake that is told", () => {
    const { gate, come } = setup();
    expect(() => gate.leave()).toThrow("left a gate that nobody had entered");
    come(1);
    gate.leave();
    expect(() => gate.leave()).toThrow("left a gate that nobody had entered");
  });

  test("is swept only while somebody waits", () => {
    const { gate, sweeper, come } = setup();
    come(2);
    expect(sweeper.items.size).toBe(0);
    const [first, second] = come(2) as [Client, Client];
    expect(sweeper.items.size).toBe(1);
    first.abort();
    expect(sweeper.items.size).toBe(1);
    second.abort();
    expect([sweeper.items.size, gate.waiting]).toEqual([0, 0]);
  });

  test("a hundred thousand who wait are let in within a second", async () => {
    const { gate, come } = setup({ maxConnections: 1, queue: 100_000 });
    const clients = come(100_001);
    const startedMs = performance.now();
    for (let count = 0; count < 100_000; count++) gate.leave();
    expect(performance.now() - startedMs).toBeLessThan(1000);
    expect(new Set(await outcomes(clients))).toEqual(new Set(["inside"]));
  });

  test("a thousand random steps lose nobody, let nobody overtake, and never let in too many", async () => {
    const kind = fc.constantFrom("come", "come", "leave", "abort", "pass");
    const step = fc.record({ kind, which: fc.nat(), ms: fc.integer({ min: 1, max: 3_000 }) });
    const limits = fc.record({ maxConnections: fc.integer({ min: 1, max: 5 }), queue: fc.integer({ min: 0, max: 8 }), queueTimeoutMs: fc.constantFrom(0, 100, 5_000) });
    await fc.assert(fc.asyncProperty(limits, fc.array(step, { minLength: 1000, maxLength: 1000 }), async (limits, steps) => {
      const { gate, sweeper, come } = setup(limits);
      const model = new Model(limits);
      const clients: Client[] = [];
      for (const { kind, which, ms } of steps) {
        const client = clients[which % clients.length];
        if (kind === "come") {
          clients.push(...come(1));
          model.come(sweeper.nowMs);
        } else if (kind === "leave" && model.inside > 0) {
          gate.leave();
          model.leave();
        } else if (kind === "abort" && client !== undefined) {
          client.abort();
          model.abort(which % clients.length);
        } else if (kind === "pass") {
          sweeper.pass(ms);
          model.pass(sweeper.nowMs);
        }
        if (gate.inside !== model.inside || gate.inside > limits.maxConnections || gate.waiting !== model.waiting) throw new Error(`wrong count after ${kind}`);
      }
      expect(await outcomes(clients)).toEqual(model.clients.map(({ outcome }) => outcome));
      for (; model.inside > 0; model.leave()) gate.leave();
      expect(await outcomes(clients)).toEqual(model.clients.map(({ outcome }) => outcome));
      expect([gate.waiting, sweeper.items.size]).toEqual([0, 0]);
    }), { numRuns: 50 });
  });
});

/** The same on a plain list of everybody who ever came. */
class Model {
  readonly clients: Array<{ outcome: string; readonly sinceMs: number }> = [];
  inside = 0;

  constructor(private readonly limits: ServiceLimits) {}

  get waiting(): number {
    return this.#waiting().length;
  }

  come(nowMs: number): void {
    const outcome = this.inside < this.limits.maxConnections ? "inside" : this.waiting < this.limits.queue ? "waiting" : "full";
    if (outcome === "inside") this.inside += 1;
    this.clients.push({ outcome, sinceMs: nowMs });
  }

  leave(): void {
    const next = this.#waiting()[0];
    if (next === undefined) this.inside -= 1;
    else next.outcome = "inside";
  }

  abort(index: number): void {
    const client = this.clients[index];
    if (client?.outcome === "waiting") client.outcome = "left";
  }

  pass(nowMs: number): void {
    for (const client of this.#waiting()) if (nowMs - client.sinceMs >= this.limits.queueTimeoutMs) client.outcome = "timeout";
  }

  #waiting(): Array<{ outcome: string; readonly sinceMs: number }> {
    return this.clients.filter(({ outcome }) => outcome === "waiting");
  }
}
