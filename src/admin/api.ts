// The admin API, for operators, scrapers and our own command line. It has a listener of its own (server.ts): nothing of it
// can be reached through the proxy.
//
//   GET    /api/gateways                 all that are registered
//   GET    /api/gateways/{wlID}          one of them
//   PUT    /api/gateways/{wlID}          {"name" | "fqdn": "...", "backends": ["..."], "tlsPassthrough": false}: 201 new, 200 changed
//   DELETE /api/gateways/{wlID}          204, also for what is not there (X-Deleted: false)
//   GET    /api/gateways/metrics         bytes by service (so no workload can be registered by that name here)
//   GET    /api/certificates             names, issuer, expiry, next renewal, last error
//   GET    /api/services                 servers of each service: state, requests under way, failures
//   GET    /api/cache                    what the HTTP cache holds, hits and misses
//   DELETE /api/cache?url=URL            purges it; also prefix=URL, host=HOST, all=true; {"purged": N}
//   GET    /api/registry/problems        files that cannot be used, and why
//   GET    /metrics                      Prometheus text
//   GET    /healthz                      200 while the program answers: whether zbus is connected, how many gateways there are

import { type Context, type Handler, Hono, type MiddlewareHandler } from "hono";
import { bodyLimit } from "hono/body-limit";
import type { Gateway, GatewayHandlers } from "../gateway.ts";
import type { Log } from "../lib/log.ts";
import { METRICS_CONTENT_TYPE } from "../metrics/family-text.ts";
import { quoted, RegistryError } from "../registry/errors.ts";
import { certificateJson, type CertificateState, gatewayJson, refuse, refuseFaults, refuseRegistration } from "./answers.ts";
import { type CacheControl, purgeCache, showCache } from "./cache-control.ts";
import { guard, type GuardOptions } from "./guard.ts";
import { ADMIN_MARK } from "./mark.ts";
import { readRegistration } from "./registration.ts";

/** A registration is some hundred bytes. */
export const BODY_LIMIT_BYTES = 64 * 1024;

/** The one id whose place is taken. */
const METRICS_ID = "metrics";

export interface GatewayList {
  list(): readonly Gateway[];
  get(id: string): Gateway | undefined;
  /** By file name. */
  readonly problems: ReadonlyMap<string, string>;
}

/** Never a failure: what a liveness probe restarts for does not mend Redis, or a disk. Alerts are for metrics. */
export type Health = {
  readonly status: "ok";
  readonly [detail: string]: unknown;
};

export type AdminOptions = GuardOptions & {
  /** null: nothing can be registered here. */
  readonly gateways: { readonly calls: GatewayHandlers; readonly registry: GatewayList } | null;
  readonly certificates: () => readonly CertificateState[];
  /** As JSON. */
  readonly services: () => readonly object[];
  readonly cache: CacheControl;
  /** Prometheus text. */
  readonly metrics: () => Promise<string>;
  readonly health: () => Health;
  readonly log: Pick<Log, "info" | "error">;
};

export function createAdmin(options: AdminOptions): Hono {
  const app = new Hono();
  app.onError((error, context) => {
    options.log.error("the admin API failed", { method: context.req.method, path: context.req.path, reason: error.message });
    return refuse(context, 500, "internal error");
  });
  app.notFound((context) => refuse(context, 404, "there is nothing here (see /api/gateways, /api/certificates, /api/services, /api/cache, /api/registry/problems, /metrics, /healthz)"));
  app.use(async (context, next) => {
    await next();
    context.header(ADMIN_MARK.header, ADMIN_MARK.value);
    context.header("cache-control", "no-store");
    context.header("x-content-type-options", "nosniff");
    context.header("cross-origin-resource-policy", "same-origin");
  });
  app.use(guard(options));
  addProgram(app, options);
  if (options.gateways === null) app.all("/api/gateways/*", (context) => refuse(context, 404, 'there is no gateway: its configuration has no "gateway"'));
  else addGateways(app, options.gateways, options.log);
  return app;
}

function addProgram(app: Hono, { certificates, services, cache, metrics, health, gateways }: AdminOptions): void {
  offer(app, "/metrics", {
    // A scrape takes the final numbers of deleted services with it, and HEAD would not show them.
    GET: async (context) => context.body(context.req.method === "HEAD" ? "" : await metrics(), 200, { "content-type": METRICS_CONTENT_TYPE }),
  });
  offer(app, "/healthz", {
    GET: (context) => context.json(health()),
  });
  offer(app, "/api/certificates", { GET: (context) => context.json(certificates().map(certificateJson)) });
  offer(app, "/api/services", { GET: (context) => context.json(services()) });
  offer(app, "/api/cache", { GET: (context) => showCache(context, cache), DELETE: (context) => purgeCache(context, cache) });
  offer(app, "/api/registry/problems", {
    GET: (context) => context.json(Array.from(gateways?.registry.problems ?? [], ([file, problem]) => ({ file, problem }))),
  });
}

