// One wildcard certificate for all names below the gateway's domain, by DNS-01: pebble asks our own DNS listener over UDP and over
// TCP, or what an operator's program has put into another DNS server.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Resolver } from "node:dns/promises";
import { connect } from "node:net";
import { join } from "node:path";
import type { udp } from "bun";
import { UdpClient } from "../dns/clients.ts";
import { query, read } from "../dns/wire.ts";
import { eventually } from "../support/eventually.ts";
import { backendOf, DOMAIN, makeRoot } from "../support/gateway.ts";
import { AcmeGateway, certified, refusal, shownTo, stateOf, TestCa } from "../support/gateway-acme.ts";
import { HAS_PEBBLE } from "../support/pebble.ts";
import { Pod } from "../support/pod.ts";

// A test that times out ends the CA, and with it the others: each wait in them has a shorter end, which says what it waited for.
setDefaultTimeout(60_000);

const CHALLENGE = `_acme-challenge.${DOMAIN}.`;

const pod = new Pod("127.0.1.1", ["web"]);
const backends = [backendOf(pod)];
afterAll(() => pod.stop());

/** Where the gateway's own DNS server listens. */
function dnsPort(gateway: AcmeGateway): number {
  return Number(gateway.events("answering DNS-01 challenges")[0]?.["port"]);
}

describe.skipIf(!HAS_PEBBLE)("the wildcard certificate, with our own DNS server", () => {
  let ca: TestCa;
  let gateway: AcmeGateway;

  beforeAll(async () => {
    ca = await TestCa.start();
    gateway = await AcmeGateway.start(ca, { domain: DOMAIN, dns: "127.0.0.1:0", publicAddresses: ["192.0.2.1"] });
    await ca.up({ dnsPort: dnsPort(gateway) });
    await gateway.set("1-one", "one", backends);
    await certified(gateway, `*.${DOMAIN}`);
  });
  afterAll(async () => {
    await gateway?.remove();
    await ca?.stop();
  });

  test("is obtained when the first name is registered, and carries it", async () => {
    expect((await shownTo(gateway, `one.${DOMAIN}`))?.names).toEqual([`*.${DOMAIN}`]);
    expect(JSON.parse(await gateway.curl(`one.${DOMAIN}`, "/first"))).toMatchObject({ target: "/first" });
    expect(ca.asked).toEqual([DOMAIN]);
  });

  test("serves a second name in the moment of its registration, without an order", async () => {
    await gateway.set("2-two", "two", backends);
    expect(JSON.parse(await gateway.curl(`two.${DOMAIN}`, "/second"))).toMatchObject({ target: "/second" });
    expect(await shownTo(gateway, `two.${DOMAIN}`)).toEqual(await shownTo(gateway, `one.${DOMAIN}`));
    expect(ca.orders).toBe(1);
  });

  test("is shown for no name that is not registered, however well it would fit", async () => {
    expect(await shownTo(gateway, `three.${DOMAIN}`)).toBeNull();
    expect(await shownTo(gateway, DOMAIN)).toBeNull();
    await gateway.delete("2-two");
    expect(await shownTo(gateway, `two.${DOMAIN}`)).toBeNull();
    expect(await shownTo(gateway, `one.${DOMAIN}`)).not.toBeNull();
  });

  test("leaves nothing of its challenge in DNS", async () => {
    const resolver = new Resolver({ timeout: 2000, tries: 2 });
    resolver.setServers([`127.0.0.1:${dnsPort(gateway)}`]);
    // Bun 1.4.5 says ENOTFOUND of a name that has no such record, too.
    await expect(resolver.resolveTxt(CHALLENGE)).rejects.toMatchObject({ code: expect.stringMatching(/^(ENODATA|ENOTFOUND)$/) });
    expect((await resolver.resolveSoa(CHALLENGE)).nsname).toBe(DOMAIN);
  });

  test("has an account of its own beside that of HTTP-01", () => {
    const accounts = (resolver: string) => readdirSync(join(gateway.root, "acme", resolver)).filter((file) => file.endsWith(".json"));
    expect(accounts("dnsresolver")).toHaveLength(1);
    expect(existsSync(join(gateway.root, "acme/resolver", accounts("dnsresolver")[0] as string))).toBe(false);
  });

  test("is not asked for another domain, which our DNS server could not prove", async () => {
    const { orders } = ca;
    writeFileSync(join(gateway.directory, "9-other.yaml"), [
      "http:", "  routers:", "    9-other-route:", "      rule: Host(`app.other.test`)", "      service: 9-other", "      tls:",
      "        certResolver: dnsresolver", "        domains:", "          - sans:", "              - '*.other.test'",
      "  services:", "    9-other:", "      loadbalancer:", "        servers:", `          - url: ${backends[0]}`, "",
    ].join("\n"));
    expect(await refusal(gateway, "*.other.test")).toContain(`our DNS server answers challenges of ${DOMAIN} only`);
    expect(ca.orders).toBe(orders);
  });

  test("may be issued, in our DNS server's CAA records, by nobody in particular until the CA says what it is called, and by that CA then", async () => {
    const naming = new NamingCa(ca, ["ca.test", "other.ca.test"]);
    const other = await AcmeGateway.start(ca, { http: "127.0.0.1:0", domain: DOMAIN, dns: "127.0.0.1:0", acmeDirectory: naming.directoryUrl });
    try {
      expect(await caaIssuers(dnsPort(other))).toEqual([]);
      await ca.up({ dnsPort: dnsPort(other) });
      await other.set("1-one", "one", backends);
      await certified(other, `*.${DOMAIN}`);
      expect(await caaIssuers(dnsPort(other))).toEqual(["ca.test", "other.ca.test"]);
    } finally {
      await other.remove();
      await naming.stop();
    }
  });

  test("is obtained by a CA whose resolver asks over TCP", async () => {
    const other = await AcmeGateway.start(ca, { http: "127.0.0.1:0", domain: DOMAIN, dns: "127.0.0.1:0" });
    const resolver = await TcpResolver.open(dnsPort(other));
    try {
      await ca.up({ dnsPort: resolver.port });
      await other.set("1-one", "one", backends);
      await certified(other, `*.${DOMAIN}`);
      await other.curl(`one.${DOMAIN}`, "/");
      expect(resolver.answers).toBeGreaterThan(0);
    } finally {
      await other.remove();
      resolver.close();
    }
  });
});

