import { afterEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { join } from "node:path";
import { DnsServer, type DnsServerOptions } from "../../src/dns/server.ts";
import { eventually } from "../support/eventually.ts";
import { framed, TcpClient, UdpClient } from "./clients.ts";
import { ednsQuery, header, query, question, read, texts, u16, ZONE } from "./wire.ts";

const OPTIONS: DnsServerOptions = { host: "127.0.0.1", port: 0, zone: ZONE.name, nameserver: ZONE.nameserver, caaIssuers: ["letsencrypt.org"], addresses: [] };

const stops: Array<() => void> = [];
afterEach(() => { for (const stop of stops.splice(0).reverse()) stop(); });

async function serve(options: Partial<DnsServerOptions> = {}): Promise<{ server: DnsServer; port: number }> {
  const server = new DnsServer({ ...OPTIONS, ...options });
  stops.push(() => server.stop());
  return { server, ...await server.start() };
}

async function udp(port: number, host?: string): Promise<UdpClient> {
  const client = await UdpClient.open(port, host);
  stops.push(() => client.close());
  return client;
}

async function tcp(port: number, host?: string, from?: string): Promise<TcpClient> {
  const client = await TcpClient.open(port, host, from);
  stops.push(() => client.close());
  return client;
}

class Clock {
  ms = 0;
  readonly now = (): number => this.ms;
}

describe("challenges", () => {
  test("are answered from present() to cleanup(), over UDP and TCP of one port", async () => {
    const { server, port } = await serve();
    const overUdp = await udp(port);
    const overTcp = await tcp(port);
    server.present("one");
    server.present("two");
    expect(texts(read(await overUdp.ask(query(ZONE.name))).answers)).toEqual(["one", "two"]);
    overTcp.write(framed(query(ZONE.name)));
    expect(texts(read((await overTcp.received(1))[0]!).answers)).toEqual(["one", "two"]);
    server.cleanup("one");
    expect(texts(read(await overUdp.ask(query(ZONE.name))).answers)).toEqual(["two"]);
    server.cleanup("two");
    expect(read(await overUdp.ask(query(ZONE.name)))).toMatchObject({ rcode: "NOERROR", answers: [] });
  });

  test("may be presented before the server listens, and stay over a restart", async () => {
    const server = new DnsServer(OPTIONS);
    stops.push(() => server.stop());
    server.present("early");
    for (let round = 0; round < 2; round += 1) {
      const { port } = await server.start();
      expect(texts(read(await (await udp(port)).ask(query(ZONE.name))).answers)).toEqual(["early"]);
      server.stop();
    }
  });

  test("move the serial number", async () => {
    const { server, port } = await serve({ clock: () => 5000 });
    const client = await udp(port);
    const serial = async (): Promise<unknown> => read(await client.ask(query(ZONE.name, 6))).answers[0];
    expect(await serial()).toMatchObject({ data: { serial: 5 } });
    server.present("x");
    expect(await serial()).toMatchObject({ data: { serial: 6 } });
  });

  test("that don't fit over UDP come over TCP", async () => {
    const { server, port } = await serve();
    for (let i = 0; i < 100; i += 1) server.present(`${i}-`.padEnd(255, "x"));
    expect(read(await (await udp(port)).ask(ednsQuery(ZONE.name)))).toMatchObject({ isTruncated: true, answers: [] });
    const client = await tcp(port);
    client.write(framed(query(ZONE.name)));
    expect(read((await client.received(1))[0]!).answers).toHaveLength(100);
  });
});

test("the CA's names may change while it is answering, and be none", async () => {
  const { server, port } = await serve();
  const client = await udp(port);
  const issuers = async (): Promise<unknown[]> => read(await client.ask(query(ZONE.name, 257))).answers.map((answer) => (answer as { data?: { value?: unknown } }).data?.value);
  expect(await issuers()).toEqual(["letsencrypt.org"]);
  server.nameIssuers(["sectigo.com", "UserTrust.com"]);
  expect(await issuers()).toEqual(["sectigo.com", "usertrust.com"]);
  expect(() => server.nameIssuers(["two words"])).toThrow("the CAA issuer is not a domain name");
  server.nameIssuers([]);
  expect(await issuers()).toEqual([]);
});

describe("addresses", () => {
  test("all of them: IPv4 and IPv6 at once", async () => {
    const { port } = await serve({ host: "" });
    for (const host of ["127.0.0.1", "::1"]) {
      expect(read(await (await udp(port, host)).ask(query(ZONE.name, 6))).answers).toHaveLength(1);
      const client = await tcp(port, host);
      client.write(framed(query(ZONE.name, 6)));
      expect(read((await client.received(1))[0]!).answers).toHaveLength(1);
    }
  });

  test("a taken one is refused, whichever protocol has it, and nothing is left open", async () => {
    const other = await Bun.udpSocket({ hostname: "127.0.0.1", port: 0 });
    stops.push(() => other.close());
    await expect(new DnsServer({ ...OPTIONS, port: other.port }).start()).rejects.toThrow(`cannot listen on 127.0.0.1:${other.port} for DNS: the address is in use (another DNS server`);
    const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    stops.push(() => listener.stop(true));
    await expect(new DnsServer({ ...OPTIONS, port: listener.port }).start()).rejects.toThrow("the address is in use");
    (await Bun.udpSocket({ hostname: "127.0.0.1", port: listener.port })).close();
  });

  test("one of another machine, and what is none, are refused by name", async () => {
    await expect(new DnsServer({ ...OPTIONS, host: "192.0.2.1" }).start()).rejects.toThrow("cannot listen on 192.0.2.1:0 for DNS: no such address on this machine");
    await expect(new DnsServer({ ...OPTIONS, host: "nowhere.invalid" }).start()).rejects.toThrow("cannot listen on nowhere.invalid:0 for DNS: not an address of this machine");
  });

  const setpriv = Bun.which("setpriv");
  test.skipIf(process.getuid?.() !== 0 || setpriv === null)("without the right to port 53 the error says which right (needs root and setpriv)", async () => {
    const module = join(import.meta.dir, "../../src/dns/server.ts");
    const code = `import { DnsServer } from ${JSON.stringify(module)};
      await new DnsServer(${JSON.stringify({ ...OPTIONS, port: 53 })}).start().then(() => console.log("listens"), (error) => console.log(error.message));`;
    // Root that may do nothing still owns the files it runs.
    const child = Bun.spawn([setpriv!, "--inh-caps=-all", "--bounding-set=-all", process.execPath, "-e", code], { stdout: "pipe" });
    const unprivileged = Number(await Bun.file("/proc/sys/net/ipv4/ip_unprivileged_port_start").text()) <= 53;
    expect((await new Response(child.stdout).text()).trim())
      .toBe(unprivileged ? "listens" : "cannot listen on 127.0.0.1:53 for DNS: not permitted (ports below 1024 need CAP_NET_BIND_SERVICE or root)");
  });

  test("names and addresses are checked when the server is made", () => {
    const refused: ReadonlyArray<[Partial<DnsServerOptions>, string]> = [
      [{ zone: "a..b" }, 'the zone is not a domain name: "a..b"'], [{ zone: `${"a".repeat(64)}.test` }, "the zone is not a domain name"],
      [{ nameserver: "192.0.2.1" }, "the name server is not a domain name"], [{ caaIssuers: ["two words"] }, "the CAA issuer is not a domain name"],
      [{ addresses: ["192.0.2.256"] }, 'not an IP address: "192.0.2.256"'], [{ addresses: ["fe80::1%lo"] }, "not an IP address"],
    ];
    for (const [options, message] of refused) expect(() => new DnsServer({ ...OPTIONS, ...options })).toThrow(message);
  });

  test("names in the settings are compared without case and without the last dot", async () => {
    const { server, port } = await serve({ zone: "_ACME-challenge.Gent01.Grid.Example." });
    server.present("value");
    expect(texts(read(await (await udp(port)).ask(query(ZONE.name))).answers)).toEqual(["value"]);
  });
});

describe("over UDP", () => {
  test("responses, fragments of headers and empty datagrams get nothing", async () => {
    const { port } = await serve();
    const client = await udp(port);
    for (const message of [query(ZONE.name, 6, { flags: 0x8180 }), query(ZONE.name).subarray(0, 11), Buffer.alloc(0)]) client.send(message);
    expect(await client.settled(7)).toEqual([]);
  });

  test("a client that has gone takes neither the server nor somebody else's answer along", async () => {
    const { port } = await serve();
    for (let i = 0; i < 3; i += 1) {
      const gone = await UdpClient.open(port);
      gone.send(query(ZONE.name, 6));
      gone.close();
      expect(read(await (await udp(port)).ask(query(ZONE.name, 6))).rcode).toBe("NOERROR");
    }
  });

  test("any bytes: the server lives, and no answer is larger than 512 bytes without EDNS", async () => {
    const { server, port } = await serve({ now: (() => { let ms = 0; return () => { ms += 1000; return ms; }; })() });
    for (let i = 0; i < 100; i += 1) server.present(`${i}-`.padEnd(255, "x"));
    const client = await udp(port);
    const mutate = fc.tuple(fc.nat(60), fc.integer({ min: 0, max: 255 })).map(([at, value]) => {
      const bytes = query(ZONE.name);
      bytes[at % bytes.length] = value;
      return bytes;
    });
    let id = 1;
    await fc.assert(fc.asyncProperty(fc.array(fc.oneof(mutate, fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes))), { maxLength: 20 }), async (messages) => {
      client.replies.length = 0;
      for (const message of messages) client.send(message);
      id += 1;
      for (const reply of await client.settled(0xf000 | id)) expect(reply.length).toBeLessThanOrEqual(read(reply).additionals.length > 0 ? 1232 : 512);
    }), { numRuns: 20 });
  });
});

