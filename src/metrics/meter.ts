// Counts the bytes of every service as they flow. It is asked for every request, frame and chunk, so a known series is three
// look-ups and two additions, and a `Counter` for a session or a tunnel spares even the look-ups. Says nothing about
// how the numbers are shown: exposition.ts.
//
// Invariant: no byte is lost between two scrapes. A deleted service stays until a scrape has shown its final numbers; what
// one of its connections moves after that is a new series, which goes the same way.

import type { ServiceTotals } from "../gateway.ts";
import { coarseLabels, foldLabels, type Labels, type Protocol } from "./labels.ts";

/** Services whose deletion is remembered. Where nobody scrapes, the oldest of them are given up. */
const GONE_LIMIT = 10_000;

/** Of one service, before the rest of it is counted by the class of its codes: a client and an upstream that conspire could make a thousand. */
const SERIES_LIMIT = 100;

/** Of one series; for who counts often. */
export interface Counter {
  /** Bytes from the client. */
  in(bytes: number): void;
  /** Bytes towards the client. */
  out(bytes: number): void;
}

/** One series at the moment of a scrape. */
export type Reading = {
  readonly service: string;
  readonly labels: Labels;
  readonly bytesIn: number;
  readonly bytesOut: number;
};

class Series {
  bytesIn = 0;
  bytesOut = 0;
  isDropped = false;

  constructor(readonly service: string, readonly labels: Labels) {}
}

/** Code → method → series. */
type Codes = Map<string, Map<string, Series>>;
type Service = { [P in Protocol]: Codes | null };

export class Meter {
  readonly #services = new Map<string, Service>();
  /** Deleted services, the oldest first. */
  readonly #gone = new Set<string>();
  #followed: ReadonlySet<string> = new Set();

  /** @param bytesIn from the client @param bytesOut towards it */
  moved(service: string, labels: Labels, bytesIn: number, bytesOut: number): void {
    const series = this.#find(service, labels);
    series.bytesIn += bytesIn;
    series.bytesOut += bytesOut;
  }

  /** For a session or a tunnel: good for its whole life, also beyond its service's. */
  counter(service: string, labels: Labels): Counter {
    let series = this.#find(service, labels);
    const current = (): Series => {
      if (series.isDropped) series = this.#find(service, labels);
      return series;
    };
    return {
      in: (bytes) => { current().bytesIn += bytes; },
      out: (bytes) => { current().bytesOut += bytes; },
    };
  }

  totals(): ServiceTotals {
    const bytesIn = new Map<string, number>();
    const bytesOut = new Map<string, number>();
    for (const series of this.#all()) {
      bytesIn.set(series.service, (bytesIn.get(series.service) ?? 0) + series.bytesIn);
      bytesOut.set(series.service, (bytesOut.get(series.service) ?? 0) + series.bytesOut);
    }
    return { Request: Object.fromEntries(bytesIn), Response: Object.fromEntries(bytesOut) };
  }

  /** The services that are registered now, all of them: those that are missing since the last time were deleted. */
  follow(services: Iterable<string>): void {
    const now = new Set(services);
    for (const service of this.#followed) if (!now.has(service)) this.forget(service);
    for (const service of now) this.#gone.delete(service);
    this.#followed = now;
  }

  /** The service was deleted: its series are kept until they were scraped once. {@link follow} can bring it back. */
  forget(service: string): void {
    this.#gone.delete(service);
    this.#gone.add(service);
    if (this.#gone.size <= GONE_LIMIT) return;
    const [oldest = ""] = this.#gone;
    this.#gone.delete(oldest);
    for (const series of this.#of(oldest)) series.isDropped = true;
    this.#services.delete(oldest);
  }

  /** All series as they are, for a scrape. */
  read(): Reading[] {
    return Array.from(this.#all(), ({ service, labels, bytesIn, bytesOut }) => ({ service, labels, bytesIn, bytesOut }));
  }

  /** These were shown: deleted services that have moved nothing since are dropped. */
  scraped(readings: readonly Reading[]): void {
    for (const reading of readings) if (this.#gone.has(reading.service)) this.#drop(reading);
  }

  #find(service: string, labels: Labels): Series {
    return this.#services.get(service)?.[labels.protocol]?.get(labels.code)?.get(labels.method) ?? this.#fold(service, labels);
  }

  #fold(service: string, labels: Labels): Series {
    const folded = foldLabels(labels);
    const known = this.#services.get(service)?.[folded.protocol]?.get(folded.code)?.get(folded.method);
    if (known !== undefined) return known;
    const isFull = Array.from(this.#of(service)).length >= SERIES_LIMIT;
    return this.#open(service, isFull ? coarseLabels(folded) : folded);
  }

  #open(service: string, labels: Labels): Series {
    const known = this.#services.get(service);
    const protocols = known ?? { http: null, websocket: null, tcp: null };
    if (known === undefined) this.#services.set(service, protocols);
    const codes = protocols[labels.protocol] ??= new Map();
    const methods = codes.get(labels.code) ?? new Map<string, Series>();
    codes.set(labels.code, methods);
    const series = methods.get(labels.method) ?? new Series(service, labels);
    methods.set(labels.method, series);
    return series;
  }

  #drop({ service, labels, bytesIn, bytesOut }: Reading): void {
    const methods = this.#services.get(service)?.[labels.protocol]?.get(labels.code);
    const series = methods?.get(labels.method);
    if (series === undefined || series.bytesIn !== bytesIn || series.bytesOut !== bytesOut) return;
    series.isDropped = true;
    methods?.delete(labels.method);
    if (this.#of(service).next().done) this.#services.delete(service);
  }

  *#all(): Generator<Series, void> {
    for (const service of this.#services.keys()) yield* this.#of(service);
  }

  *#of(service: string): Generator<Series, void> {
    const protocols = this.#services.get(service);
    if (protocols === undefined) return;
    for (const codes of [protocols.http, protocols.websocket, protocols.tcp]) {
      for (const methods of codes?.values() ?? []) yield* methods.values();
    }
  }
}
