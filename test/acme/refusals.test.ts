// A CA in trouble, or none at all: a stand-in that speaks enough of ACME over real TLS to fail at any step.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AcmeClient, type AcmeClientOptions } from "../../src/acme/client.ts";
import { AcmeError, type AcmeErrorCode, readProblem } from "../../src/acme/errors.ts";
import { HttpSolver } from "../../src/acme/http-solver.ts";
import { pause } from "../../src/acme/pause.ts";
import type { ChallengeSolver } from "../../src/acme/solver.ts";
import { CertificateAuthority, HAS_OPENSSL } from "../support/certificates.ts";

type Reply = (path: string) => Response | Promise<Response> | null;

let authority: CertificateAuthority;
let server: Bun.Server<undefined>;
let root: string;
let reply: Reply = () => null;
let clients = 0;

beforeAll(() => {
  if (!HAS_OPENSSL) return;
  root = mkdtempSync(join(tmpdir(), "route-acme-refusals-"));
  authority = new CertificateAuthority("ca");
  const { key, cert } = authority.sign({ names: ["IP:127.0.0.1"] });
  server = Bun.serve({ hostname: "127.0.0.1", port: 0, tls: { key, cert }, fetch: async (request) => {
    const { pathname } = new URL(request.url);
    const response = (await reply(pathname)) ?? usual(pathname);
    response.headers.set("Replay-Nonce", "bm9uY2U");
    return response;
  } });
});
afterAll(async () => {
  if (!HAS_OPENSSL) return;
  await server.stop(true);
  authority.remove();
  rmSync(root, { recursive: true });
});

function usual(path: string): Response {
  const base = `https://127.0.0.1:${server.port}`;
  if (path === "/dir") return Response.json({ newNonce: `${base}/nonce`, newAccount: `${base}/account`, newOrder: `${base}/order` });
  if (path === "/account") return Response.json({ status: "valid" }, { status: 201, headers: { Location: `${base}/account/1` } });
  return new Response(null, { status: 200 });
}

/** A problem document (RFC 7807) as the answer to new orders. */
function refusing(status: number, problem: object, headers: Record<string, string> = {}): Reply {
  return (path) => (path === "/order" ? Response.json(problem, { status, headers: { "Content-Type": "application/problem+json", ...headers } }) : null);
}

/** With an account of its own, unless it is told a directory. */
function newClient(options: Partial<AcmeClientOptions> = {}): AcmeClient {
  return new AcmeClient({
    directoryUrl: `https://127.0.0.1:${server.port}/dir`, directory: join(root, `client${++clients}`), email: null, caPem: authority.pem, ...options,
  });
}

