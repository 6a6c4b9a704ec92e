// HTTP/2 under attack, frame by frame over TLS: floods with the memory of the process measured, streams that are begun to be
// reset with what they cost upstream, fields that would become something else in HTTP/1.1, lengths that are not kept, and both
// ends of a stream at once. https-http2.test.ts has the malformed requests by name; here is what is done with frames.

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { HAS_OPENSSL } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import type { HttpsAddress } from "../support/https-client.ts";
import { CertificateDirectory } from "../support/https-files.ts";
import { type Field, FRAME, frame, H2Client, headers } from "../support/https-h2.ts";
import { type Recorded, type RecordedConnection, Recorder, valuesOf } from "../support/recorder.ts";
import { RecordingRouter } from "../support/recording-router.ts";
import { ServeProcess, settled } from "../support/ws-client.ts";

const MIB = 1024 ** 2;
const END_STREAM = 1;
const END_HEADERS = 4;
const PADDED = 8;
const PRIORITY = 2;
const PUSH_PROMISE = 5;
const PROTOCOL_ERROR = 1;
const REFUSED_STREAM = 7;
const NOTHING = Buffer.alloc(0);

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value, 0);
  return bytes;
}

const times = (count: number, make: (index: number) => Buffer): Buffer => Buffer.concat(Array.from({ length: count }, (_, index) => make(index)));

let router: RecordingRouter;
beforeAll(async () => { if (HAS_OPENSSL) router = await RecordingRouter.start(); });
afterAll(() => router?.stop());
beforeEach(() => router?.reset(true));

async function withClient(use: (client: H2Client) => Promise<void>): Promise<void> {
  const client = await router.h2();
  try {
    await use(client);
  } finally {
    client.close();
  }
}

/** The connection serves on, and so does the upstream's. */
async function expectAlive(client: H2Client): Promise<void> {
  expect(await client.ended(client.get("/API/next"))).toMatchObject({ status: 200, isEnded: true, resetCode: null });
  expect(router.faults).toEqual([]);
}

