import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { HealthChecks } from "../../src/balance/health-checks.ts";
import type { HealthSettings } from "../../src/service.ts";
import { balancer, ManualSweeper, members as make, picks, randomOf, settled } from "./members.ts";

type Answer = { readonly status: number } | Error;
type Probe = { key: string; timeoutMs: number; atMs: number; answer: (answer: Answer | number) => void; fail: (error: unknown) => void };

const SETTINGS: HealthSettings = {
  path: "/healthz", host: null, intervalMs: 10_000, timeoutMs: 2_000, healthyAfter: 2, unhealthyAfter: 3, statuses: [[200, 299], [404, 404]],
};

class Rig {
  readonly sweeper = new ManualSweeper();
  readonly probes: Probe[] = [];
  readonly reports: Array<[key: string, isHealthy: boolean]> = [];
  readonly changes: string[] = [];
  readonly checks: HealthChecks<{ key: string }>;

  constructor(list: ReadonlyArray<{ readonly key: string }>, settings: Partial<HealthSettings> = {}, random: () => number = () => 0.5) {
    this.checks = new HealthChecks(list, {
      settings: { ...SETTINGS, ...settings }, sweeper: this.sweeper, now: this.sweeper.now, random,
      probe: ({ key }, timeoutMs) => new Promise((resolve, reject) => {
        const answer = (answer: Answer | number): void => resolve(typeof answer === "number" ? { status: answer } : answer);
        this.probes.push({ key, timeoutMs, atMs: this.sweeper.nowMs, answer, fail: reject });
      }),
      balancer: { report: (key, isHealthy) => this.reports.push([key, isHealthy]) },
      changed: (key, isHealthy, reason) => this.changes.push(`${key} ${isHealthy ? "healthy" : "unhealthy"}: ${reason}`),
    });
  }

  /** Answers the open probe of a one-member rig, and waits for the next one. */
  async answer(...answers: Array<Answer | number>): Promise<void> {
    for (const answer of answers) {
      this.probes.at(-1)?.answer(answer);
      await settled();
      this.sweeper.pass(10_000);
    }
  }
}

