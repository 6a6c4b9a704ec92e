import { describe, expect, test } from "bun:test";
import { AddressWatch } from "../../src/balance/address-watch.ts";
import { ManualSweeper, settled } from "./members.ts";

type Question = { readonly atMs: number; readonly answer: (addresses: readonly string[], ttlMs?: number) => void; readonly fail: (error: unknown) => void };

class Rig {
  readonly sweeper = new ManualSweeper();
  readonly questions: Question[] = [];
  readonly changes: Array<readonly string[]> = [];
  readonly failures: string[] = [];
  readonly names = new Set<string>();
  readonly watch = new AddressWatch({
    name: "pods.example.org", sweeper: this.sweeper, now: this.sweeper.now,
    resolve: (name) => new Promise((resolve, reject) => {
      this.names.add(name);
      this.questions.push({ atMs: this.sweeper.nowMs, answer: (addresses, ttlMs = 5_000) => resolve({ addresses, ttlMs }), fail: reject });
    }),
    changed: (addresses) => this.changes.push(addresses),
    failed: (error, inRow) => this.failures.push(`${inRow}: ${error.message}`),
  });

  async answer(addresses: readonly string[], ttlMs?: number): Promise<void> {
    this.questions.at(-1)?.answer(addresses, ttlMs);
    await settled();
  }

  async fail(error: unknown): Promise<void> {
    this.questions.at(-1)?.fail(error);
    await settled();
  }

  /** How long it takes until the next question, in steps of the sweeper. */
  next(): number {
    const { length } = this.questions;
    const fromMs = this.sweeper.nowMs;
    while (this.questions.length === length && this.sweeper.nowMs - fromMs < 60_000) this.sweeper.pass(100);
    return this.sweeper.nowMs - fromMs;
  }
}

describe("address watch", () => {
  test("asks at once, and reports what it found", async () => {
    const rig = new Rig();
    expect([rig.watch.addresses, [...rig.names]]).toEqual([[], ["pods.example.org"]]);
    await rig.answer(["10.0.0.2", "10.0.0.1", "10.0.0.2"]);
    expect(rig.changes).toEqual([["10.0.0.1", "10.0.0.2"]]);
    expect(rig.watch.addresses).toEqual(["10.0.0.1", "10.0.0.2"]);
  });

  test.each([
    [5_000, 5_000], [0, 1_000], [-1, 1_000], [999, 1_000], [1_000, 1_000], [30_000, 30_000], [86_400_000, 30_000], [Infinity, 30_000], [NaN, 1_000],
  ])("after a TTL of %p ms it asks again after %p ms", async (ttlMs, afterMs) => {
    const rig = new Rig();
    await rig.answer(["10.0.0.1"], ttlMs);
    expect(rig.next()).toBe(afterMs);
  });

  test("the same addresses in another order, or twice, are no change", async () => {
    const rig = new Rig();
    for (const addresses of [["a", "b", "c"], ["c", "a", "b"], ["b", "b", "c", "a"]]) {
      await rig.answer(addresses);
      rig.next();
    }
    expect(rig.changes).toEqual([["a", "b", "c"]]);
    await rig.answer(["a", "b"]);
    rig.next();
    await rig.answer(["a", "d"]);
    expect(rig.changes.slice(1)).toEqual([["a", "b"], ["a", "d"]]);
  });

  test("a failure is reported, tried again after a second, and changes nothing", async () => {
    const rig = new Rig();
    await rig.answer(["a"], 30_000);
    rig.next();
    await rig.fail(new Error("server failure"));
    expect(rig.next()).toBe(1_000);
    await rig.fail("refused");
    expect(rig.next()).toBe(1_000);
    expect([rig.failures, rig.changes, rig.watch.addresses]).toEqual([["1: server failure", "2: refused"], [["a"]], ["a"]]);
    await rig.answer(["a"]);
    rig.next();
    await rig.fail(new Error("again"));
    expect([rig.failures.at(-1), rig.changes.length]).toEqual(["1: again", 1]);
  });

  test("an empty answer is a failure: the last good list stays", async () => {
    const rig = new Rig();
    await rig.answer(["a"]);
    rig.next();
    await rig.answer([]);
    expect([rig.failures, rig.watch.addresses, rig.next()]).toEqual([["1: the name has no addresses"], ["a"], 1_000]);
  });

  test("an answer that does not come is a failure after ten seconds, and too late afterwards", async () => {
    const rig = new Rig();
    expect(rig.next()).toBe(11_000);
    expect(rig.failures).toEqual(["1: no answer within 10000 ms"]);
    rig.questions[0]?.answer(["late"]);
    await settled();
    expect(rig.changes).toEqual([]);
    await rig.answer(["a"]);
    expect(rig.changes).toEqual([["a"]]);
  });

  test("an answer that comes after its time, but before the next question, is too late as well", async () => {
    const rig = new Rig();
    rig.sweeper.pass(10_000);
    await rig.answer(["late"]);
    expect([rig.failures.length, rig.changes, rig.next()]).toEqual([1, [], 1_000]);
  });

  test("a resolver that throws on the spot is a failure", async () => {
    const sweeper = new ManualSweeper();
    const failures: string[] = [];
    const watch = new AddressWatch({
      name: "x", sweeper, now: sweeper.now, resolve: () => { throw new Error("bad name"); }, changed: () => {}, failed: ({ message }) => failures.push(message),
    });
    await settled();
    expect(failures).toEqual(["bad name"]);
    watch.close();
  });

  test("more than a thousand addresses are cut, always to the same ones", async () => {
    const rig = new Rig();
    const many = Array.from({ length: 1500 }, (_, index) => `10.0.${index >> 8}.${index & 255}`);
    await rig.answer(many);
    rig.next();
    await rig.answer([...many].reverse());
    expect([rig.changes.length, rig.changes[0]?.length]).toEqual([1, 1000]);
  });

  test("nothing is asked or reported after the end", async () => {
    const rig = new Rig();
    rig.watch.close();
    await rig.answer(["a"]);
    expect([rig.next(), rig.questions.length, rig.changes.length, rig.sweeper.items.size]).toEqual([60_000, 1, 0, 0]);
    const failing = new Rig();
    failing.watch.close();
    await failing.fail(new Error("too late"));
    expect(failing.failures).toEqual([]);
  });
});