describe.skipIf(!HAS_OPENSSL)("a flood costs the process little, and its connection at most", () => {
  let serving: ServeProcess;
  let address: HttpsAddress;
  let upstream: Recorder;
  let files: CertificateDirectory;
  let client: H2Client;

  beforeAll(async () => {
    upstream = new Recorder("web");
    files = new CertificateDirectory();
    files.put("desk", "desk.test");
    await Bun.write(files.file("routes.yaml"), `${files.section(["desk"])}entrypoints: { http: "127.0.0.1:0" }\nservices: { web: { url: "${upstream.url}" } }\nroutes: [{ path: /, service: web }]\n`);
    serving = await ServeProcess.start({}, ["--config", files.file("routes.yaml"), "--https", "127.0.0.1:0"]);
    await serving.until(() => serving.log.includes("\"https\":\""));
    address = { port: Number(/"https":"https:\/\/[^"]*:(\d+)"/.exec(serving.log)?.[1]), ca: files.authority.pem, caFile: files.caFile };
  });
  afterAll(async () => {
    await serving?.stop();
    files?.remove();
    upstream?.stop();
  });
  beforeEach(async () => {
    upstream.reset(true);
    client = await H2Client.open(address, "desk.test");
    expect((await client.ended(client.get("/warm"))).status).toBe(200);
    upstream.reset();
  });
  afterEach(() => client?.close());

  /** Sends a piece again and again, as fast as it is taken, until the end of the connection. @returns bytes that were taken */
  async function flood(piece: Buffer, bytes: number): Promise<number> {
    let sent = 0;
    for (; sent < bytes && !client.isClosed && client.goaway === null; sent += piece.length) {
      if (client.socket.write(piece)) continue;
      // An end that takes nothing more is as good as one that closes: what it holds is what is measured.
      await Promise.race([new Promise((resolve) => client.socket.once("drain", resolve)), client.until(() => client.isClosed || client.goaway !== null, 1000).catch(() => {})]);
      if (client.socket.writableLength > 4 * MIB) break;
    }
    return sent;
  }

  /** What the process grew by, at most, while `act` ran and a while after it, bytes. Another client must not notice. */
  async function growth(act: () => Promise<unknown>): Promise<number> {
    const before = serving.rssBytes();
    let peak = before;
    const timer = setInterval(() => { peak = Math.max(peak, serving.rssBytes()); }, 10);
    try {
      await act();
      const other = await H2Client.open(address, "desk.test");
      const startedMs = performance.now();
      expect((await other.ended(other.get("/other"))).status).toBe(200);
      expect(performance.now() - startedMs).toBeLessThan(1000);
      other.close();
    } finally {
      clearInterval(timer);
    }
    return peak - before;
  }

  const OPEN = 101;
  /** A stream whose head is not ended. */
  const begun = (): Buffer => frame(FRAME.headers, END_STREAM, OPEN, blockOf(client.fields("GET", "/x")));
  const blockOf = (fields: readonly Field[]): Buffer => headers(OPEN, fields, true).subarray(9);

  type Flood = readonly [name: string, prelude: () => Buffer, piece: () => Buffer, bytes: number, ends: boolean];
  const FLOODS: readonly Flood[] = [
    ["CONTINUATION with fields (CVE-2024-27316)", begun, () => frame(FRAME.continuation, 0, OPEN, blockOf(Array.from({ length: 60 }, (_, index): Field => [`x-${index}`, "v".repeat(200)]))), 64 * MIB, true],
    ["CONTINUATION with nothing", begun, () => times(1000, () => frame(FRAME.continuation, 0, OPEN, NOTHING)), 8 * MIB, true],
    ["CONTINUATION byte by byte", begun, () => times(1000, (index) => frame(FRAME.continuation, 0, OPEN, Buffer.from([0, 1, 120, 1, 121]).subarray(index % 5, (index % 5) + 1))), 8 * MIB, true],
    ["PING", () => NOTHING, () => times(1000, () => frame(FRAME.ping, 0, 0, Buffer.alloc(8))), 16 * MIB, false],
    ["SETTINGS (CVE-2019-9515)", () => NOTHING, () => times(1000, () => frame(FRAME.settings, 0, 0, NOTHING)), 8 * MIB, false],
    ["SETTINGS with thousands of values", () => NOTHING, () => frame(FRAME.settings, 0, 0, times(2000, () => Buffer.from([0, 4, 0, 0, 255, 255]))), 16 * MIB, true],
    ["the size of the table, back and forth", () => NOTHING, () => times(1000, (index) => frame(FRAME.settings, 0, 0, Buffer.concat([Buffer.from([0, 1]), uint32(index % 2 === 0 ? 0 : 4096)]))), 8 * MIB, false],
    ["empty DATA (CVE-2019-9518)", () => headers(OPEN, client.fields("POST", "/up"), false), () => times(1000, () => frame(FRAME.data, 0, OPEN, NOTHING)), 16 * MIB, false],
    ["DATA of padding alone", () => headers(OPEN, client.fields("POST", "/up"), false), () => times(50, () => frame(FRAME.data, PADDED, OPEN, Buffer.concat([Buffer.from([255]), Buffer.alloc(255)]))), 32 * MIB, false],
    ["PRIORITY (CVE-2019-9513)", () => NOTHING, () => times(1000, (index) => frame(PRIORITY, 0, 1001 + 2 * index, Buffer.concat([uint32(999), Buffer.from([1])]))), 16 * MIB, false],
    ["frames of an unknown type", () => NOTHING, () => frame(0x42, 0, 0, Buffer.alloc(16_000)), 64 * MIB, false],
  ];
  test.each(FLOODS)("of %s", async (_name, prelude, piece, bytes, ends) => {
    client.write(prelude());
    const block = piece();
    expect((await growth(() => flood(block, bytes))) / MIB).toBeLessThan(48);
    if (ends) await client.until(() => client.isClosed || client.goaway !== null);
    expect(upstream.requests.filter(({ target }) => target !== "/other")).toEqual([]);
  }, 30_000);

  test.each([["PING (CVE-2019-9512)", () => frame(FRAME.ping, 0, 0, Buffer.alloc(8))], ["SETTINGS", () => frame(FRAME.settings, 0, 0, NOTHING)]])(
    "of %s from a client that does not read the answers ends the connection before they pile up", async (_name, make) => {
      client.socket.pause();
      const block = times(1000, make);
      expect((await growth(() => flood(block, 128 * MIB))) / MIB).toBeLessThan(64);
      client.socket.resume();
      await client.until(() => client.isClosed || client.goaway !== null);
    }, 30_000);

  test("of an HPACK table that unpacks to megabytes (a bomb) ends the connection at the server's own limit", async () => {
    // One field of 4 kB goes into the table and is then named by a byte each: 64 MB in 16 kB.
    const entry = Buffer.concat([Buffer.from([0x40, 1, 97, 127, 0x81, 0x1e]), Buffer.alloc(3968, 98)]);
    const bomb = Buffer.concat([blockOf(client.fields("GET", "/x")), entry, Buffer.alloc(12_000, 0x80 | 62)]);
    const used = await growth(async () => {
      for (let stream = OPEN; stream < OPEN + 400 && !client.isClosed && client.goaway === null; stream += 2) {
        client.write(frame(FRAME.headers, END_STREAM | END_HEADERS, stream, bomb));
        await Bun.sleep(0);
      }
    });
    expect(used / MIB).toBeLessThan(32);
    await client.until(() => client.isClosed || client.goaway !== null);
    expect(upstream.requests.filter(({ target }) => target !== "/other")).toEqual([]);
  });

  test.each([["a window of nothing", 0, false], ["a window of 64 KiB", 65_535, false], ["every window and no reading", 2 ** 31 - 1, true]])(
    "of requests for large bodies with %s holds at most 512 KiB a stream, and everything goes with the connection", async (_name, windowBytes, stops) => {
      const block = Buffer.alloc(MIB, 97);
      upstream.answer = ({ target }, connection) => {
        if (target !== "/big") return connection.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        connection.write("HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 20971520\r\n\r\n");
        for (let mib = 0; mib < 20; mib += 1) connection.write(block);
      };
      const stalled = await H2Client.open(address, "desk.test", windowBytes);
      stalled.keeps = false;
      await stalled.until(() => stalled.streamLimit < Infinity);
      if (stops) stalled.socket.pause();
      const used = await growth(async () => {
        for (let stream = 0; stream < stalled.streamLimit; stream += 1) stalled.get("/big");
        await eventually("all of them upstream", () => upstream.requests.length, (count) => count >= stalled.streamLimit);
        await settled(() => upstream.sentBytes);
      });
      stalled.close();
      await eventually("the end upstream", () => [...upstream.connections].filter((connection) => connection.isUnsent).length, (open) => open === 0);
      expect(used / MIB / stalled.streamLimit).toBeLessThan(0.5);
    }, 30_000);

  /** Streams that are served at a time. */
  const LIMIT = 256;
  const ENDINGS: ReadonlyArray<readonly [name: string, end: (client: H2Client, stream: number) => void]> = [
    ["by the client (rapid reset, CVE-2023-44487)", (client, stream) => client.reset(stream)],
    ["by an overflow of their window (MadeYouReset, CVE-2025-8671)", (client, stream) => client.write(frame(FRAME.windowUpdate, 0, stream, uint32(2 ** 31 - 1)))],
    ["by a window that grows by nothing", (client, stream) => client.write(frame(FRAME.windowUpdate, 0, stream, uint32(0)))],
    ["by data after their end", (client, stream) => client.data(stream, Buffer.from("x"))],
    ["by a second head", (client, stream) => client.write(headers(stream, [[":method", "GET"]], true))],
    ["by a frame of priority that is too short", (client, stream) => client.write(frame(PRIORITY, 0, stream, Buffer.alloc(3)))],
    ["by a dependency on themselves", (client, stream) => client.write(frame(PRIORITY, 0, stream, Buffer.concat([uint32(stream), Buffer.from([1])])))],
  ];
  test.each(ENDINGS)("of streams that are begun to be ended %s starts no more upstream than streams are served at a time", async (_name, end) => {
    // Nothing is ever answered: what was begun upstream stays until its stream ends.
    upstream.answer = ({ target }, connection) => { if (target === "/other") connection.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); };
    const dials = upstream.accepted;
    const logged = (): number => serving.log.match(/"path":"\/x\d*"/g)?.length ?? 0;
    const before = logged();
    const used = await growth(async () => {
      for (let count = 0; count < 1000 && !client.isClosed; count += 1) end(client, client.get(`/x${count}`)); // Each its own: the cache asks for one path once.
      if (!client.isClosed && client.goaway === null) await serving.until(() => logged() >= before + 1000 || client.isClosed || client.goaway !== null, 10_000);
    });
    client.close();
    await eventually("the end of what was begun", () => [...upstream.connections].filter(({ rest }) => rest !== "").length, (open) => open === 0);
    expect(upstream.requests.filter(({ target }) => /^\/x\d*$/.test(target)).length).toBeLessThanOrEqual(LIMIT);
    expect(upstream.accepted - dials).toBeLessThanOrEqual(LIMIT);
    expect(used / MIB).toBeLessThan(48);
  }, 30_000);
});