describe("over TCP", () => {
  test("several queries on one connection are answered in order, however they are cut", async () => {
    const { port } = await serve();
    const client = await tcp(port);
    const all = Buffer.concat([1, 2, 3].map((id) => framed(query(ZONE.name, 6, { id }))));
    for (const byte of all.subarray(0, 60)) client.write(Buffer.from([byte]));
    client.write(all.subarray(60));
    expect((await client.received(3)).map((reply) => read(reply).id)).toEqual([1, 2, 3]);
  });

  test("queries before a half-close are answered", async () => {
    const { port } = await serve();
    const client = await tcp(port);
    client.socket.end(framed(query(ZONE.name, 6)));
    expect(await client.received(1)).toHaveLength(1);
    await client.closed();
  });

  test("a length that is longer than the message waits for the rest, and takes it from what follows", async () => {
    const { port } = await serve();
    const client = await tcp(port);
    const message = query(ZONE.name, 6, { id: 1 });
    client.write(Buffer.concat([u16(message.length + 2), message]));
    client.write(Buffer.concat([Buffer.from([0, 0]), framed(query(ZONE.name, 6, { id: 2 }))]));
    expect((await client.received(2)).map((reply) => read(reply).rcode)).toEqual(["FORMERR", "NOERROR"]);
  });

  test.each([0, 1, 11])("a length of %p ends the connection", async (length) => {
    const { port } = await serve();
    const client = await tcp(port);
    client.write(Buffer.concat([u16(length), query(ZONE.name)]));
    await client.closed();
    expect(client.replies).toEqual([]);
  });

  test("a length that is shorter than the message: FORMERR, and the rest is read as a length", async () => {
    const { port } = await serve();
    const client = await tcp(port);
    client.write(Buffer.concat([u16(14), header(), Buffer.from([3, 120]), u16(0), question("x")]));
    await client.closed();
    expect(client.replies.length).toBeLessThanOrEqual(1);
  });

  test("a message of 64 KiB is malformed, and does not end the connection", async () => {
    const { port } = await serve();
    const client = await tcp(port);
    client.write(framed(Buffer.concat([header(), Buffer.alloc(65_535 - 12, 63)])));
    client.write(framed(query(ZONE.name, 6)));
    expect((await client.received(2)).map((reply) => read(reply).rcode)).toEqual(["FORMERR", "NOERROR"]);
  });

  test("a response ends the connection", async () => {
    const { port } = await serve();
    const client = await tcp(port);
    client.write(framed(query(ZONE.name, 6, { flags: 0x8000 })));
    await client.closed();
  });

  test("ten seconds without a whole query end the connection, also when bytes drip in", async () => {
    const clock = new Clock();
    const { port } = await serve({ now: clock.now });
    const silent = await tcp(port);
    const dripping = await tcp(port);
    const talking = await tcp(port);
    dripping.write(u16(40));
    clock.ms = 9000;
    talking.write(framed(query(ZONE.name, 6)));
    await talking.received(1);
    dripping.write(Buffer.from([0]));
    clock.ms = 10_000;
    await silent.closed();
    await dripping.closed();
    talking.write(framed(query(ZONE.name, 6)));
    await talking.received(2);
  });

  test("a seventeenth connection of one network is closed, another network's is not", async () => {
    const { port } = await serve();
    const first = await Promise.all(Array.from({ length: 16 }, (_, i) => tcp(port, "127.0.0.1", `127.0.1.${i + 1}`)));
    // Accepted in the kernel, but in the server's own count only when it answers.
    for (const client of first) client.write(framed(query(ZONE.name, 6)));
    for (const client of first) await client.received(1);
    await (await tcp(port, "127.0.0.1", "127.0.1.99")).closed();
    const stranger = await tcp(port, "127.0.0.1", "127.0.2.1");
    stranger.write(framed(query(ZONE.name, 6)));
    await stranger.received(1);
    first[0]!.write(framed(query(ZONE.name, 6)));
    await first[0]!.received(2);
  });

  test("when 128 are open, a new one takes the place of the one that was silent longest", async () => {
    const { port } = await serve();
    const clients: TcpClient[] = [];
    const say = async (client: TcpClient): Promise<void> => {
      const before = client.replies.length;
      client.write(framed(query(ZONE.name, 6)));
      await client.received(before + 1);
    };
    for (let i = 0; i < 128; i += 1) clients.push(await tcp(port, "127.0.0.1", `127.0.${1 + (i >> 4)}.1`));
    await Promise.all(clients.map(say));
    await say(clients[0]!);
    await say(await tcp(port, "127.0.0.1", "127.0.99.1"));
    await eventually("one to go", () => clients.filter(({ isClosed }) => isClosed).length, (count) => count === 1);
    expect(clients[0]!.isClosed).toBe(false);
  });

  test("stop() ends what is open", async () => {
    const { server, port } = await serve();
    const client = await tcp(port);
    client.write(framed(query(ZONE.name, 6)));
    await client.received(1);
    server.stop();
    await client.closed();
    await expect(TcpClient.open(port)).rejects.toThrow("ECONNREFUSED");
  });
});

