// Names of pods to addresses: asked of DNS servers (as nginx's `resolver` does), cached for the record's TTL within
// bounds, one query for any number of waiters. Without a server the system's resolver is asked. The answer is a list of
// addresses that the caller checks and dials: nothing resolves the name a second time.

import type { RecordWithTtl } from "node:dns";
import { lookup, Resolver } from "node:dns/promises";
import { hasFreeDescriptor, TooManyFilesError } from "../lib/descriptors.ts";
import { TtlCache } from "../lib/ttl-cache.ts";

/** A record may say less or more; a pod that moved must not be missed for long, nor the server asked for every request. */
const TTL_MAX_MS = 30_000;
const TTL_MIN_MS = 1_000;
const TTL_FAILURE_MS = 1_000;
/** UDP loses packets: what was not answered by then is asked again, until the time for the whole is over. */
const ASK_AGAIN_MS = 1_000;
/** How much longer than A may AAAA take, which adds addresses to those that there are (RFC 8305 section 3 waits 50 ms). */
const AAAA_LATER_MS = 250;
/** The system's resolver does not say how long its answer is good. */
const SYSTEM_TTL_S = 5;
const NAMES = 10_000;

export class NameError extends Error {
  override name = "NameError";
  constructor(readonly reason: "not-found" | "timeout", name: string, options?: ErrorOptions) {
    super(reason === "timeout" ? `no answer in time for the name "${name}"` : `cannot resolve the name "${name}"`, options);
  }
}

export type DnsSettings = {
  /** `ip[:port]`; the next one is asked when one does not answer. null: the system's resolver. */
  readonly nameservers: readonly string[] | null;
  readonly timeoutMs: number;
};

export type Answer = { readonly addresses: readonly string[]; readonly ttlMs: number };

export class NameResolver {
  readonly #resolver: Resolver | null;
  readonly #cache: TtlCache<readonly string[] | NameError>;
  readonly #running = new Map<string, Promise<readonly string[]>>();

  constructor(private readonly settings: DnsSettings, private readonly now: () => number = Date.now) {
    this.#cache = new TtlCache({ entries: NAMES, bytes: NAMES * 400, now });
    this.#resolver = settings.nameservers === null ? null : new Resolver({ timeout: Math.min(ASK_AGAIN_MS, settings.timeoutMs), tries: 1 });
    if (settings.nameservers !== null) this.#resolver?.setServers([...settings.nameservers]);
  }

  /** The addresses of `name`, at least one, of both kinds; the same list for as long as it is good. @throws NameError */
  resolve(name: string): readonly string[] | Promise<readonly string[]> {
    const cached = this.#cache.get(name);
    if (cached instanceof NameError) throw cached;
    if (cached !== undefined) return cached;
    const running = this.#running.get(name);
    if (running !== undefined) return running;
    const promise = this.#resolve(name).finally(() => this.#running.delete(name));
    this.#running.set(name, promise);
    return promise;
  }

  close(): void {
    this.#resolver?.cancel();
    this.#cache.close();
  }

  async #resolve(name: string): Promise<readonly string[]> {
    try {
      const answer = await this.#ask(name, "both");
      this.#cache.set(name, answer.addresses, this.now() + answer.ttlMs, name.length + answer.addresses.length * 40);
      return answer.addresses;
    } catch (thrown) {
      // That it could not be asked for says nothing of the name.
      if (!hasFreeDescriptor()) throw new TooManyFilesError("cannot resolve: too many open files", { cause: thrown });
      const error = nameError(thrown, name);
      this.#cache.set(name, error, this.now() + TTL_FAILURE_MS, name.length + 200);
      throw error;
    }
  }

  /**
   * Asked now, whatever is cached: all addresses of one kind, because a server that has both is one server, and for how long they are
   * good. What the server does not know may be a name of this machine or of its search domains (`website` in Kubernetes), which only the
   * system's resolver knows.
   * @throws NameError
   */
  async askAnywhere(name: string): Promise<Answer> {
    try {
      return await this.#ask(name, "one").catch((error: unknown) => {
        if (this.#resolver === null || isTimeout(error)) throw error;
        return this.#askSystem(name);
      });
    } catch (thrown) {
      throw nameError(thrown, name);
    }
  }

  /** @param kinds "one": IPv6 only of what has no IPv4 */
  async #ask(name: string, kinds: "both" | "one"): Promise<Answer> {
    if (this.#resolver === null) return this.#askSystem(name);
    const resolver = this.#resolver;
    const deadlineMs = performance.now() + this.settings.timeoutMs;
    // Bun says ENOTFOUND also for a name that has addresses of the other kind only.
    const asked = askAgain(() => resolver.resolve4(name, { ttl: true }), deadlineMs).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENODATA" || error.code === "ENOTFOUND") return [];
      throw error;
    });
    const askSix = (): Promise<RecordWithTtl[]> => askAgain(() => resolver.resolve6(name, { ttl: true }), deadlineMs);
    const six = kinds === "both" ? askSix() : null;
    // Nobody may ask any more what became of it.
    six?.catch(() => {});
    const four = await asked;
    if (four.length === 0) return answerOf(await (six ?? askSix()), name);
    // No IPv6, and nobody who says anything about it, keeps nobody from IPv4.
    return answerOf(six === null ? four : [...four, ...await withDeadline(six, AAAA_LATER_MS, name).catch(() => [])], name);
  }

  async #askSystem(name: string): Promise<Answer> {
    const found = await withDeadline(lookup(name, { all: true }), this.settings.timeoutMs, name);
    return answerOf(found.map(({ address }) => ({ address, ttl: SYSTEM_TTL_S })), name);
  }
}

function nameError(thrown: unknown, name: string): NameError {
  return thrown instanceof NameError ? thrown : new NameError(isTimeout(thrown) ? "timeout" : "not-found", name, { cause: thrown });
}

function answerOf(records: ReadonlyArray<{ address: string; ttl: number }>, name: string): Answer {
  if (records.length === 0) throw new NameError("not-found", name);
  const ttlMs = Math.min(...records.map(({ ttl }) => ttl * 1000));
  return { addresses: records.map(({ address }) => address), ttlMs: Math.min(TTL_MAX_MS, Math.max(TTL_MIN_MS, ttlMs)) };
}

function isTimeout(error: unknown): boolean {
  return error instanceof Error && ["ETIMEOUT", "ETIMEDOUT", "DNS_ETIMEOUT"].includes((error as NodeJS.ErrnoException).code ?? "");
}

/** @param deadlineMs monotonic; what is asked before it may take ASK_AGAIN_MS longer */
async function askAgain<T>(ask: () => Promise<T>, deadlineMs: number): Promise<T> {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (!isTimeout(error) || performance.now() >= deadlineMs) throw error;
    }
  }
}

function withDeadline<T>(promise: Promise<T>, timeoutMs: number, name: string): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new NameError("timeout", name)), timeoutMs);
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