describe.skipIf(!HAS_OPENSSL)("more streams than are served at a time", () => {
  const LIMIT = 256;

  test("are refused unprocessed, and the others are served", async () => {
    await withClient(async (client) => {
      await expectAlive(client);
      const waiting: RecordedConnection[] = [];
      router.pyos.answer = (_request, connection) => waiting.push(connection);
      const streams = Array.from({ length: LIMIT + 50 }, () => client.get("/API/x"));
      await client.until(() => streams.filter((stream) => client.stream(stream).resetCode === REFUSED_STREAM).length === 50 && waiting.length === LIMIT);
      for (const connection of waiting) connection.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
      await client.until(() => streams.filter((stream) => client.stream(stream).status === 200).length === LIMIT);
    });
  });
});

describe.skipIf(!HAS_OPENSSL)("frames that break the protocol", () => {
  const CASES: ReadonlyArray<readonly [name: string, bytes: (client: H2Client) => Buffer]> = [
    ["DATA on stream 0", () => frame(FRAME.data, 0, 0, Buffer.from("x"))], ["HEADERS on stream 0", (client) => headers(0, client.fields("GET", "/API/x"), true)],
    ["HEADERS on an even stream", (client) => headers(102, client.fields("GET", "/API/x"), true)], ["a stream that goes back", (client) => Buffer.concat([headers(201, client.fields("GET", "/API/next"), true), headers(101, client.fields("GET", "/API/x"), true)])],
    ["DATA on a stream that was never begun", () => frame(FRAME.data, 0, 301, Buffer.from("x"))], ["RST_STREAM on a stream that was never begun", () => frame(FRAME.reset, 0, 301, uint32(8))],
    ["PUSH_PROMISE", (client) => frame(PUSH_PROMISE, END_HEADERS, 101, Buffer.concat([uint32(2), headers(1, client.fields("GET", "/API/x"), true).subarray(9)]))],
    ["a frame of more than 16 KiB", () => frame(FRAME.data, 0, 101, Buffer.alloc(16_385))], ["a PING of 7 bytes", () => frame(FRAME.ping, 0, 0, Buffer.alloc(7))], ["a PING on a stream", () => frame(FRAME.ping, 0, 101, Buffer.alloc(8))],
    ["SETTINGS of 5 bytes", () => frame(FRAME.settings, 0, 0, Buffer.alloc(5))], ["SETTINGS on a stream", () => frame(FRAME.settings, 0, 101, NOTHING)], ["an ACK with values", () => frame(FRAME.settings, 1, 0, Buffer.alloc(6))],
    ["a first window above 2^31 - 1", () => frame(FRAME.settings, 0, 0, Buffer.concat([Buffer.from([0, 4]), uint32(2 ** 31)]))], ["a frame size below 16 KiB", () => frame(FRAME.settings, 0, 0, Buffer.concat([Buffer.from([0, 5]), uint32(1)]))],
    ["push that is neither on nor off", () => frame(FRAME.settings, 0, 0, Buffer.concat([Buffer.from([0, 2]), uint32(2)]))], ["a connection window that overflows", () => times(2, () => frame(FRAME.windowUpdate, 0, 0, uint32(2 ** 31 - 1)))],
    ["a CONTINUATION without a head", () => frame(FRAME.continuation, END_HEADERS, 101, NOTHING)], ["another frame within a head", (client) => Buffer.concat([frame(FRAME.headers, 0, 101, headers(1, client.fields("GET", "/API/x"), true).subarray(9)), frame(FRAME.ping, 0, 0, Buffer.alloc(8))])],
    ["another stream's head within a head", (client) => Buffer.concat([frame(FRAME.headers, 0, 101, headers(1, client.fields("GET", "/API/x"), true).subarray(9)), frame(FRAME.continuation, END_HEADERS, 103, NOTHING)])],
    ["padding longer than its frame", () => frame(FRAME.headers, PADDED | END_HEADERS | END_STREAM, 101, Buffer.from([255, 0, 0]))], ["a table entry that is not there", () => frame(FRAME.headers, END_HEADERS | END_STREAM, 101, Buffer.from([0xff, 0xff, 0x7f]))],
    ["index 0", () => frame(FRAME.headers, END_HEADERS | END_STREAM, 101, Buffer.from([0x80]))], ["a table above the limit", () => frame(FRAME.headers, END_HEADERS | END_STREAM, 101, Buffer.from([0x3f, 0xe2, 0xff, 0x7f]))],
    ["an integer without an end", () => frame(FRAME.headers, END_HEADERS | END_STREAM, 101, Buffer.alloc(64, 0xff))], ["a string longer than its block", () => frame(FRAME.headers, END_HEADERS | END_STREAM, 101, Buffer.from([0, 127, 0xff, 0x7f, 97]))],
    ["a Huffman string that ends in EOS", () => frame(FRAME.headers, END_HEADERS | END_STREAM, 101, Buffer.from([0, 0x84, 0xff, 0xff, 0xff, 0xff, 1, 97]))], ["HTTP/1.1 in place of frames", () => Buffer.from("GET /API/x HTTP/1.1\r\nHost: desk.test\r\n\r\n")],
  ];
  test.each(CASES)("%s end the connection, and nothing arrives", async (_name, bytes) => {
    await withClient(async (client) => {
      await expectAlive(client);
      router.reset();
      client.write(bytes(client));
      await client.until(() => client.isClosed || client.goaway !== null);
      expect(router.targets.filter((target) => target.endsWith("/x"))).toEqual([]);
    });
    await router.expectClean();
  });
});

