// So many at a time: who begins when, and that nobody is forgotten.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { Turns } from "../../src/upstream/turns.ts";

test("so many begin at once, the others in their order as these leave", () => {
  const turns = new Turns(2);
  const begun: string[] = [];
  for (const name of ["a", "b", "c", "d"]) turns.take(() => begun.push(name));
  expect(begun).toEqual(["a", "b"]);
  turns.leave();
  expect(begun).toEqual(["a", "b", "c"]);
  turns.leave();
  turns.leave();
  turns.leave();
  expect([begun, turns.size]).toEqual([["a", "b", "c", "d"], { running: 0, waiting: 0 }]);
});

test("who waits no more has no turn, and who was begun is not forgotten", () => {
  const turns = new Turns(1);
  const begun: string[] = [];
  const [a, b, c] = ["a", "b", "c"].map((name) => () => { begun.push(name); }) as [() => void, () => void, () => void];
  for (const begin of [a, b, c]) turns.take(begin);
  expect([turns.forget(a), turns.forget(b), turns.forget(b)]).toEqual([false, true, false]);
  turns.leave();
  expect([begun, turns.size]).toEqual([["a", "c"], { running: 1, waiting: 0 }]);
});

test("one that leaves while it begins lets the next one in, however many do", () => {
  const turns = new Turns(1);
  let begun = 0;
  turns.take(() => { begun += 1; });
  for (let count = 0; count < 1000; count += 1) turns.take(() => { begun += 1; turns.leave(); });
  turns.leave();
  expect([begun, turns.size]).toEqual([1001, { running: 0, waiting: 0 }]);
});

test("in any order of events there are never more than the limit, and never fewer while somebody waits", () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 4 }), fc.array(fc.constantFrom("take", "leave", "forget"), { maxLength: 60 }), (limit, steps) => {
    const turns = new Turns(limit);
    let asked = 0;
    let begun = 0;
    let over = 0;
    let forgotten = 0;
    const waiting: Array<() => void> = [];
    for (const step of steps) {
      if (step === "take") {
        const begin = (): void => { begun += 1; waiting.splice(waiting.indexOf(begin), 1); };
        asked += 1;
        waiting.push(begin);
        turns.take(begin);
      } else if (step === "leave" && begun > over) {
        over += 1;
        turns.leave();
      } else if (step === "forget" && waiting.length > 0) {
        forgotten += 1;
        expect(turns.forget(waiting.shift() as () => void)).toBe(true);
      }
      expect(turns.size).toEqual({ running: begun - over, waiting: asked - forgotten - begun });
      expect(begun - over).toBe(Math.min(limit, asked - forgotten - over));
    }
  }));
});
