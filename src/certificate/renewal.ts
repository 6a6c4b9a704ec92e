// Which certificates are wanted, and when each of them is asked for. A certificate is renewed with a third of its lifetime left;
// what fails is tried again later and later, while the old certificate is served on, even past its end. Several processes on
// one store share what one of them gets.
//
// Pauses are between orders: what the store has for a name is served as soon as the name is wanted.
//
// Invariants: only a name that is wanted is asked for; one order at a time for a name, `ORDERS` in all; between two failures of
// one name there is a growing pause, and after an order that was given up a short one, whatever is registered and deleted
// meanwhile. What a CA counts is kept: a program that is restarted again and again asks no more often than once an hour
// (schedule.ts), or than the CA wants.

import { type Certificate, certificateNameFault } from "../certificate.ts";
import type { CertificateSet } from "./certificate-set.ts";
import { type Clock, systemClock } from "./clock.ts";
import type { Failure } from "./failure.ts";
import { CertificateError, isFor, readCertificate } from "./read.ts";
import { isEarly, isOfFuture, isRemembered, type RandomNumber, renewalTime, resumeTime, retryPause, successPause } from "./schedule.ts";
import type { CertificateStore, StoreProblem } from "./store.ts";

/** Orders at the same time. */
const ORDERS = 4;
/** After a failure that others will share (a CA that is down or limits us) no new order begins for this long. */
const HOLD_MS = 60_000;
/** So long goes an order on whose name is not wanted any more: a workload that is replaced comes back. */
const RETURN_MS = 30_000;
/** From the end of such an order to the next one for its name. */
const GIVEN_UP_PAUSE_MS = 60_000;
/** What could not be written is written again this often. */
const KEEP_MS = 60_000;
/** The wall clock may jump, and machines sleep: looked at this often at least. */
const LOOK_MS = 3_600_000;

/** What an issuer's error may say beside its message. */
type IssuerError = Error & {
  /** How long the CA wants to be left alone. */
  readonly retryAfterMs?: number | null;
  /** Other names will fare the same. */
  readonly holdsOthers?: boolean;
  /** The CA may have counted it against us: the pause outlives this process. */
  readonly isCounted?: boolean;
};

/** Asks a CA. */
export interface CertificateIssuer {
  /** @throws IssuerError */
  issue(names: readonly string[], signal: AbortSignal): Promise<{ readonly certPem: string; readonly keyPem: string }>;
}

export interface RenewalEvents {
  issued(name: string, certificate: Certificate): void;
  /** @param retryMs until the next attempt; null: there is none, because no certificate can ever be had for this name */
  failed(name: string, error: Error, retryMs: number | null): void;
  /** An earlier run of the program failed. @param waitMs until the next attempt @param path of the file that says so: without it there is no wait */
  resumed(name: string, failure: Failure, waitMs: number, path: string): void;
  /** A file of the store that cannot be used. */
  problem(problem: StoreProblem): void;
}

export type RenewalOptions = {
  readonly store: CertificateStore;
  readonly certificates: CertificateSet;
  readonly issuer: CertificateIssuer;
  readonly events: RenewalEvents;
  /** How challenges are answered, in any words. After a failure with another setup there is no pause: what was wrong may be mended. */
  readonly setup?: string;
  /** Whether somebody else keeps a certificate for this name, valid until then (Unix time in ms): while it is, none is asked for. */
  isCovered?(name: string, untilMs: number): boolean;
  readonly clock?: Clock;
  readonly random?: RandomNumber;
};

/** One wanted certificate, for people. Times are Unix times in ms. */
export type CertificateState = {
  readonly name: string;
  readonly names: readonly string[];
  /** These are null while there is no certificate. */
  readonly issuer: string | null;
  readonly notBeforeMs: number | null;
  readonly notAfterMs: number | null;
  readonly fingerprint: string | null;
  readonly isRunning: boolean;
  /** When it is asked for the next time; in the past when it waits for its turn; `Infinity`: never, or not while somebody else keeps one. */
  readonly nextMs: number;
  /** Failures since the last success. */
  readonly failures: number;
  /** Why there is no newer certificate. */
  readonly error: string | null;
  /** Since when; null without an error. */
  readonly errorMs: number | null;
};