describe.skipIf(!HAS_OPENSSL)("fields that would be something else in HTTP/1.1", () => {
  /** RFC 7541 appendix B, for what Huffman coding may hide from a check of the bytes. */
  const CODES: Readonly<Record<string, readonly [bits: number, length: number]>> = {
    "\0": [0x1ff8, 13], "\n": [0x3ffffffc, 30], "\r": [0x3ffffffd, 30], " ": [0x14, 6], ":": [0x5c, 7], a: [0x3, 5], b: [0x23, 6], c: [0x4, 5], x: [0x79, 7], "/": [0x18, 6],
  };
  function huffman(text: string): Buffer {
    const bits = [...text].map((char) => { const [code, length] = CODES[char] as readonly [number, number]; return code.toString(2).padStart(length, "0"); }).join("");
    const bytes = bits.padEnd(Math.ceil(bits.length / 8) * 8, "1").match(/.{8}/g) ?? [];
    return Buffer.concat([Buffer.from([0x80 | bytes.length]), Buffer.from(bytes.map((byte) => Number.parseInt(byte, 2)))]);
  }
  const plain = (text: string): Buffer => Buffer.concat([Buffer.from([text.length]), Buffer.from(text, "latin1")]);

  test.each(["a\r\nb:c", "a\nb", "a\rb", "a\0b", "\r", "a\r\n\r\n"])("%p in a value, a name, a path or a method, Huffman-coded, is reset", async (evil) => {
    await withClient(async (client) => {
      await expectAlive(client);
      router.reset();
      const base = headers(1, client.fields("GET", "/API/x"), true).subarray(9);
      const blocks = [
        Buffer.concat([base, Buffer.from([0]), plain("x-a"), huffman(evil)]), Buffer.concat([base, Buffer.from([0]), huffman(evil), plain("v")]),
        Buffer.concat([Buffer.from([0]), plain(":path"), huffman(`/${evil}`), headers(1, [[":method", "GET"], [":scheme", "https"], [":authority", "desk.test"]], true).subarray(9)]),
        Buffer.concat([Buffer.from([0]), plain(":method"), huffman(evil), headers(1, [[":path", "/API/x"], [":scheme", "https"], [":authority", "desk.test"]], true).subarray(9)]),
        Buffer.concat([Buffer.from([0]), plain(":authority"), huffman(evil), headers(1, [[":path", "/API/x"], [":scheme", "https"], [":method", "GET"]], true).subarray(9)]),
      ];
      // Above every stream so far.
      for (const [index, block] of blocks.entries()) {
        const stream = 1001 + 2 * index;
        client.streams.set(stream, { status: 0, bytes: 0, body: [], isEnded: false, resetCode: null });
        client.write(frame(FRAME.headers, END_HEADERS | END_STREAM, stream, block));
        const { status, resetCode } = await client.ended(stream);
        expect([evil, index, status >= 400 || resetCode === PROTOCOL_ERROR]).toEqual([evil, index, true]);
      }
      expect(router.targets.filter((target) => !target.endsWith("/next"))).toEqual([]);
      expect(router.faults).toEqual([]);
    });
  });

  test.each(["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "host\0", "transfer-encoding ", " transfer-encoding", "te"])("a field %p is refused or means nothing", async (name) => {
    await withClient(async (client) => {
      for (const value of ["chunked", "close", "x-real-ip", "gzip"]) {
        const stream = client.request(client.fields("POST", "/API/x", [[name, value]]), false);
        client.data(stream, Buffer.from("0\r\n\r\n"), true);
        const { resetCode } = await client.ended(stream);
        expect([name, value, resetCode]).toEqual([name, value, PROTOCOL_ERROR]);
      }
      expect(router.arrived).toEqual([]);
      await expectAlive(client);
    });
  });
});

