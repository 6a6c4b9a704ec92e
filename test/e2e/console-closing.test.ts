// closeAfterUpgrade: refusals as the original proxy made them, a WebSocket that opens and is closed with a reason, because a
// browser's script can read that and no HTTP status. Byte for byte: 101, one close frame, the end of the connection.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { claims, ConsoleRouter, sign, token } from "../support/console-router.ts";
import { clientFrame, closeData, handshakeHead, type Handshake, waitFor, WsClient } from "../support/ws-client.ts";

const ON = { ROUTE_CLOSE_AFTER_UPGRADE: "true" };
const PREFIXED = { ...ON, HOST_PATH_PREFIX: "ws_proxy" };

let bare: ConsoleRouter;
let prefixed: ConsoleRouter;
let deep: ConsoleRouter;
let all: ConsoleRouter[] = [];
beforeAll(async () => {
  all = [bare, prefixed, deep] = [await ConsoleRouter.builtIn(ON), await ConsoleRouter.builtIn(PREFIXED), await ConsoleRouter.builtIn({ ...ON, HOST_PATH_PREFIX: "a/b" })];
});
afterEach(async () => {
  for (const router of all) {
    await router.idle();
    router.expectNoSecretIn("");
    router.api.answerConsoles();
  }
});
afterAll(async () => {
  for (const router of all) await router.stop();
});

type Closed = { readonly code: number; readonly reason: string; readonly logged: string };

/** The handshake must open and end at once with this close frame, then with the connection. */
async function expectClosed(router: ConsoleRouter, target: string, { code, reason, logged }: Closed, options: Handshake = {}): Promise<WsClient> {
  const client = await WsClient.try(router.port, target, options);
  expect(client.status).toBe(101);
  await client.until(() => client.isClosed);
  expect(client.frames).toEqual([{ opcode: 8, fin: true, rsv: 0, masked: false, data: closeData(code, reason) }]);
  expect(client.rest).toBe("");
  const id = client.header("x-request-id");
  expect(router.lines.filter((line) => line["request_id"] === id)).toMatchObject([{ status: 101, close_code: code, reason: logged, bytes_in: 0, bytes_out: 0 }]);
  router.expectNoSecretIn(client.head);
  return client;
}

async function expectClosedUndialled(router: ConsoleRouter, target: string, closed: Closed): Promise<void> {
  const { accepted } = router.api;
  await expectClosed(router, target, closed);
  expect(router.api.accepted).toBe(accepted);
}

const invalidToken = (logged: string): Closed => ({ code: 1000, reason: "invalid token", logged });
const INVALID_URL: Closed = { code: 1000, reason: "invalid url", logged: "invalid url" };
const WRONG_PREFIX: Closed = { code: 1000, reason: "wrong path prefix", logged: "wrong path prefix" };

describe("a token that is refused after the upgrade", () => {
  test.each<[string, () => string, string]>([
    ["no token at all", () => "x", "malformed token"], ["another key's signature", () => `${token().slice(0, -43)}${"A".repeat(43)}`, "bad signature"],
    ["expired", () => token({}, { exp: 1 }), "token has expired"],
    ["another algorithm", () => sign(claims(), { header: { alg: "none" } }), "token algorithm is not HS256"],
    ["a list that is a string", () => token({ allowed_vmi_names: "ubuntu" }), "token allowed_vmi_names is not a list of names"],
    ["no machines", () => token({ allowed_vmi_names: [] }), "the token does not list the virtual machine \"ubuntu\""],
  ])("is closed as \"invalid token\", whatever is wrong: %s", async (_name, make, logged) => {
    await expectClosedUndialled(bare, `/${make()}/ubuntu`, invalidToken(logged));
    await expectClosedUndialled(prefixed, `/ws_proxy/${make()}/ubuntu`, invalidToken(logged));
    await expectClosedUndialled(deep, `/a/b/${make()}/ubuntu`, invalidToken(logged));
  });

  test("is closed as \"invalid token\" when the machine's name is none", async () => {
    await expectClosedUndialled(bare, `/${token()}/Ubuntu`, invalidToken("not a name of a virtual machine"));
  });

  test("gets 101 and the close frame to the byte, and nothing else", async () => {
    const bytes = await everyByte(bare.port, handshakeHead(bare.port, "/x/ubuntu", { headers: { "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==" } }));
    const end = bytes.indexOf("\r\n\r\n") + 4;
    const [statusLine, ...headers] = bytes.toString("latin1", 0, end - 4).split("\r\n");
    expect(statusLine).toBe("HTTP/1.1 101 Switching Protocols");
    // RFC 6455 section 1.3 has this very pair.
    expect(headers.map((line) => line.toLowerCase())).toContain("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=");
    for (const name of ["content-length", "transfer-encoding", "sec-websocket-protocol", "sec-websocket-extensions"]) {
      expect(headers.filter((line) => line.toLowerCase().startsWith(`${name}:`))).toEqual([]);
    }
    expect(bytes.subarray(end)).toEqual(Buffer.concat([Buffer.from([0x88, 15, 0x03, 0xe8]), Buffer.from("invalid token")]));
  });

  // A browser that offered some fails a handshake which answers none, and its script would see no reason.
  test.each([
    [null, null], ["binary, base64", "binary"], ["base64", "base64"], ["plain.kubevirt.io", "plain.kubevirt.io"],
  ])("answers the first subprotocol of the client's, of %p: %p", async (offered, answered) => {
    for (const [router, path, closed] of [[bare, "/x/ubuntu", invalidToken("malformed token")], [bare, "/x", INVALID_URL], [prefixed, "/x/y/ubuntu", WRONG_PREFIX]] as const) {
      const client = await expectClosed(router, path, closed, { headers: { "Sec-WebSocket-Protocol": offered } });
      expect(client.header("sec-websocket-protocol")).toBe(answered);
    }
  });

  test.each([[[]], [["binary", "base64"]]])("is closed for a real WebSocket client that offers %j with the code and the reason", async (protocols) => {
    const socket = new WebSocket(`ws://127.0.0.1:${bare.port}/x/ubuntu`, protocols);
    const events: string[] = [];
    const { promise, resolve } = Promise.withResolvers<CloseEvent>();
    socket.onopen = () => events.push("open");
    socket.onmessage = () => events.push("message");
    socket.onerror = () => events.push("error");
    socket.onclose = resolve;
    const { code, reason, wasClean } = await promise;
    expect({ events, code, reason, wasClean }).toEqual({ events: ["open"], code: 1000, reason: "invalid token", wasClean: true });
  });
});

