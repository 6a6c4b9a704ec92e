// A request through the shared cache: what it is known by there, and how the cache asks the upstream when it has to.

import { CONDITIONS } from "../cache/conditions.ts";
import type { CacheRequest, Origin, OriginResponse } from "../cache/exchange.ts";
import type { BodyEnd } from "../upstream/exchange.ts";
import type { Attempts } from "./attempts.ts";
import { locatedHeaders, type Passage, upstreamHead } from "./passage.ts";
import { forwardedHost, forwardedProto } from "./request-head.ts";
import { send } from "./send.ts";
import type { Servers } from "./servers.ts";
import type { Visit } from "./visit.ts";

/** What the client asked its own copy about; the cache asks the upstream about ours. */
const CONDITIONAL: ReadonlySet<string> = new Set(CONDITIONS);

/** What changes by these is another resource: all of them go upstream in what we say of the client, and a trusted proxy may say them. */
export function cacheRequest({ request, client, match }: Passage, left?: () => AbortSignal): CacheRequest {
  const { headers } = request;
  const scheme = forwardedProto(request, client) === "https" ? "https" : client.scheme;
  const host = forwardedHost(request, client);
  return {
    method: request.method, scheme, headers, scope: match.route.service.name,
    host: host === request.host ? host.toLowerCase() : `${request.host} ${host}`.toLowerCase(),
    target: request.query === "" ? request.path : `${request.path}?${request.query}`,
    left,
  };
}

/** @param visit of the client on whose behalf the cache asks; it may leave, the answer is not for it alone */
export function originOf(passage: Passage, servers: Servers, visit: Visit): Origin {
  return async (conditions, isBackground, whenUnwanted) => {
    const attempts = servers.attempts(passage.request, passage.client);
    // Nobody waits in the background; otherwise the client may not be cut for being patient, nor does its leave end the wait.
    let isUnwanted = false;
    let waiting: { abort(): void } | null = null;
    whenUnwanted(() => {
      isUnwanted = true;
      waiting?.abort();
    });
    const watcher = {
      slow: (wait: { abort(): void }): void => {
        waiting = wait;
        if (isUnwanted) queueMicrotask(() => wait.abort());
        if (!isBackground) visit.slow({ abort: () => {} });
      },
      bodyBytes: () => {},
    };
    try {
      await attempts.enter(watcher);
      const { response, ended } = await ask(passage, attempts, conditions, watcher, isBackground ? null : visit, () => !isUnwanted);
      if (ended === null) attempts.release();
      else void ended.then(() => attempts.release());
      return response;
    } catch (error) {
      attempts.release();
      throw error;
    }
  };
}

type Watcher = { slow(wait: { abort(): void }): void; bodyBytes(bytes: number): void };
type Asked = { readonly response: OriginResponse; readonly ended: Promise<BodyEnd> | null };

function ask(passage: Passage, attempts: Attempts, conditions: Readonly<Record<string, string>>, watcher: Watcher, visit: Visit | null, isWanted: () => boolean): Promise<Asked> {
  const { request, match, snapshot } = passage;
  const { readTimeoutMs, buffering: mayCollect } = match.route;
  const asked = { ...passage, request: { ...request, headers: { ...withoutConditions(request.headers), ...conditions } } };
  if (visit !== null) visit.upstreamStartedMs = performance.now();
  return new Promise((resolve, reject) => send({
    pool: snapshot.pool, attempts, isWanted, failed: reject,
    request: (target) => {
      if (visit !== null) visit.target = target.key;
      return { method: request.method, head: upstreamHead(asked, target, ""), body: null, chunked: false, bodyLimitBytes: 0, readTimeoutMs, mayCollect, watcher };
    },
    answered: (target, { head, body, ended }) => {
      visit?.answered();
      resolve({ response: { status: head.status, headers: locatedHeaders(passage, target, head.headers), contentLength: head.contentLength, body }, ended });
    },
  }));
}

function withoutConditions(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !CONDITIONAL.has(name)));
}
