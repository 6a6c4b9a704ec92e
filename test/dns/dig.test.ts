// The server as the DNS world's own tool sees it. dig judges what it gets: it warns of malformed packets, wrong ids, and questions that
// don't match.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { DnsServer } from "../../src/dns/server.ts";

const DIG = Bun.which("dig");
const ZONE = "_acme-challenge.gent01.grid.example";
const VALUES = ["gfj9Xq_Rg85nM-first", "gfj9Xq_Rg85nM-second"];

type Dug = { readonly status: string; readonly flags: string; readonly counts: string; readonly answers: readonly string[]; readonly text: string };

describe.skipIf(DIG === null)("dig (needs dig, Debian: dnsutils)", () => {
  let now = 0;
  const server = new DnsServer({ host: "", port: 0, zone: ZONE, nameserver: `ns.${ZONE}`, caaIssuers: ["letsencrypt.org"], addresses: ["192.0.2.1", "2001:db8::1"], now: () => now });
  let port = 0;

  beforeAll(async () => {
    ({ port } = await server.start());
    for (const value of VALUES) server.present(value);
  });
  afterAll(() => server.stop());

  async function run(...words: string[]): Promise<string> {
    // Every question comes after a silence: the rate limit has its own tests.
    now += 60_000;
    const child = Bun.spawn([DIG!, "-r", "-p", String(port), "+tries=1", "+time=5", ...words], { stdout: "pipe", stderr: "pipe" });
    return await new Response(child.stdout).text();
  }

  async function dig(...words: string[]): Promise<Dug> {
    const text = await run(...words);
    expect(text).not.toMatch(/WARNING: (?!recursion requested)|Warning|mismatch|malformed|timed out/);
    const section = /;; ANSWER SECTION:\n([^]*?)\n\n/.exec(text)?.[1] ?? "";
    return {
      status: /status: (\w+)/.exec(text)?.[1] ?? "", flags: /flags: ([a-z ]*);/.exec(text)?.[1] ?? "", counts: /QUERY: .*/.exec(text)?.[0] ?? "",
      answers: section === "" ? [] : section.split("\n").map((line) => line.replaceAll(/\s+/g, " ")), text,
    };
  }

  const ways: ReadonlyArray<[string, string[]]> = [
    ["UDP over IPv4", ["@127.0.0.1", "+notcp"]], ["TCP over IPv4", ["@127.0.0.1", "+tcp"]], ["UDP over IPv6", ["@::1", "+notcp"]], ["TCP over IPv6", ["@::1", "+tcp"]],
    ["UDP without EDNS", ["@127.0.0.1", "+notcp", "+noedns"]],
  ];

  describe.each(ways)("%s", (_way, at) => {
    test("TXT", async () => {
      const dug = await dig(...at, ZONE, "TXT");
      expect(dug).toMatchObject({ status: "NOERROR", flags: "qr aa rd" });
      expect(dug.answers).toEqual(VALUES.map((value) => `${ZONE}. 1 IN TXT "${value}"`));
    });

    test("SOA", async () => {
      expect((await dig(...at, ZONE, "SOA")).answers).toEqual([expect.stringMatching(/^_acme-challenge\.gent01\.grid\.example\. 300 IN SOA ns\.\S+ hostmaster\.gent01\.grid\.example\. \d{10} 3600 600 86400 1$/)]);
    });

    test("NS, with glue", async () => {
      const dug = await dig(...at, ZONE, "NS");
      expect(dug.answers).toEqual([`${ZONE}. 300 IN NS ns.${ZONE}.`]);
      expect(dug.text).toMatch(/ADDITIONAL SECTION:\nns\.\S+\s+300\s+IN\s+A\s+192\.0\.2\.1\nns\.\S+\s+300\s+IN\s+AAAA\s+2001:db8::1\n/);
    });

    test("CAA", async () => {
      expect((await dig(...at, ZONE, "CAA")).answers).toEqual([`${ZONE}. 300 IN CAA 0 issue "letsencrypt.org"`]);
    });

    test("ANY", async () => {
      expect((await dig(...at, ZONE, "ANY")).answers).toEqual([`${ZONE}. 300 IN HINFO "RFC8482" ""`]);
    });

    test("the name server's addresses", async () => {
      expect((await dig(...at, `ns.${ZONE}`, "A")).answers).toEqual([`ns.${ZONE}. 300 IN A 192.0.2.1`]);
      expect((await dig(...at, `ns.${ZONE}`, "AAAA")).answers).toEqual([`ns.${ZONE}. 300 IN AAAA 2001:db8::1`]);
    });

    test.each(["A", "MX", "DS", "DNSKEY", "TYPE65280"])("%s: no data, with the SOA", async (type) => {
      const dug = await dig(...at, ZONE, type);
      expect(dug).toMatchObject({ status: "NOERROR", flags: "qr aa rd", answers: [] });
      expect(dug.text).toMatch(/AUTHORITY SECTION:\n_acme-challenge\S+\s+1\s+IN\s+SOA/);
    });

    test("a name below: NXDOMAIN, with the SOA", async () => {
      const dug = await dig(...at, `nothing.${ZONE}`, "TXT");
      expect(dug).toMatchObject({ status: "NXDOMAIN", flags: "qr aa rd", answers: [] });
      expect(dug.text).toMatch(/AUTHORITY SECTION:\n_acme-challenge\S+\s+1\s+IN\s+SOA/);
    });

    test.each([["example.org", "A"], ["gent01.grid.example", "NS"], [".", "NS"], ["version.bind", "TXT"]])("%s %s: REFUSED, without authority", async (name, type) => {
      expect(await dig(...at, name, type)).toMatchObject({ status: "REFUSED", flags: "qr rd", answers: [] });
    });

    test("another class: REFUSED", async () => {
      expect((await dig(...at, "-c", "CH", ZONE, "TXT")).status).toBe("REFUSED");
    });

    test("mixed case comes back as it was asked", async () => {
      const name = "_AcMe-chaLLenge.GenT01.Grid.EXAMPLE";
      const dug = await dig(...at, name, "TXT");
      expect(dug.text).toContain(`;${name}.`);
      expect(dug.answers).toEqual(VALUES.map((value) => `${name}. 1 IN TXT "${value}"`));
    });

    test("without recursion desired, the flag stays away", async () => {
      expect((await dig(...at, "+norecurse", ZONE, "TXT")).flags).toBe("qr aa");
    });

    test("other opcodes: NOTIMP", async () => {
      expect((await dig(...at, "+opcode=STATUS", ZONE, "TXT")).status).toBe("NOTIMP");
      expect((await dig(...at, "+opcode=NOTIFY", ZONE, "SOA")).status).toBe("NOTIMP");
    });
  });

  test("EDNS: version 0, our size, DO copied, a cookie and a client subnet ignored", async () => {
    const dug = await dig("@127.0.0.1", "+dnssec", "+subnet=192.0.2.0/24", "+cookie=0102030405060708", "+nsid", ZONE, "TXT");
    expect(dug.status).toBe("NOERROR");
    expect(dug.text).toContain("; EDNS: version: 0, flags: do; udp: 1232");
  });

  test("EDNS version 1: BADVERS", async () => {
    expect((await dig("@127.0.0.1", "+edns=1", "+noednsneg", ZONE, "TXT")).status).toBe("BADVERS");
  });

  test("an unknown EDNS option and flag are ignored", async () => {
    expect((await dig("@127.0.0.1", "+ednsopt=65001:0102", "+ednsflags=0x40", ZONE, "TXT")).answers).toHaveLength(2);
  });

  test("a query with nothing but a header: FORMERR", async () => {
    expect(await run("@127.0.0.1", "+header-only")).toContain("status: FORMERR");
  });

  test("zone transfers fail", async () => {
    expect(await run("@127.0.0.1", ZONE, "AXFR")).toContain("; Transfer failed.");
    expect(await run("@127.0.0.1", ZONE, "IXFR=1")).toContain("; Transfer failed.");
  });

  test("several queries on one connection", async () => {
    const text = await run("@127.0.0.1", "+tcp", "+keepopen", ZONE, "TXT", ZONE, "SOA", ZONE, "CAA");
    expect(text.match(/status: NOERROR/g)).toHaveLength(3);
  });

  describe("with more values than fit", () => {
    const more = Array.from({ length: 30 }, (_, i) => `more-${i}`.padEnd(43, "x"));
    beforeAll(() => { for (const value of more) server.present(value); });
    afterAll(() => { for (const value of more) server.cleanup(value); });

    test.each([["+noedns"], ["+bufsize=512"], ["+bufsize=4096"]])("%s: truncated over UDP, without a part of the answer", async (size) => {
      const dug = await dig("@127.0.0.1", "+ignore", size, ZONE, "TXT");
      expect(dug).toMatchObject({ status: "NOERROR", flags: "qr aa tc rd", answers: [] });
      expect(Number(/MSG SIZE\s+rcvd: (\d+)/.exec(dug.text)?.[1])).toBeLessThan(100);
    });

    test("dig comes back over TCP, and gets all", async () => {
      const text = await run("@127.0.0.1", ZONE, "TXT");
      expect(text).toContain(";; Truncated, retrying in TCP mode.");
      expect(text).toContain(`ANSWER: ${VALUES.length + more.length}`);
    });
  });
});
