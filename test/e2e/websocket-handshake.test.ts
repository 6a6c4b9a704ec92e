// The opening of a session as client and pod see it: what reaches the pod, in which order, and every way it can be refused.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Pod, type PodConnection, type PodPort, type Seen } from "../support/pod.ts";
import { RawClient } from "../support/raw.ts";
import { TestRouter } from "../support/router.ts";
import { clientFrame, handshakeHead, OP, WsClient } from "../support/ws-client.ts";

const SHIPPED = readFileSync(join(import.meta.dir, "../../routes.yaml"), "utf8");
const QUICK = SHIPPED.replace("  - path: /websockify\n", "  - path: /websockify\n    readTimeout: 300ms\n")
  .replace("connectTimeout: 5s", "connectTimeout: 400ms");

let pod: Pod;
let router: TestRouter;
let clients: WsClient[] = [];

beforeAll(async () => {
  pod = new Pod();
  router = await TestRouter.start({ env: { ...pod.env, PYOS_FQDN: "127.0.1.1", PYOS_SERVICE_PORT: String(pod.port("spawner_service_tcp_port")) }, config: QUICK });
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await pod.until(() => router.app.counts.sessions === 0);
  pod.seen.length = 0;
});
afterAll(async () => {
  await router.stop();
  pod.stop();
});

async function tryWs(target: string, options: Parameters<typeof WsClient.try>[2] = {}): Promise<WsClient> {
  const client = await WsClient.try(router.port, target, options);
  clients.push(client);
  return client;
}

const vnc = (): string => `/websockify?jwt_token=${router.token()}`;
const origin = (): string => `http://127.0.0.1:${router.port}`;

/** The pod answers the next handshake like this. */
function podAnswers(answer: (seen: Seen, connection: PodConnection) => void): void {
  pod.answer(answer);
}
const accept = (protocol: string | null = null) => (seen: Seen, connection: PodConnection): void => connection.accept(seen, protocol);

