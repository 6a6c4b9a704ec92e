import { expect, test } from "bun:test";
import { type Sweepable, Sweeper } from "../../src/lib/deadlines.ts";

/** Resolves with the times at which it was asked, after `count` of them. */
function watcher(count: number): Sweepable & { times: number[]; done: Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const times: number[] = [];
  return { times, done: promise, sweep: (nowMs) => { if (times.push(nowMs) === count) resolve(); } };
}

test("every item is asked, again and again, with the time of the given clock", async () => {
  let now = 0;
  const sweeper = new Sweeper(() => (now += 7));
  const [first, second] = [watcher(2), watcher(2)];
  sweeper.add(first);
  sweeper.add(second);
  await Promise.all([first.done, second.done]);
  sweeper.close();
  expect(first.times.slice(0, 2)).toEqual([7, 14]);
  expect(second.times.slice(0, 2)).toEqual([7, 14]);
});

test("an item that was taken out is not asked any more", async () => {
  const sweeper = new Sweeper();
  const [gone, kept] = [watcher(1), watcher(1)];
  sweeper.add(gone);
  sweeper.add(kept);
  sweeper.delete(gone);
  await kept.done;
  sweeper.close();
  expect(gone.times).toEqual([]);
});

test("an item may take itself and others out while it is asked, and add new ones", async () => {
  const sweeper = new Sweeper();
  const [other, late] = [watcher(1), watcher(1)];
  const self: Sweepable = { sweep: () => { sweeper.delete(self); sweeper.delete(other); sweeper.add(late); } };
  sweeper.add(self);
  sweeper.add(other);
  await late.done;
  expect(other.times).toEqual([]);
  expect(sweeper.size).toBe(1);
  sweeper.close();
});

test("works again after it had nothing to do", async () => {
  const sweeper = new Sweeper();
  const first = watcher(1);
  sweeper.add(first);
  await first.done;
  sweeper.delete(first);
  const second = watcher(3);
  sweeper.add(second);
  await second.done;
  sweeper.close();
  expect(sweeper.size).toBe(0);
  expect(first.times).toHaveLength(1);
});

test("a crowd is asked in slices, with time for others between them, each item once in a sweep", async () => {
  let slice = 0;
  const sweeper = new Sweeper(() => (slice += 1));
  const asked = new Map<number, number>();
  const crowd = Array.from({ length: 1800 }, () => ({ times: 0, sweep(now: number) { this.times += 1; asked.set(now, (asked.get(now) ?? 0) + 1); } }));
  for (const item of crowd) sweeper.add(item);
  const last = watcher(1);
  sweeper.add(last);
  let turnsBetween = 0;
  const turn = (): void => { if (last.times.length === 0) { turnsBetween += asked.size > 0 ? 1 : 0; setImmediate(turn); } };
  setImmediate(turn);
  await last.done;
  sweeper.close();
  expect([...asked.values()]).toEqual([500, 500, 500, 300]);
  expect(crowd.every(({ times }) => times === 1)).toBe(true);
  expect(turnsBetween).toBeGreaterThanOrEqual(3);
});

test("nobody is asked once it is closed in the middle of a sweep", async () => {
  const sweeper = new Sweeper();
  let asked = 0;
  const { promise, resolve } = Promise.withResolvers<void>();
  for (let i = 0; i < 1200; i += 1) sweeper.add({ sweep() { asked += 1; if (asked === 500) resolve(); } });
  await promise;
  sweeper.close();
  await Bun.sleep(20);
  expect(asked).toBe(500);
});