describe("health checks", () => {
  test("all members are asked at once, with the time limit", () => {
    const { probes } = new Rig(make(1, 1, 1));
    expect(probes.map(({ key, timeoutMs }) => [key, timeoutMs])).toEqual([["a", 2_000], ["b", 2_000], ["c", 2_000]]);
  });

  test("so many bad answers in a row make a member unhealthy, so many good ones healthy", async () => {
    const rig = new Rig(make(1));
    await rig.answer(500, 500);
    expect(rig.reports).toEqual([]);
    await rig.answer(503);
    expect(rig.changes).toEqual(["a unhealthy: status 503"]);
    await rig.answer(200);
    expect(rig.reports).toEqual([["a", false]]);
    await rig.answer(200);
    expect(rig.changes).toEqual(["a unhealthy: status 503", "a healthy: 2 good answers in a row"]);
    expect(rig.reports).toEqual([["a", false], ["a", true]]);
    await rig.answer(200, 200, 500, 500, 200);
    expect(rig.reports).toHaveLength(2);
  });

  test("the first good verdict is reported, but is no change", async () => {
    const rig = new Rig(make(1));
    await rig.answer(200, 200, 200);
    expect([rig.reports, rig.changes]).toEqual([[["a", true]], []]);
  });

  test.each<[number | string, string | null]>([
    [200, null], [299, null], [404, null], [199, "status 199"], [300, "status 300"], [403, "status 403"], [405, "status 405"], ["refused", "refused"],
  ])("the answer %p counts as %p", async (answer, reason) => {
    const rig = new Rig(make(1), { unhealthyAfter: 1, healthyAfter: 1 });
    await rig.answer(typeof answer === "string" ? new Error(answer) : answer);
    expect(rig.reports).toEqual([["a", reason === null]]);
    expect(rig.changes).toEqual(reason === null ? [] : [`a unhealthy: ${reason}`]);
  });

  test("a probe that throws is a bad answer", async () => {
    const rig = new Rig(make(1), { unhealthyAfter: 1 });
    rig.probes[0]?.fail(new Error("connection reset"));
    await settled();
    expect(rig.changes).toEqual(["a unhealthy: connection reset"]);
  });

  test("the verdict is that of the last answers in a row, whatever came before", async () => {
    const thresholds = fc.record({ healthyAfter: fc.integer({ min: 1, max: 4 }), unhealthyAfter: fc.integer({ min: 1, max: 4 }) });
    await fc.assert(fc.asyncProperty(thresholds, fc.array(fc.boolean(), { maxLength: 40 }), async (settings, answers) => {
      const rig = new Rig(make(1), settings);
      let isHealthy = true;
      for (const [index, isGood] of answers.entries()) {
        await rig.answer(isGood ? 200 : 500);
        const needed = isGood ? settings.healthyAfter : settings.unhealthyAfter;
        const last = answers.slice(Math.max(0, index + 1 - needed), index + 1);
        if (last.length === needed && last.every((answer) => answer === isGood)) isHealthy = isGood;
        expect(rig.reports.at(-1)?.[1] ?? true).toBe(isHealthy);
      }
      expect(rig.changes.every((line, index) => line.startsWith(index % 2 === 0 ? "a unhealthy" : "a healthy"))).toBeTrue();
    }));
  });

  test("questions are an interval apart, shifted by up to a tenth either way", async () => {
    const rig = new Rig(make(1), {}, randomOf(8));
    for (let count = 0; count < 300; count++) {
      const { length } = rig.probes;
      rig.probes.at(-1)?.answer(200);
      await settled();
      for (let step = 0; step < 200 && rig.probes.length === length; step++) rig.sweeper.pass(100);
    }
    const gaps = rig.probes.slice(1).map(({ atMs }, index) => atMs - (rig.probes[index]?.atMs ?? 0));
    expect(gaps).toHaveLength(300);
    // The sweep comes up to 100 ms late.
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(9_000);
    expect(Math.max(...gaps)).toBeLessThanOrEqual(11_100);
    expect(Math.max(...gaps) - Math.min(...gaps)).toBeGreaterThan(1_500);
  });

  test("a member is asked one question at a time", async () => {
    const rig = new Rig(make(1));
    for (let count = 0; count < 30; count++) rig.sweeper.pass(10_000);
    expect(rig.probes).toHaveLength(1);
    rig.probes[0]?.answer(200);
    await settled();
    rig.sweeper.pass(0);
    expect(rig.probes).toHaveLength(2);
  });

  test("a probe that does not keep its time limit is a bad answer once, and what it says later is not heard", async () => {
    const rig = new Rig(make(1), { unhealthyAfter: 1, healthyAfter: 1 });
    rig.sweeper.pass(2_900);
    expect(rig.changes).toEqual([]);
    rig.sweeper.pass(100);
    rig.sweeper.pass(100);
    expect(rig.changes).toEqual(["a unhealthy: no answer within 2000 ms"]);
    rig.probes[0]?.answer(200);
    await settled();
    expect(rig.reports).toEqual([["a", false]]);
    rig.sweeper.pass(10_000);
    expect(rig.probes).toHaveLength(2);
  });

  test("other members: new ones are asked at once, those that stay keep their count, answers of the rest don't matter", async () => {
    const rig = new Rig(make(1, 1), { unhealthyAfter: 2 });
    rig.probes[0]?.answer(500);
    await settled();
    rig.checks.update([{ key: "c" }, { key: "a" }]);
    expect(rig.probes.map(({ key }) => key)).toEqual(["a", "b", "c"]);
    rig.probes[1]?.answer(500);
    await settled();
    rig.sweeper.pass(10_000);
    expect(rig.probes.map(({ key }) => key)).toEqual(["a", "b", "c", "a"]);
    rig.probes[3]?.answer(500);
    await settled();
    expect(rig.changes).toEqual(["a unhealthy: status 500"]);
  });

  test("the member as it is now is asked", async () => {
    const sweeper = new ManualSweeper();
    const asked: number[] = [];
    const checks = new HealthChecks(make(1), {
      settings: SETTINGS, sweeper, now: sweeper.now, random: () => 0.5, balancer: { report: () => {} }, changed: () => {},
      probe: async ({ weight }) => { asked.push(weight); return { status: 200 }; },
    });
    await settled();
    checks.update(make(7));
    sweeper.pass(10_000);
    expect(asked).toEqual([1, 7]);
    checks.close();
  });

  test("a member that went and came back starts anew, and its old answer is not heard", async () => {
    const rig = new Rig(make(1), { unhealthyAfter: 1 });
    rig.checks.update([]);
    rig.checks.update([{ key: "a" }]);
    rig.probes[0]?.answer(500);
    await settled();
    expect(rig.reports).toEqual([]);
    rig.probes[1]?.answer(500);
    await settled();
    expect(rig.reports).toEqual([["a", false]]);
  });

  test("nothing is asked or reported after the end", async () => {
    const rig = new Rig(make(1, 1), { unhealthyAfter: 1 });
    rig.checks.close();
    rig.probes[0]?.answer(500);
    rig.probes[1]?.fail(new Error("closed"));
    await settled();
    rig.sweeper.pass(60_000);
    expect([rig.sweeper.items.size, rig.probes.length, rig.reports, rig.changes]).toEqual([0, 2, [], []]);
  });

  test("a balancer follows the verdicts", async () => {
    const of = balancer(make(1, 1));
    const sweeper = new ManualSweeper();
    const status: Record<string, number> = { a: 200, b: 500 };
    const checks = new HealthChecks(of.members, {
      settings: { ...SETTINGS, unhealthyAfter: 2 }, sweeper, now: sweeper.now, balancer: of, changed: () => {},
      probe: async ({ key }) => ({ status: status[key] ?? 0 }),
    });
    const rounds = async (count: number): Promise<void> => {
      for (let round = 0; round < count; round++) {
        await settled();
        sweeper.pass(11_000);
      }
      await settled();
    };
    await rounds(1);
    expect(new Set(picks(of, 10))).toEqual(new Set(["a"]));
    status.b = 204;
    await rounds(1);
    expect(new Set(picks(of, 10))).toEqual(new Set(["a"]));
    await rounds(1);
    expect(new Set(picks(of, 10))).toEqual(new Set(["a", "b"]));
    checks.close();
  });
});
