// Traffic through a whole gateway, as its clients see it: by name over HTTP/1.1 and HTTP/2, WebSockets, long bodies, several backends, TLS
// passed through; and none of it disturbed by what is registered and deleted meanwhile.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { CertificateAuthority, HAS_OPENSSL } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { backendOf, closedPort, DOMAIN, HAS_NGINX, Nginx, paced, TestGateway } from "../support/gateway.ts";
import { readAnswers } from "../support/http.ts";
import { answerRecord, Pod, type PodConnection } from "../support/pod.ts";
import { pattern, PeerServer, sha256 } from "../support/tls-peer.ts";
import { OP, type WsClient } from "../support/ws-client.ts";

type Seen = { port: string; headers: Record<string, string[]>; target: string };

let gateway: TestGateway;
let pod: Pod;
let other: Pod;

beforeAll(async () => {
  pod = new Pod("127.0.0.1", ["web"]);
  other = new Pod("127.0.0.1", ["other"]);
  gateway = await TestGateway.start();
  await gateway.set("web", "web", [backendOf(pod)]);
  await gateway.set("shop", "shop.example", [backendOf(pod)]);
});
afterEach(() => {
  pod.answer(answerRecord);
  other.answer(answerRecord);
});
afterAll(async () => {
  await gateway.stop();
  pod.stop();
  other.stop();
});

const WEB = `web.${DOMAIN}`;

