// What is gathered in one turn of the event loop is done in it, in order, and never waits for more.

import { expect, test } from "bun:test";
import { Batch } from "../../src/lib/batch.ts";

const turn = (): Promise<void> => new Promise((resolve) => { setImmediate(resolve); });

test("what comes in one turn is done together, after what the turn has brought, in order", async () => {
  const done: string[] = [];
  const batch = new Batch<string>((item) => done.push(item));
  batch.add("a");
  queueMicrotask(() => { done.push("something else"); batch.add("b"); });
  expect(done).toEqual([]);
  await turn();
  expect(done).toEqual(["something else", "a", "b"]);
});

test("no more than so many wait for others", async () => {
  const done: number[] = [];
  const batch = new Batch<number>((item) => done.push(item));
  for (let item = 0; item < 70; item += 1) batch.add(item);
  expect(done.length).toBe(64);
  await turn();
  expect(done).toEqual(Array.from({ length: 70 }, (_, item) => item));
});

test("what is added while a batch is done comes after it, and is not lost", async () => {
  const done: string[] = [];
  const batch = new Batch<string>((item) => {
    done.push(item);
    if (item === "a") batch.add("c");
  });
  batch.add("a");
  batch.add("b");
  await turn();
  await turn();
  expect(done).toEqual(["a", "b", "c"]);
});
