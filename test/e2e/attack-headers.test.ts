// Header fields under attack, judged by what an upstream got: every byte in names, values and hosts, by HTTP/1.1 and HTTP/2 alike;
// every spelling of a name that we vouch for; limits to the byte; and a log that stays one line of JSON a request.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { HAS_OPENSSL } from "../support/certificates.ts";
import { type Answer, ask, converse, head, inTurn } from "../support/http.ts";
import type { Field, H2Client } from "../support/https-h2.ts";
import { type Recorded, valuesOf } from "../support/recorder.ts";
import { RecordingRouter } from "../support/recording-router.ts";

let router: RecordingRouter;
/** 127.0.0.1, where the tests' clients are, is a proxy that it trusts. */
let trusting: RecordingRouter;
beforeAll(async () => {
  if (!HAS_OPENSSL) return;
  router = await RecordingRouter.start();
  trusting = await RecordingRouter.start({ env: { ROUTE_TRUSTED_PROXIES: "127.0.0.0/8" } });
});
afterAll(async () => {
  await router?.stop();
  await trusting?.stop();
});
beforeEach(() => {
  router?.reset();
  trusting?.reset();
});

const BYTES = Array.from({ length: 256 }, (_, code) => String.fromCharCode(code));
const TCHAR = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]$/;
const shown = (text: string): string => JSON.stringify(text);

const withH2 = async (use: (client: H2Client) => Promise<void>, at = router): Promise<void> => {
  const client = await at.h2();
  try {
    await use(client);
  } finally {
    client.close();
  }
};

/** Asks by HTTP/1.1 and gives what arrived. */
async function arrivedFor(lines: readonly string[], at = router): Promise<Recorded | null> {
  at.reset();
  await converse(at.port, head("GET", "/API/x", lines));
  expect([lines, at.faults]).toEqual([lines, []]);
  return at.arrived[0] ?? null;
}

/** Asks by HTTP/2 and gives what arrived. */
async function arrivedForH2(client: H2Client, fields: readonly Field[], at = router): Promise<Recorded | null> {
  at.reset();
  await client.ended(client.get("/API/x", fields));
  expect([fields, at.faults]).toEqual([fields, []]);
  return at.arrived[0] ?? null;
}

describe.skipIf(!HAS_OPENSSL)("every byte", () => {
  test("in a value arrives as it is or not at all, by both protocols", async () => {
    await withH2(async (client) => {
      for (const byte of BYTES) {
        const isValue = /^[\t\x20-\xff]$/.test(byte);
        const one = await arrivedFor([`X-A: a${byte}b`]);
        expect([shown(byte), one === null ? null : valuesOf(one, "x-a")]).toEqual([shown(byte), isValue ? [`a${byte}b`] : null]);
        const two = await arrivedForH2(client, [["x-a", `a${byte}b`]]);
        // HTTP/2 is stricter about DEL and other control characters, never laxer.
        if (two !== null) expect([shown(byte), valuesOf(two, "x-a")]).toEqual([shown(byte), isValue ? [`a${byte}b`] : null as never]);
        else expect([shown(byte), /^[\t\x20-\x7e\x80-\xff]$/.test(byte)]).toEqual([shown(byte), false]);
      }
    });
  });

  test("in a name arrives as a name or not at all, by both protocols", async () => {
    await withH2(async (client) => {
      for (const byte of BYTES) {
        const one = await arrivedFor([`Xa${byte}b: z`]);
        // A colon ends the name; what we do not pass on for its underscore is tested below.
        if (byte === ":") expect(one === null ? null : valuesOf(one, "xa")).toEqual(["b: z"]);
        else if (byte === "_") expect(one?.text).not.toMatch(/^xa.b:/im);
        else expect([shown(byte), one === null ? null : valuesOf(one, `xa${byte}b`)]).toEqual([shown(byte), TCHAR.test(byte) ? ["z"] : null]);
        const two = await arrivedForH2(client, [[`xa${byte}b`, "z"]]);
        const isLower = TCHAR.test(byte) && !/[A-Z]/.test(byte);
        if (byte !== "_") expect([shown(byte), two === null ? null : valuesOf(two, `xa${byte}b`)]).toEqual([shown(byte), isLower ? ["z"] : null]);
      }
    });
  });

  test("in a host is a host's or gets 400, by both protocols", async () => {
    await withH2(async (client) => {
      for (const byte of BYTES) {
        const isHost = /^[A-Za-z0-9._-]$/.test(byte);
        const one = await arrivedFor([`Host: a${byte}b`]);
        // The control plane sees the client's Host.
        expect([shown(byte), one === null ? null : valuesOf(one, "x-forwarded-host")]).toEqual([shown(byte), isHost ? [`a${byte}b`] : null]);
        router.reset();
        await client.ended(client.request([[":method", "GET"], [":scheme", "https"], [":authority", `a${byte}b`], [":path", "/API/x"]]));
        expect([shown(byte), router.arrived.map((request) => valuesOf(request, "x-forwarded-host")[0]), router.faults]).toEqual([shown(byte), isHost ? [`a${byte}b`] : [], []]);
      }
    });
  }, 20_000);

  test("in the method and the version is refused, and nothing arrives", async () => {
    for (const byte of BYTES) {
      for (const line of [`G${byte}T /API/x HTTP/1.1`, `GET${byte}/API/x HTTP/1.1`, `GET /API/x${byte}HTTP/1.1`, `GET /API/x HTTP${byte}1.1`, `GET /API/x HTTP/1${byte}1`, `GET /API/x HTTP/1.1${byte}`]) {
        if (["GET /API/x HTTP/1.1", "GET /API/x HTTP/1.0"].includes(line) || (line.startsWith(`GET${byte}`) && byte === " ")) continue;
        await converse(router.port, `${line}\r\nHost: localhost\r\n\r\n`, { timeoutMs: 2000 });
        expect([shown(line), router.arrived.filter(({ target }) => target === "/API/x"), router.faults]).toEqual([shown(line), [], []]);
        router.reset();
      }
    }
  }, 60_000);
});

