import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type Entry, Fifo } from "../../src/balance/fifo.ts";

describe("queue that can be left from the middle", () => {
  test("behaves as an array does", () => {
    const step = fc.oneof(fc.constant("push" as const), fc.constant("shift" as const), fc.nat());
    fc.assert(fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      const fifo = new Fifo<number>();
      const model: Array<Entry<number>> = [];
      steps.forEach((step, value) => {
        if (step === "push") model.push(fifo.push(value));
        else {
          const [gone] = step === "shift" ? model.splice(0, 1) : model.splice(step % (model.length + 1), 1);
          if (gone !== undefined) expect(fifo.delete(gone)).toBeTrue();
          if (gone !== undefined) expect(fifo.delete(gone)).toBeFalse();
        }
        expect([fifo.size, fifo.first?.value]).toEqual([model.length, model[0]?.value]);
      });
      const rest: number[] = [];
      for (let first = fifo.first; first !== null; first = fifo.first) {
        rest.push(first.value);
        fifo.delete(first);
      }
      expect(rest).toEqual(model.map(({ value }) => value));
    }));
  });
});