describe("a WebSocket handshake", () => {
  test("reaches the pod with subprotocols, Origin, cookies and User-Agent, and without the token", async () => {
    podAnswers(accept("binary"));
    const client = await tryWs(vnc(), { headers: {
      "Sec-WebSocket-Protocol": "binary, base64", Origin: origin(), Cookie: "a=1; b=2", "User-Agent": "probe/1",
      "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
    } });
    expect(client.status).toBe(101);
    const [seen] = pod.seen as [Seen];
    expect(seen.requestLine).toBe("GET / HTTP/1.1");
    expect(seen.headers["sec-websocket-protocol"]).toEqual(["binary, base64"]);
    expect(seen.headers["origin"]).toEqual([origin()]);
    expect(seen.headers["cookie"]).toEqual(["a=1; b=2"]);
    expect(seen.headers["user-agent"]).toEqual(["probe/1"]);
    expect(seen.headers["upgrade"]).toEqual(["websocket"]);
    expect(seen.headers["connection"]).toEqual(["Upgrade"]);
    expect(seen.headers["sec-websocket-version"]).toEqual(["13"]);
    expect(seen.headers["sec-websocket-key"]?.[0]).toMatch(/^[A-Za-z0-9+/]{22}==$/);
    expect(seen.headers["sec-websocket-extensions"]).toBeUndefined();
    expect(seen.head).not.toContain("jwt_token");
    expect(seen.head).not.toContain("eyJ");
  });

  test("invents no Origin, cookie, User-Agent or subprotocol that the client did not send", async () => {
    podAnswers(accept());
    expect((await tryWs(vnc())).status).toBe(101);
    const names = Object.keys((pod.seen[0] as Seen).headers);
    for (const name of ["origin", "cookie", "user-agent", "accept", "sec-websocket-protocol"]) expect(names).not.toContain(name);
  });

  test("brings back what the pod says with its 101, each cookie on a line of its own, and nothing that is ours or the connection's", async () => {
    const own = ["Set-Cookie: sid=1; Path=/", "Set-Cookie: lang=en", "X-Pod: yes", "X-Frame-Options: DENY", "X-Request-Id: pods", "Server: podserver", "Keep-Alive: timeout=5", "Connection: X-Hop", "X-Hop: gone"];
    podAnswers((seen, connection) => { connection.accept(seen, null, own); });
    const client = await tryWs(vnc());
    expect(client.status).toBe(101);
    const lines = client.head.split("\r\n").slice(1, -2).map((line) => line.replace(/^[^:]*/, (name) => name.toLowerCase()));
    expect(lines.filter((line) => /^set-cookie|^x-pod/.test(line)).toSorted()).toEqual(["set-cookie: lang=en", "set-cookie: sid=1; Path=/", "x-pod: yes"]);
    expect(lines).toContain("x-frame-options: SAMEORIGIN");
    expect(lines.filter((line) => line.startsWith("x-request-id"))).toHaveLength(1);
    expect(client.head).not.toMatch(/pods|podserver|keep-alive|x-hop/i);
    expect(client.head.match(/sec-websocket-accept/gi)).toHaveLength(1);
  });

  test("is answered 101 only after the pod's 101", async () => {
    let answer: (() => void) | null = null;
    podAnswers((seen, connection) => { answer = () => connection.accept(seen); });
    const client = await WsClient.dial(router.port, vnc());
    clients.push(client);
    await pod.until(() => answer !== null);
    expect(client.head).toBe("");
    (answer as unknown as () => void)();
    await client.until(() => client.head !== "");
    expect(client.status).toBe(101);
    expect(client.header("sec-websocket-accept")).not.toBeNull();
  });

  test.each([
    ["the first", "binary, base64", "binary"], ["the second", "binary, base64", "base64"],
    ["a strange one", "v10.stomp, x!#$%&'*+.^_`|~-9", "x!#$%&'*+.^_`|~-9"], ["none", "binary", null], ["none of none", null, null],
  ])("passes on the subprotocol that the pod chose: %s", async (_name, offered, chosen) => {
    podAnswers(accept(chosen));
    const client = await tryWs(vnc(), { headers: { "Sec-WebSocket-Protocol": offered } });
    expect(client.status).toBe(101);
    expect(client.header("sec-websocket-protocol")).toBe(chosen);
    expect(client.head.toLowerCase().split("sec-websocket-protocol").length - 1).toBe(chosen === null ? 0 : 1);
  });

  test("offers a subprotocol list that came in two header lines", async () => {
    podAnswers(accept("b"));
    const head = handshakeHead(router.port, vnc(), { headers: { "Sec-WebSocket-Protocol": "a\r\nSec-WebSocket-Protocol: b" } });
    const client = await RawClient.open(router.port);
    client.write(head);
    await client.until(() => client.text.includes("\r\n\r\n"));
    expect(client.status).toBe(101);
    expect(client.header("sec-websocket-protocol")).toBe("b");
    client.close();
  });

  test.each([
    ["Connection as Firefox sends it", { Connection: "keep-alive, Upgrade" }], ["Upgrade in another case", { Upgrade: "WebSocket", Connection: "upgrade" }],
    ["an empty Content-Length", { "Content-Length": "0" }],
  ])("is accepted with %s", async (_name, headers) => {
    podAnswers(accept());
    expect((await tryWs(vnc(), { headers })).status).toBe(101);
  });
});