describe.skipIf(!HAS_PEBBLE)("the wildcard certificate, with a program of the operator's", () => {
  let ca: TestCa;
  let root: string;
  const gateways: AcmeGateway[] = [];

  beforeAll(async () => {
    root = makeRoot();
    ca = await TestCa.start();
  });
  afterAll(async () => {
    for (const gateway of gateways) await gateway.remove();
    await ca?.stop();
    rmSync(root, { recursive: true, force: true });
  });

  function writeProgram(name: string, script: string): string {
    const file = join(root, name);
    writeFileSync(file, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    return file;
  }

  async function startWith(challengeProgram: string): Promise<AcmeGateway> {
    const gateway = await AcmeGateway.start(ca, { http: "127.0.0.1:0", domain: DOMAIN, challengeProgram });
    gateways.push(gateway);
    return gateway;
  }

  test("is obtained when the program publishes the value, which is taken away again", async () => {
    const calls = join(root, "calls");
    const gateway = await startWith(writeProgram("dns-provider", `
      echo "$@" >> '${calls}'
      case "$1" in
        present) curl -sS --fail --noproxy '*' -d "{\\"host\\":\\"$2\\",\\"value\\":\\"$3\\"}" ${ca.pebble.managementUrl}/set-txt ;;
        cleanup) curl -sS --fail --noproxy '*' -d "{\\"host\\":\\"$2\\"}" ${ca.pebble.managementUrl}/clear-txt ;;
        timeout) echo '{"timeout": 0.1, "interval": 0.1}' ;;
      esac`));
    await gateway.set("1-one", "one", backends);
    await certified(gateway, `*.${DOMAIN}`);
    await gateway.curl(`one.${DOMAIN}`, "/");
    await gateway.set("2-two", "two", backends);
    await gateway.curl(`two.${DOMAIN}`, "/");
    const said = readFileSync(calls, "utf8").trim().split("\n").map((line) => line.split(" "));
    const value = said[0]?.[2];
    expect(value).toMatch(/^[\w-]{43}$/);
    expect(said).toEqual([["present", CHALLENGE, value], ["timeout"], ["cleanup", CHALLENGE, value]] as string[][]);
    expect(ca.asked).toEqual([DOMAIN]);
    expect(await ca.txtQuestions(CHALLENGE.slice(0, -1))).toBeGreaterThan(0);
  });

  test("is missing when the program fails, with what it said on stderr in the log, the API and the command line", async () => {
    const gateway = await startWith(writeProgram("broken", "echo \"no such zone: $2\" >&2; echo secret; exit 3"));
    await gateway.set("1-one", "one", backends);
    const reason = await refusal(gateway, `*.${DOMAIN}`);
    expect(reason).toContain(`broken present ended with exit code 3: no such zone: ${CHALLENGE}`);
    expect(gateway.events("certificate not obtained")[0]).toMatchObject({ level: "error", name: `*.${DOMAIN}`, reason });
    expect((await gateway.cli("certificates")).stdout).toContain(`no such zone: ${CHALLENGE}`);
    expect(await stateOf(gateway, `*.${DOMAIN}`)).toMatchObject({ issuer: null, failures: 1 });
    expect(await shownTo(gateway, `one.${DOMAIN}`)).toBeNull();
    // It was told to clean up after itself all the same, and that failed as well.
    await eventually("the warning", () => gateway.events("a challenge could not be taken away"), (found) => found.length === 1);
  });

  test("is missing when the program does nothing, with the CA's reason", async () => {
    const gateway = await startWith(writeProgram("lazy", "[ \"$1\" = timeout ] && echo '{\"timeout\": 0.1, \"interval\": 0.1}'; exit 0"));
    await gateway.set("1-one", "one", backends);
    expect(await refusal(gateway, `*.${DOMAIN}`)).toMatch(new RegExp(`^the CA refuses ${DOMAIN.replace(".", "\\.")}: urn:ietf:params:acme:error:unauthorized`));
  });

  test("does not start with a program that is not there or cannot be run", async () => {
    const file = join(root, "nothing");
    await expect(startWith(file)).rejects.toThrow(`cannot run the challenge program ${file}: no such file`);
    writeFileSync(file, "");
    await expect(startWith(file)).rejects.toThrow(`cannot run the challenge program ${file}: not permitted`);
  });

  test("is said to be impossible where nothing answers DNS challenges", async () => {
    const gateway = await AcmeGateway.start(ca, { http: "127.0.0.1:0", domain: DOMAIN });
    gateways.push(gateway);
    const { orders } = ca;
    await gateway.set("1-one", "one", backends);
    expect(await refusal(gateway, `*.${DOMAIN}`)).toContain("no way to answer DNS-01 challenges is configured");
    expect(ca.orders).toBe(orders);
  });
});

/** Whom the CAA records of the gateway's DNS server name. */
async function caaIssuers(port: number): Promise<unknown[]> {
  const client = await UdpClient.open(port);
  try {
    return read(await client.ask(query(CHALLENGE.slice(0, -1), 257))).answers.map((answer) => (answer as { data?: { value?: unknown } }).data?.value);
  } finally {
    client.close();
  }
}

/** Pebble with a directory that says what the CA is called in CAA records; pebble's own says nothing. */
class NamingCa {
  readonly #server: Bun.Server<undefined>;

  constructor(ca: TestCa, caaIdentities: readonly string[]) {
    const file = (name: string): string => readFileSync(join(ca.pebble.directory, name), "utf8");
    this.#server = Bun.serve({
      hostname: "127.0.0.1", port: 0, tls: { key: file("key.pem"), cert: file("cert.pem") },
      fetch: async () => {
        const directory = await (await fetch(ca.directoryUrl, { tls: { ca: ca.pebble.caPem } })).json() as { meta: object };
        return Response.json({ ...directory, meta: { ...directory.meta, caaIdentities } });
      },
    });
  }

  get directoryUrl(): string {
    return `https://127.0.0.1:${this.#server.port}/dir`;
  }

  async stop(): Promise<void> {
    await this.#server.stop(true);
  }
}