describe("a path that is no console's, without prefix", () => {
  test.each(["/", "/T", "/T/", "/T/ubuntu/", "/a/b/c", "/T/ubuntu/vnc", "//T/ubuntu", "/T//ubuntu", "/a/b/c/d/e"])("is closed as \"invalid url\": %s", async (path) => {
    await expectClosedUndialled(bare, path.replace("T", token()), INVALID_URL);
  });
});

describe("a path that is no console's, with a prefix", () => {
  // The original counts segments before it looks at the prefix, and looks at the prefix before the token.
  test.each(["/x/T/ubuntu", "/x/bad/ubuntu", "/WS_PROXY/T/ubuntu", "/ws_proxy2/T/ubuntu", "/T/ws_proxy/ubuntu", "/T/ubuntu/ws_proxy", "/a/b/c", "/ws%5fproxy/T/ubuntu"])(
    "is closed as \"wrong path prefix\" with the right number of segments: %s", async (path) => {
      await expectClosedUndialled(prefixed, path.replace("T", token()), WRONG_PREFIX);
    });

  test.each(["/", "/x", "/x/T", "/T/ubuntu", "/ws_proxy", "/ws_proxy/", "/ws_proxy/T", "/ws_proxy/T/", "/ws_proxy/T/ubuntu/", "/ws_proxy/T/ubuntu/x", "/ws_proxy/ws_proxy/T/ubuntu",
    "/a/b/c/d", "/x/T/ubuntu/", "/ws_proxy//T/ubuntu", "//ws_proxy/T/ubuntu"])(
    "is closed as \"invalid url\" with another number: %s", async (path) => {
      await expectClosedUndialled(prefixed, path.replace("T", token()), INVALID_URL);
    });

  test.each(["/a/x/T/ubuntu", "/x/b/T/ubuntu", "/b/a/T/ubuntu", "/1/2/3/4"])("of several segments is closed as \"wrong path prefix\": %s", async (path) => {
    await expectClosedUndialled(deep, path.replace("T", token()), WRONG_PREFIX);
  });

  test.each([
    "/T/ubuntu", "/a/T/ubuntu", "/a/b/T", "/a/b", "/a", "/a/b/c/T/ubuntu", "/a/b/T/ubuntu/x",
  ])("of several segments is closed as \"invalid url\": %s", async (path) => {
    await expectClosedUndialled(deep, path.replace("T", token()), INVALID_URL);
  });

  test("is told by the log under the token's mask", async () => {
    await expectClosed(prefixed, `/x/${token()}/ubuntu`, WRONG_PREFIX);
    await expectClosed(prefixed, `/x/y/z/${token()}`, INVALID_URL);
    expect(prefixed.lines.slice(-2)).toMatchObject([{ path: "/x/[token]/ubuntu", token: null, target: null }, { path: "/x/y/z/[token]", token: null, target: null }]);
  });
});

