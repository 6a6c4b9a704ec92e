// Active health: each member of a service is asked at intervals, and what it answers adds up to a verdict. Who asks how is
// injected (`probe`); here is when, and what follows. Members are taken for healthy until enough answers in a row say otherwise.
//
// Times are kept by the sweeper, to within 100 ms. At most one question to a member is open at a time.

import type { Sweepable, Sweeper } from "../lib/deadlines.ts";
import { TooManyFilesError } from "../lib/descriptors.ts";
import type { HealthSettings } from "../service.ts";

export type HealthChecksOptions<M> = {
  readonly settings: HealthSettings;
  /** Asks one member. Settles within `timeoutMs`; an Error, returned or thrown, is a bad answer. */
  readonly probe: (member: M, timeoutMs: number) => Promise<{ readonly status: number } | Error>;
  /** Is told each verdict, also the first good one: it may know better from before. */
  readonly balancer: { report(key: string, isHealthy: boolean): void };
  /** A member's health has changed, for the log. */
  readonly changed: (key: string, isHealthy: boolean, reason: string) => void;
  readonly sweeper: Pick<Sweeper, "add" | "delete">;
  /** The sweeper's clock. */
  readonly now?: () => number;
  /** From 0 to below 1. */
  readonly random?: () => number;
};

type Check<M> = {
  member: M;
  dueMs: number;
  isAsking: boolean;
  /** When the open question counts as a bad answer; Infinity: none is open, or it has been counted. */
  deadlineMs: number;
  /** How many answers in a row were like the last one. */
  wasGood: boolean;
  inRow: number;
  /** null: there were not enough answers yet. */
  verdict: boolean | null;
};

/** Times are shifted by up to this share either way, so that several proxies and services don't ask in step. */
const JITTER = 0.1;
/** A probe has its own time limit and tells more; this is for one that does not keep it. */
const GRACE_MS = 1_000;

export class HealthChecks<M extends { readonly key: string }> implements Sweepable {
  readonly #checks = new Map<string, Check<M>>();
  readonly #now: () => number;
  readonly #random: () => number;

  /** Asks all members at once, then each at its intervals until `close`. */
  constructor(members: readonly M[], private readonly options: HealthChecksOptions<M>) {
    this.#now = options.now ?? (() => performance.now());
    this.#random = options.random ?? Math.random;
    options.sweeper.add(this);
    this.update(members);
  }

  /** Other members: new ones are asked at once, those whose key stays keep what was counted, and answers of the rest no longer matter. */
  update(members: readonly M[]): void {
    const keys = new Set(members.map(({ key }) => key));
    for (const key of this.#checks.keys()) if (!keys.has(key)) this.#checks.delete(key);
    const nowMs = this.#now();
    for (const member of members) {
      const check = this.#checks.get(member.key);
      if (check === undefined) this.#start(member, nowMs);
      else check.member = member;
    }
  }

  /** Ends everything; answers that are still to come are dropped. What was reported stands. */
  close(): void {
    this.#checks.clear();
    this.options.sweeper.delete(this);
  }

  sweep(nowMs: number): void {
    for (const check of this.#checks.values()) {
      if (nowMs >= check.deadlineMs) this.#answered(check, `no answer within ${this.options.settings.timeoutMs} ms`);
      if (!check.isAsking && nowMs >= check.dueMs) this.#ask(check, nowMs);
    }
  }

  #start(member: M, nowMs: number): void {
    const check: Check<M> = { member, dueMs: nowMs, isAsking: false, deadlineMs: Infinity, wasGood: true, inRow: 0, verdict: null };
    this.#checks.set(member.key, check);
    this.#ask(check, nowMs);
  }

  #ask(check: Check<M>, nowMs: number): void {
    const { probe, settings: { intervalMs, timeoutMs } } = this.options;
    check.isAsking = true;
    check.dueMs = nowMs + intervalMs * (1 - JITTER + 2 * JITTER * this.#random());
    check.deadlineMs = nowMs + timeoutMs + GRACE_MS;
    const ended = (answer: unknown): void => {
      check.isAsking = false;
      // It says something about us and nothing about the member, which is asked again when it is its time.
      if (answer instanceof TooManyFilesError) check.deadlineMs = Infinity;
      // One that was counted as missing, or whose member is gone, comes too late.
      if (check.deadlineMs !== Infinity && this.#checks.get(check.member.key) === check) this.#answered(check, this.#fault(answer));
    };
    void Promise.try(probe, check.member, timeoutMs).then(ended, ended);
  }

  /** What is wrong with an answer; null: nothing. */
  #fault(answer: unknown): string | null {
    if (answer instanceof Error) return answer.message;
    const { status } = answer as { status: number };
    return this.options.settings.statuses.some(([from, to]) => from <= status && status <= to) ? null : `status ${status}`;
  }

  #answered(check: Check<M>, fault: string | null): void {
    const { settings, balancer, changed } = this.options;
    const isGood = fault === null;
    check.deadlineMs = Infinity;
    check.inRow = check.wasGood === isGood ? check.inRow + 1 : 1;
    check.wasGood = isGood;
    if (check.verdict === isGood || check.inRow < (isGood ? settings.healthyAfter : settings.unhealthyAfter)) return;
    const { key } = check.member;
    const wasHealthy = check.verdict ?? true;
    check.verdict = isGood;
    balancer.report(key, isGood);
    if (wasHealthy !== isGood) changed(key, isGood, fault ?? `${check.inRow} good ${check.inRow === 1 ? "answer" : "answers in a row"}`);
  }
}