describe("a handshake that no WebSocket server may accept", () => {
  const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
  test.each([
    ["version 777", { "Sec-WebSocket-Version": "777" }, 426], ["no version", { "Sec-WebSocket-Version": null }, 426],
    ["version 8", { "Sec-WebSocket-Version": "8" }, 426], ["two versions", { "Sec-WebSocket-Version": "13, 8" }, 426],
    ["no key", { "Sec-WebSocket-Key": null }, 400], ["an empty key", { "Sec-WebSocket-Key": "" }, 400],
    ["a short key", { "Sec-WebSocket-Key": "c2hvcnQ=" }, 400], ["a long key", { "Sec-WebSocket-Key": `${KEY.slice(0, -2)}AAAA` }, 400],
    ["a key with stray bits", { "Sec-WebSocket-Key": KEY.replace("Q==", "R==") }, 400],
    ["two keys", { "Sec-WebSocket-Key": `${KEY}, ${KEY}` }, 400], ["no Connection: Upgrade", { Connection: "keep-alive" }, 400],
    ["a body by length", { "Content-Length": "5" }, 400], ["a chunked body", { "Transfer-Encoding": "chunked" }, 400],
  ] as const)("is refused before anything is dialled: %s", async (_name, headers, status) => {
    const accepted = pod.accepted;
    const client = await tryWs(vnc(), { headers, ...("Content-Length" in headers ? { behind: "hello" } : {}) });
    expect(client.status).toBe(status);
    expect(pod.accepted).toBe(accepted);
  });

  test("says which version would do", async () => {
    const client = await tryWs(vnc(), { headers: { "Sec-WebSocket-Version": "777" } });
    expect(client.header("sec-websocket-version")).toBe("13");
  });

  test.each(["POST", "PUT", "HEAD"])("is refused with the method %s", async (method) => {
    const accepted = pod.accepted;
    const client = await tryWs(vnc(), { method, headers: method === "HEAD" ? {} : { "Content-Length": "0" } });
    expect(client.status).toBe(400);
    expect(pod.accepted).toBe(accepted);
  });

  test("opens no tunnel when a request is pipelined behind a refused one", async () => {
    podAnswers((_seen, connection) => connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    const raw = await RawClient.open(router.port);
    raw.write(`${handshakeHead(router.port, vnc())}GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`);
    await raw.until(() => raw.text.split("HTTP/1.1 ").length > 2 || raw.isClosed);
    // Bun closes on bytes behind a pending upgrade; an answer of our own would be right as well.
    expect([0, 400, 502]).toContain(raw.status);
    expect(pod.seen.filter(({ method, target }) => method !== "GET" || target !== "/")).toEqual([]);
    raw.close();
  });

  test("does not become an upgrade to h2c", async () => {
    podAnswers((_seen, connection) => connection.write("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"));
    const client = await tryWs(vnc(), { headers: { Upgrade: "h2c", Connection: "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABkAAQAAP__" } });
    expect(client.status).not.toBe(101);
    for (const { headers } of pod.seen) expect([headers["upgrade"], headers["http2-settings"]]).toEqual([undefined, undefined]);
  });
});

describe("a pod that refuses the handshake", () => {
  test.each([[401, 401], [403, 403], [404, 404], [200, 502], [204, 502], [302, 502], [400, 502], [426, 502], [429, 502], [500, 502], [503, 502], [504, 504]])(
    "with %d gives the client %d", async (podStatus, status) => {
      podAnswers((_seen, connection) => connection.write(`HTTP/1.1 ${podStatus} No\r\nContent-Length: 0\r\nX-Secret: 1\r\n\r\n`));
      const client = await tryWs(vnc());
      expect(client.status).toBe(status);
      expect(client.header("x-secret")).toBeNull();
    });

  const OK = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
  test.each([
    ["no Sec-WebSocket-Accept", `${OK}\r\n`], ["a wrong Sec-WebSocket-Accept", `${OK}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n`],
    ["garbage", "\x16\x03\x01\x02\r\n\r\n"], ["an endless head", `HTTP/1.1 101 X\r\n${"X-A: b\r\n".repeat(10_000)}`],
    ["a bare LF", `${OK}X: a\nSec-WebSocket-Accept: x\r\n\r\n`],
  ])("with a broken 101 gives the client 502: %s", async (_name, text) => {
    podAnswers((_seen, connection) => connection.write(text));
    expect((await tryWs(vnc())).status).toBe(502);
    await pod.until(() => pod.open.size === 0);
  });

  const chosenWell = (seen: Seen, connection: PodConnection, lines: (accept: string) => string): void => {
    const hash = new Bun.CryptoHasher("sha1").update(`${seen.headers["sec-websocket-key"]?.[0]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`);
    connection.write(`HTTP/1.1 101 Switching Protocols\r\n${lines(`Sec-WebSocket-Accept: ${hash.digest("base64")}\r\n`)}\r\n`);
  };
  test.each([
    ["a subprotocol that was not offered", (a: string) => `Upgrade: websocket\r\nConnection: Upgrade\r\n${a}Sec-WebSocket-Protocol: soap\r\n`, 502],
    ["two subprotocols", (a: string) => `Upgrade: websocket\r\nConnection: Upgrade\r\n${a}Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b\r\n`, 502],
    ["an extension that was not offered", (a: string) => `Upgrade: websocket\r\nConnection: Upgrade\r\n${a}Sec-WebSocket-Extensions: permessage-deflate\r\n`, 502],
    ["no Upgrade header", (a: string) => `Connection: Upgrade\r\n${a}`, 502],
    ["another protocol", (a: string) => `Upgrade: h2c\r\nConnection: Upgrade\r\n${a}`, 502],
    ["the accept twice", (a: string) => `Upgrade: websocket\r\nConnection: Upgrade\r\n${a}${a}`, 502],
    ["all as it should be", (a: string) => `upgrade:  WebSocket\r\nconnection: upgrade\r\n${a.toLowerCase().slice(0, 21)}${a.slice(21)}`, 101],
  ] as const)("is checked as RFC 6455 section 4.1 has it: %s", async (_name, lines, status) => {
    podAnswers((seen, connection) => chosenWell(seen, connection, lines));
    expect((await tryWs(vnc(), { headers: { "Sec-WebSocket-Protocol": "a, b" } })).status).toBe(status);
  });

  test("by closing gives the client 502", async () => {
    podAnswers((_seen, connection) => connection.close());
    expect((await tryWs(vnc())).status).toBe(502);
  });

  test("by resetting in the middle of its answer gives the client 502", async () => {
    podAnswers((_seen, connection) => { connection.write("HTTP/1.1 101 Swit"); connection.cut(); });
    expect((await tryWs(vnc())).status).toBe(502);
  });

  test("by saying nothing gives the client 504 and is hung up on", async () => {
    podAnswers(() => {});
    const client = await tryWs(vnc());
    expect(client.status).toBe(504);
    await pod.until(() => pod.open.size === 0);
  });

  test("by dripping a byte at a time gives the client 504", async () => {
    podAnswers((_seen, connection) => {
      connection.write("HTTP/1.1 101 Switching Protocols\r\nX: ");
      const timer = setInterval(() => (connection.isClosed ? clearInterval(timer) : connection.write("H")), 20);
    });
    expect((await tryWs(vnc())).status).toBe(504);
    await pod.until(() => pod.open.size === 0);
  });

  test("is not there at all: 502", async () => {
    const token = router.token("127.0.1.77");
    expect((await tryWs(`/websockify?jwt_token=${token}`)).status).toBe(502);
  });

  test("writes an access line with the status and the reason, without the token", async () => {
    podAnswers((_seen, connection) => connection.write("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"));
    const token = router.token();
    await tryWs(`/websockify?jwt_token=${token}`);
    const line = router.lines.at(-1);
    expect(line).toMatchObject({ message: "access", status: 403, path: "/websockify", reason: expect.stringContaining("403") });
    expect(router.log.text).not.toContain(token.slice(-40));
  });
});

describe("interim answers of a pod, up to eight", () => {
  const HINTS = "HTTP/1.1 103 Early Hints\r\nLink: </x.css>; rel=preload\r\n\r\n";
  const PROCESSING = "HTTP/1.1 102 Processing\r\n\r\n";

  test("before its 101 stay between it and us", async () => {
    podAnswers((seen, connection) => {
      connection.write(`${HINTS}${PROCESSING.repeat(7)}`);
      connection.accept(seen);
    });
    const client = await tryWs(vnc());
    expect(client.status).toBe(101);
    expect(client.header("link")).toBeNull();
    client.send(OP.text, "hello");
    await client.until(() => client.messages.length === 1);
  });

  test("may come in pieces", async () => {
    podAnswers((seen, connection) => {
      connection.write(HINTS.slice(0, 20));
      setTimeout(() => {
        connection.write(HINTS.slice(20));
        connection.accept(seen);
      }, 20);
    });
    expect((await tryWs(vnc())).status).toBe(101);
  });

  test("do not hide a refusal", async () => {
    podAnswers((_seen, connection) => connection.write(`${HINTS}HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n`));
    expect((await tryWs(vnc())).status).toBe(403);
  });

  test("a ninth gives the client 502", async () => {
    podAnswers((_seen, connection) => connection.write(PROCESSING.repeat(9)));
    expect((await tryWs(vnc())).status).toBe(502);
    await pod.until(() => pod.open.size === 0);
    expect(router.lines.at(-1)).toMatchObject({ status: 502, reason: "too many interim responses" });
  });
});

describe("early bytes", () => {
  test("frames that the pod sends right behind its 101 arrive, in order", async () => {
    podAnswers((seen, connection) => {
      connection.accept(seen);
      for (let i = 0; i < 50; i += 1) connection.send(OP.text, `early ${i}`);
    });
    const client = await tryWs(vnc());
    await client.until(() => client.messages.length === 50);
    expect(client.messages.map(({ data }) => data.toString())).toEqual(Array.from({ length: 50 }, (_, i) => `early ${i}`));
  });

  test("a greeting and a close in one packet with the 101 arrive both", async () => {
    podAnswers((seen, connection) => {
      connection.accept(seen);
      connection.send(OP.text, "hello");
      connection.send(OP.close, Buffer.from([0x0f, 0xa0, 0x62, 0x79, 0x65]));
      connection.close();
    });
    const client = await tryWs(vnc());
    expect(await client.ended()).toEqual({ code: 4000, reason: "bye" });
    expect(client.messages.map(({ data }) => data.toString())).toEqual(["hello"]);
  });

  test("a large message behind the 101 arrives whole", async () => {
    const data = Buffer.alloc(300_000, "x");
    podAnswers((seen, connection) => { connection.accept(seen); connection.send(OP.binary, data); });
    const client = await tryWs(vnc());
    await client.until(() => client.messages.length === 1);
    expect(client.messages[0]?.data.equals(data)).toBe(true);
  });

  test("frames that a client sends before its 101 never reach the pod as anything but frames", async () => {
    podAnswers(accept());
    const client = await tryWs(vnc(), { behind: clientFrame(OP.text, "impatient") });
    // RFC 6455 section 4.1: a client must wait. Bun refuses; delivering it would be right as well.
    if (client.status === 101) await pod.until(() => pod.seen.length === 1);
    else expect(client.status).toBe(400);
    expect(pod.seen.length).toBeLessThanOrEqual(1);
  });
});

describe("a client that leaves", () => {
  test("while the pod is thinking: the pod is hung up on at once", async () => {
    podAnswers(() => {});
    const client = await WsClient.dial(router.port, vnc());
    await pod.until(() => pod.seen.length === 1);
    const started = performance.now();
    client.cut();
    await pod.until(() => pod.open.size === 0);
    expect(performance.now() - started).toBeLessThan(250);
    await pod.until(() => router.lines.at(-1)?.["status"] === 499);
  });

  test("at the moment of the pod's 101: nothing is left open", async () => {
    const leaving: { client: WsClient | null } = { client: null };
    podAnswers((seen, connection) => { leaving.client?.cut(); connection.accept(seen); });
    leaving.client = await WsClient.dial(router.port, vnc());
    await pod.until(() => pod.seen.length === 1 && pod.open.size === 0);
    expect(router.app.counts).toMatchObject({ sessions: 0, running: 0 });
  });
});

describe("the endpoint table over WebSocket", () => {
  const token = (): string => router.token();
  test.each<[string, () => string, PodPort, string]>([
    ["/websockify?jwt_token=", () => `/websockify?jwt_token=${token()}`, "ws_tcp_bridge_tcp_port", "/"],
    ["/websockify?<token>", () => `/websockify?${token()}`, "ws_tcp_bridge_tcp_port", "/"],
    ["/websockify with more in the query", () => `/websockify?a=b&jwt_token=${token()}&c=d`, "ws_tcp_bridge_tcp_port", "/"],
    ["/signalling", () => `/signalling?jwt_token=${token()}`, "signalling_service_tcp_port", "/"],
    ["/signalling?<token>", () => `/signalling?${token()}`, "signalling_service_tcp_port", "/"],
    ["/sound", () => `/sound?jwt_token=${token()}`, "sound_service_tcp_port", "/"],
    ["/sound/x?<token>", () => `/sound/x?${token()}`, "sound_service_tcp_port", "/"],
    ["/microphone", () => `/microphone?jwt_token=${token()}`, "microphone_service_tcp_port", "/"],
    ["/gamepad", () => `/gamepad?${token()}`, "gamepad_service_tcp_port", "/"],
  ])("%s goes to / without a query", async (_name, target, port, upstream) => {
    podAnswers(accept());
    expect((await tryWs(target())).status).toBe(101);
    expect(pod.seen[0]).toMatchObject({ port, target: upstream });
    expect(pod.seen[0]?.head).not.toContain("eyJ");
  });

  test.each<[string, (token: string) => string, PodPort]>([
    ["/broadcast?jwt_token=", (t) => `/broadcast?jwt_token=${t}`, "broadcast_tcp_port"],
    ["/broadcast/room?<token>", (t) => `/broadcast/room?${t}`, "broadcast_tcp_port"],
    ["/terminals/<pid>?<token>", (t) => `/terminals/12?${t}`, "xterm_tcp_port"],
    ["/terminals/<pid>?jwt_token=", (t) => `/terminals/12?x=%20y&jwt_token=${t}`, "xterm_tcp_port"],
  ])("%s keeps its URI, token included", async (_name, target, port) => {
    podAnswers(accept());
    const uri = target(token());
    expect((await tryWs(uri)).status).toBe(101);
    expect(pod.seen[0]).toMatchObject({ port, target: uri });
  });

  test.each([["AbcAuthorization", ""], ["AbcAuthorization", "Bearer "], ["Authorization", "Bearer "]])(
    "/terminals/ also takes the token from %s: %s...", async (name, scheme) => {
      podAnswers(accept());
      expect((await tryWs("/terminals/12", { headers: { [name]: `${scheme}${token()}` } })).status).toBe(101);
      expect(pod.seen[0]).toMatchObject({ target: "/terminals/12" });
    });

  test("/container/{token}/{port}/... reaches an allowed port, without the token", async () => {
    podAnswers(accept());
    const port = pod.port("ws_tcp_bridge_tcp_port");
    expect((await tryWs(`/container/${token()}/${port}/a/b?c=d`)).status).toBe(101);
    expect(pod.seen[0]).toMatchObject({ target: "/a/b?c=d" });
    expect(pod.seen[0]?.head).not.toContain("eyJ");
  });

  test("a fixed service's WebSocket needs no token and sees the client's Host", async () => {
    podAnswers(accept());
    expect((await tryWs("/API/live?x=1", { headers: { Host: "desk.example" } })).status).toBe(101);
    expect(pod.seen[0]).toMatchObject({ target: "/API/live?x=1", headers: { host: ["desk.example"] } });
  });

  test.each([
    ["no token", "/websockify", 401], ["an empty parameter", "/websockify?jwt_token=", 401], ["garbage", "/websockify?jwt_token=x.y.z", 401],
    ["an unknown path", "/nothing-here-for-sockets-is-website", 502],
  ])("refuses %s before a pod is dialled", async (_name, target, status) => {
    const accepted = pod.accepted;
    const client = await tryWs(target);
    expect(client.status).toBe(status);
    expect(pod.accepted).toBe(accepted);
  });

  test("a bad parameter is not made good by a token elsewhere", async () => {
    const client = await tryWs("/terminals/1?jwt_token=bad", { headers: { Authorization: `Bearer ${token()}` } });
    expect([client.status, client.rest]).toEqual([401, "unauthorized\n"]);
  });
});