describe.skipIf(!HAS_OPENSSL)("a name that we vouch for", () => {
  const VOUCHED = ["x-real-ip", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id", "x-forwarded-user", "x-forwarded-prefix", "x-forwarded-port", "x-forwarded-ssl", "forwarded"];
  const OTHERS = [..."!#$%&'*+.^_`|~"];
  /** One separator, the other one, and both. */
  const spellings = (name: string): string[] => [name, name.toUpperCase(), ...OTHERS.flatMap((other) => [name.replaceAll("-", other), name.replace("-", other), name.replace(/-(?=[^-]*$)/, other)])];

  test.each(VOUCHED)("%s does not arrive from a stranger, in any spelling that a server may take for it", async (name) => {
    await withH2(async (client) => {
      for (const spelling of new Set(spellings(name))) {
        expect([spelling, (await arrivedFor([`${spelling}: 6.6.6.6`]))?.text.includes("6.6.6.6")]).toEqual([spelling, false]);
        if (spelling !== spelling.toLowerCase()) continue;
        expect([spelling, (await arrivedForH2(client, [[spelling, "6.6.6.6"]]))?.text.includes("6.6.6.6")]).toEqual([spelling, false]);
      }
    });
  });

  test.each(VOUCHED)("%s is believed from a trusted proxy in its own spelling only", async (name) => {
    for (const spelling of new Set(spellings(name))) {
      if (spelling.toLowerCase() === name) continue;
      expect([spelling, (await arrivedFor([`${spelling}: 6.6.6.6`], trusting))?.text.includes("6.6.6.6")]).toEqual([spelling, false]);
    }
  });

  test.each(["Content-Length", "Transfer-Encoding", "Host", "Connection", "Upgrade", "TE", "Expect"])("%s is ours alone, and its lookalikes are dropped", async (name) => {
    for (const spelling of spellings(name.toLowerCase())) {
      if (!/[^a-z-]/.test(spelling.toLowerCase())) continue;
      expect([spelling, (await arrivedFor([`${spelling}: chunked`]))?.text.includes("chunked")]).toEqual([spelling, false]);
    }
  });

  test("goes upstream exactly once, however often it came", async () => {
    for (const at of [router, trusting]) {
      const request = await arrivedFor(VOUCHED.flatMap((name) => [`${name}: 203.0.113.9`, `${name}: 203.0.113.8`]), at);
      for (const name of ["host", "x-real-ip", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id"]) {
        expect([name, valuesOf(request as Recorded, name).length]).toEqual([name, 1]);
      }
    }
  });

  test("other names with odd characters arrive: they are the service's own affair", async () => {
    for (const name of ["x.custom", "x+y", "sec-fetch-mode", "x-forwardedfoo", "my-x-forwarded-for", "x!"]) {
      expect([name, valuesOf(await arrivedFor([`${name}: 7.7.7.7`]) as Recorded, name)]).toEqual([name, ["7.7.7.7"]]);
    }
  });
});

describe.skipIf(!HAS_OPENSSL)("what Connection names", () => {
  const OURS = ["host", "x-real-ip", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id"];

  test.each([
    ["one by one", OURS], ["in capitals", OURS.map((name) => name.toUpperCase())], ["in one line", [OURS.join(", ")]], ["without spaces", [OURS.join(",")]], ["with tabs", [OURS.join("\t,\t")]],
    ["with empty elements", [`,,${OURS.join(",,")},`]], ["beside close", [`close, ${OURS.join(", ")}`]], ["beside keep-alive", [`keep-alive, ${OURS.join(", ")}`]], ["a thousand times", [Array.from({ length: 1000 }, () => "x-real-ip").join(",")]],
  ])("takes away nothing of ours: %s", async (_name, values) => {
    const request = await arrivedFor(values.map((value) => `Connection: ${value}`));
    for (const name of OURS) expect([name, valuesOf(request as Recorded, name).length]).toEqual([name, 1]);
  });

  test("takes away what its client sent, and that only: in every spelling of the option", async () => {
    for (const option of ["X-Hop", "x-hop", "X-HOP", " x-hop ", "a, x-hop", "x-hop,b"]) {
      const request = await arrivedFor([`Connection: ${option}`, "X-Hop: 1", "X-Hop-Two: 2", "Cookie: c=1"]) as Recorded;
      expect([option, valuesOf(request, "x-hop"), valuesOf(request, "x-hop-two"), valuesOf(request, "cookie")]).toEqual([option, [], ["2"], ["c=1"]]);
    }
  });

  test("does not hide a token from us, nor keep it on its way to a desktop", async () => {
    for (const option of ["Authorization", "AbcAuthorization", "close, authorization"]) {
      router.reset();
      const { answers } = await converse(router.port, head("GET", "/filer/x", [`Connection: ${option}`, router.bearer()]));
      expect([option, answers[0]?.status, router.filer.requests.map((request) => valuesOf(request, "authorization"))]).toEqual([option, 200, [[]]]);
    }
  });

  test("leaves a body's framing alone", async () => {
    for (const [lines, body] of [[["Content-Length: 3"], "abc"], [["Transfer-Encoding: chunked"], "3\r\nabc\r\n0\r\n\r\n"]] as const) {
      router.reset();
      const { answers } = await inTurn(router.port, [head("POST", "/API/x", [...lines, "Connection: Content-Length, Transfer-Encoding"]) + body]);
      // Bun.serve may refuse the one or the other; what arrives is whole.
      expect([answers[0]?.status === 200, router.faults]).toEqual([router.arrived.length === 1, []]);
      for (const request of router.arrived) expect(request.body).toBe("abc");
    }
  });
});

describe.skipIf(!HAS_OPENSSL)("limits", () => {
  const sizeOf = (lines: readonly string[]): number => ["Host: localhost", ...lines].reduce((sum, line) => sum + line.length + 2, 0);
  const LIMIT = 32 * 1024;

  test("of bytes are kept to the byte, and the connection serves the next request after a refusal", async () => {
    const filler = `X: ${"x".repeat(LIMIT - sizeOf(["X: "]))}`;
    expect(sizeOf([filler])).toBe(LIMIT);
    const { answers } = await inTurn(router.port, [head("GET", "/API/x", [filler]), head("GET", "/API/x", [`${filler}x`]), head("GET", "/API/next")]);
    expect(answers.map(({ status }) => status)).toEqual([200, 431, 200]);
    expect(router.targets).toEqual(["pyos GET /API/x", "pyos GET /API/next"]);
  });

  test("of a name are those of the head", async () => {
    const [short, long] = [`${"x".repeat(20_000)}: y`, `${"x".repeat(33_000)}: y`];
    const { answers } = await inTurn(router.port, [head("GET", "/API/x", [short]), head("GET", "/API/x", [long])]);
    expect(answers.map(({ status }) => status)).toEqual([200, 431]);
    expect(router.arrived.length).toBe(1);
  });

  test("of the count are kept to the one, counting Host", async () => {
    const lines = Array.from({ length: 99 }, (_, index) => `X-${index}: y`);
    const { answers } = await inTurn(router.port, [head("GET", "/API/x", lines), head("GET", "/API/x", [...lines, "X-99: y"]), head("GET", "/API/next")]);
    expect(answers.map(({ status }) => status)).toEqual([200, 431, 200]);
    expect(router.arrived.length).toBe(2);
  });

  test.each([
    ["64 KiB in one field", [`X: ${"x".repeat(65_536)}`]], ["2,000 fields", Array.from({ length: 2000 }, (_, index) => `X-${index}: y`)], ["2,000 times the same field", Array.from({ length: 2000 }, () => "X: y")],
    ["a megabyte", [`X: ${"x".repeat(2 ** 20)}`]], ["16,000 empty fields", Array.from({ length: 16_000 }, () => "X:")], ["64 KiB of cookies", Array.from({ length: 70 }, () => `Cookie: ${"c".repeat(1000)}`)],
  ])("refuse %s without anything upstream, and the next client is served", async (_name, lines) => {
    for (const port of [router.port, router.door.port]) {
      const { answers, isClosed } = await converse(port, head("GET", "/API/x", lines)).catch(() => ({ answers: [] as Answer[], isClosed: true }));
      expect([answers.map(({ status }) => status).every((status) => status === 431), isClosed || answers.length === 1]).toEqual([true, true]);
      expect(router.arrived).toEqual([]);
    }
    await router.expectClean();
  });

  test("over HTTP/2 count what a field becomes, also when it came as crumbs", async () => {
    await withH2(async (client) => {
      const crumbs = (count: number): Field[] => Array.from({ length: count }, (_, index): Field => ["cookie", `c${index}=v`]);
      // RFC 9113 section 8.2.3: cookies come one by one and go on as one field.
      const request = await arrivedForH2(client, crumbs(3));
      expect(valuesOf(request as Recorded, "cookie")).toEqual(["c0=v; c1=v; c2=v"]);
      expect((await client.ended(client.get("/API/x", [["x", "x".repeat(33_000)]]))).status).toBe(431);
      expect((await client.ended(client.get("/API/x"))).status).toBe(200);
    });
  });
});

describe.skipIf(!HAS_OPENSSL)("Host", () => {
  test.each([
    "localhost.", "LOCALHOST", "localhost:0", "localhost:65535", "localhost:00080", "[::1]:8080", "127.1", "0x7f.1", "2130706433", "a".repeat(63), `${"a".repeat(60)}.test`, "xn--e1afmkfd.test", "_dmarc.test", "a-.test",
  ])("%p is passed on as it came", async (host) => {
    expect(valuesOf(await arrivedFor([`Host: ${host}`]) as Recorded, "x-forwarded-host")).toEqual([host]);
  });

  test.each([
    "localhost:65536", "localhost:-1", "localhost:+80", "localhost:8o", "localhost:80:80", "localhost:", ":80", ":", ".", ".localhost", "a..b", "[::1", "::1", "[::1]x", "[]", "[::1]:", "[g::1]", "a,b", "a b", "a\tb", "a/b", "a\\b",
    "a?b", "a#b", "a@b", "@b", "a%2eb", "a;b", "a=b", "a'b", "a\"b", "a<b", "(a)", "a*b", "*", "http://a", "a\x7fb", "a\x80b", "\u00e9", "a".repeat(257), `${"a".repeat(300)}.test`,
  ])("%p gets 400, and nothing arrives", async (host) => {
    const { answers } = await converse(router.port, head("GET", "/API/x", [`Host: ${host}`]));
    expect([answers[0]?.status, router.arrived]).toEqual([400, []]);
  });

  test.each([
    ["two of them", ["Host: localhost", "Host: evil.test"]], ["two the other way round", ["Host: evil.test", "Host: localhost"]], ["two that are the same", ["Host: localhost", "Host: localhost"]], ["a good one and an empty one", ["Host: localhost", "Host:"]],
    ["a folded one", ["Host: localhost\r\n evil.test"]], ["a space before its colon", ["Host : localhost"]], ["only its lookalike", ["Host_: localhost", "X-Host: localhost", "hosT\t: localhost"]],
  ])("%s gets 400, and nothing arrives", async (_name, lines) => {
    const request = `GET /API/x HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`;
    const { answers } = await converse(router.port, request);
    expect([answers[0]?.status, router.arrived]).toEqual([400, []]);
  });

  test("is taken from :authority over HTTP/2, and a host field that says otherwise is refused", async () => {
    await withH2(async (client) => {
      const ask2 = async (fields: readonly Field[]): Promise<string[]> => {
        router.reset();
        await client.ended(client.request([[":method", "GET"], [":scheme", "https"], [":path", "/API/x"], ...fields]));
        return router.arrived.map((request) => valuesOf(request, "x-forwarded-host")[0] as string);
      };
      expect(await ask2([[":authority", "one.test"]])).toEqual(["one.test"]);
      expect(await ask2([["host", "one.test"]])).toEqual(["one.test"]);
      // An empty field says nothing.
      expect(await ask2([[":authority", "one.test"], ["host", ""]])).toEqual(["one.test"]);
      for (const host of ["two.test", "one.test:1", "one.test.", "one.test, one.test"]) expect([host, await ask2([[":authority", "one.test"], ["host", host]])]).toEqual([host, []]);
      expect(await ask2([["host", "one.test"], ["host", "two.test"]])).toEqual([]);
    });
  });
});

describe.skipIf(!HAS_OPENSSL)("a request id", () => {
  const own = /^[0-9a-f]{13,32}$/;
  test.each(["", " ", "x".repeat(65), "a b", "a,b", "a\"b", "a\\nb", "<script>", "a/../b", "\x1b[2J", "a\tb", "é", "${jndi:ldap://x}", "%0d%0a", "{}", "a=b"])("%p is not believed, even from a trusted proxy, by either protocol", async (id) => {
    await withH2(async (client) => {
      const answer = (await converse(trusting.port, head("GET", "/API/x", [`X-Request-Id: ${id}`]))).answers[0] as Answer;
      if (answer.status === 200) expect(answer.one("x-request-id")).toMatch(own);
      await client.ended(client.get("/API/x", [["x-request-id", id]]));
      trusting.router.app.log.close();
      for (const line of trusting.router.events("access")) expect(line["request_id"]).toMatch(own);
    }, trusting);
  });

  test("that came twice is nobody's", async () => {
    expect((await ask(trusting.port, head("GET", "/API/x", ["X-Request-Id: a", "X-Request-Id: b"]))).one("x-request-id")).toMatch(own);
  });
});

describe.skipIf(!HAS_OPENSSL)("the log", () => {
  const EVIL = ["\"},{\"level\":\"error\"", "\\\",\\\"", "a\x9bb", "\xe2\x80\xa8", "</script>", "${jndi:ldap://x}", "%0d%0a{\"x\":1}", "\x7f"];
  test.each(EVIL)("is one line of JSON for %p in everything that HTTP/2 can say", async (evil) => {
    const before = router.router.events("access").length;
    await withH2(async (client) => {
      const path = encodeURI(`/API/${evil}`).replaceAll("%25", "%");
      await client.ended(client.request(client.fields("GET", path, [["user-agent", evil], ["referer", evil], ["x-request-id", evil], ["x-forwarded-for", evil], ["origin", evil], ["cookie", evil]])));
      await client.ended(client.request(client.fields("GET", `/API/x?${path}`)));
      await client.ended(client.request(client.fields("GET", `/container/${encodeURIComponent(evil)}/1/x`)));
    });
    // Each is parsed; what is refused by the server itself has no line.
    for (const line of router.router.events("access").slice(before)) expect(line).toMatchObject({ level: "info", message: "access" });
    expect(router.router.log.text.split("\n").filter((line) => line !== "" && !line.startsWith("{\"time\":"))).toEqual([]);
    // oxlint-disable-next-line no-control-regex
    expect(router.router.log.text).not.toMatch(/[\0-\x09\x0b-\x1f\x7f]/);
  });
});