async function failure(client: AcmeClient, signal?: AbortSignal, solver: ChallengeSolver = new HttpSolver()): Promise<AcmeError> {
  const error = await client.order(["a.example.org"], "http-01", solver, signal).then(() => null, (thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(AcmeError);
  return error as AcmeError;
}

/** What an order fails with. */
function order(to: Reply, options: Partial<AcmeClientOptions> = {}): Promise<AcmeError> {
  reply = to;
  return failure(newClient(options));
}

/** An order of which one name has to be proved, and never is. */
function pending(headers: Record<string, string> = {}): Reply {
  const base = `https://127.0.0.1:${server.port}`;
  const identifier = { type: "dns", value: "a.example.org" };
  return (path) => {
    if (path === "/order") return Response.json({ status: "pending", authorizations: [`${base}/authorization`] }, { status: 201, headers: { Location: `${base}/order/1` } });
    if (path === "/authorization") return Response.json({ status: "pending", identifier, challenges: [{ type: "http-01", url: `${base}/challenge`, token: "t" }] }, { headers });
    return path === "/challenge" ? Response.json({}) : null;
  };
}

const RATE_LIMITED = { type: "urn:ietf:params:acme:error:rateLimited", detail: "too many certificates already issued" };

describe.skipIf(!HAS_OPENSSL)("AcmeClient", () => {
  test("tells what the CA is called in CAA records, before it asks for anything", async () => {
    const asked: string[] = [];
    const told: unknown[] = [];
    const directory = { ...await usual("/dir").json() as object, meta: { caaIdentities: ["ca.test"] } };
    const refusal = refusing(403, { type: "urn:ietf:params:acme:error:caa" });
    await order((path) => (asked.push(path), path === "/dir" ? Response.json(directory) : refusal(path)), { caaIdentities: (names) => told.push([...asked], names) });
    expect(told).toEqual([["/dir"], ["ca.test"]]);
    expect(asked.filter((path) => path === "/dir")).toHaveLength(1);
  });

  test("tells how long a CA that limits us wants to be left alone, in seconds, and does not wait for it", async () => {
    const error = await order(refusing(429, RATE_LIMITED, { "Retry-After": "3600" }));
    expect(error).toMatchObject({ code: "rate_limited", problemType: RATE_LIMITED.type, retryAfterMs: 3_600_000, holdsOthers: true, isCounted: true });
    expect(error.message).toContain("too many certificates already issued");
  });

  test("tells how long a CA that limits us wants to be left alone, as a date", async () => {
    const error = await order(refusing(429, RATE_LIMITED, { "Retry-After": new Date(Date.now() + 600_000).toUTCString() }));
    expect(error.retryAfterMs).toBeGreaterThan(590_000);
    expect(error.retryAfterMs).toBeLessThanOrEqual(600_000);
  });

  test("is limited by the type of the problem, whatever the status, and without a time", async () => {
    expect(await order(refusing(403, RATE_LIMITED))).toMatchObject({ code: "rate_limited", retryAfterMs: null });
  });

  test("names the one of several names that is refused", async () => {
    const caa = { type: "urn:ietf:params:acme:error:caa", detail: "CAA record forbids it", identifier: { type: "dns", value: "a.example.org" } };
    const error = await order(refusing(403, { type: "urn:ietf:params:acme:error:compound", detail: "some failed", subproblems: [caa] }));
    expect(error).toMatchObject({ code: "refused", identifier: "a.example.org", holdsOthers: false });
  });

  test("takes a CA in trouble for one that cannot be reached, and waits as long as that asks", async () => {
    const error = await order(refusing(503, { detail: "maintenance" }, { "Retry-After": "120" }));
    expect(error).toMatchObject({ code: "unreachable", retryAfterMs: 120_000, holdsOthers: true });
  });

  test("gives up on nonces that are bad for ever", async () => {
    const error = await order(refusing(400, { type: "urn:ietf:params:acme:error:badNonce", detail: "no" }));
    expect(error.code).toBe("invalid_answer");
  });

  // Pebble fails ("Error saving account") at two requests for one account at the same moment.
  for (const [whose, makeClients] of [
    ["one process", (): AcmeClient[] => Array<AcmeClient>(4).fill(newClient())],
    ["several processes", (): AcmeClient[] => { const directory = join(root, `shared${++clients}`); return Array.from({ length: 4 }, () => newClient({ directory })); }],
  ] as const) {
    test(`registers one account for the first orders of ${whose}`, async () => {
      const asked: string[] = [];
      const refusal = refusing(403, { type: "urn:ietf:params:acme:error:caa" });
      reply = (path) => (asked.push(path), refusal(path));
      const errors = await Promise.all(makeClients().map((client) => failure(client)));
      expect(errors.map(({ code }) => code)).toEqual(Array(4).fill("refused"));
      expect(asked.filter((path) => path === "/account")).toHaveLength(1);
      expect(asked.filter((path) => path === "/order")).toHaveLength(4);
    });
  }

  test("can be stopped while another one registers the account, and goes on when that fails", async () => {
    const asked = Promise.withResolvers<void>();
    const held = Promise.withResolvers<Response>();
    const refusal = refusing(403, { type: "urn:ietf:params:acme:error:caa" });
    reply = (path) => {
      if (path !== "/account") return refusal(path);
      asked.resolve();
      reply = refusal;
      return held.promise;
    };
    const client = newClient();
    const first = failure(client);
    await asked.promise;
    const stop = new AbortController();
    const [stopped, second] = [failure(client, stop.signal), failure(client)];
    stop.abort();
    expect((await stopped).code).toBe("stopped");
    held.resolve(Response.json({ type: "urn:ietf:params:acme:error:serverInternal" }, { status: 500, headers: { "Content-Type": "application/problem+json" } }));
    expect((await first).code).toBe("unreachable");
    expect((await second).code).toBe("refused");
  });

  test("says so when the account cannot be locked", async () => {
    const directory = join(root, `client${++clients}`);
    const { accountFile } = newClient({ directory });
    mkdirSync(`${accountFile}.lock`, { recursive: true });
    const error = await order(() => null, { directory });
    expect(error).toMatchObject({ code: "storage" });
    expect(error.message).toContain(`${accountFile}.lock`);
  });

  const STRANGE: ReadonlyArray<readonly [what: string, reply: Reply, code: AcmeErrorCode]> = [
    ["a directory that is no JSON", (path) => (path === "/dir" ? new Response("<html>") : null), "invalid_answer"],
    ["a directory without an order in it", (path) => (path === "/dir" ? Response.json({ newNonce: "https://127.0.0.1/x" }) : null), "invalid_answer"],
    ["a directory that is null", (path) => (path === "/dir" ? Response.json(null) : null), "invalid_answer"],
    ["a directory that leads away from TLS", (path) => (path === "/dir" ? Response.json({ newNonce: "http://127.0.0.1:1/", newAccount: "http://127.0.0.1:1/" }) : null), "invalid_answer"],
    ["a redirect", (path) => (path === "/dir" ? Response.redirect("https://example.org/dir", 302) : null), "invalid_answer"],
    ["an answer without an end", (path) => (path === "/dir" ? new Response("x".repeat(2 * 1024 * 1024)) : null), "invalid_answer"],
    ["JSON that is cut off", (path) => (path === "/order" ? new Response("{", { status: 201, headers: { "Content-Type": "application/json", Location: "https://127.0.0.1/o" } }) : null), "invalid_answer"],
    ["an order without its address", (path) => (path === "/order" ? Response.json({ status: "pending" }, { status: 201 }) : null), "invalid_answer"],
    ["a problem that is none", (path) => (path === "/order" ? Response.json([1], { status: 400 }) : null), "refused"],
    ["an error page of a machine between us", (path) => (path === "/dir" ? new Response("<html>bad gateway", { status: 502 }) : null), "unreachable"],
  ];
  for (const [what, strange, code] of STRANGE) {
    test(`answers ${what} with a typed error`, async () => {
      expect((await order(strange)).code).toBe(code);
    });
  }

  test("has a deadline for every call", async () => {
    const hanging = Promise.withResolvers<Response>();
    const error = await order((path) => (path === "/dir" ? hanging.promise : null), { requestTimeoutMs: 100 });
    hanging.resolve(new Response(null));
    expect(error).toMatchObject({ code: "unreachable" });
    expect(error.message).toContain("no answer within 100 ms");
  });

  test("has a deadline for an order, and says what the CA was at", async () => {
    expect(await order(pending(), { orderTimeoutMs: 1000 })).toMatchObject({
      code: "unreachable", message: "the CA did not finish within 1000 ms: waited for the check of a.example.org",
    });
  });

  test("does not blame the CA for the time that answering a challenge takes", async () => {
    const never = pending();
    reply = (path) => (path === "/challenge" ? refusing(403, { type: "urn:ietf:params:acme:error:caa" })("/order") : never(path));
    const slow: ChallengeSolver = { present: (_name, _token, _key, signal) => pause(2500, signal), cleanup: () => Promise.resolve() };
    expect((await failure(newClient({ orderTimeoutMs: 2000 }), undefined, slow)).code).toBe("refused");
  });

  for (const when of ["0", new Date(0).toUTCString()]) {
    test(`does not look all the time where a CA says that it may (Retry-After: ${when})`, async () => {
      const never = pending({ "Retry-After": when });
      let looks = 0;
      await order((path) => (path === "/authorization" ? (looks += 1, never(path)) : never(path)), { orderTimeoutMs: 1000 });
      expect(looks).toBeGreaterThan(1);
      expect(looks).toBeLessThanOrEqual(4); // The first finds the challenge; then after 0, 250 and 750 ms.
    });
  }

  test("says so when nobody listens", async () => {
    expect((await order(() => null, { directoryUrl: "https://127.0.0.1:1/dir" })).code).toBe("unreachable");
  });

  test("asks nobody without TLS", async () => {
    expect((await order(() => null, { directoryUrl: `http://127.0.0.1:${server.port}/dir` })).code).toBe("invalid_answer");
  });

  test("bounds what a CA says, and keeps it on one line", async () => {
    const error = await order(refusing(400, { type: "x", detail: `line\r\n\u001b[31m${"y".repeat(10_000)}` }));
    expect(error.message.length).toBeLessThan(600);
    expect(error.message).not.toMatch(/[\r\n\u001b]/);
  });
});

describe("readProblem", () => {
  for (const value of [null, undefined, 3, "text", [], { type: 3, detail: {}, identifier: "x", subproblems: [null] }]) {
    test(`finds nothing in ${JSON.stringify(value)}`, () => {
      expect(readProblem(value)).toEqual({ type: null, detail: null, identifier: null });
    });
  }
});
