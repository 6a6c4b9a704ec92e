// What collected bodies may hold, all together: until their clients have read them.

import { describe, expect, test } from "bun:test";
import { BufferBudget } from "../../src/upstream/response-body.ts";

const KIB = 1024;

/** A body that is on its way until it is told otherwise. */
function receiver(): { isOver: boolean; looks: number; delivery(): () => boolean } {
  const one = { isOver: false, looks: 0, delivery: () => () => { one.looks += 1; return one.isOver; } };
  return one;
}

function budget(limitBytes: number): { readonly budget: BufferBudget; readonly clock: { ms: number } } {
  const clock = { ms: 1000 };
  return { budget: new BufferBudget(limitBytes, () => clock.ms), clock };
}

describe("what collected bodies may hold", () => {
  test("is given out to its last byte, and no further", () => {
    const { budget: one } = budget(1000);
    expect([one.take(600), one.take(401), one.take(400), one.take(1)]).toEqual([true, false, true, false]);
    one.give(400);
    expect(one.take(400)).toBe(true);
  });

  test("is not free again while a client has not read its body", () => {
    const { budget: one } = budget(100 * KIB);
    one.hold(100 * KIB, receiver());
    expect(one.take(1)).toBe(false);
  });

  test("is free as soon as somebody asks for it after the client has read", () => {
    const { budget: one, clock } = budget(100 * KIB);
    const client = receiver();
    one.hold(100 * KIB, client);
    client.isOver = true;
    clock.ms += 100;
    expect(one.take(100 * KIB)).toBe(true);
    expect(one.usedBytes).toBe(100 * KIB);
  });

  test("is found free at once where clients read quickly, however much passes", () => {
    const { budget: one } = budget(1024 * KIB);
    for (let bodies = 0; bodies < 1000; bodies += 1) {
      expect(one.take(100 * KIB)).toBe(true);
      one.give(100 * KIB);
      const client = receiver();
      one.hold(100 * KIB, client);
      client.isOver = true;
    }
  });

  test("does not look at clients that don't read for each request", () => {
    const { budget: one, clock } = budget(1024 * KIB);
    const clients = Array.from({ length: 10 }, () => receiver());
    for (const client of clients) one.hold(102 * KIB, client);
    for (let requests = 0; requests < 1000; requests += 1) one.take(1024 * KIB);
    expect(Math.max(...clients.map(({ looks }) => looks))).toBeLessThan(4);
    clock.ms += 200;
    for (const client of clients) client.isOver = true;
    expect(one.take(1024 * KIB)).toBe(true);
  });

  test("forgets bodies that were read, also when nobody asks for room", () => {
    const { budget: one, clock } = budget(1024 * KIB);
    const first = receiver();
    one.hold(500 * KIB, first);
    first.isOver = true;
    clock.ms += 1000;
    one.hold(500 * KIB, receiver());
    expect(one.usedBytes).toBe(500 * KIB);
  });

  test("is not spent on short bodies, nor on those that go to nobody", () => {
    const { budget: one } = budget(1024 * KIB);
    one.hold(10 * KIB, receiver());
    one.hold(500 * KIB, {});
    expect(one.usedBytes).toBe(0);
  });
});