describe("a registered name", () => {
  test.each([["--http1.1", "1.1"], ["--http2", "2"]])("is served by %s, and its backend learns who asks for what", async (flag, version) => {
    const [record = "", spoken] = (await gateway.curl(WEB, "/a/b?c=d", flag, "-w", "\n%{http_version}", "-H", "X-Forwarded-For: 203.0.113.9")).split("\n");
    const { headers, target } = JSON.parse(record) as Seen;
    expect([spoken, target]).toEqual([version, "/a/b?c=d"]);
    expect(headers).toMatchObject({
      host: [`${WEB}:${gateway.httpsPort}`], "x-forwarded-proto": ["https"], "x-forwarded-host": [`${WEB}:${gateway.httpsPort}`], "x-real-ip": ["127.0.0.1"],
    });
    // A client of no standing has nothing to say about its address.
    expect(headers["x-forwarded-for"]).toEqual(["127.0.0.1"]);
  });

  test.each(["--http1.1", "--http2"])("takes an upload of 20 MB and gives it back whole: %s", async (flag) => {
    const [sent, got] = [join(gateway.root, "sent"), join(gateway.root, "got")];
    writeFileSync(sent, pattern(20_000_000));
    pod.answer((seen, connection) => {
      connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${seen.body.length}\r\n\r\n`);
      connection.write(seen.body);
    });
    await gateway.curl(WEB, "/", flag, "-T", sent, "-o", got);
    expect(sha256(readFileSync(got))).toBe(sha256(readFileSync(sent)));
  });

  test("is a WebSocket's as well", async () => {
    const session = await gateway.webSocket("shop.example", "/socket?x=1", { headers: { "Sec-WebSocket-Protocol": "chat" } });
    expect(session.header("sec-websocket-protocol")).toBe("chat");
    session.send(OP.text, "grüße");
    session.send(OP.binary, pattern(300_000));
    await session.until(() => session.messages.length === 2);
    expect(session.messages.map(({ isText, data }) => [isText, sha256(data)])).toEqual([[true, sha256(Buffer.from("grüße"))], [false, sha256(pattern(300_000))]]);
    session.sendClose(1000, "done");
    expect(await session.ended()).toEqual({ code: 1000, reason: "done" });
  });

  test("answers 502 with a request id when none of its backends is there", async () => {
    await gateway.set("down", "down", [`http://127.0.0.1:${closedPort()}`]);
    expect(await gateway.curl(`down.${DOMAIN}`, "/", "-o", "/dev/null", "-w", "%{http_code}")).toBe("502");
    await expect(gateway.webSocket(`down.${DOMAIN}`)).rejects.toThrow("HTTP/1.1 502");
  });
});

describe("what a workload says about itself", () => {
  const says = (...lines: string[]) => (_: unknown, connection: PodConnection): void => {
    connection.write(`HTTP/1.1 200 OK\r\n${lines.map((line) => `${line}\r\n`).join("")}Content-Length: 2\r\n\r\nok`);
  };
  const head = async (from: TestGateway, path = "/"): Promise<string[]> => {
    const text = await from.curl(WEB, path, "--http1.1", "-o", "/dev/null", "-D", "-");
    return text.split("\r\n").slice(1).filter((line) => !/^(date|content-length|x-request-id):/i.test(line) && line !== "").map((line) => line.toLowerCase()).toSorted();
  };

  test("reaches its client as it was said, with nothing of ours but the request id", async () => {
    pod.answer(says("Server: theirs/1.0", "X-Powered-By: them", "X-Frame-Options: DENY", "X-Request-Id: theirs"));
    expect(await head(gateway)).toEqual(["server: theirs/1.0", "x-frame-options: deny", "x-powered-by: them"]);
    pod.answer(says());
    expect(await head(gateway)).toEqual([]);
    expect(await gateway.curl(WEB, "/", "-o", "/dev/null", "-D", "-")).toMatch(/^x-request-id: (?!theirs)\S+\r$/im);
  });

  test("is not added to when a WebSocket opens", async () => {
    const session = await gateway.webSocket(WEB);
    expect([session.header("x-frame-options"), session.header("x-xss-protection")]).toEqual([null, null]);
    expect(session.header("x-request-id")).toBeTruthy();
    session.close();
  });

  test("has our Strict-Transport-Security only where it has none of its own", async () => {
    const strict = await TestGateway.start({ hstsS: 3600 });
    try {
      await strict.set("web", "web", [backendOf(pod)]);
      pod.answer(says());
      expect(await head(strict)).toEqual(["strict-transport-security: max-age=3600"]);
      pod.answer(says("Strict-Transport-Security: max-age=0"));
      expect(await head(strict)).toEqual(["strict-transport-security: max-age=0"]);
    } finally {
      await strict.stop();
    }
  });

  test("is not said by us: a refusal of ours has our headers", async () => {
    await gateway.set("down", "down", [`http://127.0.0.1:${closedPort()}`]);
    expect(await gateway.curl(`down.${DOMAIN}`, "/", "-o", "/dev/null", "-D", "-")).toMatch(/^x-frame-options: SAMEORIGIN\r$/im);
  });
});

describe("several backends", () => {
  test("take turns, and one that is down costs no request", async () => {
    await gateway.set("many", "many", [backendOf(pod), `http://127.0.0.1:${closedPort()}`, backendOf(other)]);
    const answers: string[] = [];
    for (let i = 0; i < 12; i += 1) answers.push((JSON.parse(await gateway.curl(`many.${DOMAIN}`, "/", "-d", "body")) as Seen).port);
    expect(new Set(answers)).toEqual(new Set(["web", "other"]));
    for (let i = 0; i < 3; i += 1) (await gateway.webSocket(`many.${DOMAIN}`)).close();
  });

  test("of a passed-through name are tried in turn, too", async () => {
    const [one, two] = [new PeerServer((peer) => peer.end()), new PeerServer((peer) => peer.end())];
    await gateway.set("raw", "raw", [`127.0.0.1:${closedPort()}`, `127.0.0.1:${one.port}`, `127.0.0.1:${two.port}`], true);
    for (let i = 0; i < 6; i += 1) await gateway.connect(`raw.${DOMAIN}`).catch(() => null);
    expect([one.peers.length, two.peers.length].toSorted()).not.toContain(0);
    expect(one.peers.length + two.peers.length).toBe(6);
    one.stop();
    two.stop();
  });
});

describe.skipIf(!HAS_NGINX || !HAS_OPENSSL)("TLS passed through to a real nginx", () => {
  const NAME = `secure.${DOMAIN}`;
  let authority: CertificateAuthority;
  let nginx: Nginx;
  let caFile: string;
  beforeAll(async () => {
    authority = new CertificateAuthority("the workload's own");
    nginx = await Nginx.start(authority.sign({ names: [`DNS:${NAME}`] }), 'location = /who { return 200 "$ssl_server_name $http_host $server_protocol"; } location = /up { client_max_body_size 0; return 200 "$content_length"; }');
    await gateway.set("secure", "secure", [`https://127.0.0.1:${nginx.port}`], true);
    caFile = join(gateway.root, "workload-ca.pem");
    writeFileSync(caFile, authority.pem);
  });
  afterAll(async () => {
    await nginx.stop();
    authority.remove();
  });

  test.each([["--http1.1", "HTTP/1.1"], ["--http2", "HTTP/2.0"]])("shows its client nginx' own certificate: %s", async (flag, protocol) => {
    expect(await gateway.curl(NAME, "/who", flag, "--cacert", caFile)).toBe(`${NAME} ${NAME}:${gateway.httpsPort} ${protocol}`);
  });

  test("shows it nothing of the gateway's", async () => {
    expect((await gateway.tryCurl(NAME, "/who")).stderr).toContain("SSL certificate problem");
  });

  test("brings a download whole", async () => {
    nginx.put("big", pattern(30_000_000));
    const file = join(gateway.root, "big");
    await gateway.curl(NAME, "/big", "--cacert", caFile, "-o", file);
    expect(sha256(readFileSync(file))).toBe(sha256(pattern(30_000_000)));
  });

  test("is redirected to from plain HTTP, and served no other way", async () => {
    const { status, headers } = await gateway.plain("/who?x", NAME);
    expect([status, headers.get("location")]).toEqual([308, `https://${NAME}:${gateway.httpsPort}/who?x`]);
    // Through a connection that was opened for another name, with the wildcard that would fit.
    const said = await gateway.curl(WEB, "/who", "-H", `Host: ${NAME}`, "-w", " %{http_code}");
    expect(said).toEndWith(" 421");
  });
});

describe("a name with hyphens in odd places", () => {
  test.each(["-blog", "blog-", "--", "-_-"])("can be registered, and is reached: %s", async (name) => {
    const fqdn = `${name}.${DOMAIN}`;
    await gateway.set(`odd-${name}`, name, [backendOf(pod)]);
    const socket = await gateway.connect(fqdn);
    socket.write(`GET / HTTP/1.1\r\nHost: ${fqdn}\r\nConnection: close\r\n\r\n`);
    let text = "";
    socket.on("data", (chunk: Buffer) => { text += chunk.toString("latin1"); });
    await eventually("the answer", () => text, (found) => found.includes(`"host":["${fqdn}"]`));
    socket.destroy();
    expect((await gateway.plain("/", fqdn)).headers.get("location")).toBe(`https://${fqdn}:${gateway.httpsPort}/`);
  });
});

describe("what is not registered", () => {
  test("plain requests for registered hosts are redirected with path and query, whatever the method; others are not found", async () => {
    for (const [host, path] of [[WEB, "/a%20b/?q=1&r=%2F"], [WEB.toUpperCase(), "/"], [`${WEB}:80`, "/x"], ["shop.example.", "/y"]] as const) {
      const { status, headers } = await gateway.plain(path, host);
      expect([status, headers.get("location")]).toEqual([308, `https://${host.toLowerCase().replace(/:80$|\.$/, "")}:${gateway.httpsPort}${path}`]);
    }
    for (const host of ["unknown.example", `unknown.${DOMAIN}`, DOMAIN, "127.0.0.1"]) expect((await gateway.plain("/", host)).status).toBe(404);
  });

  test("an unknown name, and none at all, get an alert and no certificate", async () => {
    for (const name of ["unknown.example", `unknown.${DOMAIN}`, DOMAIN, `a.${WEB}`]) await expect(gateway.connect(name)).rejects.toThrow(/unrecognized.name/i);
    const nameless = connectTls({ host: "127.0.0.1", port: gateway.httpsPort, rejectUnauthorized: false });
    const { promise, resolve } = Promise.withResolvers<string>();
    nameless.once("secureConnect", () => resolve("connected"));
    nameless.once("error", (error) => resolve(error.message));
    expect(await promise).toMatch(/unrecognized.name/i);
    expect(gateway.events("tls refused").map(({ reason }) => reason)).toContain("no server name");
  });

  test("a registered name without a certificate gets the same alert, the log says why, and its registration waited for none", async () => {
    const startedMs = performance.now();
    await gateway.set("never", "my_app.example", [backendOf(pod)]);
    // A certificate that may come is waited for, for five seconds.
    expect(performance.now() - startedMs).toBeLessThan(4000);
    await expect(gateway.connect("my_app.example")).rejects.toThrow(/unrecognized.name/i);
    expect(gateway.events("tls refused").findLast(({ server_name: name }) => name === "my_app.example")?.["reason"]).toBe("no certificate yet");
  });

  test("a Host of another certificate is misdirected (421), so is a workload's that no certificate has, and one of nobody's is not found", async () => {
    await gateway.set("never", "my_app.example", [backendOf(pod)]);
    for (const flag of ["--http1.1", "--http2"]) {
      expect(await gateway.curl(WEB, "/", flag, "-H", "Host: my_app.example", "-o", "/dev/null", "-w", "%{http_code}")).toBe("421");
    }
    expect(await gateway.curl(WEB, "/", "-H", "Host: shop.example", "-o", "/dev/null", "-w", "%{http_code}")).toBe("421");
    expect(await gateway.curl(WEB, "/", "-H", "Host: unknown.example", "-o", "/dev/null", "-w", "%{http_code}")).toBe("404");
  });
});

describe("registrations by the hundred", () => {
  const STORM_MS = 3000;
  const CALLS_PER_S = 200;

  /** Sets and deletes names of its own, evenly. @returns how many calls were done */
  async function storm(): Promise<number> {
    const calls: Promise<void>[] = [];
    const startedMs = performance.now();
    while (performance.now() - startedMs < STORM_MS) {
      const due = Math.floor((performance.now() - startedMs) / 1000 * CALLS_PER_S);
      while (calls.length <= due) {
        const id = `storm-${Math.floor(calls.length / 2) % 40}`;
        calls.push(calls.length % 2 === 0 ? gateway.set(id, id, [backendOf(other)]) : gateway.delete(id));
      }
      await Bun.sleep(5);
    }
    await Promise.all(calls);
    return calls.length;
  }

  /** Says something every 50 ms and waits for its echo. @returns the longest wait, ms */
  async function converse(session: WsClient, untilDone: () => boolean): Promise<number> {
    let longestMs = 0;
    for (let count = 1; !untilDone(); count += 1) {
      const sentMs = performance.now();
      session.send(OP.text, `message ${count}`);
      await session.until(() => session.messages.length === count, 10_000);
      longestMs = Math.max(longestMs, performance.now() - sentMs);
      await Bun.sleep(50);
    }
    return longestMs;
  }

  test("disturb none of 50 WebSockets, a download and a passed-through connection", async () => {
    const { answer, body } = paced(250);
    pod.answer(answer);
    const echo = new PeerServer();
    for (let i = 0; i < 5; i += 1) await gateway.set(`busy-${i}`, i === 0 ? "busy.example" : `busy-${i}`, [backendOf(pod)]);
    await gateway.set("tunnel", "tunnel", [`127.0.0.1:${echo.port}`], true);
    const names = ["busy.example", ...[1, 2, 3, 4].map((i) => `busy-${i}.${DOMAIN}`)];
    const sessions = await Promise.all(Array.from({ length: 50 }, (_, i) => gateway.webSocket(names[i % 5] as string)));
    const handshake = gateway.connect(`tunnel.${DOMAIN}`).catch(() => null);
    const tunnel = await echo.peer();
    const file = join(gateway.root, "paced");
    let isDone = false;
    const talks = Promise.all(sessions.map((session) => converse(session, () => isDone)));
    const download = gateway.curl("busy.example", "/", "-o", file);
    const done = await storm();
    await download;
    isDone = true;
    const longestMs = Math.max(...await talks);
    expect(done).toBeGreaterThan(CALLS_PER_S * STORM_MS / 1000 * 0.9);
    expect(sha256(readFileSync(file))).toBe(sha256(body));
    expect(sessions.filter(({ isClosed: isOver, closing }) => isOver || closing !== null)).toEqual([]);
    expect(longestMs).toBeLessThan(2000);
    expect([tunnel.isClosed, tunnel.hasEnded]).toEqual([false, false]);
    for (const session of sessions) session.close();
    echo.stop();
    await handshake;
    // The last call of each name was a deletion, or a registration that stands.
    const listed = (await gateway.json("/api/gateways") as Array<{ id: string }>).map(({ id }) => id).filter((id) => id.startsWith("storm-"));
    expect(readdirSync(gateway.directory).filter((name) => name.startsWith("storm-")).toSorted()).toEqual(listed.map((id) => `${id}.yaml`).toSorted());
  }, 30_000);
});

describe("a service that is deleted at work", () => {
  test("lets running requests, WebSockets and passed-through connections end; new ones are refused at once", async () => {
    const echo = new PeerServer();
    await gateway.set("going", "going", [backendOf(pod)]);
    await gateway.set("passing", "passing", [`127.0.0.1:${echo.port}`], true);
    const name = `going.${DOMAIN}`;
    const half: { connection: PodConnection | null } = { connection: null };
    pod.answer((seen, connection) => {
      if (seen.headers["upgrade"] !== undefined) return connection.accept(seen);
      half.connection = connection;
      connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n");
      connection.write(Buffer.alloc(1_000_000, "a"));
    });
    const session = await gateway.webSocket(name);
    const handshake = gateway.connect(`passing.${DOMAIN}`).catch(() => null);
    const passed = await echo.peer();
    await passed.until(() => passed.receivedBytes > 0);
    const client = await gateway.connect(name);
    let text = "";
    client.on("data", (chunk: Buffer) => { text += chunk.toString("latin1"); });
    client.write(`GET / HTTP/1.1\r\nHost: ${name}\r\n\r\n`);
    await eventually("half of the download", () => text.length, (length) => length > 1_000_000);
    await Promise.all([gateway.delete("going"), gateway.delete("passing")]);
    for (const gone of [name, `passing.${DOMAIN}`]) await expect(gateway.connect(gone)).rejects.toThrow(/unrecognized.name/i);
    session.send(OP.text, "still here");
    await session.until(() => session.messages.length === 1);
    half.connection?.write(Buffer.alloc(1_000_000, "b"));
    await eventually("the whole download", () => readAnswers(text).length, (count) => count === 1);
    expect(readAnswers(text)[0]?.body).toBe("a".repeat(1_000_000) + "b".repeat(1_000_000));
    // The connection that is open already is as good as a new one: its next request is nobody's.
    client.write(`GET / HTTP/1.1\r\nHost: ${name}\r\n\r\n`);
    await eventually("the second answer", () => readAnswers(text).length, (count) => count === 2);
    expect(readAnswers(text)[1]?.status).toBe(404);
    expect([passed.isClosed, passed.hasEnded]).toEqual([false, false]);
    expect((await gateway.plain("/", name)).status).toBe(404);
    session.close();
    client.destroy();
    echo.stop();
    await handshake;
  });
});
