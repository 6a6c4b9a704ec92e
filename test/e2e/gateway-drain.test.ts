// The end of a whole gateway, in order and by force: App.stop and SIGTERM let what runs finish, and take nobody new; SIGKILL in the
// middle of writes costs nothing that was acknowledged.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import packet from "dns-packet";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { eventually } from "../support/eventually.ts";
import { backendOf, clientHello, DOMAIN, type GatewayClient, GatewayProcess, isClosed, makeRoot, paced, TestGateway } from "../support/gateway.ts";
import { ok, readAnswers } from "../support/http.ts";
import { answerRecord, Pod } from "../support/pod.ts";
import { HAS_REDIS, RedisServer, SEED, ZbusCaller, zbusResult } from "../support/redis.ts";
import { Peer, PeerServer, sha256 } from "../support/tls-peer.ts";

const WEB = `web.${DOMAIN}`;

let pod: Pod;

beforeAll(() => { pod = new Pod("127.0.0.1", ["web"]); });
afterEach(() => pod.answer(answerRecord));
afterAll(() => pod.stop());

describe("App.stop", () => {
  /** A gateway that ends within the test. */
  async function ending(run: (gateway: TestGateway) => Promise<void>, options: Parameters<typeof TestGateway.start>[0] = {}): Promise<void> {
    const started = await TestGateway.start(options);
    try {
      await run(started);
    } finally {
      await started.stop();
    }
  }

  async function download(of: GatewayClient, name: string): Promise<{ text: () => string; pause: () => void; resume: () => void; ended: Promise<unknown> }> {
    const client = await of.connect(name);
    let text = "";
    client.on("data", (chunk: Buffer) => { text += chunk.toString("latin1"); });
    const { promise, resolve } = Promise.withResolvers<void>();
    client.removeAllListeners("error");
    client.on("error", () => resolve());
    client.on("close", () => resolve());
    client.write(`GET / HTTP/1.1\r\nHost: ${name}\r\n\r\n`);
    await eventually("the beginning of the download", () => text.length, (length) => length > 0);
    return { text: () => text, pause: () => void client.pause(), resume: () => void client.resume(), ended: promise };
  }

  test("lets a download finish and ends WebSockets with 1012, and takes nobody new", () => ending(async (own) => {
    await own.set("web", "web", [backendOf(pod)]);
    const { answer, body } = paced(100);
    pod.answer(answer);
    const sessions = await Promise.all(Array.from({ length: 20 }, () => own.webSocket(WEB)));
    const { text, ended } = await download(own, WEB);
    const ports = [own.httpPort, own.httpsPort, Number(new URL(own.adminUrl).port)];
    const stopping = own.app.stop(20_000);
    await Promise.all(sessions.map((session) => session.ended()));
    expect(sessions.map(({ closing }) => closing?.code)).toEqual(Array.from({ length: 20 }, () => 1012));
    expect(await Promise.all(ports.map(isClosed))).toEqual([true, true, true]);
    expect(await stopping).toBe(true);
    await ended;
    expect(sha256(Buffer.from(readAnswers(text())[0]?.body ?? "", "latin1"))).toBe(sha256(body));
  }));

  test.each([200_000, 900_000, 6_000_000])("waits for a client that is slow to take its %d bytes", (bytes) => ending(async (own) => {
    await own.set("web", "web", [backendOf(pod)]);
    pod.answer((_seen, connection) => connection.write(ok("z".repeat(bytes))));
    const { text, pause, resume, ended } = await download(own, WEB);
    pause();
    await own.logged("access").catch(() => {}); // The largest one is not over for the proxy either.
    const stopping = own.app.stop(20_000);
    setTimeout(resume, 200);
    expect(await stopping).toBe(true);
    await ended;
    expect(readAnswers(text())[0]?.body.length).toBe(bytes);
  }), 20_000);

  test("lets a passed-through download finish, and cuts passed-through connections that are quiet", () => ending(async (own) => {
    const backend = new PeerServer();
    await own.set("raw", "raw", [`127.0.0.1:${backend.port}`], true);
    const hello = await clientHello(`raw.${DOMAIN}`);
    const [loud, quiet] = [await Peer.connect(own.httpsPort), await Peer.connect(own.httpsPort)];
    loud.write(hello);
    const speaker = await backend.peer(0);
    quiet.write(hello);
    await backend.peer(1);
    let left = 60;
    const timer = setInterval(() => {
      left -= 1;
      if (left > 0) speaker.write(Buffer.alloc(1000));
      else speaker.end();
      if (left === 0) clearInterval(timer);
    }, 10);
    expect(await own.app.stop(20_000)).toBe(true);
    await loud.until(() => loud.hasEnded);
    expect([left, loud.receivedBytes]).toEqual([0, 59_000]);
    await quiet.until(() => quiet.isClosed);
    backend.stop();
  }));

  test("is not held up by idle connections of any kind", () => ending(async (own) => {
    await own.set("web", "web", [backendOf(pod)]);
    const idle = await download(own, WEB);
    const mute = await own.connect(WEB);
    const http2 = connectHttp2(`https://${WEB}:${own.httpsPort}`, { createConnection: () => connectTls({ host: "127.0.0.1", port: own.httpsPort, servername: WEB, ca: readFileSync(own.caFile), ALPNProtocols: ["h2"] }) });
    http2.on("error", () => {});
    await new Promise((resolve) => http2.once("connect", resolve));
    const startedMs = performance.now();
    expect(await own.app.stop(20_000)).toBe(true);
    expect(performance.now() - startedMs).toBeLessThan(3000);
    await idle.ended;
    mute.destroy();
    http2.destroy();
  }));

  test("cuts what has not ended in time, and says so", () => ending(async (own) => {
    await own.set("web", "web", [backendOf(pod)]);
    pod.answer((_seen, connection) => connection.write(`HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n${"half".repeat(500_000)}`));
    const { text, ended } = await download(own, WEB);
    expect(await own.app.stop(300)).toBe(false);
    await ended;
    // Not a word that it is whole.
    expect([text().length > 1_000_000, text().includes("\r\n0\r\n\r\n"), readAnswers(text()).length]).toEqual([true, false, 0]);
    expect(own.events("stopped")).toMatchObject([{ cut: 1 }]);
  }));

  test.skipIf(!HAS_REDIS)("answers the zbus call that runs, however long its domain's DNS takes", async () => {
    const redis = await RedisServer.start();
    const connection = await redis.connect();
    const dns = await LateDns.start("192.0.2.7");
    const ended = ending(async (own) => {
      await eventually("the broker", () => own.json("/healthz") as Promise<{ zbus: boolean }>, ({ zbus }) => zbus);
      const caller = new ZbusCaller(connection);
      const list = await caller.send(SEED, "SetFQDNProxy", "late", "late.example", ["http://10.0.0.1"], false);
      await eventually("the question", () => dns.asked, (asked) => asked > 0);
      const stopping = own.app.stop(20_000);
      // Longer than anything else that a stop waits for.
      await Bun.sleep(1500);
      dns.answer();
      expect(zbusResult(await caller.fetch(list))).toBe(null);
      expect(await stopping).toBe(true);
      expect(readdirSync(own.directory)).toEqual(["late.yaml"]);
    }, { broker: redis.unixUrl, checkDomains: true, publicAddresses: ["192.0.2.7"], nameserver: dns.address });
    await ended.finally(async () => {
      dns.stop();
      connection.close();
      await redis.stop();
    });
  }, 20_000);
});