describe("rate limit", () => {
  test("over UDP: a burst of 40, then every second one is sent to TCP, where it is answered", async () => {
    const clock = new Clock();
    const { server, port } = await serve({ now: clock.now });
    server.present("value");
    const client = await udp(port);
    for (let id = 1; id <= 60; id += 1) client.send(query(ZONE.name, 16, { id }));
    await eventually("50 replies", () => client.replies.length, (count) => count >= 50);
    clock.ms = 1000;
    const replies = (await client.settled(0xffff)).map(read);
    expect(replies).toHaveLength(50);
    expect(replies.filter(({ answers }) => answers.length === 1).map(({ id }) => id)).toEqual(Array.from({ length: 40 }, (_, i) => i + 1));
    expect(replies.filter(({ isTruncated }) => isTruncated).map(({ id }) => id)).toEqual([42, 44, 46, 48, 50, 52, 54, 56, 58, 60]);
    const overTcp = await tcp(port);
    overTcp.write(framed(query(ZONE.name)));
    await overTcp.received(1);
  });

  test("over TCP: a burst of 200, then the connection is cut", async () => {
    const { port } = await serve({ now: () => 0 });
    const client = await tcp(port);
    for (let i = 0; i < 200; i += 1) client.write(framed(query(ZONE.name, 6)));
    await client.received(200);
    client.write(framed(query(ZONE.name, 6)));
    await client.closed();
    expect(client.replies).toHaveLength(200);
  });
});
