import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LocalAuthority } from "../../src/certificate/authority.ts";
import { CertificateSet } from "../../src/certificate/certificate-set.ts";
import { type CertificateIssuer, type CertificateState, Renewal } from "../../src/certificate/renewal.ts";
import { CertificateStore } from "../../src/certificate/store.ts";
import { eventually } from "../support/eventually.ts";
import { DAY_MS, FakeClock, newCertificate, START_MS } from "./fixtures.ts";

const MINUTE_MS = 60_000;
const A = "a.example.org";
const B = "b.example.org";

let root: string;
let clock: FakeClock;
let store: CertificateStore;
let set: CertificateSet;
let asked: string[];
let failures: Array<{ name: string; message: string; retryMs: number | null }>;
let resumed: Array<{ name: string; reason: string; waitMs: number; path: string }>;
let problems: string[];
let started: Renewal[];
/** What the CA does in place of signing. */
let instead: ((names: readonly string[], signal: AbortSignal) => Promise<unknown>) | null;
let authority: LocalAuthority;

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), "route-renewal-"));
  clock = new FakeClock();
  store = new CertificateStore(join(root, "resolver"));
  authority = await LocalAuthority.open({ directory: null, now: clock.now });
  [set, asked, failures, resumed, problems, started, instead] = [new CertificateSet(), [], [], [], [], [], null];
});
afterEach(async () => {
  await Promise.all(started.map((renewal) => renewal.stop()));
  rmSync(root, { recursive: true, force: true });
});

const issuer: CertificateIssuer = {
  async issue(names, signal) {
    asked.push(...names);
    if (instead !== null) await instead(names, signal);
    return authority.issue(names);
  },
};

async function start(wanted: readonly string[], own: CertificateIssuer = issuer, setup = ""): Promise<Renewal> {
  const renewal = new Renewal({ store, certificates: set, issuer: own, clock, random: () => 0, setup, events: {
    resumed: (name, { reason }, waitMs, path) => resumed.push({ name, reason, waitMs, path }),
    issued: () => {}, failed: (name, { message }, retryMs) => failures.push({ name, message, retryMs }), problem: ({ reason }) => problems.push(reason),
  } });
  started.push(renewal);
  renewal.want(wanted);
  await renewal.start();
  return renewal;
}

/** A run for `A` that goes on from what the one before has kept; resolves when it has asked, or waits. */
async function restarted(setup = ""): Promise<Renewal> {
  await started.at(-1)?.stop();
  const renewal = await start([A], issuer, setup);
  await settled(renewal);
  return renewal;
}

const served = (name: string): string | null => set.find(name)?.fingerprint ?? null;
const stateOf = (renewal: Renewal, name: string): CertificateState | undefined => renewal.states().find((state) => state.name === name);
const settled = (renewal: Renewal): Promise<unknown> => eventually("all orders to end", () => renewal.states(), (states) => states.every(({ isRunning, nextMs }) => !isRunning && nextMs > clock.nowMs));
const failing = async (error: object = {}): Promise<never> => {
  throw Object.assign(new Error("the CA refuses"), error);
};

