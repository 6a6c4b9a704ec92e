// The shipped table over TLS: desktops by every token source, what pods hear about the client, and what is said of https to
// browsers: origins, redirects, HSTS. Over HTTP/1.1 byte by byte, and by curl over HTTP/2.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { HAS_OPENSSL } from "../support/certificates.ts";
import { type Answer, ask, head } from "../support/http.ts";
import { curl, type Ran, TlsDoor } from "../support/https-client.ts";
import { HttpsRouter } from "../support/https-router.ts";
import { answerRecord, answerWith, type Seen } from "../support/pod.ts";
import { RawClient } from "../support/raw.ts";
import { OP, WsClient } from "../support/ws-client.ts";

let router: HttpsRouter;
/** Plain clients through it speak TLS to desk.test. */
let door: TlsDoor;

beforeAll(async () => {
  if (!HAS_OPENSSL) return;
  router = await HttpsRouter.start({ tls: (files) => files.section(["desk"], "hsts: 365d") });
  door = await TlsDoor.open(router, "desk.test");
});
afterEach(() => {
  if (!HAS_OPENSSL) return;
  router.pod.seen.length = 0;
  router.pod.answer(answerRecord);
});
afterAll(async () => {
  door?.close();
  await router?.stop();
});

const host = (): string => `Host: desk.test:${router.port}`;
const bearer = (): string => `Authorization: Bearer ${router.token()}`;

/** What the pod got last. */
function seen(): Seen {
  return router.pod.seen.at(-1) as Seen;
}

/** A request over TLS. */
function askSecurely(method: string, target: string, lines: readonly string[] = []): Promise<Answer> {
  return ask(door.port, head(method, target, [host(), ...lines]));
}

async function openSocket(target: string, headers: Record<string, string> = {}): Promise<WsClient> {
  return WsClient.try(door.port, target, { headers: { Host: `desk.test:${router.port}`, ...headers } });
}

describe.skipIf(!HAS_OPENSSL)("a desktop over https", () => {
  test.each([
    ["the header Authorization", () => ["/filer/a?b=c", [bearer()]]],
    ["the header AbcAuthorization", () => ["/filer/a?b=c", [`AbcAuthorization: ${router.token()}`]]],
    ["the path", () => [`/container/${router.token()}/${router.pod.port("file_service_tcp_port")}/filer/a?b=c`, []]],
  ] as ReadonlyArray<readonly [string, () => [string, string[]]]>)("is found by a token in %s, and told https without the token", async (_where, make) => {
    const [target, lines] = make();
    const answer = await askSecurely("GET", target, lines);
    expect(answer.status).toBe(200);
    expect(seen()).toMatchObject({ port: "file_service_tcp_port", target: "/filer/a?b=c" });
    expect(seen().headers).toMatchObject({ "x-forwarded-proto": ["https"], "x-forwarded-host": [`desk.test:${router.port}`], "x-real-ip": ["127.0.0.1"], "x-forwarded-for": ["127.0.0.1"] });
    expect(seen().head).not.toContain("eyJ");
  });

  test.each([
    ["a parameter", (token: string) => `/websockify?jwt_token=${token}`, "ws_tcp_bridge_tcp_port"],
    ["the query", (token: string) => `/websockify?${token}`, "ws_tcp_bridge_tcp_port"],
    ["the path", (token: string) => `/container/${token}/${router.pod.port("sound_service_tcp_port")}/`, "sound_service_tcp_port"],
  ])("has WebSockets by a token in %s", async (_where, target, port) => {
    const socket = await openSocket(target(router.token()), { Origin: `https://desk.test:${router.port}` });
    expect(socket.status).toBe(101);
    expect(socket.header("strict-transport-security")).toBe("max-age=31536000");
    socket.send(OP.binary, Buffer.from([1, 2, 3]));
    await socket.until(() => socket.messages.length === 1);
    expect(socket.messages).toEqual([{ isText: false, data: Buffer.from([1, 2, 3]) }]);
    expect(seen()).toMatchObject({ port });
    expect(seen().headers).toMatchObject({ "x-forwarded-proto": ["https"], "x-real-ip": ["127.0.0.1"] });
    expect(seen().head).not.toContain("eyJ");
    socket.sendClose(1000);
    await socket.ended();
    await router.pod.until(() => router.app.counts.sessions === 0);
    expect(router.events("access").at(-1)).toMatchObject({ status: 101, client: "127.0.0.1", bytes_in: 3, bytes_out: 3 });
    expect(router.log.text).not.toContain("eyJ");
  });

  test.each([["no token", []], ["a forged one", ["Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.e30.AAAA"]]])("is nobody's with %s", async (_what, lines) => {
    expect((await askSecurely("GET", "/filer/a", lines)).status).toBe(401);
    expect(router.pod.seen).toEqual([]);
  });

  test("is told the client's own address, not that of the way through TLS", async () => {
    const { stdout } = await curl(router, "desk.test", "/filer/a", "--interface", "127.0.0.5", "-H", bearer(), "-o", "/dev/null", "-w", "%{http_version} %{http_code}");
    expect(stdout).toBe("2 200");
    expect(seen().headers).toMatchObject({ "x-real-ip": ["127.0.0.5"], "x-forwarded-for": ["127.0.0.5"], "x-forwarded-proto": ["https"] });
    expect(router.events("access").at(-1)).toMatchObject({ client: "127.0.0.5", status: 200 });
  });

  test("believes no stranger about where a request comes from", async () => {
    await askSecurely("GET", "/filer/a", [bearer(), "X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: http", "X-Real-IP: 203.0.113.9", "Forwarded: for=203.0.113.9;proto=http"]);
    expect(seen().headers).toMatchObject({ "x-real-ip": ["127.0.0.1"], "x-forwarded-for": ["127.0.0.1"], "x-forwarded-proto": ["https"] });
    expect(seen().headers["forwarded"]).toBeUndefined();
  });
});