describe.skipIf(!HAS_OPENSSL)("a body over HTTP/2", () => {
  const SMUGGLED = "GET /API/smuggled HTTP/1.1\r\nHost: desk.test\r\n\r\n";
  const CASES: ReadonlyArray<readonly [name: string, lengths: readonly string[], body: string]> = [
    ["shorter than it says", ["10"], "abc"], ["longer than it says", ["3"], `abc${SMUGGLED}`], ["where none was announced", ["0"], SMUGGLED], ["with a signed length", ["+3"], "abc"], ["with an empty length", [""], "abc"],
    ["with two lengths", ["3", "4"], "abc"], ["with the same length twice", ["3", "3"], "abc"], ["with a list of lengths", ["3, 3"], "abc"], ["with a hexadecimal length", ["0x3"], "abc"], ["with a length in blanks", [" 3 "], "abc"],
    ["with a length beyond numbers", ["18446744073709551619"], "abc"],
  ];
  for (const method of ["POST", "GET", "DELETE", "PROPFIND"]) {
    test.each(CASES)(`of a ${method} %s is reset and never arrives as anything else`, async (_name, lengths, body) => {
      await withClient(async (client) => {
        for (const cut of [body.length, 1]) {
          const stream = client.request(client.fields(method, "/API/x", lengths.map((length): Field => ["content-length", length])), false);
          client.data(stream, Buffer.from(body.slice(0, cut)), cut === body.length);
          if (cut < body.length) client.data(stream, Buffer.from(body.slice(cut)), true);
          expect((await client.ended(stream)).status).not.toBe(200);
        }
        await eventually("nothing running", () => router.router.app.counts.running, (running) => running === 0);
        expect(router.targets.filter((target) => target.includes("smuggled"))).toEqual([]);
        // What did arrive was one whole request, without a body.
        for (const request of router.arrived) expect([request.method, request.body, valuesOf(request, "transfer-encoding")]).toEqual([method, "", []]);
        await eventually("the end of what was begun", () => router.faults, (faults) => faults.length === 0);
        await expectAlive(client);
      });
    });
  }

  test("of a large length is sent on as it comes, and one byte too many or too few cuts it upstream", async () => {
    await withClient(async (client) => {
      for (const [sent, isWhole] of [[80_000, true], [80_001, false], [79_999, false]] as const) {
        router.reset();
        const stream = client.request(client.fields("PUT", "/API/x", [["content-length", "80000"]]), false);
        client.data(stream, Buffer.alloc(16_000, 97));
        await eventually("its start upstream", () => router.arrived.length + router.pyos.unfinished.length, (count) => count > 0);
        for (let left = sent - 16_000; left > 0; left -= 16_000) client.data(stream, Buffer.alloc(Math.min(left, 16_000), 97), left <= 16_000);
        const { status, resetCode } = await client.ended(stream);
        expect([sent, status === 200, resetCode !== null]).toEqual([sent, isWhole, !isWhole]);
        await eventually("the end of what was begun", () => router.faults, (faults) => faults.length === 0);
        // With one too many all that was announced may have gone up; never the one.
        for (const { body } of router.arrived) expect(body).toBe("a".repeat(80_000));
        expect([sent, router.arrived.length <= (sent < 80_000 ? 0 : 1)]).toEqual([sent, true]);
      }
      await expectAlive(client);
    });
  });

  test("that its client breaks off arrives nowhere whole, announced or not", async () => {
    await withClient(async (client) => {
      for (const fields of [[["content-length", "200000"]], []] as Field[][]) {
        router.reset();
        const stream = client.request(client.fields("PUT", "/API/x", fields), false);
        client.data(stream, Buffer.alloc(16_000, 97));
        await eventually("its start upstream", () => router.pyos.unfinished.length, (count) => count === 1);
        client.reset(stream);
        await eventually("the end upstream", () => router.faults, (faults) => faults.length === 0);
        expect(router.arrived).toEqual([]);
        await expectAlive(client);
      }
    });
  });

  test("with trailers arrives without them, and trailers that are none reset it", async () => {
    await withClient(async (client) => {
      const upload = (trailers: readonly Field[], ends = true): number => {
        const stream = client.request(client.fields("POST", "/API/x"), false);
        client.data(stream, Buffer.from("abc"));
        client.write(headers(stream, trailers, ends));
        return stream;
      };
      expect((await client.ended(upload([["x-trailer", "1"], ["content-length", "99"], ["x-real-ip", "6.6.6.6"]]))).status).toBe(200);
      const [request] = router.arrived as [Recorded];
      expect([request.body, /trailer|6\.6\.6\.6|content-length: 99/i.test(request.text)]).toEqual(["abc", false]);
      router.reset();
      expect((await client.ended(upload([[":path", "/API/smuggled"]]))).status).not.toBe(200);
      expect((await client.ended(upload([["x-trailer", "1"]], false))).status).not.toBe(200);
      await eventually("the end of what was begun", () => router.faults, (faults) => faults.length === 0);
      expect(router.targets.filter((target) => target.includes("smuggled"))).toEqual([]);
      await expectAlive(client);
    });
  });

  test("and an answer go both ways at once: what one side says reaches the other before either ends", async () => {
    await withClient(async (client) => {
      const stream = client.request(client.fields("POST", "/API/x", [["content-type", "application/grpc-web+proto"], ["te", "trailers"]]), false);
      client.data(stream, Buffer.from("one"));
      await eventually("the first piece upstream", () => router.pyos.unfinished[0] ?? "", (rest) => rest.endsWith("\r\n\r\n3\r\none\r\n"));
      const [connection] = [...router.pyos.connections].filter(({ rest }) => rest !== "") as [RecordedConnection];
      expect(connection.rest).not.toMatch(/^te:/im);
      connection.write("HTTP/1.1 200 OK\r\nContent-Type: application/grpc-web+proto\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nuno\r\n");
      const text = (): string => Buffer.concat(client.stream(stream).body).toString();
      await client.until(() => text() === "uno");
      client.data(stream, Buffer.from("two"));
      await eventually("the second piece upstream", () => connection.rest, (rest) => rest.endsWith("3\r\ntwo\r\n"));
      connection.write("3\r\ndos\r\n");
      await client.until(() => text() === "unodos");
      client.data(stream, NOTHING, true);
      await eventually("the end upstream", () => router.arrived[0]?.body, (body) => body === "onetwo");
    });
  });
});