describe("Renewal", () => {
  test("asks for what is wanted, each in a certificate of its own, and keeps it", async () => {
    const renewal = await start([A, "*.Example.org"]);
    await settled(renewal);
    expect(asked.toSorted()).toEqual(["*.example.org", A]);
    expect(set.find(A)?.names).toEqual([A]);
    expect(set.find(B)?.names).toEqual(["*.example.org"]);
    expect((await store.read(A))?.fingerprint).toBe(served(A) as string);
  });

  test("asks for nothing that is not wanted, and for nothing twice", async () => {
    const renewal = await start([A]);
    await settled(renewal);
    renewal.want([A]);
    renewal.want([A]);
    clock.advance(30 * DAY_MS);
    await settled(renewal);
    expect(asked).toEqual([A]);
  });

  test("serves after a restart what it has got before, without asking", async () => {
    await settled(await start([A]));
    const before = served(A);
    set = new CertificateSet();
    await start([A]);
    expect(served(A)).toBe(before);
    expect(asked).toEqual([A]);
  });

  test("renews with a third of the lifetime left, not before, and drops the old certificate", async () => {
    const renewal = await start([A]);
    await settled(renewal);
    const before = set.find(A);
    const { notAfterMs, notBeforeMs } = before!;
    const dueMs = notAfterMs - (notAfterMs - notBeforeMs) / 3;
    expect(stateOf(renewal, A)?.nextMs).toBe(dueMs);
    clock.advance(dueMs - clock.nowMs - 1);
    expect(asked).toHaveLength(1);
    clock.advance(1);
    await settled(renewal);
    expect(asked).toHaveLength(2);
    expect(served(A)).not.toBe(before!.fingerprint);
    expect(set.all()).toHaveLength(1);
  });

  test("keeps the old certificate when renewing fails, even past its end, and tells", async () => {
    const renewal = await start([A]);
    await settled(renewal);
    const before = served(A);
    instead = () => failing();
    clock.advance(61 * DAY_MS);
    await eventually("the failure", () => failures.length, (count) => count === 1);
    expect(served(A)).toBe(before);
    expect(stateOf(renewal, A)).toMatchObject({ failures: 1, error: "the CA refuses", fingerprint: before });
    clock.advance(40 * DAY_MS);
    await eventually("more failures", () => failures.length, (count) => count > 1);
    expect(stateOf(renewal, A)!.notAfterMs).toBeLessThan(clock.nowMs);
    expect(served(A)).toBe(before);
  });

  test("goes on when the CA is back, and forgets the error", async () => {
    instead = () => failing({ holdsOthers: true });
    const renewal = await start([A]);
    await settled(renewal);
    expect(served(A)).toBeNull();
    instead = null;
    clock.advance(MINUTE_MS);
    await settled(renewal);
    expect(served(A)).not.toBeNull();
    expect(stateOf(renewal, A)).toMatchObject({ failures: 0, error: null });
  });

  test("does not ask again and again when what it gets is old already", async () => {
    const old = await LocalAuthority.open({ directory: null, now: () => clock.nowMs - 70 * DAY_MS });
    const renewal = await start([A], { issue: (names) => (asked.push(...names), old.issue(names)) });
    await settled(renewal);
    clock.advance(12 * 3_600_000 - 1);
    expect(asked).toHaveLength(1);
    clock.advance(1);
    await eventually("the next order", () => asked.length, (count) => count === 2);
  });

  test("waits longer after each failure", async () => {
    instead = () => failing();
    const renewal = await start([A]);
    for (const minutes of [1, 3, 9, 27]) {
      await settled(renewal);
      expect(failures.at(-1)?.retryMs).toBe(minutes * MINUTE_MS);
      const count = asked.length;
      clock.advance(minutes * MINUTE_MS - 1);
      expect(asked).toHaveLength(count);
      clock.advance(1);
    }
  });

  test("goes on after a pause that began while the clock was a year ahead", async () => {
    clock.nowMs += 365 * DAY_MS;
    instead = () => failing({ holdsOthers: true });
    const renewal = await start([A]);
    await settled(renewal);
    clock.nowMs -= 365 * DAY_MS;
    instead = null;
    expect(stateOf(renewal, A)?.nextMs).toBe(clock.nowMs + MINUTE_MS);
    clock.advance(MINUTE_MS);
    await settled(renewal);
    expect(served(A)).not.toBeNull();
  });

  test("renews on time what it got while the clock was a year ahead, and soon what was made by that clock", async () => {
    const right = await newCertificate([A]);
    clock.nowMs += 365 * DAY_MS;
    const renewal = await start([A, B], { issue: async (names) => (asked.push(...names), names[0] === A ? right : authority.issue(names)) });
    await settled(renewal);
    clock.nowMs -= 365 * DAY_MS;
    clock.advance(DAY_MS);
    await settled(renewal);
    expect(asked.toSorted()).toEqual([A, B, B]);
    expect(stateOf(renewal, A)?.nextMs).toBe(right.notAfterMs - (right.notAfterMs - right.notBeforeMs) / 3);
    clock.advance(60 * DAY_MS);
    await eventually("the renewal", () => asked.filter((name) => name === A).length, (count) => count === 2);
  });

  test("renews soon what was made by a clock that was far behind", async () => {
    clock.nowMs -= 3650 * DAY_MS;
    const renewal = await start([A]);
    await settled(renewal);
    clock.nowMs += 3650 * DAY_MS;
    clock.advance(3_600_000);
    await settled(renewal);
    expect(asked).toEqual([A, A]);
  });

  test("leaves a CA alone for as long as it asks", async () => {
    instead = () => failing({ retryAfterMs: 3 * 3_600_000 });
    const renewal = await start([A]);
    await settled(renewal);
    clock.advance(3 * 3_600_000 - 1);
    expect(asked).toHaveLength(1);
    clock.advance(1);
    await eventually("the next order", () => asked.length, (count) => count === 2);
  });

  test("goes on with its pause after a restart, and says why and what ends it", async () => {
    instead = () => failing({ isCounted: true });
    await restarted();
    expect(failures).toHaveLength(1);
    for (const [index, minutes] of [3, 9, 27].entries()) {
      const renewal = await restarted();
      expect(failures).toHaveLength(index + 1);
      expect(stateOf(renewal, A)).toMatchObject({ error: "the CA refuses", isRunning: false });
      clock.advance(stateOf(renewal, A)!.nextMs - clock.nowMs);
      await settled(renewal);
      expect(failures.at(-1)?.retryMs).toBe(minutes * MINUTE_MS);
    }
    expect(resumed[0]).toEqual({ name: A, reason: "the CA refuses", waitMs: MINUTE_MS, path: store.failurePathOf(A) });
  });

  test("asks no more often than once an hour, however often it is restarted", async () => {
    instead = () => failing({ isCounted: true });
    for (let minute = 0; minute < 24 * 60; minute += 2) {
      const renewal = await restarted();
      clock.advance(2 * MINUTE_MS);
      await settled(renewal);
    }
    // Four pauses of less than an hour before.
    expect(asked.length).toBeGreaterThan(20);
    expect(asked.length).toBeLessThanOrEqual(4 + 24);
  });

  test("leaves a CA alone for as long as it asked before a restart, whatever else changed", async () => {
    instead = () => failing({ isCounted: true, retryAfterMs: 3 * 3_600_000 });
    await restarted("one");
    instead = null;
    clock.advance(2 * 3_600_000);
    const renewal = await restarted("two");
    expect(asked).toHaveLength(1);
    clock.advance(3_600_000);
    await settled(renewal);
    expect(asked).toHaveLength(2);
  });

  test("asks at once after a restart with another setup, for another name, or where the file was removed", async () => {
    instead = () => failing({ isCounted: true });
    await restarted("one");
    await restarted("one");
    expect(asked).toEqual([A]);
    await restarted("two");
    expect(asked).toEqual([A, A]);
    rmSync(store.failurePathOf(A));
    await restarted("two");
    expect(asked).toEqual([A, A, A]);
    await settled(await start([B], issuer, "two"));
    expect(asked).toEqual([A, A, A, B]);
  });

  test("asks at once after a restart when the CA has counted nothing, or when what was kept is of a clock that was ahead, or broken", async () => {
    instead = () => failing();
    await restarted();
    await restarted();
    expect(asked).toHaveLength(2);
    instead = () => failing({ isCounted: true });
    clock.nowMs += 3650 * DAY_MS;
    await restarted();
    clock.nowMs -= 3650 * DAY_MS;
    await restarted();
    expect(asked).toHaveLength(4);
    writeFileSync(store.failurePathOf(A), "garbage");
    await restarted();
    expect(asked).toHaveLength(5);
    expect(problems).toEqual(["it tells of no failed attempt"]);
  });

  test("forgets a failure when it has succeeded", async () => {
    instead = () => failing({ isCounted: true });
    await restarted();
    instead = null;
    clock.advance(MINUTE_MS);
    await settled(started.at(-1)!);
    expect(existsSync(store.failurePathOf(A))).toBe(false);
    const renewal = await restarted();
    expect(stateOf(renewal, A)).toMatchObject({ failures: 0, error: null });
    expect(asked).toHaveLength(2);
  });

  test("serves after a restart what could not be renewed, and waits with the next attempt", async () => {
    await settled(await start([A]));
    const before = served(A);
    await started.at(-1)!.stop();
    clock.advance(61 * DAY_MS);
    instead = () => failing({ isCounted: true });
    await restarted();
    expect(asked).toHaveLength(2);
    set = new CertificateSet();
    await restarted();
    expect(served(A)).toBe(before);
    expect(asked).toHaveLength(2);
  });

  test("holds others back after a restart, for what is left of the minute", async () => {
    instead = () => failing({ isCounted: true, holdsOthers: true, retryAfterMs: 3_600_000 });
    await restarted();
    await started.at(-1)!.stop();
    instead = null;
    clock.advance(MINUTE_MS / 2);
    const renewal = await start([A, B]);
    expect(asked).toEqual([A]);
    clock.advance(MINUTE_MS / 2);
    await settled(renewal);
    expect(asked).toEqual([A, B]);
  });

  test("tells when it cannot keep that it has failed", async () => {
    mkdirSync(store.failurePathOf(A), { recursive: true });
    instead = () => failing({ isCounted: true });
    const renewal = await restarted();
    expect(failures).toHaveLength(1);
    expect(problems.at(-1)).toStartWith("cannot keep it: ");
    expect(stateOf(renewal, A)?.nextMs).toBe(clock.nowMs + MINUTE_MS);
  });

  test("begins no other order for a minute when the CA is down or limits us, and goes on then", async () => {
    const many = Array.from({ length: 10 }, (_, index) => `n${index}.example.org`);
    instead = () => failing({ holdsOthers: true });
    const renewal = await start(many);
    await eventually("the first failures", () => failures.length, (count) => count === 4);
    const late = many.find((name) => !asked.includes(name))!;
    expect(stateOf(renewal, late)).toMatchObject({
      failures: 0, nextMs: clock.nowMs + MINUTE_MS, error: expect.stringMatching(/^held back by the failure of n\d.example.org: the CA refuses$/), errorMs: clock.nowMs,
    });
    clock.advance(MINUTE_MS - 1);
    expect(asked).toHaveLength(4);
    instead = null;
    clock.advance(1);
    await settled(renewal);
    expect(set.all()).toHaveLength(10);
  });

  test("does not hold others back for what is wrong with one name", async () => {
    instead = ([name]) => (name === A ? failing() : Promise.resolve());
    const renewal = await start([A, B]);
    await settled(renewal);
    expect(served(A)).toBeNull();
    expect(served(B)).not.toBeNull();
  });

  test("has four orders at a time", async () => {
    const gate = Promise.withResolvers<void>();
    let most = 0;
    let running = 0;
    instead = async () => {
      most = Math.max(most, ++running);
      await gate.promise;
      running -= 1;
    };
    const renewal = await start(Array.from({ length: 9 }, (_, index) => `n${index}.example.org`));
    await eventually("four orders", () => running, (count) => count === 4);
    gate.resolve();
    await settled(renewal);
    expect(most).toBe(4);
    expect(set.all()).toHaveLength(9);
  });

  test("ends the order of a name that is not wanted any more, half a minute later, and calls that no failure", async () => {
    const stopped = Promise.withResolvers<void>();
    instead = (_, signal) => new Promise((_, reject) => signal.addEventListener("abort", () => { stopped.resolve(); reject(signal.reason as Error); }));
    const renewal = await start([A]);
    await eventually("the order", () => asked.length, (count) => count === 1);
    renewal.want([]);
    clock.advance(MINUTE_MS / 2);
    await stopped.promise;
    expect(renewal.states()).toEqual([]);
    expect(failures).toEqual([]);
  });

  test("gives the order that runs to a name that comes back, however often it went", async () => {
    const signed = Promise.withResolvers<void>();
    instead = () => signed.promise;
    const renewal = await start([A]);
    await eventually("the order", () => asked.length, (count) => count === 1);
    for (let turn = 0; turn < 7; turn += 1) {
      renewal.want([]);
      clock.advance(MINUTE_MS / 2 - 1);
      renewal.want([A]);
    }
    signed.resolve();
    await settled(renewal);
    expect(served(A)).not.toBeNull();
    expect(asked).toEqual([A]);
    expect(stateOf(renewal, A)).toMatchObject({ failures: 0, error: null });
  });

  test("does not become a storm of orders when a name is registered and deleted in turns: a minute lies between two, and no more", async () => {
    instead = (_, signal) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
    const renewal = await start([A]);
    await eventually("the order", () => asked.length, (count) => count === 1);
    for (let order = 1; order <= 7; order += 1) {
      renewal.want([]);
      clock.advance(MINUTE_MS / 2);
      renewal.want([A]);
      const { nextMs } = (await eventually("the pause", () => stateOf(renewal, A), (state) => state?.isRunning === false))!;
      expect(nextMs).toBe(clock.nowMs + MINUTE_MS);
      expect(stateOf(renewal, A)).toMatchObject({ failures: 0, error: "its order was ended, because the name was not registered any more" });
      renewal.want([]);
      clock.advance(MINUTE_MS - 1);
      renewal.want([A]);
      expect(asked).toHaveLength(order);
      clock.advance(1);
      await eventually("the next order", () => asked.length, (count) => count === order + 1);
    }
    expect(failures).toEqual([]);
  });

  test("goes on with the pause after a failure when the name is deleted and registered again, and says why", async () => {
    instead = () => failing();
    const renewal = await start([A]);
    await settled(renewal);
    const before = stateOf(renewal, A);
    renewal.want([]);
    renewal.want([A]);
    expect(stateOf(renewal, A)).toEqual(before!);
    expect(before).toMatchObject({ failures: 1, error: "the CA refuses", errorMs: clock.nowMs, nextMs: clock.nowMs + MINUTE_MS });
  });

  test("serves nothing for a name that was given up, and asks for nothing when it comes back", async () => {
    const renewal = await start([A]);
    await settled(renewal);
    const before = served(A);
    renewal.want([]);
    expect(served(A)).toBeNull();
    clock.advance(DAY_MS);
    renewal.want([A]);
    await settled(renewal);
    expect(served(A)).toBe(before);
    expect(asked).toHaveLength(1);
  });

  test("serves what is kept of a name that comes back late, while no new one can be had", async () => {
    const renewal = await start([A]);
    await settled(renewal);
    const before = served(A);
    renewal.want([]);
    clock.advance(70 * DAY_MS);
    instead = () => failing();
    renewal.want([A]);
    await settled(renewal);
    expect(failures).toHaveLength(1);
    expect(served(A)).toBe(before);
  });

  test("serves at once what is kept of a name that comes back, in the pause after a failure", async () => {
    const renewal = await start([A]);
    await settled(renewal);
    const before = served(A);
    instead = () => failing();
    clock.advance(61 * DAY_MS);
    await eventually("the failure", () => failures.length, (count) => count === 1);
    renewal.want([]);
    expect(served(A)).toBeNull();
    renewal.want([A]);
    expect(await eventually("the certificate", () => served(A), (found) => found !== null)).toBe(before);
    expect(stateOf(renewal, A)).toMatchObject({ failures: 1, error: "the CA refuses", nextMs: clock.nowMs + MINUTE_MS });
    expect(asked).toEqual([A, A]);
  });

  test("serves at once what is kept of a name that comes back, while the CA hangs for others, and while they hold it back", async () => {
    const others = ["1", "2", "3", "4", "5"].map((label) => `${label}.example.org`);
    const renewal = await start([A]);
    await settled(renewal);
    const before = served(A);
    const end = Promise.withResolvers<void>();
    instead = async () => {
      await end.promise;
      await failing({ holdsOthers: true });
    };
    renewal.want([A, ...others]);
    await eventually("four orders", () => asked.length, (count) => count === 5);
    renewal.want(others);
    renewal.want([A, ...others]);
    expect(await eventually("the certificate", () => served(A), (found) => found !== null)).toBe(before);
    end.resolve();
    await eventually("the failures", () => failures.length, (count) => count === 4);
    renewal.want(others);
    renewal.want([A, ...others]);
    expect(await eventually("the certificate", () => served(A), (found) => found !== null)).toBe(before);
    expect(asked).not.toContain(others[4]);
  });

  test("asks for nothing where it could not keep it", async () => {
    writeFileSync(join(root, "resolver"), "a file");
    const renewal = await start([A]);
    await settled(renewal);
    expect(asked).toEqual([]);
    expect(stateOf(renewal, A)).toMatchObject({ failures: 1 });
    expect(problems).toHaveLength(1);
  });

  test("serves what it has got though it could not be kept, says so, and keeps it when it can, without asking again", async () => {
    instead = async () => rmSync(store.directory, { recursive: true });
    const renewal = await start([A], { issue: async (names, signal) => {
      const issued = await issuer.issue(names, signal);
      writeFileSync(store.directory, "a file");
      return issued;
    } });
    await settled(renewal);
    expect(served(A)).not.toBeNull();
    expect(problems[0]).toStartWith("cannot keep it: ");
    const told = [...problems];
    const failedMs = clock.nowMs;
    expect(stateOf(renewal, A)).toMatchObject({ failures: 0, error: problems[0], errorMs: failedMs });

    clock.advance(MINUTE_MS);
    await eventually("the second attempt", () => stateOf(renewal, A)?.errorMs, (ms) => ms === failedMs + MINUTE_MS);
    rmSync(store.directory);
    clock.advance(MINUTE_MS);
    await eventually("the third attempt", () => stateOf(renewal, A)?.error, (error) => error === null);
    expect((await store.read(A))?.fingerprint).toBe(served(A)!);
    expect(asked).toEqual([A]);
    expect(problems).toEqual(told);
  });

  test("refuses what the CA signed for another name, or with another key", async () => {
    const other = await newCertificate([B]);
    const renewal = await start([A], { issue: async () => other });
    await settled(renewal);
    expect(served(A)).toBeNull();
    expect(failures[0]?.message).toBe(`the CA signed for ${B}`);
    const mixed = await start([B], { issue: async () => ({ certPem: other.certPem, keyPem: (await newCertificate([B])).keyPem }) });
    await settled(mixed);
    expect(failures[1]?.message).toBe("the key belongs to another certificate");
  });

  test("says once of what cannot be a name of a certificate that it will never have one, and does not try", async () => {
    const wrong = ["a_b.example.org", "*.a_b.example.org", "-a.example.org", "../x"];
    const renewal = await start([...wrong, A]);
    await settled(renewal);
    renewal.want([...wrong, A]);
    clock.advance(30 * DAY_MS);
    await settled(renewal);
    expect(asked).toEqual([A]);
    expect(failures.map(({ name, retryMs }) => [name, retryMs])).toEqual(wrong.map((name) => [name, null]));
    expect(stateOf(renewal, "a_b.example.org")).toMatchObject({
      nextMs: Infinity, isRunning: false, error: 'no certificate can ever be had for "a_b.example.org": names in certificates have no underscore (RFC 5280 section 4.2.1.6)',
    });
    renewal.want([]);
    expect(renewal.states()).toEqual([]);
  });

  test("replaces a file that is broken, and tells", async () => {
    await store.write(A, await newCertificate([A]));
    writeFileSync(store.pathOf(A), "garbage");
    const renewal = await start([A]);
    await settled(renewal);
    expect(problems).toContain("there is no certificate in PEM");
    expect(readFileSync(store.pathOf(A), "utf8")).toContain("BEGIN CERTIFICATE");
  });

  test("takes over what another process has renewed meanwhile", async () => {
    const renewal = await start([A]);
    await settled(renewal);
    const fresh = await newCertificate([A], () => START_MS + 50 * DAY_MS);
    await store.write(A, fresh);
    clock.advance(61 * DAY_MS);
    await settled(renewal);
    expect(served(A)).toBe(fresh.fingerprint);
    expect(asked).toHaveLength(1);
  });

  test("spreads the renewals of one day", async () => {
    const numbers = [0, 0.5];
    const renewal = new Renewal({ store, certificates: set, issuer, clock, random: () => numbers.shift() ?? 0, events: { issued: () => {}, failed: () => {}, resumed: () => {}, problem: () => {} } });
    started.push(renewal);
    renewal.want([A, B]);
    await renewal.start();
    await settled(renewal);
    const [one, two] = renewal.states().map(({ nextMs }) => nextMs).sort((x, y) => x - y) as [number, number];
    expect((two - one) / DAY_MS).toBeCloseTo(1.5, 1);
  });

  test("waits for the end of its orders when it stops, and leaves no timer", async () => {
    instead = (_, signal) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
    const renewal = await start([A]);
    await eventually("the order", () => asked.length, (count) => count === 1);
    await renewal.stop();
    expect(clock.pending).toBe(0);
    expect(failures).toEqual([]);
  });
});
