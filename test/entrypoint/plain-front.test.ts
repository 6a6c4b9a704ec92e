// Plain HTTP where connections are counted, or come through proxies that say whom they stand for; and as it is without either.

import { afterEach, describe, expect, test } from "bun:test";
import { parseSettings } from "../../src/config/parse.ts";
import { Admission } from "../../src/entrypoint/admission.ts";
import { HttpEntrypoint, IDLE_TIMEOUT_S } from "../../src/entrypoint/http.ts";
import { Sweeper } from "../../src/lib/deadlines.ts";
import { Log } from "../../src/lib/log.ts";
import { Proxy } from "../../src/proxy/proxy.ts";
import { Snapshot } from "../../src/proxy/snapshot.ts";
import type { LimitSettings } from "../../src/settings.ts";
import { TokenFront } from "../../src/token/token-front.ts";
import { eventually } from "../support/eventually.ts";
import { Pod } from "../support/pod.ts";
import { RawClient } from "../support/raw.ts";
import { run } from "../support/tls-front.ts";
import { PeerServer } from "../support/tls-peer.ts";

type Options = { readonly limits?: Partial<LimitSettings>; readonly proxyProtocol?: readonly string[] };

/** A real proxy with one upstream, behind the entrypoint. */
class Rig {
  readonly pod = new Pod("127.0.1.1", ["any"]);
  /** Added to the clock that deadlines are looked at with, ms. */
  skewMs = 0;
  readonly said: Array<Record<string, unknown>> = [];
  readonly sweeper = new Sweeper(() => performance.now() + this.skewMs);
  readonly admission: Admission | null;
  readonly http: HttpEntrypoint;
  readonly proxy: Proxy;
  readonly #snapshot: Snapshot;
  readonly #clients: RawClient[] = [];