describe.skipIf(!HAS_OPENSSL)("an answer over HTTP/2", () => {
  test("that breaks off resets its stream, and no other", async () => {
    await withClient(async (client) => {
      for (const [lines, body] of [["Content-Length: 100000", "x".repeat(50_000)], ["Transfer-Encoding: chunked", "5\r\nhello\r\n"], ["Transfer-Encoding: chunked", "5\r\nhello\r\nnonsense\r\n"]] as const) {
        const held: RecordedConnection[] = [];
        router.pyos.answer = ({ target }, connection) => {
          if (target === "/API/held") held.push(connection);
          else if (target === "/API/next") connection.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
          else {
            connection.write(`HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n${lines}\r\n\r\n`);
            setTimeout(() => connection.write(body), 20);
            setTimeout(() => connection.cut(), 60);
          }
        };
        const other = client.get("/API/held");
        const stream = client.get("/API/x");
        const { status, isEnded, resetCode } = await client.ended(stream);
        expect([lines, [0, 200, 502].includes(status), isEnded && status === 200, resetCode !== null || status === 502]).toEqual([lines, true, false, true]);
        await eventually("the other one upstream", () => held.length, (count) => count === 1);
        held[0]?.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        expect(await client.ended(other)).toMatchObject({ status: 200, bytes: 2 });
        await expectAlive(client);
      }
    });
  });

  test("has its 204, 304 and HEAD without a body", async () => {
    await withClient(async (client) => {
      for (const [method, status] of [["GET", 204], ["GET", 304], ["HEAD", 200]] as const) {
        router.pyos.answer = ({ target }, connection) => connection.write(target === "/API/x" ? `HTTP/1.1 ${status} X\r\n${status === 204 ? "" : "Content-Length: 5\r\n"}\r\n` : "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        expect(await client.ended(client.request(client.fields(method, "/API/x")))).toMatchObject({ status, bytes: 0, isEnded: true, resetCode: null });
        await expectAlive(client);
      }
    });
  });
});

describe.skipIf(!HAS_OPENSSL)("the end of a program with HTTP/2 connections", () => {
  test("says GOAWAY, lets what runs finish, and takes nothing new", async () => {
    const leaving = await RecordingRouter.start();
    const client = await leaving.h2();
    try {
      const waiting: RecordedConnection[] = [];
      leaving.pyos.answer = (_request, connection) => waiting.push(connection);
      const stream = client.get("/API/x");
      await eventually("the request upstream", () => waiting.length, (count) => count === 1);
      const stopped = leaving.router.app.stop(5000);
      await client.until(() => client.goaway !== null);
      expect(client.goaway).toEqual({ lastStream: stream, code: 0 });
      waiting[0]?.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
      await client.until(() => client.stream(stream).isEnded);
      expect(Buffer.concat(client.stream(stream).body).toString()).toBe("done");
      await stopped;
    } finally {
      client.close();
      await leaving.stop();
    }
  });
});
