// Several servers behind one service: who gets what, who is left alone, what is tried again and what is not.

import { afterEach, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "../support/eventually.ts";
import { answers, countsOf, NamedServer, routerOf } from "../support/servers.ts";
import { ok } from "../support/http.ts";
import { Pod, type PodConnection } from "../support/pod.ts";
import { TestRouter } from "../support/router.ts";
import { WsClient } from "../support/ws-client.ts";

const opened: Array<{ stop(): void | Promise<void> }> = [];
afterEach(async () => { for (const each of opened.splice(0)) await each.stop(); });

function started<T extends { stop(): void | Promise<void> }>(each: T): T {
  opened.unshift(each);
  return each;
}

const server = (name: string): NamedServer => started(new NamedServer(name));
const router = async (...given: Parameters<typeof routerOf>): Promise<TestRouter> => started(await routerOf(...given));

/** An address where nothing listens: it was ours a moment ago. */
function deadUrl(): string {
  const gone = new NamedServer("gone");
  gone.stop();
  return gone.url;
}

describe("requests are shared out", () => {
  test("in turn, exactly by weight", async () => {
    const [a, b, c] = [server("a"), server("b"), server("c")];
    const front = await router([{ url: a.url, weight: 3 }, { url: b.url, weight: 2 }, { url: c.url, weight: 1 }]);
    const names = await answers(front, 60);
    expect(countsOf(names)).toEqual({ a: 30, b: 20, c: 10 });
    // Smoothly: never three in a row of the one that has half of them.
    expect(names.join("")).not.toContain("aaa");
  });

  test("to the one with the fewest under way", async () => {
    const [a, b] = [server("a"), server("b")];
    const front = await router([a.url, b.url], "policy: least-connections");
    const held = await WsClient.open(front.port, "/");
    const other = (await answers(front, 6)).at(0);
    // One of the two has a session: all requests go to the other.
    expect(countsOf(await answers(front, 6))).toEqual({ [other as string]: 6 });
    held.close();
  });

  test("to the same one for the same header, whoever asks, and to several for many", async () => {
    const servers = ["a", "b", "c"].map(server);
    const front = await router(servers.map(({ url }) => url), "policy: \"hash:header:X-User\"");
    const of = (user: string): Promise<string[]> => answers(front, 2, () => ({ headers: { "x-user": user } }));
    const users = Array.from({ length: 60 }, (_, index) => `user-${index}`);
    const first = await Promise.all(users.map(of));
    for (const names of first) expect(new Set(names).size).toBe(1);
    expect(new Set(first.flat()).size).toBe(3);
    expect(await Promise.all(users.map(of))).toEqual(first);
  });

  test("to the one that the client's cookie names; a forged one counts as none", async () => {
    const [a, b] = [server("a"), server("b")];
    const front = await router([a.url, b.url], "policy: sticky, sticky: { cookie: lb, secret: \"of this test only\" }");
    const response = await fetch(front.url("/"));
    const name = await response.text();
    const cookie = response.headers.get("set-cookie") ?? "";
    expect(cookie).toMatch(/^lb=[\w-]{24}; Path=\/; HttpOnly; SameSite=Lax$/);
    for (const each of [a, b]) expect(cookie).not.toContain(String(each.port));
    const again = Array.from({ length: 6 }, () => fetch(front.url("/"), { headers: { cookie: cookie.split(";")[0] as string } }));
    for (const response of await Promise.all(again)) expect([await response.text(), response.headers.get("set-cookie")]).toEqual([name, null]);
    const forged = await fetch(front.url("/"), { headers: { cookie: `lb=${"A".repeat(24)}` } });
    expect(forged.headers.get("set-cookie")).toMatch(/^lb=/);
  });
});

describe("a server that fails", () => {
  test("to be connected to costs no client anything, with any method, and is left alone after five times", async () => {
    const alive = server("a");
    const front = await router([deadUrl(), alive.url]);
    const names = await answers(front, 30, (index) => (index % 2 === 0 ? { method: "POST", body: "x" } : {}));
    expect(countsOf(names)).toEqual({ a: 30 });
    const [service] = front.app.services;
    expect(service?.servers.map(({ state, failures }) => [state, failures])).toEqual([["ejected", 5], ["up", 0]]);
    expect(front.lines.filter(({ message }) => message === "server is left alone after failures")).toMatchObject([{ level: "warn", service: "s", for_s: 10 }]);
  });

  test("by a cut before its answer is not asked again for a POST, and another one is for a GET", async () => {
    const [bad, good] = [server("bad"), server("good")];
    bad.fails = "cut";
    const front = await router([bad.url, good.url], "ejection: { failures: 0 }, retryBudget: 100");
    expect(countsOf(await answers(front, 4))).toEqual({ good: 4 });
    const before = bad.requests + good.requests;
    const posts = countsOf(await answers(front, 4, () => ({ method: "POST", body: "x" })));
    expect(posts).toEqual({ good: 2, 502: 2 });
    // Each POST was seen once, wherever it went.
    expect(bad.requests + good.requests - before).toBe(4);
  });

  test("with a chosen status is ejected, but its answer is passed on", async () => {
    const [bad, good] = [server("bad"), server("good")];
    bad.fails = 503;
    const front = await router([bad.url, good.url], "ejection: { failures: 2, statuses: [503], time: 1h, longest: 1h }");
    expect(countsOf(await answers(front, 12))).toEqual({ 503: 2, good: 10 });
  });

  test("is the last one that is left: it goes on being asked", async () => {
    const only = server("only");
    only.fails = 503;
    const front = await router([only.url, deadUrl()], "ejection: { failures: 1, statuses: [503], time: 1h, longest: 1h }");
    expect(countsOf(await answers(front, 6))).toEqual({ 503: 6 });
    only.fails = null;
    expect(countsOf(await answers(front, 3))).toEqual({ only: 3 });
  });

  test("all of them: the client hears 502 and nothing of their addresses", async () => {
    const front = await router([deadUrl(), deadUrl()]);
    const response = await fetch(front.url("/"));
    expect([response.status, await response.text()]).toEqual([502, "bad gateway\n"]);
  });

  test("in the middle of an answer is not replaced by another one: the client sees the cut", async () => {
    const [bad, good] = [server("bad"), server("good")];
    bad.pod.answer((_seen, connection) => {
      connection.write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf");
      connection.cut();
    });
    const front = await router([bad.url, good.url], "ejection: { failures: 0 }");
    const results = await Promise.all(Array.from({ length: 4 }, () => fetch(front.url("/")).then((response) => response.text()).catch(() => "cut")));
    expect(countsOf(results.map((result) => (result === "good" ? "good" : "refused")))).toEqual({ good: 2, refused: 2 });
  });

  test("is asked for no more than the budget allows", async () => {
    const servers = ["a", "b", "c", "d"].map(server);
    for (const each of servers) each.fails = "cut";
    const front = await router(servers.map(({ url }) => url), "ejection: { failures: 0 }, retries: 3, retryBudget: 20");
    expect(countsOf(await answers(front, 50))).toEqual({ 502: 50 });
    const asked = servers.reduce((sum, { requests }) => sum + requests, 0);
    expect(asked).toBeGreaterThan(50);
    expect(asked).toBeLessThanOrEqual(60);
  });

  test("a WebSocket goes to the next one", async () => {
    const alive = server("a");
    const front = await router([deadUrl(), alive.url], "ejection: { failures: 0 }");
    for (let index = 0; index < 4; index += 1) {
      const client = await WsClient.open(front.port, "/");
      client.close();
    }
    expect(alive.requests).toBe(4);
  });
});

describe("health checks", () => {
  test("take a server out that answers badly, and bring it back", async () => {
    const [a, b] = [server("a"), server("b")];
    const front = await router([a.url, b.url], "health: { path: /healthz, interval: 50ms, timeout: 1s, healthy: 2, unhealthy: 2 }");
    const state = (): string => front.app.services[0]?.servers.map(({ state }) => state).join(" ") ?? "";
    await eventually("first checks", () => Math.min(a.checks, b.checks), (checks) => checks >= 1);
    a.fails = 500;
    await eventually("a is out", state, (now) => now === "unhealthy up");
    expect(countsOf(await answers(front, 8))).toEqual({ b: 8 });
    a.fails = null;
    await eventually("a is back", state, (now) => now === "up up");
    expect(countsOf(await answers(front, 8))).toEqual({ a: 4, b: 4 });
    const said = front.lines.filter(({ service }) => service === "s").map(({ level, message, server: key }) => [level, message, key]);
    expect(said.filter(([, message]) => message !== "access")).toEqual([["warn", "server is unhealthy", `127.0.1.20:${a.port}`], ["info", "server is healthy again", `127.0.1.20:${a.port}`]]);
  });

  test.each([
    ["of announced length", "Content-Length: 4\r\n\r\n", "body"], ["in chunks", "Transfer-Encoding: chunked\r\n\r\n", "4\r\nbody\r\n0\r\n\r\n"], ["until the end of the connection", "Connection: close\r\n\r\n", "body"],
  ])("take an answer for good whose body, %s, comes after its head", async (_how, head, body) => {
    const a = server("a");
    let checks = 0;
    a.pod.answer((_seen, connection) => {
      connection.write(`HTTP/1.1 200 OK\r\n${head}`);
      setTimeout(() => {
        connection.write(body);
        connection.close();
        checks += 1;
      }, 5);
    });
    const front = await router([a.url], "health: { path: /healthz, interval: 20ms, unhealthy: 1 }");
    await eventually("some checks", () => checks, (count) => count >= 5);
    expect(front.lines.filter(({ message }) => message === "server is unhealthy")).toEqual([]);
  });

  test("that are all bad let all serve: better a bad answer than none", async () => {
    const [a, b] = [server("a"), server("b")];
    a.fails = b.fails = 500;
    const front = await router([a.url, b.url], "health: { path: /healthz, interval: 20ms, unhealthy: 1 }");
    await eventually("both are out", () => front.app.services[0]?.servers.map(({ state }) => state).join(" "), (now) => now === "unhealthy unhealthy");
    expect(countsOf(await answers(front, 4))).toEqual({ 500: 4 });
  });

  test("end with the router, and with the service when the configuration changes", async () => {
    const a = server("a");
    const front = await routerOf([a.url], "health: { path: /healthz, interval: 20ms }");
    await eventually("checks", () => a.checks, (checks) => checks >= 2);
    await front.stop();
    const before = a.checks;
    const connections = a.pod.accepted;
    await Bun.sleep(100); // Nothing is awaited: nothing is to happen.
    expect([a.checks, a.pod.accepted]).toEqual([before, connections]);
  });
});

describe("the bounds of a service", () => {
  test("let so many in, let so many wait, and refuse the rest with a Retry-After", async () => {
    const a = server("a");
    const waiting: Array<() => void> = [];
    a.pod.answer((_seen, connection) => { waiting.push(() => connection.write("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na")); });
    const front = await router([a.url], "maxConnections: 2, queue: 1, queueTimeout: 30s");
    const asked = Array.from({ length: 4 }, () => fetch(front.url("/")));
    const refused = await Promise.race(asked);
    expect([refused.status, refused.headers.get("retry-after"), await refused.text()]).toEqual([503, "30", "service unavailable\n"]);
    await a.pod.until(() => waiting.length === 2);
    expect(front.app.services[0]).toMatchObject({ running: 2, waiting: 1 });
    waiting.shift()?.();
    await a.pod.until(() => waiting.length === 2);
    for (const answer of waiting) answer();
    expect((await Promise.all(asked)).map(({ status }) => status).toSorted((x, y) => x - y)).toEqual([200, 200, 200, 503]);
    expect(front.app.services[0]).toMatchObject({ running: 0, waiting: 0 });
  });

  test("end a wait that takes too long", async () => {
    const a = server("a");
    a.fails = "silent";
    const front = await router([a.url], "maxConnections: 1, queue: 5, queueTimeout: 200ms");
    const held = fetch(front.url("/")).catch(() => null);
    await a.pod.until(() => a.requests === 1);
    const response = await fetch(front.url("/"));
    expect([response.status, response.headers.get("retry-after")]).toEqual([503, "1"]);
    void held;
  });

  test("count a session for as long as it is open, and forget a client that left the queue", async () => {
    const a = server("a");
    const front = await router([a.url], "maxConnections: 1, queue: 5, queueTimeout: 30s");
    const session = await WsClient.open(front.port, "/");
    const leaving = new AbortController();
    const left = fetch(front.url("/"), { signal: leaving.signal }).catch(() => "left");
    await eventually("it waits", () => front.app.services[0]?.waiting, (count) => count === 1);
    leaving.abort();
    expect(await left).toBe("left");
    await eventually("it waits no more", () => front.app.services[0]?.waiting, (count) => count === 0);
    const next = fetch(front.url("/"));
    session.close();
    expect(await (await next).text()).toBe("a");
  });
});

describe("the bounds of a desktop", () => {
  test("hold for each one, and on when the configuration changes while it is full", async () => {
    const pod = new Pod("127.0.1.1", ["http"]);
    opened.push(pod);
    const held: PodConnection[] = [];
    pod.answer((_seen, connection) => { held.push(connection); });
    const front = await TestRouter.start({
      config: "token: { desktop: { signingPublicKeys: [\"${JWT_DESKTOP_SIGNING_PUBLIC_KEY}\"], payloadPrivateKey: \"${JWT_DESKTOP_PAYLOAD_PRIVATE_KEY}\" } }\n"
        + `services:\n  s: { target: desktop, port: ${pod.port("http")}, maxConnections: 2, queue: 0 }\nroutes:\n  - { path: /, service: s, token: ["header:Authorization"] }\n`,
    });
    opened.unshift(front);
    const get = async (): Promise<number> => (await fetch(front.url("/"), { headers: { authorization: `Bearer ${front.token()}` } })).status;
    const first = [get(), get()];
    await pod.until(() => held.length === 2);
    expect(await get()).toBe(503);
    await front.reload((text) => `${text}\ndrainTimeout: 7s\n`);
    expect(await get()).toBe(503);
    for (const connection of held) connection.write(ok("x"));
    expect(await Promise.all(first)).toEqual([200, 200]);
    const next = get();
    await pod.until(() => held.length === 3);
    held[2]?.write(ok("x"));
    expect(await next).toBe(200);
  });
});

describe("servers", () => {
  test("may listen on a Unix socket", async () => {
    const path = join(tmpdir(), `route ${process.pid} app.sock`);
    const listener = Bun.listen({ unix: path, socket: { data: (socket) => void socket.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix") } });
    try {
      const front = await router([`unix:${path}`]);
      expect(countsOf(await answers(front, 3))).toEqual({ unix: 3 });
      expect(front.lines.find(({ message }) => message === "access")).toMatchObject({ target: `unix:${path}` });
    } finally {
      listener.stop(true);
      rmSync(path, { force: true });
    }
  });

  test("go on with what is known of them when the rest of the configuration changes", async () => {
    const alive = server("a");
    const dead = deadUrl();
    const front = await router([dead, alive.url], "ejection: { failures: 1, time: 1h, longest: 1h }");
    await answers(front, 4);
    expect(front.app.services[0]?.servers[0]?.state).toBe("ejected");
    await front.reload((text) => `${text}\ndrainTimeout: 7s\n`);
    expect(front.app.services[0]?.servers[0]).toMatchObject({ state: "ejected", failures: 1 });
    await front.reload((text) => text.replace("failures: 1", "failures: 2"));
    expect(front.app.services[0]?.servers[0]).toMatchObject({ state: "up", failures: 0 });
  });
});
