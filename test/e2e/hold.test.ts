// Hold and dial: the first request for a desktop that is still starting waits for it instead of failing.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { TCPSocketListener } from "bun";
import { DnsServer, type Records } from "../registry/dns-server.ts";
import { eventually } from "../support/eventually.ts";
import { Pod, POD_PORTS } from "../support/pod.ts";
import { TestRouter } from "../support/router.ts";
import { WsClient } from "../support/ws-client.ts";

const HOST = "127.0.1.31";

/** A desktop's ports, free, and nobody listening. */
function reservedPorts(): Record<string, string> {
  const pod = new Pod(HOST, POD_PORTS);
  const { env } = pod;
  pod.stop();
  return env;
}

let env: Record<string, string>;
const opened: Array<{ stop(): void | Promise<void> }> = [];
beforeEach(() => { env = reservedPorts(); });
afterEach(async () => { for (const each of opened.splice(0)) await each.stop(); });

async function router(dialTimeout: string, config?: string): Promise<TestRouter> {
  const started = await TestRouter.start({ env: { ...env, ROUTE_DIAL_TIMEOUT: dialTimeout }, ...(config === undefined ? {} : { config }) });
  opened.push(started);
  return started;
}

/** The desktop's file service begins to listen; it answers with the number of connections so far. */
function startPod(): { accepted(): number } {
  let accepted = 0;
  const listener: TCPSocketListener = Bun.listen({
    hostname: HOST, port: Number(env["FILE_SERVICE_TCP_PORT"]),
    socket: {
      open: () => { accepted += 1; },
      data: (socket) => void socket.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    },
  });
  opened.push({ stop: () => listener.stop(true) });
  return { accepted: () => accepted };
}

const filer = (front: TestRouter, init: RequestInit = {}): Promise<Response> => fetch(front.url("/filer/x"), { ...init, headers: { authorization: `Bearer ${front.token(HOST)}` } });

describe("a desktop that does not listen yet", () => {
  test("is waited for, by all who ask, on one dialling loop", async () => {
    const front = await router("10s");
    const asked = Array.from({ length: 100 }, (_, index) => filer(front, index % 2 === 0 ? { method: "POST", body: "x" } : {}));
    await eventually("all are under way", () => front.app.counts.running, (running) => running === 100);
    startPod();
    const responses = await Promise.all(asked);
    expect(new Set(responses.map(({ status }) => status))).toEqual(new Set([200]));
    expect(await responses[0]?.text()).toBe("hello");
  });

  test("is given up after the time limit: 502, and the log has the reason", async () => {
    const front = await router("300ms");
    const startedMs = performance.now();
    const response = await filer(front);
    expect([response.status, await response.text()]).toEqual([502, "bad gateway\n"]);
    expect(performance.now() - startedMs).toBeGreaterThan(250);
    expect(front.lines.find(({ message }) => message === "access")).toMatchObject({ status: 502, reason: expect.stringContaining("ECONNREFUSED") });
  });

  test("is not waited for with a limit of 0", async () => {
    const front = await router("0ms");
    const startedMs = performance.now();
    expect((await filer(front)).status).toBe(502);
    // Far below any wait, with room for a slow machine.
    expect(performance.now() - startedMs).toBeLessThan(3000);
  });

  test("is not dialled any more when its last client has left", async () => {
    const front = await router("30s");
    const leaving = new AbortController();
    const asked = filer(front, { signal: leaving.signal }).catch(() => "left");
    await eventually("it is under way", () => front.app.counts.running, (running) => running === 1);
    leaving.abort();
    expect(await asked).toBe("left");
    await eventually("it is over", () => front.app.counts.running, (running) => running === 0);
    const pod = startPod();
    await Bun.sleep(700); // Longer than the longest pause between two dials: nothing is to come.
    expect(pod.accepted()).toBe(0);
    expect(front.lines.find(({ message }) => message === "access")).toMatchObject({ status: 499 });
  });

  test("keeps nobody waiting who wants another one", async () => {
    const other = new Pod("127.0.1.32", []);
    opened.push(other);
    const front = await router("30s");
    const waiting = filer(front).catch(() => null);
    await eventually("it is under way", () => front.app.counts.running, (running) => running === 1);
    expect((await fetch(front.url("/healthz"))).status).toBe(200);
    void waiting;
  });

  test("is waited for by a WebSocket as well", async () => {
    const front = await router("10s");
    const opening = WsClient.open(front.port, `/terminals/1?jwt_token=${front.token(HOST)}`);
    await eventually("it is under way", () => front.app.counts.running, (running) => running === 1);
    const pod = new Pod(HOST, []);
    opened.push(pod);
    const terminal = startTerminal();
    const client = await opening;
    expect(terminal.handshakes()).toBe(1);
    client.close();
  });
});

describe("a desktop whose name is not known yet", () => {
  test("is waited for until it has an address", async () => {
    const records: Record<string, Records[string]> = {};
    const dns = await DnsServer.start(records);
    opened.push(dns);
    const front = await TestRouter.start({ env: { ...env, ROUTE_DIAL_TIMEOUT: "10s", NAMESERVER_RESOLVER: dns.address } });
    opened.push(front);
    startPod();
    const asked = Array.from({ length: 5 }, () => fetch(front.url("/filer/x"), { headers: { authorization: `Bearer ${front.token("pod-1.test")}` } }));
    await eventually("it was asked for", () => dns.asked.length, (count) => count >= 1);
    records["pod-1.test"] = [{ type: "A", data: HOST }];
    expect((await Promise.all(asked)).map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
  });

  test("is given up after the time limit: 502", async () => {
    const dns = await DnsServer.start({});
    opened.push(dns);
    const front = await TestRouter.start({ env: { ...env, ROUTE_DIAL_TIMEOUT: "300ms", NAMESERVER_RESOLVER: dns.address } });
    opened.push(front);
    const response = await fetch(front.url("/filer/x"), { headers: { authorization: `Bearer ${front.token("pod-2.test")}` } });
    expect([response.status, await response.text()]).toEqual([502, "bad gateway\n"]);
  });
});

/** The desktop's terminal service begins to listen. */
function startTerminal(): { handshakes(): number } {
  let handshakes = 0;
  const listener = Bun.serve({
    hostname: HOST, port: Number(env["XTERM_TCP_PORT"]),
    fetch(request, server) {
      handshakes += 1;
      return server.upgrade(request) ? undefined : new Response("no", { status: 400 });
    },
    websocket: { message() {} },
  });
  opened.push({ stop: () => listener.stop(true) });
  return { handshakes: () => handshakes };
}

describe("a fixed service that does not listen", () => {
  test("is not waited for: another server may have the request, or the client hears it at once", async () => {
    const front = await router("30s", `services:\n  s: { url: "http://${HOST}:${env["FILE_SERVICE_TCP_PORT"]}" }\nroutes:\n  - { path: /, service: s }\n`);
    const startedMs = performance.now();
    expect((await fetch(front.url("/"))).status).toBe(502);
    expect(performance.now() - startedMs).toBeLessThan(10_000);
  });
});
