// One line a request. Built by hand rather than by JSON.stringify because it is written for every request; what comes from
// outside is quoted by JSON.stringify all the same. Never a token: paths of token routes are written without them.

import type { Log } from "../lib/log.ts";
import { oneLine } from "../lib/log.ts";

export type AccessEntry = {
  readonly requestId: string;
  readonly client: string;
  readonly method: string;
  /** Without the query, and with a token in the path replaced. */
  readonly path: string;
  readonly route: string | null;
  readonly service: string | null;
  readonly target: string | null;
  readonly status: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly durationMs: number;
  /** From dialling to the response head; null when no upstream was asked. */
  readonly upstreamMs: number | null;
  /** First 8 hex digits of the token's SHA-256. */
  readonly tokenHash: string | null;
  /** What the cache says of it (RFC 9211), our name included; null when it was not asked. */
  readonly cacheStatus: string | null;
  /** Of a WebSocket's end (RFC 6455 section 7.4.1), as the client got or gave it; null for everything else. */
  readonly closeCode: number | null;
  /** Why a request was refused or failed, or we ended a session; null when it was not. */
  readonly reason: string | null;
};

/** Nothing that JSON would escape. */
const PLAIN = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/;

export class AccessLog {
  #second = 0;
  #prefix = "";
  #nowMs = -1;
  #timeText = "";

  /** What stood in the line before: it often stands in the next one, too. */
  #place: { readonly route: string | null; readonly service: string | null; readonly target: string | null; readonly text: string } = { route: null, service: null, target: null, text: `,"route":null,"service":null,"target":null,"status":` };
  #cache = { status: "", text: `,"cache":""` };

  constructor(private readonly log: Log, private readonly format: "json" | "pretty", private readonly now: () => number = Date.now) {}

  write(e: AccessEntry): void {
    // A log of warnings alone has the requests that failed for want of an upstream, and says why.
    this.log.line(this.format === "pretty" ? this.#pretty(e) : this.#json(e), e.status >= 500 ? "warn" : "info");
  }

  #json(e: AccessEntry): string {
    const upstream = e.upstreamMs === null ? "null" : tenths(e.upstreamMs);
    return `{"time":"${this.#time()}","level":"info","message":"access","request_id":"${e.requestId}","client":"${e.client}","method":"${e.method}",`
      + `"path":${quoted(e.path)}${this.#placeOf(e)}${e.status},`
      + `"bytes_in":${e.bytesIn},"bytes_out":${e.bytesOut},"duration_ms":${tenths(e.durationMs)},"upstream_ms":${upstream},"token":${e.tokenHash === null ? "null" : `"${e.tokenHash}"`}`
      + `${e.cacheStatus === null ? "" : this.#cacheOf(e.cacheStatus)}${e.closeCode === null ? "" : `,"close_code":${e.closeCode}`}${e.reason === null ? "" : `,"reason":${JSON.stringify(e.reason)}`}}\n`;
  }

  #placeOf({ route, service, target }: AccessEntry): string {
    const last = this.#place;
    if (route === last.route && service === last.service && target === last.target) return last.text;
    const text = `,"route":${quoted(route)},"service":${quoted(service)},"target":${quoted(target)},"status":`;
    this.#place = { route, service, target, text };
    return text;
  }

  #cacheOf(cacheStatus: string): string {
    if (cacheStatus !== this.#cache.status) this.#cache = { status: cacheStatus, text: `,"cache":${JSON.stringify(withoutName(cacheStatus))}` };
    return this.#cache.text;
  }

  #pretty(e: AccessEntry): string {
    return `${this.#time()} ${e.status} ${e.method} ${oneLine(e.path)} → ${e.target ?? e.service ?? "-"} ${e.durationMs.toFixed(1)}ms in=${e.bytesIn} out=${e.bytesOut} `
      + `client=${e.client} route=${e.route ?? "-"} id=${e.requestId}${e.cacheStatus === null ? "" : ` cache=${oneLine(withoutName(e.cacheStatus))}`}${e.closeCode === null ? "" : ` close=${e.closeCode}`}${e.reason === null ? "" : ` reason=${oneLine(e.reason)}`}\n`;
  }

  /** ISO 8601 with milliseconds; the part up to the second is made once a second. */
  #time(): string {
    const now = this.now();
    if (now === this.#nowMs) return this.#timeText;
    this.#nowMs = now;
    const second = Math.floor(now / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#prefix = new Date(now).toISOString().slice(0, 20);
    }
    return (this.#timeText = `${this.#prefix}${String(now - second * 1000).padStart(3, "0")}Z`);
  }
}

/** As JSON; much cheaper than JSON.stringify() for what is plain, which nearly everything is. */
function quoted(text: string | null): string {
  if (text === null) return "null";
  return PLAIN.test(text) ? `"${text}"` : JSON.stringify(text);
}

/** What is below 100 ms, as text: numbers with a fraction are dear to write. */
const TENTHS = Array.from({ length: 1000 }, (_, count) => String(count / 10));

function tenths(ms: number): string {
  const count = Math.round(ms * 10);
  return TENTHS[count] ?? String(count / 10);
}

/** `route-gateway; hit; ttl=9` → `hit; ttl=9`. */
function withoutName(cacheStatus: string): string {
  return cacheStatus.slice(cacheStatus.indexOf(";") + 1).trim();
}