describe("a good token", () => {
  test("opens its console as without it", async () => {
    for (const [router, prefix] of [[bare, ""], [prefixed, "/ws_proxy"], [deep, "/a/b"]] as const) {
      const { client, seen } = await router.expectOpen(`${prefix}/${token()}/ubuntu`);
      expect(seen.target).toEndWith("/namespaces/lab-2/virtualmachineinstances/ubuntu/vnc");
      client.sendClose(1000, "bye");
      expect(await client.ended()).toEqual({ code: 1000, reason: "bye" });
      client.close();
    }
  });
});

describe("a failure behind us", () => {
  test.each([
    [404, "virtualmachineinstances.kubevirt.io \"ubuntu\" not found", "no such virtual machine"],
    [400, "VMI is not running on node-7", "not running"], [409, "VMI ubuntu is not running", "not running"],
    [503, "no endpoints on 10.0.0.7", "not running"], [409, "Active VNC connection. Request denied.", "in use"], [401, "Unauthorized", "bad gateway"],
    [403, "User \"system:serviceaccount:lab:proxy\" cannot get resource", "bad gateway"], [500, "internal error at 10.0.0.7", "bad gateway"], [302, "elsewhere", "bad gateway"],
  ])("closes with 1011 and a short text: %d %p is %p", async (status, message, reason) => {
    bare.api.refuse(status, message);
    const before = bare.api.seen.length;
    const client = await WsClient.try(bare.port, `/${token()}/ubuntu`);
    await client.until(() => client.isClosed);
    expect({ status: client.status, frames: client.frames.map(({ opcode, data }) => [opcode, data]) }).toEqual({ status: 101, frames: [[8, closeData(1011, reason)]] });
    expect(bare.api.seen.length - before).toBe(1);
    // The API's own words are for the log.
    expect(bare.lines.at(-1)).toMatchObject({ status: 101, target: `127.0.0.1:${bare.api.port("api")}/lab-2/ubuntu` });
    expect(bare.lines.at(-1)?.reason).toStartWith(`the Kubernetes API answered ${status} for lab-2/ubuntu: ${message}`);
  });

  test("closes with 1011 when the API is not there", async () => {
    const router = await ConsoleRouter.builtIn(ON);
    try {
      router.api.stop();
      const client = await WsClient.try(router.port, `/${token()}/ubuntu`);
      expect(await client.ended()).toEqual({ code: 1011, reason: "bad gateway" });
      await client.until(() => client.isClosed);
      expect(router.lines.at(-1)).toMatchObject({ status: 101, target: `127.0.0.1:${router.api.port("api")}/lab-2/ubuntu` });
      expect(router.app.counts).toMatchObject({ running: 0, sessions: 0 });
    } finally {
      await router.stop();
    }
  });

  test("closes with 1011 when the API hangs up in the middle of its answer", async () => {
    bare.api.answer((_seen, connection) => {
      connection.write("HTTP/1.1 101 Switching Pro");
      connection.close();
    });
    const client = await WsClient.try(bare.port, `/${token()}/ubuntu`);
    expect(await client.ended()).toEqual({ code: 1011, reason: "bad gateway" });
    await client.until(() => client.isClosed);
  });

  test("closes with 1011 when the API chooses a subprotocol that it was not offered", async () => {
    bare.api.answer((seen, connection) => connection.accept(seen, "base64"));
    const client = await WsClient.try(bare.port, `/${token()}/ubuntu`, { headers: { "Sec-WebSocket-Protocol": "base64" } });
    expect(await client.ended()).toEqual({ code: 1011, reason: "bad gateway" });
    await client.until(() => client.isClosed);
  });
});