  constructor({ limits = {}, proxyProtocol = [] }: Options = {}) {
    const config = `services: { any: { url: "http://127.0.1.1:${this.pod.port("any")}" } }\nroutes: [{ path: /, service: any, bodyLimit: 8MiB }]\n`;
    const parsed = parseSettings(config, "routes.yaml", { env: {}, httpListen: "127.0.0.1:0", readResolvConf: () => "nameserver 127.0.0.1\n" });
    if (!("settings" in parsed)) throw new Error(JSON.stringify(parsed.mistakes));
    const settings = { ...parsed.settings, limits: { ...parsed.settings.limits, ...limits }, proxyProtocol };
    const log = new Log("json", { write: (_text, done) => queueMicrotask(done), writeSync() {} });
    this.#snapshot = new Snapshot(settings, { tokens: TokenFront.empty(), sweeper: this.sweeper, log, createCache: () => null });
    this.proxy = new Proxy(this.#snapshot, log, this.sweeper, IDLE_TIMEOUT_S);
    this.admission = Admission.of(settings, { record: (message, fields) => this.said.push({ message, ...fields }) });
    this.http = new HttpEntrypoint(settings.http, settings, this.proxy, this.admission, this.sweeper);
  }

  async client(): Promise<RawClient> {
    const client = await RawClient.open(this.http.port);
    this.#clients.push(client);
    return client;
  }

  /** On a connection of its own, which stays open. */
  async ask(before: string | Buffer = "", path = "/x"): Promise<RawClient> {
    const client = await this.client();
    client.write(Buffer.concat([Buffer.from(before), Buffer.from(GET(path))]));
    await client.until(() => client.isClosed || client.body.endsWith("}"));
    return client;
  }

  /** Whom the pod was told of last. */
  get toldOf(): string | undefined {
    return this.pod.seen.at(-1)?.headers["x-forwarded-for"]?.[0];
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.close();
    await this.http.stop();
    this.pod.stop();
    this.#snapshot.release(null);
    this.#snapshot.pool.close();
    this.sweeper.close();
  }
}

const GET = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: a.test\r\n\r\n`;
const V1 = "PROXY TCP4 203.0.113.9 192.0.2.1 56324 80\r\n";

let rig: Rig;
const start = (options?: Options): Rig => (rig = new Rig(options));
afterEach(() => rig.stop());

describe("plain HTTP", () => {
  test("without limits is Bun.serve bound to the address itself", async () => {
    expect(start().admission).toBeNull();
    expect((await rig.ask()).status).toBe(200);
    expect(rig.toldOf).toBe("127.0.0.1");
  });

  describe("with a limit on connections", () => {
    test("serves as before, and knows the client's address", async () => {
      start({ limits: { connections: 10 } });
      const client = await rig.ask();
      expect([client.status, rig.toldOf]).toEqual([200, "127.0.0.1"]);
      client.text = "";
      client.write(GET("/again"));
      await client.until(() => client.body.endsWith("}"));
      expect(rig.pod.seen.at(-1)?.target).toBe("/again");
    });

    test("closes at once who is over the limit, and says so once", async () => {
      start({ limits: { connections: 3 } });
      const inside = await Promise.all([rig.ask(), rig.ask(), rig.ask()]);
      expect(inside.map(({ status }) => status)).toEqual([200, 200, 200]);
      for (let index = 0; index < 20; index += 1) {
        const outside = await rig.client();
        await outside.until(() => outside.isClosed);
        expect(outside.text).toBe("");
      }
      expect(rig.said).toEqual([{ message: "connection refused", client: "127.0.0.1", reason: "too many connections", others: 0 }]);
      expect(rig.pod.seen).toHaveLength(3);
    });

    test("lets the next one in when one has left", async () => {
      start({ limits: { connectionsPerAddress: 1 } });
      for (let round = 0; round < 5; round += 1) {
        const client = await rig.ask();
        expect(client.status).toBe(200);
        client.close();
        await eventually("the place to be free", () => rig.admission?.limits.size, (size) => size === 0);
      }
      expect(rig.admission?.limits.clients).toBe(0);
    });

    test("counts connections that ask for nothing, and lets them go after ten seconds", async () => {
      start({ limits: { connections: 1 } });
      const silent = await rig.client();
      await eventually("the connection to be there", () => rig.admission?.limits.size, (size) => size === 1);
      const second = await rig.client();
      await second.until(() => second.isClosed);
      rig.skewMs = 9000;
      await Bun.sleep(150);
      expect(silent.isClosed).toBe(false);
      rig.skewMs = 10_100;
      await silent.until(() => silent.isClosed);
      expect((await rig.ask()).status).toBe(200);
    });

    test("a client that half-closes, resets or is cut leaves its place", async () => {
      start({ limits: { connections: 100 } });
      const leaving: Array<(client: RawClient) => void> = [(client) => client.socket.end(), (client) => client.socket.resetAndDestroy(), (client) => client.close()];
      for (const leave of leaving) {
        leave(await rig.client());
        leave(await rig.ask());
      }
      await eventually("all to have left", () => rig.admission?.limits.size, (size) => size === 0);
    });

    test("a large upload and a large answer pass whole", async () => {
      start({ limits: { connections: 10 } });
      const body = Buffer.alloc(5_000_000, "abcdefghij");
      rig.pod.answer((seen, connection) => connection.write(Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${seen.body.length}\r\n\r\n`), seen.body])));
      const response = await fetch(`${rig.http.url}/up`, { method: "POST", body });
      expect(response.status).toBe(200);
      expect(Buffer.from(await response.arrayBuffer()).equals(body)).toBe(true);
    });

    test.skipIf(Bun.which("ss") === null)("the server behind answers nobody who comes around the front", async () => {
      start({ limits: { connections: 10 } });
      const { stdout } = await run(["ss", "-Htlnp"]);
      const ours = stdout.split("\n").filter((line) => line.includes(`pid=${process.pid},`)).map((line) => Number(/127\.0\.0\.1:(\d+)/.exec(line)?.[1] ?? 0));
      const behind = ours.filter((port) => port !== 0 && port !== rig.http.port);
      expect(behind).toHaveLength(1);
      expect((await RawClient.ask(behind[0] as number, GET("/around"))).status).toBe(421);
      expect(rig.pod.seen).toEqual([]);
    });

    test("stops accepting, finishes what runs, and cuts what is left", async () => {
      start({ limits: { connections: 10 } });
      const { promise, resolve } = Promise.withResolvers<void>();
      rig.pod.answer((_seen, connection) => void promise.then(() => connection.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")));
      const running = await rig.client();
      running.write(GET("/slow"));
      await eventually("the request to run", () => rig.pod.seen.length, (count) => count === 1);
      rig.http.stopAccepting();
      expect(rig.http.pending).toBeGreaterThan(0);
      await RawClient.open(rig.http.port).then((late) => late.until(() => late.isClosed), () => "refused, which is right");
      resolve();
      await running.until(() => running.body === "late");
      await rig.http.stop();
      await running.until(() => running.isClosed);
    });

    test("an address in use is said as such", () => {
      start({ limits: { connections: 10 } });
      const settings = { host: "127.0.0.1", port: rig.http.port };
      const parsed = parseSettings("services: { t: { text: t } }\nroutes: [{ path: /, service: t }]\n", "routes.yaml", { env: {}, readResolvConf: () => "nameserver 127.0.0.1\n" });
      if (!("settings" in parsed)) throw new Error("not parsed");
      const { settings: other } = parsed;
      expect(() => new HttpEntrypoint(settings, other, rig.proxy, rig.admission, rig.sweeper)).toThrow(`cannot listen on 127.0.0.1:${rig.http.port}: the address is in use`);
    });
  });

  describe("behind a trusted proxy that speaks the PROXY protocol", () => {
    const trusting = { proxyProtocol: ["127.0.0.0/8"] };

    test.each<[string, string | Buffer, string]>([
      ["version 1", V1, "203.0.113.9"],
      ["version 1, IPv6", "PROXY TCP6 2001:db8::7 2001:db8::1 56324 80\r\n", "2001:db8::7"],
      ["version 2", Buffer.from("0d0a0d0a000d0a515549540a2111000ccb007109c0000201dc040050", "hex"), "203.0.113.9"],
      ["version 2, LOCAL: its own", Buffer.from("0d0a0d0a000d0a515549540a20000000", "hex"), "127.0.0.1"],
      ["UNKNOWN: its own", "PROXY UNKNOWN\r\n", "127.0.0.1"],
    ])("the client is who the header says: %s", async (_what, header, client) => {
      start(trusting);
      expect((await rig.ask(header)).status).toBe(200);
      expect(rig.toldOf).toBe(client);
    });

    test("the header may come a byte at a time", async () => {
      start(trusting);
      const client = await rig.client();
      client.socket.setNoDelay(true);
      for (const byte of Buffer.from(V1 + GET("/x"))) {
        client.write(Buffer.from([byte]));
        await new Promise((resolve) => setImmediate(resolve));
      }
      await client.until(() => client.body.endsWith("}"));
      expect(rig.toldOf).toBe("203.0.113.9");
    });

    test.each<[string, string | Buffer]>([
      ["no header", ""],
      ["a malformed one", "PROXY TCP4 203.0.113.9 192.0.2.1 56324\r\n"],
      ["one that is too long", `PROXY UNKNOWN ${"x".repeat(200)}\r\n`],
      ["a short one of version 2", Buffer.from("0d0a0d0a000d0a515549540a2111000bcb007109c0000201dc0400", "hex")],
      ["a TLS ClientHello", Buffer.from("16030100", "hex")],
    ])("closes without a word after %s", async (_what, header) => {
      start(trusting);
      const client = await rig.ask(header);
      expect([client.isClosed, client.text]).toEqual([true, ""]);
      expect(rig.pod.seen).toEqual([]);
      expect(rig.said).toMatchObject([{ message: "connection refused", client: "127.0.0.1" }]);
    });

    test("closes when there is none in ten seconds, or half of one", async () => {
      start(trusting);
      const [silent, half] = [await rig.client(), await rig.client()];
      half.write("PROXY TCP4 203.0.1");
      await eventually("both to be there", () => rig.admission?.limits.size, (size) => size === 2);
      rig.skewMs = 10_100;
      await Promise.all([silent.until(() => silent.isClosed), half.until(() => half.isClosed)]);
      expect(rig.said[0]).toMatchObject({ reason: "no PROXY header in time" });
    });

    test("a second header is a bad request", async () => {
      start(trusting);
      const client = await rig.client();
      client.write(V1 + V1 + GET("/x"));
      await client.until(() => client.isClosed);
      expect(client.status).toBe(400);
      expect(rig.pod.seen).toEqual([]);
    });

    test("clients are counted, not the proxy", async () => {
      start({ ...trusting, limits: { connectionsPerAddress: 2 } });
      const other = V1.replace("203.0.113.9", "203.0.113.10");
      const asked = [await rig.ask(V1), await rig.ask(V1), await rig.ask(V1), await rig.ask(other)];
      expect(asked.map(({ status }) => status)).toEqual([200, 200, 0, 200]);
      expect(rig.said).toEqual([{ message: "connection refused", client: "203.0.113.9", reason: "too many connections of this address", others: 0 }]);
      for (const client of asked) client.close();
      await eventually("all to have left", () => [rig.admission?.limits.size, rig.admission?.limits.clients], ([size, clients]) => size === 0 && clients === 0);
    });

    test.skipIf(Bun.which("haproxy") === null).each([["send-proxy", 1], ["send-proxy-v2", 2], ["send-proxy-v2-ssl-cn", 2]])("haproxy with %s is understood", async (option) => {
      start(trusting);
      const config = `defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\nfrontend f\n bind 127.0.0.1:0\n default_backend b\nbackend b\n server s 127.0.0.1:${rig.http.port} ${option}\n`;
      await throughHaproxy(config, async (port) => {
        expect((await RawClient.ask(port, "GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n")).status).toBe(200);
        expect(rig.toldOf).toBe("127.0.0.1");
        expect(rig.said).toEqual([]);
      });
    });
  });

  describe("to a peer that is not trusted", () => {
    const elsewhere = { proxyProtocol: ["192.0.2.0/24"] };

    test("a PROXY header is a bad request, and believed by nobody", async () => {
      start(elsewhere);
      const client = await rig.client();
      client.write(V1 + GET("/x"));
      await client.until(() => client.isClosed);
      expect(client.status).toBe(400);
      expect(rig.pod.seen).toEqual([]);
    });

    test("one of version 2 is one, too", async () => {
      start(elsewhere);
      const client = await rig.client();
      client.write(Buffer.concat([Buffer.from("0d0a0d0a000d0a515549540a2111000ccb007109c0000201dc040050", "hex"), Buffer.from(GET("/x"))]));
      await client.until(() => client.isClosed);
      expect([0, 400]).toContain(client.status);
      expect(rig.pod.seen).toEqual([]);
    });

    test("is so where nothing is trusted and nothing counted, as well", async () => {
      start();
      const client = await rig.client();
      client.write(V1 + GET("/x"));
      await client.until(() => client.isClosed);
      expect(client.status).toBe(400);
      expect(rig.pod.seen).toEqual([]);
    });

    test("requests without one are served, with the peer's own address", async () => {
      start(elsewhere);
      expect((await rig.ask()).status).toBe(200);
      expect(rig.toldOf).toBe("127.0.0.1");
    });
  });
});

/** haproxy's own choice of a port is known by asking the kernel. */
async function throughHaproxy(config: string, use: (port: number) => Promise<void>): Promise<void> {
  const probe = new PeerServer();
  const port = probe.port;
  probe.stop();
  const child = Bun.spawn(["haproxy", "-db", "-f", "/dev/stdin"], { stdin: Buffer.from(config.replace("127.0.0.1:0", `127.0.0.1:${port}`)), stdout: "ignore", stderr: "ignore" });
  try {
    await eventually("haproxy to listen", () => RawClient.open(port).then((client) => { client.close(); return true; }, () => false), Boolean);
    await use(port);
  } finally {
    child.kill();
    await child.exited;
  }
}