function addGateways(app: Hono, { calls, registry }: NonNullable<AdminOptions["gateways"]>, log: AdminOptions["log"]): void {
  const idOf = (context: Context): string => context.req.param("id") ?? "";
  offer(app, "/api/gateways", { GET: (context) => context.json(registry.list().map(gatewayJson)) });
  app.use("/api/gateways/:id", requireReadableId);
  // Before {wlID}, and only for GET: a file or zbus may have registered a workload that is called so.
  app.get(`/api/gateways/${METRICS_ID}`, async (context) => context.json(await calls.metrics()));
  app.put("/api/gateways/:id", requireJson, bodyLimit({ maxSize: BODY_LIMIT_BYTES, onError: tooLarge }));
  offer(app, "/api/gateways/:id", {
    GET: (context) => {
      const gateway = registry.get(idOf(context));
      return gateway === undefined ? refuse(context, 404, `no workload ${JSON.stringify(idOf(context))} is registered`) : context.json(gatewayJson(gateway));
    },
    PUT: (context) => answering(context, log, async () => {
      const id = idOf(context);
      if (id === METRICS_ID) return refuse(context, 400, `workload id "${METRICS_ID}" cannot be registered here: GET /api/gateways/${METRICS_ID} is the bytes by service, so nobody could read it`);
      const wish = readRegistration(id, await context.req.text());
      if ("faults" in wish) return refuseFaults(context, wish.faults);
      const isNew = registry.get(id) === undefined;
      const fqdn = wish.kind === "name" ? await calls.setNamedProxy(id, wish.value, wish.backends, wish.tlsPassthrough) : wish.value.toLowerCase();
      if (wish.kind === "fqdn") await calls.setFQDNProxy(id, wish.value, wish.backends, wish.tlsPassthrough);
      log.info("gateway set by the admin API", { workload: id, fqdn });
      const gateway = registry.get(id);
      // Somebody may have deleted it already.
      return context.json(gateway === undefined ? { id, fqdn } : gatewayJson(gateway), isNew ? 201 : 200);
    }),
    DELETE: (context) => answering(context, log, async () => {
      const wasThere = await calls.deleteNamedProxy(idOf(context));
      if (wasThere) log.info("gateway deleted by the admin API", { workload: idOf(context) });
      context.header("x-deleted", String(wasThere));
      return context.body(null, 204);
    }),
  });
}

/** RFC 9110 section 15.5.6: every other method is answered with those that there are. */
function offer(app: Hono, path: string, methods: Readonly<Partial<Record<"GET" | "PUT" | "DELETE", Handler>>>): void {
  for (const [method, handler] of Object.entries(methods)) app.on(method, path, handler);
  const allow = Object.keys(methods).flatMap((method) => (method === "GET" ? ["GET", "HEAD"] : [method])).join(", ");
  app.all(path, (context) => {
    context.header("allow", allow);
    return refuse(context, 405, `${context.req.method} is not offered here (${allow} are)`);
  });
}

/** Hono passes on what it cannot decode, and `%ff` would be registered by these three characters. */
const requireReadableId: MiddlewareHandler = async (context, next) => {
  const written = new URL(context.req.url).pathname.slice("/api/gateways/".length);
  try {
    decodeURIComponent(written);
  } catch {
    // URIError.
    return refuse(context, 400, `the workload id ${quoted(written)} cannot be decoded: %XX stands for bytes of UTF-8, and %25 for a percent sign`);
  }
  return next();
};

/** A form of a web page cannot send this type without having asked first. */
const requireJson: MiddlewareHandler = async (context, next) => {
  const type = context.req.header("content-type")?.split(";", 1)[0]?.trim().toLowerCase();
  if (type === "application/json") return next();
  context.header("accept", "application/json");
  return refuse(context, 415, "the body must be JSON (Content-Type: application/json)");
};

function tooLarge(context: Context): Response {
  return refuse(context, 413, `the body has more than ${BODY_LIMIT_BYTES} bytes`);
}

async function answering(context: Context, log: AdminOptions["log"], answer: () => Promise<Response>): Promise<Response> {
  try {
    return await answer();
  } catch (error) {
    if (!(error instanceof RegistryError)) throw error;
    if (error.code === "storage") log.error("the registry cannot be changed", { reason: error.cause instanceof Error ? `${error.message} (${error.cause.message})` : error.message });
    return refuseRegistration(context, error);
  }
}