/** Why a name waits, since when (Unix time in ms). */
type Fault = { readonly message: string; readonly atMs: number };

/** A certificate that is not in the store: when it is written there again, by the clock's `elapsed`. */
type Unkept = Fault & { readonly certificate: Certificate; readonly againMs: number };

/** What is known about one name. One that is not wanted any more is kept until it could be asked for again. */
type Entry = {
  readonly name: string;
  isWanted: boolean;
  certificate: Certificate | null;
  /** When that is renewed, Unix time in ms; without one it is wanted at once. */
  renewalMs: number;
  /** No attempt is made before, by the clock's `elapsed`. */
  pausedUntilMs: number;
  failures: number;
  fault: Fault | null;
  unkept: Unkept | null;
  running: AbortController | null;
  /** When it was given up the last time, by the clock's `elapsed`. */
  leftMs: number;
};

export class Renewal {
  readonly #entries = new Map<string, Entry>();
  readonly #running = new Set<Promise<void>>();
  readonly #clock: Clock;
  readonly #random: RandomNumber;
  #loaded: Map<string, Certificate> | null = null;
  /** Of earlier runs, until their names are wanted. */
  #failures = new Map<string, Failure>();
  #wanted: ReadonlySet<string> = new Set();
  /** By the clock's `elapsed`. */
  #heldUntilMs = 0;
  #holder: Fault | null = null;
  #cancelTimer = (): void => {};
  #isStarted = false;

  constructor(private readonly options: RenewalOptions) {
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
  }