describe.skipIf(!HAS_OPENSSL)("a trusted proxy that speaks TLS to us", () => {
  test("says who the client is, and how it came", async () => {
    const trusting = await HttpsRouter.start({ env: { ROUTE_TRUSTED_PROXIES: "127.0.0.5" } });
    try {
      const headers = ["-H", `Authorization: Bearer ${trusting.token()}`, "-H", "X-Forwarded-For: 203.0.113.9", "-H", "X-Forwarded-Proto: http"];
      const told = async (from: string): Promise<Record<string, string[]>> => {
        await curl(trusting, "desk.test", "/filer/a", "--interface", from, ...headers);
        return trusting.pod.seen.at(-1)?.headers ?? {};
      };
      expect(await told("127.0.0.5")).toMatchObject({ "x-real-ip": ["203.0.113.9"], "x-forwarded-for": ["203.0.113.9, 127.0.0.5"], "x-forwarded-proto": ["http"] });
      expect(await told("127.0.0.6")).toMatchObject({ "x-real-ip": ["127.0.0.6"], "x-forwarded-for": ["127.0.0.6"], "x-forwarded-proto": ["https"] });
    } finally {
      await trusting.stop();
    }
  });
});

describe.skipIf(!HAS_OPENSSL)("the Origin of a WebSocket over https", () => {
  const CASES: ReadonlyArray<readonly [origin: string, host: string, status: number]> = [
    ["https://desk.test:PORT", "desk.test:PORT", 101], ["https://DESK.test:PORT", "desk.test:PORT", 101],
    ["https://desk.test", "desk.test", 101], ["https://desk.test", "desk.test:443", 101], ["https://desk.test:443", "desk.test", 101],
    ["https://desk.test", "desk.test:PORT", 403], ["https://desk.test:1", "desk.test:PORT", 403], ["https://desk.test.evil", "desk.test", 403],
    ["https://evil.test:PORT", "desk.test:PORT", 403], ["https://desk.test@evil.test", "desk.test", 403], ["null", "desk.test", 403], ["wss://desk.test", "desk.test", 403],
  ];
  test.each(CASES)("%s at the host %s gets %d", async (origin, name, status) => {
    const [from, to] = [origin, name].map((text) => text.replace("PORT", String(router.port))) as [string, string];
    const socket = await openSocket(`/websockify?jwt_token=${router.token()}`, { Host: to, Origin: from });
    expect(socket.status).toBe(status);
    expect(router.pod.seen.length).toBe(status === 101 ? 1 : 0);
    socket.close();
  });
});

