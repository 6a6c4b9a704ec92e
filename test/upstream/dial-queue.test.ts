// The queue for connections to one target: who gets which connection, who hears of which failure, and how many are made. Turns
// and attempts are the test's own; a model of what is owed is held against any order of events.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Sweeper } from "../../src/lib/deadlines.ts";
import { BEGUN_AT_ONCE, CONNECTING_LIMIT, DialQueue, type Waiter } from "../../src/upstream/dial-queue.ts";
import { ClientGoneError, ConnectError, ConnectTimeoutError } from "../../src/upstream/exchange.ts";

type Done = (error: Error | null, connection?: string) => void;

class Bench {
  readonly events: string[] = [];
  /** Attempts under way, in the order in which they were begun. */
  readonly attempts: Done[] = [];
  begun = 0;
  emptied = 0;
  readonly sweeper = new Sweeper(() => 0);
  #turns: Array<() => void> = [];
  #named = 0;
  readonly queue = new DialQueue<string>(this.sweeper, {
    dial: (done) => { this.begun += 1; this.attempts.push(done); },
    spare: (connection) => this.events.push(`${connection} is spare`),
    emptied: () => { this.emptied += 1; },
    later: (run) => this.#turns.push(run),
  });

  wait(name = String.fromCharCode(97 + this.#named++), deadlineMs = 1000): Waiter<string> {
    return this.queue.wait(deadlineMs, (connection) => this.events.push(`${name} gets ${connection}`), (error) => this.events.push(`${name}: ${error.name}`));
  }

  turn(): void {
    for (const run of this.#turns.splice(0)) run();
  }

  /** Ends the attempt that was begun first. */
  connect(connection: string): void {
    this.attempts.shift()?.(null, connection);
  }

  fail(error: Error = new ConnectError("refused")): void {
    this.attempts.shift()?.(error);
  }
}

let bench: Bench;
beforeEach(() => { bench = new Bench(); });
afterEach(() => { bench.sweeper.close(); });

describe("a connection", () => {
  test("is made for each who waits, in the next turn, and goes to whoever has waited longest", () => {
    bench.wait();
    bench.wait();
    expect(bench.begun).toBe(0);
    bench.turn();
    expect(bench.begun).toBe(2);
    bench.connect("1");
    bench.connect("2");
    expect(bench.events).toEqual(["a gets 1", "b gets 2"]);
    expect([bench.queue.size, bench.emptied > 0, bench.sweeper.size]).toEqual([{ waiting: 0, attempts: 0 }, true, 0]);
  });

  test("is not made for those who have left before the turn", () => {
    const left = Array.from({ length: 1000 }, () => bench.wait());
    for (const waiter of left) waiter.abort();
    bench.turn();
    expect(bench.begun).toBe(0);
    expect(new Set(bench.events.map((event) => event.slice(event.indexOf(":"))))).toEqual(new Set([": ClientGoneError"]));
    expect(bench.sweeper.size).toBe(0);
  });

  test("that was begun for somebody who left serves the next one: no other is made", () => {
    bench.wait().abort();
    bench.wait("b");
    bench.turn();
    expect(bench.begun).toBe(1);
    for (const name of ["c", "d"]) {
      const waiter = bench.wait(name);
      bench.turn();
      if (name === "c") waiter.abort();
    }
    expect(bench.begun).toBe(2);
    bench.connect("1");
    bench.connect("2");
    expect(bench.events).toEqual(["a: ClientGoneError", "c: ClientGoneError", "b gets 1", "d gets 2"]);
  });

  test("that nobody waits for any more is spare", () => {
    const waiter = bench.wait();
    bench.turn();
    waiter.abort();
    expect(bench.emptied).toBe(0);
    bench.connect("1");
    expect(bench.events).toEqual(["a: ClientGoneError", "1 is spare"]);
    expect(bench.emptied).toBeGreaterThan(0);
  });

  test("that becomes free goes to somebody for whom none is being made, and to nobody else", () => {
    bench.wait();
    expect(bench.queue.offer("old")).toBe(true);
    bench.turn();
    expect([bench.begun, bench.events]).toEqual([0, ["a gets old"]]);
    bench.wait();
    bench.turn();
    expect(bench.queue.offer("older")).toBe(false);
  });

  test("is made for so many at a time; the others follow in order as these end", () => {
    for (let count = 0; count < CONNECTING_LIMIT + 2; count += 1) bench.wait(String(count));
    for (let turns = 1; turns <= CONNECTING_LIMIT / BEGUN_AT_ONCE; turns += 1) {
      bench.turn();
      expect(bench.begun).toBe(BEGUN_AT_ONCE * turns);
    }
    bench.turn();
    expect(bench.begun).toBe(CONNECTING_LIMIT);
    bench.connect("1");
    bench.turn();
    expect(bench.begun).toBe(CONNECTING_LIMIT + 1);
    bench.fail();
    bench.turn();
    expect(bench.begun).toBe(CONNECTING_LIMIT + 2);
    expect(bench.events).toEqual(["0 gets 1", "1: ConnectError"]);
  });
});

describe("a failure", () => {
  test("is told to whoever has waited longest, one for each attempt", () => {
    bench.wait();
    bench.wait();
    bench.turn();
    bench.fail();
    bench.connect("1");
    expect(bench.events).toEqual(["a: ConnectError", "b gets 1"]);
  });

  test("of an attempt for somebody who left is told to nobody who has another one", () => {
    const left = bench.wait();
    bench.wait();
    bench.turn();
    left.abort();
    bench.fail();
    bench.connect("1");
    expect(bench.events).toEqual(["a: ClientGoneError", "b gets 1"]);
  });

  test("by time is told at each one's own deadline; until then another attempt is made", () => {
    const first = bench.wait("first", 100);
    bench.turn();
    first.abort();
    const late = bench.wait("late", 200);
    bench.turn();
    expect(bench.begun).toBe(1);
    bench.fail(new ConnectTimeoutError("took too long"));
    bench.turn();
    expect(bench.begun).toBe(2);
    bench.events.length = 0;
    late.sweep(199);
    expect(bench.events).toEqual([]);
    late.sweep(200);
    expect(bench.events).toEqual(["late: ConnectTimeoutError"]);
  });

  test("of the whole is told to all", () => {
    bench.wait();
    bench.wait();
    bench.turn();
    bench.queue.close(new ConnectError("closed"));
    expect(bench.events).toEqual(["a: ConnectError", "b: ConnectError"]);
    bench.connect("1");
    expect(bench.events.at(-1)).toBe("1 is spare");
  });
});

test("for any order of events everybody is served or told once, and attempts are neither missing nor too many", () => {
  const event = fc.constantFrom("wait", "leave", "turn", "connect", "fail", "timeout", "offer");
  fc.assert(fc.property(fc.array(event, { maxLength: 200 }), (events) => {
    const here = new Bench();
    const waiters: Waiter<string>[] = [];
    let peak = 0;
    for (const [index, what] of events.entries()) {
      const { waiting, attempts } = here.queue.size;
      if (what === "wait") waiters.push(here.wait(`w${waiters.length}`));
      else if (what === "leave") waiters[index % Math.max(1, waiters.length)]?.abort();
      else if (what === "turn") here.turn();
      else if (what === "connect") here.connect(`c${index}`);
      else if (what === "fail") here.fail();
      else if (what === "timeout") here.fail(new ConnectTimeoutError("late"));
      else expect(here.queue.offer(`o${index}`)).toBe(waiting > attempts);
      peak = Math.max(peak, here.queue.size.waiting);
      expect(here.queue.size.attempts).toBe(here.attempts.length);
      expect(here.queue.size.attempts).toBeLessThanOrEqual(peak);
    }
    here.turn();
    expect(here.queue.size.attempts).toBeGreaterThanOrEqual(here.queue.size.waiting);
    here.queue.close(new ClientGoneError("end"));
    while (here.attempts.length > 0) here.connect("late");
    const told = here.events.filter((line) => line.startsWith("w")).map((line) => line.split(/[: ]/)[0]);
    expect(new Set(told).size).toBe(told.length);
    expect(told.length).toBe(waiters.length);
    expect([here.sweeper.size, here.queue.size, waiters.length === 0 || here.emptied > 0]).toEqual([0, { waiting: 0, attempts: 0 }, true]);
    here.sweeper.close();
  }));
});