/** A resolver as some networks have them: whoever asks it over UDP, it asks over TCP only (RFC 7766 section 5 allows that). */
class TcpResolver {
  answers = 0;
  #socket: udp.Socket<"buffer"> | null = null;

  static async open(server: number): Promise<TcpResolver> {
    const resolver = new TcpResolver();
    resolver.#socket = await Bun.udpSocket({ hostname: "127.0.0.1", port: 0, socket: {
      data: async (socket, question, port, address) => {
        const answer = await askOverTcp(server, Buffer.from(question));
        resolver.answers += 1;
        socket.send(answer, port, address);
      },
    } });
    return resolver;
  }

  get port(): number {
    return this.#socket?.port ?? 0;
  }

  close(): void {
    this.#socket?.close();
  }
}

/** RFC 1035 section 4.2.2: two bytes of length before each message. */
async function askOverTcp(port: number, question: Buffer): Promise<Buffer> {
  const socket = connect(port, "127.0.0.1");
  const length = Buffer.alloc(2);
  length.writeUInt16BE(question.length);
  socket.write(Buffer.concat([length, question]));
  let bytes = Buffer.alloc(0);
  for await (const chunk of socket) {
    bytes = Buffer.concat([bytes, chunk as Buffer]);
    if (bytes.length > 2 && bytes.length >= 2 + bytes.readUInt16BE(0)) break; // Leaving the loop closes the connection.
  }
  return bytes.subarray(2);
}