describe("what stays an HTTP refusal", () => {
  test.each([
    ["no key", { "Sec-WebSocket-Key": null }, 400, "malformed Sec-WebSocket-Key"],
    ["version 8", { "Sec-WebSocket-Version": "8" }, 426, "WebSocket version is not 13"],
    ["no Connection: Upgrade", { Connection: "close" }, 400, "malformed WebSocket handshake"],
  ] as const)("is a handshake that is none: %s", async (_name, headers, status, reason) => {
    const body = status === 400 ? "bad request" : "upgrade required";
    for (const path of ["/ws_proxy/x/ubuntu", "/x/y/ubuntu", "/x", "/ws_proxy/x"]) await prefixed.expectRefused(path, { status, body, reason }, { headers });
  });

  test("is a foreign Origin", async () => {
    const router = await ConsoleRouter.builtIn({ ...ON, ROUTE_ALLOWED_ORIGINS: "https://lab.example" });
    try {
      const refusal = { status: 403, body: "forbidden", reason: "origin refused: \"https://evil.example\"" };
      await router.expectRefused(`/${token()}/ubuntu`, refusal, { headers: { Origin: "https://evil.example" } });
      await expectClosed(router, "/x/ubuntu", invalidToken("malformed token"), { headers: { Origin: "https://lab.example" } });
    } finally {
      await router.stop();
    }
  });

  test("is an ambiguous path", async () => {
    await prefixed.expectRefused(`/ws_proxy/${token()}/..%2fubuntu`, { status: 400, body: "bad request", reason: "ambiguous path" });
  });

  test.each(["GET", "POST", "PUT", "DELETE"])("is the answer to a plain request: %s", async (method) => {
    const headers: Record<string, string> = method === "GET" ? {} : { "Content-Length": "0" };
    const inside = await prefixed.ask(method, `/ws_proxy/${token()}/ubuntu`, headers);
    expect({ status: inside.status, body: inside.body, upgrade: inside.header("upgrade") }).toEqual({ status: 426, body: "upgrade required\n", upgrade: "websocket" });
    for (const path of ["/", "/x", "/ws_proxy", "/ws_proxy/x", "/x/y/ubuntu", "/a/b/c/d"]) {
      const outside = await prefixed.ask(method, path, headers);
      expect({ path, status: outside.status, body: outside.body, upgrade: outside.header("upgrade") }).toEqual({ path, status: 404, body: "not found\n", upgrade: null });
    }
  });

  test("is the answer to HEAD", async () => {
    expect((await prefixed.ask("HEAD", `/ws_proxy/${token()}/ubuntu`)).status).toBe(426);
    expect((await prefixed.ask("HEAD", "/x")).status).toBe(404);
  });

  test("is the health check's OK", async () => {
    expect((await prefixed.ask("GET", "/healthz")).body).toBe("OK");
  });
});

describe("a connection that was closed with a reason", () => {
  test("ends although the client answers nothing and keeps its own half open", async () => {
    const socket = connect({ port: bare.port, host: "127.0.0.1", allowHalfOpen: true });
    let ended = false;
    socket.on("data", () => {}).on("end", () => { ended = true; }).on("error", () => {});
    socket.write(handshakeHead(bare.port, "/x/ubuntu"));
    try {
      await waitFor(() => ended);
    } finally {
      socket.destroy();
    }
    expect(bare.app.counts).toMatchObject({ running: 0, sessions: 0 });
  });

  test("ends for a client that answers, and for one that talks on", async () => {
    for (const said of [clientFrame(8, closeData(1000)), clientFrame(2, "RFB 003.008\n"), clientFrame(9, "ping"), Buffer.from("garbage")]) {
      const client = await WsClient.open(bare.port, "/x/ubuntu");
      client.write(said);
      await client.until(() => client.isClosed);
      expect(client.frames.filter(({ opcode }) => opcode !== 8)).toEqual([]);
      expect(client.closing).toEqual({ code: 1000, reason: "invalid token" });
    }
  });

  test("leaves nothing behind, two hundred times over", async () => {
    const ask = async (index: number): Promise<void> => {
      const client = await WsClient.try(prefixed.port, ["/x", "/x/y/z", "/ws_proxy/x/ubuntu", `/ws_proxy/${token()}/debian`][index % 4] as string);
      await client.until(() => client.isClosed);
      expect(client.closing?.code).toBe(1000);
    };
    for (let round = 0; round < 10; round += 1) await Promise.all(Array.from({ length: 20 }, (_, index) => ask(index)));
    expect(prefixed.app.counts).toEqual({ running: 0, sessions: 0, upstream: { open: 0, idle: 0 } });
    expect(prefixed.api.open.size).toBe(0);
  });

  test("leaves nothing behind when the client leaves first", async () => {
    const before = bare.lines.length;
    for (let round = 0; round < 50; round += 1) {
      // Half of them before they could have read the answer.
      const client = await (round % 2 === 0 ? WsClient.dial : WsClient.open)(bare.port, "/x/ubuntu");
      client.cut();
    }
    await waitFor(() => bare.lines.length - before >= 25 && bare.app.counts.running === 0);
    expect(bare.app.counts.sessions).toBe(0);
  });
});

/** All that a server says until it ends the connection. */
async function everyByte(port: number, text: string): Promise<Buffer> {
  const socket = connect(port, "127.0.0.1");
  const parts: Buffer[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.on("data", (chunk: Buffer) => parts.push(chunk)).on("close", () => resolve()).on("error", reject);
  socket.setTimeout(5000, () => socket.destroy(new Error("still open after 5 s")));
  socket.write(text);
  await promise;
  return Buffer.concat(parts);
}