describe("the process", () => {
  test.each(["SIGTERM", "SIGINT"] as const)("ends with 0 after %s: a download is whole, sessions hear 1012, nothing is left", async (signal) => {
    const { answer, body } = paced(60);
    pod.answer(answer);
    const root = makeRoot();
    const own = await GatewayProcess.startLocal(root);
    try {
      await own.set("web", "web", [backendOf(pod)]);
      const session = await own.webSocket(WEB);
      const file = join(root, "download");
      const download = own.curl(WEB, "/", "-o", file);
      await pod.until(() => pod.seen.at(-1)?.headers["upgrade"] === undefined);
      const ports = [own.httpPort, own.httpsPort, Number(new URL(own.adminUrl).port)];
      own.signal(signal);
      expect((await session.ended())?.code).toBe(1012);
      await download;
      expect(sha256(readFileSync(file))).toBe(sha256(body));
      expect(await own.exit()).toBe(0);
      expect(own.events("stopping")).toMatchObject([{ signal }]);
      expect(await Promise.all(ports.map(isClosed))).toEqual([true, true, true]);
      expect(readdirSync(own.directory)).toEqual(["web.yaml"]);
      expect(readdirSync(root, { recursive: true }).filter((name) => String(name).includes("tmp"))).toEqual([]);
    } finally {
      await own.stop();
      rmSync(root, { recursive: true });
    }
  }, 20_000);

  test("killed in the middle of writes has lost nothing that it acknowledged, nor made anything up", async () => {
    const root = makeRoot();
    const expected = new Map<string, string>();
    const begun = new Map<string, string | null>();
    let own = await GatewayProcess.startLocal(root);
    try {
      for (let round = 0; round < 3; round += 1) {
        const killed = Promise.withResolvers<void>();
        const write = async (worker: number): Promise<void> => {
          for (let i = 0; ; i += 1) {
            const id = `w${worker}-${i % 10}`;
            const backend = i % 3 === 2 ? null : `http://10.0.${round}.${i % 250 + 1}:${1000 + i}`;
            begun.set(id, backend);
            const answer = backend === null ? own.delete(id) : own.set(id, id, [backend]);
            const isDone = await answer.then(() => true, () => false);
            if (!isDone) return;
            if (backend === null) expected.delete(id);
            else expected.set(id, backend);
            begun.delete(id);
            if (worker === 0 && i === 15 + round * 7) killed.resolve();
          }
        };
        const workers = Promise.all([0, 1, 2, 3].map(write));
        await killed.promise;
        own.signal("SIGKILL");
        await workers;
        await own.exit();
        own = await GatewayProcess.startLocal(root);
        const listed = new Map((await own.json("/api/gateways") as Array<{ id: string; backends: string[] }>).map(({ id, backends }) => [id, backends[0] as string]));
        expect(await own.json("/api/registry/problems")).toEqual([]);
        for (const id of new Set([...expected.keys(), ...listed.keys()])) {
          // What was under way when it was killed may be done or not.
          const allowed = [expected.get(id), ...(begun.has(id) ? [begun.get(id) ?? undefined] : [])];
          expect([id, allowed.includes(listed.get(id))]).toEqual([id, true]);
        }
        for (const id of begun.keys()) {
          const found = listed.get(id);
          if (found === undefined) expected.delete(id);
          else expected.set(id, found);
        }
        begun.clear();
        expect(readdirSync(own.directory).filter((name) => !name.startsWith(".")).length).toBe(listed.size);
      }
      // And they are served, with the certificate of before.
      await own.set("web", "web", [backendOf(pod)]);
      const before = await own.connect(WEB);
      const { fingerprint256 } = before.getPeerCertificate();
      own.signal("SIGKILL");
      await own.exit();
      own = await GatewayProcess.startLocal(root);
      const after = await own.connect(WEB);
      expect(after.getPeerCertificate().fingerprint256).toBe(fingerprint256);
      expect((JSON.parse(await own.curl(WEB, "/")) as { port: string }).port).toBe("web");
      before.destroy();
      after.destroy();
    } finally {
      await own.stop();
      rmSync(root, { recursive: true });
    }
  }, 30_000);
});

/** A DNS server that keeps its answers until it is told. */
class LateDns {
  #waiting: Array<() => void> = [];
  #isLate = true;
  asked = 0;

  private constructor(readonly socket: Bun.udp.Socket<"buffer">) {}

  static async start(address: string): Promise<LateDns> {
    let server: LateDns | null = null;
    const socket = await Bun.udpSocket({
      hostname: "127.0.0.1",
      socket: {
        data(own, data, port, from) {
          const query = packet.decode(data);
          const [question] = query.questions ?? [];
          const answers = question?.type === "A" ? [{ type: "A", name: question.name, ttl: 60, data: address } as const] : [];
          server?.reply(() => own.send(packet.encode({ type: "response", id: query.id ?? 0, flags: packet.RECURSION_AVAILABLE, questions: query.questions ?? [], answers }), port, from));
        },
      },
    });
    return server = new LateDns(socket);
  }

  get address(): string {
    return `127.0.0.1:${this.socket.port}`;
  }

  reply(send: () => void): void {
    this.asked += 1;
    if (this.#isLate) this.#waiting.push(send);
    else send();
  }

  answer(): void {
    this.#isLate = false;
    for (const send of this.#waiting.splice(0)) send();
  }

  stop(): void {
    this.socket.close();
  }
}
