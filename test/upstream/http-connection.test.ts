// One connection on its own, with a socket that only writes down: between the moment at which it is given a request and the one at
// which that is sent, nothing has been asked yet.

import { afterEach, beforeEach, expect, test } from "bun:test";
import type { Socket } from "bun";
import { type UpstreamRequest, UpstreamClosedError, type UpstreamResponse } from "../../src/upstream/exchange.ts";
import { HttpConnection } from "../../src/upstream/http-connection.ts";
import { BufferBudget } from "../../src/upstream/response-body.ts";
import { ResponseHeadMemo } from "../../src/upstream/response-head.ts";

const HEAD = "GET / HTTP/1.1\r\nHost: upstream.test\r\n\r\n";
const ANSWER = Buffer.from("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");

let written: string[];
let isTerminated: boolean;
let idle: number;
let closed: number;
let unread: number;
let connection: HttpConnection;
let responses: UpstreamResponse[];
let errors: Error[];

beforeEach(() => {
  written = [];
  isTerminated = false;
  idle = closed = unread = 0;
  responses = [];
  errors = [];
  open();
});

function open(): void {
  const owner = { idle: () => { idle += 1; }, closed: () => { closed += 1; }, unread: () => { unread += 1; } };
  connection = new HttpConnection({ address: "127.0.0.1", port: 80, key: "upstream.test:80" }, owner, { writeTimeoutMs: 1000, bufferBytes: 65_536, budget: new BufferBudget(1_000_000), heads: new ResponseHeadMemo() });
  const socket = {
    setNoDelay() {}, pause() {}, resume() {},
    terminate() { isTerminated = true; },
    write(data: Buffer, offset: number, length: number) { written.push(data.toString("latin1", offset, offset + length)); return length; },
  };
  connection.opened(socket as unknown as Socket<HttpConnection>);
}

afterEach(() => { connection.close(); });

const turn = (): Promise<void> => new Promise((resolve) => { setImmediate(resolve); });

function start(method = "GET"): void {
  const watcher = { slow() {}, bodyBytes() {} };
  const request = { method, head: HEAD, body: null, chunked: false, bodyLimitBytes: 0, readTimeoutMs: 1000, mayCollect: true, watcher };
  connection.start(request as UpstreamRequest, { answered: (response) => responses.push(response), failed: (error) => errors.push(error) });
}

test("a request is sent in the turn in which it was given, and its answer handed on in the one in which it came", async () => {
  start();
  await turn();
  expect(written).toEqual([HEAD]);
  connection.received(ANSWER);
  await turn();
  expect(responses.map(({ body }) => Buffer.from(body as Uint8Array).toString())).toEqual(["ok"]);
  expect([idle, errors, isTerminated]).toEqual([1, [], false]);
});

test("an answer to a request that was not sent yet is nobody's: the connection goes, and nothing is sent on it", async () => {
  start();
  connection.received(ANSWER);
  expect(errors).toHaveLength(1);
  expect(errors[0]).toBeInstanceOf(UpstreamClosedError);
  expect(connection.isOpen).toBe(false);
  await turn();
  expect([written, responses, idle, closed, isTerminated]).toEqual([[], [], 0, 1, true]);
});

test("a request that was taken back before it was sent is not sent", async () => {
  start();
  connection.abort();
  await turn();
  expect([written, isTerminated, errors.length]).toEqual([[], true, 1]);
});

test("on a connection that carries one request after the other each is sent once", async () => {
  for (let round = 1; round <= 3; round += 1) {
    start();
    await turn();
    connection.received(ANSWER);
    await turn();
    expect([written.length, responses.length, idle]).toEqual([round, round, round]);
  }
  expect(errors).toEqual([]);
});

test("the answer to HEAD is not read by what is known of the same head after a GET, nor the other way round", async () => {
  const head = ANSWER.subarray(0, ANSWER.indexOf("\r\n\r\n") + 4);
  for (const [method, answer, body] of [["GET", ANSWER, "ok"], ["HEAD", head, null], ["GET", ANSWER, "ok"], ["HEAD", head, null]] as const) {
    start(method);
    await turn();
    connection.received(Buffer.from(answer));
    await turn();
    const last = responses.at(-1)?.body as Uint8Array | null;
    expect(last === null ? null : Buffer.from(last).toString()).toBe(body);
  }
  expect([responses.length, idle, errors]).toEqual([4, 4, []]);
});

test("of a connection that stood idle, what is unread may be sent again; once a byte of an answer came it may not", async () => {
  for (const [came, expected] of [["", [1, 0]], ["HTTP/1.1 200", [1, 1]]] as const) {
    if (!connection.isOpen) open();
    start();
    await turn();
    connection.received(ANSWER);
    await turn();
    start();
    await turn();
    if (came !== "") connection.received(Buffer.from(came));
    connection.closed(null);
    expect([unread, errors.length]).toEqual([...expected]);
  }
});

test("an idle connection keeps no long head alive", async () => {
  const heads: Array<WeakRef<object>> = [];
  const kept: HttpConnection[] = [];
  const long = Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Long: ${"x".repeat(20_000)}\r\n\r\n`);
  for (let count = 0; count < 50; count += 1) {
    open();
    start();
    connection.received(await turn().then(() => Buffer.from(long)));
    await turn();
    heads.push(new WeakRef(responses.pop()!.head));
    kept.push(connection);
  }
  await turn();
  Bun.gc(true);
  // The stack may still show one or the other to the collector.
  expect(heads.filter((head) => head.deref() !== undefined).length).toBeLessThan(10);
  expect(kept.filter(({ isOpen }) => isOpen).length).toBe(50);
  for (const each of kept) each.close();
});