describe.skipIf(!HAS_OPENSSL)("a redirect of a service over https", () => {
  const own = (): string => `127.0.1.1:${router.pod.port("file_service_tcp_port")}`;

  test.each([
    ["to its own address", () => `http://${own()}/filer/x?y=1`, "/filer/x?y=1"],
    ["to its own address, as https because it was told so", () => `https://${own()}/filer/x`, "/filer/x"],
    ["within its own address", () => "/filer/x", "/filer/x"],
    ["to somebody else", () => "https://elsewhere.test/", "https://elsewhere.test/"],
    ["to the name that the client knows", () => "https://desk.test/filer/", "https://desk.test/filer/"],
  ])("%s leads where the client can follow", async (_what, location, expected) => {
    router.pod.answer(answerWith(`HTTP/1.1 302 Found\r\nLocation: ${location()}\r\nContent-Length: 0\r\n\r\n`));
    const answer = await askSecurely("GET", "/filer/", [bearer()]);
    expect([answer.status, answer.one("location")]).toEqual([302, expected]);
    const { stdout } = await curl(router, "desk.test", "/filer/", "-H", bearer(), "-o", "/dev/null", "-w", "%{http_version} %header{location}");
    expect(stdout).toBe(`2 ${expected}`);
  });
});

describe.skipIf(!HAS_OPENSSL)("plain requests", () => {
  const plainly = (method: string, target: string, lines: readonly string[]): Promise<Answer> => ask(router.httpPort, head(method, target, lines));

  test.each([
    ["GET", "/filer/a%20b/?x=1&y=%2f", "Host: desk.test"], ["POST", "/API/manager", "Host: desk.test:80"], ["GET", "/", "Host: DESK.Test."], ["HEAD", "/healthz", "Host: desk.test"],
  ])("%s %s for a host with a certificate goes to https", async (method, target, line) => {
    const answer = await plainly(method, target, [line]);
    expect([answer.status, answer.one("location")]).toEqual([308, `https://desk.test:${router.port}${target}`]);
    expect(answer.one("strict-transport-security")).toBeNull();
    expect(router.pod.seen).toEqual([]);
    expect(router.events("access").at(-1)).toMatchObject({ status: 308, method });
  });

  test("a WebSocket is sent there as well, rather than bridged in the clear", async () => {
    const socket = await WsClient.try(router.httpPort, `/websockify?jwt_token=${router.token()}`, { headers: { Host: "desk.test" } });
    expect(socket.status).toBe(308);
    expect(router.pod.seen).toEqual([]);
    socket.close();
  });

  test.each(["127.0.0.1", "10.0.0.7:8080", "[::1]", "other.test", "desk.test.evil", "localhost"])("for %s, which no certificate has, are served: probes use addresses", async (name) => {
    const answer = await plainly("GET", "/healthz", [`Host: ${name}`]);
    expect([answer.status, answer.body, answer.one("location"), answer.one("strict-transport-security")]).toEqual([200, "OK\n", null, null]);
  });

  test("are served for every host when the redirect is off", async () => {
    const plain = await HttpsRouter.start({ tls: (files) => files.section(["desk"], "redirect: false") });
    try {
      expect((await ask(plain.httpPort, head("GET", "/healthz", ["Host: desk.test"]))).status).toBe(200);
      expect((await curl(plain, "desk.test", "/healthz", "-i")).stdout).toMatch(/^HTTP\/2 200 [^]*\r\n\r\nOK\n$/);
    } finally {
      await plain.stop();
    }
  });

  test("at the TLS address are told so, and not answered with anything else", async () => {
    const client = await RawClient.ask(router.port, "GET /healthz HTTP/1.1\r\nHost: desk.test\r\n\r\n");
    expect([client.status, client.body]).toEqual([400, "this address speaks HTTPS, not HTTP\n"]);
  });
});

describe.skipIf(!HAS_OPENSSL)("Strict-Transport-Security", () => {
  const hsts = ({ stdout }: Ran): string[] => [...stdout.matchAll(/^strict-transport-security: (.*)\r$/gim)].map(([, value = ""]) => value);

  test.each([["/healthz", "200"], ["/filer/", "401"], ["/container", "404"]])("is said once with %s over either protocol", async (path, status) => {
    for (const version of ["--http1.1", "--http2"]) {
      const ran = await curl(router, "desk.test", path, "-i", version);
      expect(ran.stdout).toContain(` ${status}`);
      expect(hsts(ran)).toEqual(["max-age=31536000"]);
    }
  });

  test("is ours, not the service's", async () => {
    router.pod.answer(answerWith("HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=1\r\nContent-Length: 0\r\n\r\n"));
    expect(hsts(await curl(router, "desk.test", "/filer/", "-i", "-H", bearer()))).toEqual(["max-age=31536000"]);
  });
});