  /** Reads the store; what was wanted before is served when this resolves, and asked for after it. */
  async start(): Promise<void> {
    const { certificates, failures, problems } = await this.options.store.load(this.#clock.now());
    for (const problem of problems) this.options.events.problem(problem);
    this.#loaded = certificates;
    this.#failures = failures;
    this.#isStarted = true;
    this.#apply();
    if (this.#wanted.size > 0) this.#loaded = null; // The first that want something are the ones that a restart knows.
  }

  /** Ends running orders and waits for their end. What is served stays. */
  async stop(): Promise<void> {
    this.#isStarted = false;
    this.#cancelTimer();
    for (const { running } of this.#entries.values()) running?.abort();
    await Promise.all(this.#running);
  }

  /** @param names all that there shall be certificates for from now on, one each; without case */
  want(names: Iterable<string>): void {
    this.#wanted = new Set([...names].map((name) => name.toLowerCase()));
    if (!this.#isStarted) return;
    this.#apply();
    if (this.#wanted.size > 0) this.#loaded = null;
  }

  states(): CertificateState[] {
    return [...this.#entries.values()].filter((entry) => entry.isWanted && (entry.certificate !== null || !this.#isCovered(entry))).map((entry) => this.#stateOf(entry));
  }

  #stateOf(entry: Entry): CertificateState {
    const { name, certificate, failures, running } = entry;
    const nowMs = this.#clock.now();
    const [waitMs, heldMs] = [this.#waitOf(entry, nowMs), this.#heldUntilMs - this.#clock.elapsed()];
    const isHeld = running === null && heldMs > 0 && waitMs < heldMs;
    const fault = entry.fault ?? entry.unkept ?? (isHeld ? this.#holder : null);
    return {
      name, names: certificate?.names ?? [name], issuer: certificate?.issuer ?? null, notBeforeMs: certificate?.notBeforeMs ?? null,
      notAfterMs: certificate?.notAfterMs ?? null, fingerprint: certificate?.fingerprint ?? null,
      isRunning: running !== null, nextMs: nowMs + (isHeld ? heldMs : waitMs), failures, error: fault?.message ?? null, errorMs: fault?.atMs ?? null,
    };
  }

  #apply(): void {
    for (const entry of this.#entries.values()) if (entry.isWanted && !this.#wanted.has(entry.name)) this.#giveUp(entry);
    for (const name of this.#wanted) this.#admit(name);
    this.#look();
  }

  #admit(name: string): void {
    const known = this.#entries.get(name);
    if (known?.isWanted === true) return;
    const entry = known ?? { name, isWanted: true, certificate: null, renewalMs: 0, pausedUntilMs: this.#clock.elapsed(), failures: 0, fault: null, unkept: null, running: null, leftMs: 0 };
    entry.isWanted = true;
    this.#entries.set(name, entry);
    const fault = certificateNameFault(name);
    if (fault !== null) return this.#refuse(entry, new CertificateError(fault));
    if (entry.unkept !== null) this.#offer(entry, entry.unkept.certificate); // The store has none, or an older one.
    else if (this.#loaded === null) void this.#comeBack(entry);
    else this.#offer(entry, this.#loaded.get(name) ?? null);
    const failure = this.#failures.get(name);
    this.#failures.delete(name);
    if (known === undefined && failure !== undefined) this.#resume(entry, failure);
  }

  /** Of a name that was here before, whatever keeps it from an order now: a pause, a CA that is down, orders of others. */
  async #comeBack(entry: Entry): Promise<void> {
    const kept = await this.options.store.read(entry.name).catch(() => null); // An order replaces what is broken, and tells.
    if (!this.#isStarted || !entry.isWanted || entry.certificate !== null) return;
    this.#offer(entry, kept);
    this.#look();
  }

  /** Late ones are served as well, until there is a new one. */
  #offer(entry: Entry, kept: Certificate | null): void {
    if (kept === null) return;
    if (isEarly(kept, this.#clock.now())) this.#take(entry, kept);
    else this.#serve(entry, kept);
  }

  /** Goes on with the pause of an earlier run. */
  #resume(entry: Entry, failure: Failure): void {
    const { store, events, setup = "" } = this.options;
    const nowMs = this.#clock.now();
    const isSameSetup = failure.setup === setup;
    const nextMs = resumeTime(failure, isSameSetup);
    const isRenewed = this.#waitOf(entry) > 0; // By another process, say.
    if (isRenewed || !isRemembered(failure, nowMs) || (!isSameSetup && nextMs <= nowMs)) return;
    entry.failures = failure.count;
    if (failure.holdsOthers) this.#hold(entry.name, failure.reason, failure.atMs);
    if (nextMs <= nowMs) return;
    entry.pausedUntilMs = this.#clock.elapsed() + nextMs - nowMs;
    entry.fault = { message: failure.reason, atMs: failure.atMs };
    events.resumed(entry.name, failure, nextMs - nowMs, store.failurePathOf(entry.name));
  }

  /** It may be registered all the same: its TLS may come from elsewhere. */
  #refuse(entry: Entry, error: CertificateError): void {
    entry.pausedUntilMs = Number.POSITIVE_INFINITY;
    entry.fault = this.#faultOf(error);
    this.options.events.failed(entry.name, error, null);
  }

  /** What was issued stays in the store: a name that comes back is not asked for again. An order that runs ends a little later. */
  #giveUp(entry: Entry): void {
    entry.isWanted = false;
    entry.leftMs = this.#clock.elapsed();
    if (entry.certificate !== null) this.options.certificates.remove(entry.certificate);
    entry.certificate = null;
  }

  /** Begins what is due and comes back for what will be. */
  #look(): void {
    this.#cancelTimer();
    if (!this.#isStarted) return;
    let waitMs = LOOK_MS;
    for (const [entry, entryMs] of this.#inTurn()) {
      if (!entry.isWanted) waitMs = Math.min(waitMs, this.#leave(entry));
      // With all orders running there is nothing to come back for: the end of each looks again.
      else if (entry.running === null && !this.#begin(entry) && this.#running.size < ORDERS) waitMs = Math.min(waitMs, this.#unkeptOf(entry), Math.max(entryMs, this.#heldUntilMs - this.#clock.elapsed()));
    }
    this.#cancelTimer = this.#clock.after(Math.max(waitMs, 0), () => this.#look());
  }

  /** Who waits longest first. */
  #inTurn(): Array<readonly [entry: Entry, waitMs: number]> {
    return [...this.#entries.values()].map((entry) => [entry, this.#waitOf(entry)] as const).sort(([, a], [, b]) => a - b);
  }

  /** Until the next attempt, ms; negative: since it could have been made; `Infinity`: none is needed. */
  #waitOf(entry: Entry, nowMs: number = this.#clock.now()): number {
    const { certificate, renewalMs, pausedUntilMs } = entry;
    const pauseMs = pausedUntilMs - this.#clock.elapsed();
    const waitMs = certificate === null || isOfFuture(certificate, nowMs) ? pauseMs : Math.max(pauseMs, renewalMs - nowMs);
    return waitMs <= 0 && this.#isCovered(entry) ? Number.POSITIVE_INFINITY : waitMs;
  }

  /** Until the next look, and for as long as the order may take that it begins. */
  #isCovered({ name }: Entry): boolean {
    return this.options.isCovered?.(name, this.#clock.now() + 2 * LOOK_MS) === true;
  }

  /** @returns ms until the order of a name that is not wanted has to be ended; `Infinity`: there is none, or it ends already */
  #leave(entry: Entry): number {
    const isPaused = Number.isFinite(entry.pausedUntilMs) && entry.pausedUntilMs > this.#clock.elapsed();
    // What is nowhere but here is held for a while, or a name that comes and goes would be ordered each time.
    const isHeld = entry.unkept !== null && entry.leftMs + LOOK_MS > this.#clock.elapsed();
    if (entry.running === null && !isPaused && !isHeld) this.#entries.delete(entry.name);
    if (entry.running === null || entry.running.signal.aborted) return Number.POSITIVE_INFINITY;
    const waitMs = entry.leftMs + RETURN_MS - this.#clock.elapsed();
    if (waitMs > 0) return waitMs;
    entry.running.abort();
    return Number.POSITIVE_INFINITY;
  }

  /** Until its certificate is written again, ms; `Infinity`: it is kept. */
  #unkeptOf({ unkept }: Entry): number {
    return unkept === null ? Number.POSITIVE_INFINITY : unkept.againMs - this.#clock.elapsed();
  }

  #begin(entry: Entry): boolean {
    if (this.#running.size >= ORDERS) return false;
    if (this.#waitOf(entry) <= 0 && this.#heldUntilMs <= this.#clock.elapsed()) this.#run(entry, (signal) => this.#renew(entry, signal));
    else if (this.#unkeptOf(entry) <= 0) this.#run(entry, (signal) => this.#keepAgain(entry, signal));
    return entry.running !== null;
  }

  #run(entry: Entry, job: (signal: AbortSignal) => Promise<void>): void {
    entry.running = new AbortController();
    const run = job(entry.running.signal).finally(() => {
      entry.running = null;
      this.#running.delete(run);
      this.#look();
    });
    this.#running.add(run);
  }

  async #renew(entry: Entry, signal: AbortSignal): Promise<void> {
    try {
      const certificate = await this.options.store.exclusively(entry.name, signal, () => this.#obtain(entry, signal));
      if (!entry.isWanted || signal.aborted) return;
      this.#take(entry, certificate);
      if (!isEarly(certificate, this.#clock.now())) entry.pausedUntilMs = this.#clock.elapsed() + successPause(certificate);
    } catch (error) {
      if (this.#isStarted) await (signal.aborted ? this.#rest(entry) : this.#fail(entry, error as Error));
    }
  }

  /** Another process may have been quicker. @throws Error of the issuer, of the store */
  async #obtain(entry: Entry, signal: AbortSignal): Promise<Certificate> {
    const { store, issuer, events } = this.options;
    const kept = await store.read(entry.name).catch((error: Error) => {
      events.problem({ path: store.pathOf(entry.name), reason: error.message });
      return null; // It is replaced.
    });
    if (kept !== null && isEarly(kept, this.#clock.now())) return kept;
    const { certPem, keyPem } = await issuer.issue([entry.name], signal);
    const certificate = readCertificate(certPem, keyPem);
    if (!isFor(certificate, entry.name)) throw new CertificateError(`the CA signed for ${certificate.names.join(", ")}`);
    events.issued(entry.name, certificate);
    entry.unkept = null;
    await store.write(entry.name, certificate).catch((error: Error) => {
      // It was hard to get: served all the same.
      events.problem({ path: store.pathOf(entry.name), reason: this.#miss(entry, certificate, error) });
    });
    await store.forgetFailure(entry.name).catch((error: Error) => {
      events.problem({ path: store.failurePathOf(entry.name), reason: `cannot remove it: ${error.message}` });
    });
    return certificate;
  }

  async #keepAgain(entry: Entry, signal: AbortSignal): Promise<void> {
    const { unkept } = entry;
    if (unkept === null) return;
    try {
      await this.options.store.exclusively(entry.name, signal, () => this.options.store.write(entry.name, unkept.certificate));
      entry.unkept = null;
    } catch (error) {
      this.#miss(entry, unkept.certificate, error as Error); // Told once, and seen in the state.
    }
  }

  /** @returns what is said of a certificate that could not be written */
  #miss(entry: Entry, certificate: Certificate, error: Error): string {
    const message = `cannot keep it: ${error.message}`;
    entry.unkept = { message, atMs: this.#clock.now(), certificate, againMs: this.#clock.elapsed() + KEEP_MS };
    return message;
  }

  #take(entry: Entry, certificate: Certificate): void {
    this.#serve(entry, certificate);
    entry.failures = 0;
    entry.fault = null;
  }

  #serve(entry: Entry, certificate: Certificate): void {
    this.options.certificates.replace(entry.certificate, certificate);
    entry.certificate = certificate;
    entry.renewalMs = renewalTime(certificate, this.#random);
  }

  /** No failure of the CA; and yet registering and deleting a name in turns must not become a storm of orders. */
  #rest(entry: Entry): void {
    entry.pausedUntilMs = this.#clock.elapsed() + GIVEN_UP_PAUSE_MS;
    entry.fault ??= this.#faultOf(new Error("its order was ended, because the name was not registered any more"));
  }

  async #fail(entry: Entry, error: IssuerError): Promise<void> {
    entry.failures += 1;
    const retryMs = retryPause(entry.failures, error.retryAfterMs ?? null, this.#random);
    entry.pausedUntilMs = this.#clock.elapsed() + retryMs;
    entry.fault = this.#faultOf(error);
    if (error.holdsOthers === true) this.#hold(entry.name, error.message, entry.fault.atMs);
    if (error.isCounted === true) await this.#keep(entry, error, retryMs);
    this.options.events.failed(entry.name, error, retryMs);
  }

  #hold(name: string, reason: string, atMs: number): void {
    const untilMs = this.#clock.elapsed() + atMs + HOLD_MS - this.#clock.now();
    if (untilMs <= this.#heldUntilMs) return;
    this.#heldUntilMs = untilMs;
    this.#holder = { message: `held back by the failure of ${name}: ${reason}`, atMs };
  }

  #faultOf({ message }: Error): Fault {
    return { message, atMs: this.#clock.now() };
  }

  async #keep({ name, failures: count }: Entry, { message: reason, retryAfterMs, holdsOthers = false }: IssuerError, retryMs: number): Promise<void> {
    const { store, events, setup = "" } = this.options;
    const atMs = this.#clock.now();
    const nextMs = atMs + retryMs;
    const failure = { count, atMs, nextMs, askedMs: retryAfterMs == null ? null : Math.min(atMs + retryAfterMs, nextMs), holdsOthers, setup, reason };
    await store.keepFailure(name, failure).catch((error: Error) => {
      events.problem({ path: store.failurePathOf(name), reason: `cannot keep it: ${error.message}` }); // A restart will not wait.
    });
  }
}
