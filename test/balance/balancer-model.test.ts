// The balancer beside a plain model of the same: lists of times, and nothing that is kept up to date by hand.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { AFTER_THREE, balancer, members, picks } from "./members.ts";

type State = { failedAtMs: number[]; untilMs: number; inRow: number; isHealthy: boolean };

class Model {
  nowMs = 0;
  readonly states = new Map<string, State>();
  readonly inFlight = new Map<string, number>();

  constructor(keys: readonly string[]) {
    this.update(keys);
  }

  update(keys: readonly string[]): void {
    for (const key of [...this.states.keys()]) if (!keys.includes(key)) this.states.delete(key);
    for (const key of keys) if (!this.states.has(key)) this.states.set(key, { failedAtMs: [], untilMs: -Infinity, inRow: 0, isHealthy: true });
  }

  open(key: string): number {
    return this.inFlight.get(key) ?? 0;
  }

  available(): string[] {
    return [...this.states].filter(([, { isHealthy, untilMs }]) => isHealthy && untilMs <= this.nowMs).map(([key]) => key).sort();
  }

  serving(): string[] {
    const available = this.available();
    return available.length === 0 ? [...this.states.keys()].sort() : available;
  }

  succeeded(key: string): void {
    const state = this.states.get(key);
    if (state !== undefined && state.untilMs <= this.nowMs) state.inRow = 0;
  }

  failed(key: string): void {
    const state = this.states.get(key);
    const available = this.available();
    if (state === undefined || !available.includes(key)) return;
    state.failedAtMs.push(this.nowMs);
    const recent = state.failedAtMs.filter((at) => this.nowMs - at < AFTER_THREE.windowMs).length;
    const isBackForLong = this.nowMs >= state.untilMs + AFTER_THREE.windowMs;
    if (available.length === 1 || (recent < AFTER_THREE.failures && isBackForLong)) return;
    state.untilMs = this.nowMs + Math.min(AFTER_THREE.timeMs * 2 ** state.inRow, AFTER_THREE.longestMs);
    state.inRow += 1;
    state.failedAtMs = [];
  }

  report(key: string, isHealthy: boolean): void {
    const state = this.states.get(key);
    if (state !== undefined) state.isHealthy = isHealthy;
  }
}

const key = fc.constantFrom<string>("a", "b", "c", "d");
const step = fc.oneof(
  { arbitrary: fc.record({ kind: fc.constant("failed" as const), key, times: fc.integer({ min: 1, max: 4 }) }), weight: 4 },
  { arbitrary: fc.record({ kind: fc.constantFrom("succeeded" as const, "began" as const, "ended" as const, "healthy" as const, "unhealthy" as const), key }), weight: 3 },
  { arbitrary: fc.record({ kind: fc.constant("pass" as const), ms: fc.constantFrom(1, 1000, 4999, 9999, 10_000, 20_000) }), weight: 2 },
  { arbitrary: fc.record({ kind: fc.constant("update" as const), keys: fc.uniqueArray(key, { minLength: 1 }) }), weight: 1 },
);

test("whatever happens, those serve that the plain model says, and what is under way is counted", () => {
  fc.assert(fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
    const model = new Model(["a", "b", "c", "d"]);
    const of = balancer(members(1, 1, 1, 1), { ejection: AFTER_THREE, now: () => model.nowMs });
    const take = (step: (typeof steps)[number]): void => {
      if (step.kind === "pass") return void (model.nowMs += step.ms);
      if (step.kind === "update") {
        model.update(step.keys);
        return of.update(step.keys.map((key) => ({ key, weight: 1 })));
      }
      const { kind, key } = step;
      const member = { key, weight: 1 };
      if (kind === "healthy" || kind === "unhealthy") {
        model.report(key, kind === "healthy");
        return of.report(key, kind === "healthy");
      }
      if (kind === "failed" || kind === "succeeded") {
        for (let count = 0; count < (step.kind === "failed" ? step.times : 1); count++) {
          model[kind](key);
          of[kind](member);
        }
        return;
      }
      // Only members get requests, and only what began can end.
      if (kind === "began" ? !model.states.has(key) : model.open(key) === 0) return;
      model.inFlight.set(key, model.open(key) + (kind === "began" ? 1 : -1));
      of[kind](member);
    };
    for (const step of steps) {
      take(step);
      expect([...new Set(picks(of, 4))].sort()).toEqual(model.serving());
      for (const { key, inFlight, ejectedForMs } of of.states()) {
        expect(inFlight).toBe(model.open(key));
        expect(ejectedForMs).toBe(Math.max(0, (model.states.get(key)?.untilMs ?? 0) - model.nowMs));
      }
    }
  }), { numRuns: 1000 });
});
