// TLS towards the Kubernetes API and the service account's files: whom the credentials are sent to, what happens when either
// is not as it should be, and that both may be rotated under a running router.

import { afterEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { CONSOLES_TEXT } from "../../src/config/consoles.ts";
import { eventually } from "../support/eventually.ts";
import { type ConsoleRouter, consoleRouter, HAS_OPENSSL, KubernetesApi, NAMESPACE } from "../support/kubernetes.ts";
import { TlsPod } from "../support/tls-pod.ts";
import { OP, WsClient } from "../support/ws-client.ts";

const HURRIED = `${CONSOLES_TEXT}\nupstream:\n  connectTimeout: 300ms\n`;

const cleanups: Array<() => unknown> = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function startApi(options: Parameters<typeof KubernetesApi.start>[0] = {}): Promise<KubernetesApi> {
  const api = await KubernetesApi.start(options);
  cleanups.push(() => api.stop());
  api.addVm({ namespace: NAMESPACE, name: "ubuntu" });
  return api;
}

async function startRouter(...options: Parameters<typeof consoleRouter>): Promise<ConsoleRouter> {
  const router = await consoleRouter(...options);
  cleanups.push(() => router.stop());
  return router;
}

async function visit(router: ConsoleRouter): Promise<WsClient> {
  const client = await WsClient.try(router.port, router.path("ubuntu"), { timeoutMs: 8000 });
  cleanups.push(() => client.close());
  if (client.status !== 101) await client.until(() => client.rest.length >= Number(client.header("content-length") ?? 0));
  return client;
}

async function echoes(client: WsClient): Promise<void> {
  const before = client.dataBytes;
  client.send(OP.binary, "RFB 003.008\n");
  await client.until(() => client.dataBytes === before + 12);
}

function reasonOf(router: ConsoleRouter): string {
  return String(router.lines.findLast(({ message }) => message === "access")?.["reason"]);
}

function expectRefusal(client: WsClient, status: number, text: string): void {
  expect(client.head.split("\r\n")[0]).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
  expect(client.rest).toBe(`${text}\n`);
}

function temporary(): string {
  const directory = mkdtempSync(join(tmpdir(), "route-tls-"));
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

describe.skipIf(!HAS_OPENSSL)("a Kubernetes API whose certificate is (needs openssl)", () => {
  test("of another authority is refused, and gets no request, let alone credentials", async () => {
    const [ours, foreign] = [await startApi(), await startApi()];
    const router = await startRouter(foreign, { env: { ROUTE_CA_FILE: ours.files.ca } });
    const client = await visit(router);
    expectRefusal(client, 502, "bad gateway");
    expect(foreign.seen).toEqual([]);
    expect(reasonOf(router)).toBe("cannot connect: unable to verify the first certificate");
  });

  test("for another address is refused, and gets no request", async () => {
    const api = await startApi({ names: ["IP:127.0.0.9", "DNS:localhost"] });
    const router = await startRouter(api);
    expectRefusal(await visit(router), 502, "bad gateway");
    expect(api.seen).toEqual([]);
    expect(reasonOf(router)).toMatch(/^cannot connect: .*does not match certificate.*127\.0\.0\.9/);
  });

  test("for another name is refused, and gets no request", async () => {
    const api = await startApi({ names: ["DNS:kubernetes.default.svc", "IP:127.0.0.1"] });
    const router = await startRouter(api, { env: { WS_REMOTE_URL: `wss://localhost:${api.port}` } });
    expectRefusal(await visit(router), 502, "bad gateway");
    expect(api.seen).toEqual([]);
    expect(reasonOf(router)).toMatch(/^cannot connect: .*does not match certificate.*kubernetes\.default\.svc/);
  });

  test("expired is refused, and gets no request", async () => {
    const api = await startApi({ isExpired: true });
    const router = await startRouter(api);
    expectRefusal(await visit(router), 502, "bad gateway");
    expect(api.seen).toEqual([]);
    expect(reasonOf(router)).toBe("cannot connect: certificate has expired");
  });

  test("for the name that is dialled is trusted", async () => {
    const api = await startApi({ names: ["DNS:localhost"] });
    const router = await startRouter(api, { env: { WS_REMOTE_URL: `wss://localhost:${api.port}` } });
    await echoes(await visit(router));
    expect(api.seen[0]?.headers["host"]).toBe(`localhost:${api.port}`);
  });

  test("signed by the second authority of the CA file is trusted", async () => {
    const [old, api] = [await startApi(), await startApi()];
    const bundle = join(temporary(), "ca.crt");
    writeFileSync(bundle, `${old.authority.pem}${api.authority.pem}`);
    await echoes(await visit(await startRouter(api, { env: { ROUTE_CA_FILE: bundle } })));
  });

  test.skipIf(!hasIpv6())("for the IPv6 address that is dialled is trusted, and for another one it is not (needs IPv6)", async () => {
    for (const [names, status] of [[["IP:::1"], 101], [["IP:::2"], 502]] as const) {
      const peer = new TlsPod({ hostname: "::1", names });
      cleanups.push(() => peer.stop());
      peer.pod.answer((seen, connection) => connection.accept(seen));
      const client = await visit(await startRouter(peer));
      expect(client.status).toBe(status);
      expect(peer.pod.seen.map(({ headers }) => headers["host"])).toEqual(status === 101 ? [[`[::1]:${peer.port}`]] : []);
    }
  });
});

describe.skipIf(!HAS_OPENSSL)("a peer of the TLS handshake (needs openssl)", () => {
  /** A socket server that says `greeting`, or nothing. */
  function peer(greeting: string | null): { env: Record<string, string>; open: () => number; received: () => Buffer } {
    let [open, received] = [0, Buffer.alloc(0)];
    const listener = Bun.listen({
      hostname: "127.0.0.1", port: 0,
      socket: {
        open: (socket) => { open += 1; if (greeting !== null) socket.write(greeting); if (greeting === "") socket.end(); },
        data: (_socket, chunk) => { received = Buffer.concat([received, chunk]); },
        close: () => { open -= 1; },
        error: () => {},
      },
    });
    cleanups.push(() => listener.stop(true));
    return { env: { WS_REMOTE_URL: `wss://127.0.0.1:${listener.port}` }, open: () => open, received: () => received };
  }

  test("that never answers is 504 after the connectTimeout, and leaves no descriptor behind", async () => {
    const api = await startApi();
    const silent = peer(null);
    const router = await startRouter({ env: { ...api.env, ...silent.env } }, { config: HURRIED });
    (await visit(router)).close();
    await eventually("the first connection to end", silent.open, (open) => open === 0);
    const before = descriptors();
    for (let round = 0; round < 3; round += 1) {
      const startedMs = performance.now();
      const client = await visit(router);
      expectRefusal(client, 504, "gateway timeout");
      expect(performance.now() - startedMs).toBeLessThan(3000);
      expect(reasonOf(router)).toBe("connecting took too long");
      client.close();
    }
    await eventually("every connection to end", silent.open, (open) => open === 0);
    await eventually("the descriptors", descriptors, (now) => now <= before);
    expect(silent.received().length).toBeGreaterThan(0);
    expect(silent.received().includes(readFileSync(api.files.token))).toBe(false);
  });

  test("whose client leaves meanwhile loses the connection with it", async () => {
    const api = await startApi();
    const silent = peer(null);
    const router = await startRouter({ env: { ...api.env, ...silent.env } });
    const client = await WsClient.dial(router.port, router.path("ubuntu"));
    await eventually("the connection", silent.open, (open) => open === 1);
    client.cut();
    await eventually("its end", silent.open, (open) => open === 0);
    expect(router.app.counts).toMatchObject({ running: 0, sessions: 0 });
  });

  test.each([
    ["speaks plain HTTP", "HTTP/1.1 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n", /^cannot connect: what answers does not speak TLS \(is it plain HTTP\?\) \(EPROTO\)$/],
    ["hangs up", "", /disconnected/],
  ])(
    "that %s is 502", async (_what, greeting, says) => {
      const api = await startApi();
      const rude = peer(greeting);
      const router = await startRouter({ env: { ...api.env, ...rude.env } });
      expectRefusal(await visit(router), 502, "bad gateway");
      expect(reasonOf(router)).toStartWith("cannot connect: ");
      expect(reasonOf(router)).toMatch(says);
      await eventually("its end", rude.open, (open) => open === 0);
    });

  test("that is not there is 502", async () => {
    const api = await startApi();
    const gone = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    gone.stop(true);
    const router = await startRouter(api, { env: { WS_REMOTE_URL: `wss://127.0.0.1:${gone.port}` } });
    expectRefusal(await visit(router), 502, "bad gateway");
    expect(reasonOf(router)).toMatch(/^cannot connect: .*ECONNREFUSED/);
  });
});

type Spoilt = readonly [what: string, content: string | Buffer | "directory" | null, says: string];

const CA_CASES: readonly Spoilt[] = [
  ["is missing", null, "no such file"],
  ["is empty", "", "it holds no PEM"],
  ["is a directory", "directory", "it is not a file"],
  ["is no PEM", "MIIB", "it holds no PEM"],
  ["is broken PEM", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "certificate 1 of 1 in it is broken"],
  ["is binary", Buffer.from([0x30, 0x82, 0, 0xff]), "it holds no PEM"],
];
const TOKEN_CASES: readonly Spoilt[] = [
  ["is missing", null, "no such file"],
  ["is empty", "", "it is empty"],
  ["is a directory", "directory", "it is not a file"],
  ["has a line feed inside", "one\nX-Injected: yes\n", "it holds more than one word"],
  ["is binary", Buffer.from([1, 2, 0xff]), "it holds more than one word"],
];

describe.skipIf(!HAS_OPENSSL)("a service account whose (needs openssl)", () => {
  const cases = [
    ...CA_CASES.map((spoilt) => ["CA", "ROUTE_CA_FILE", ...spoilt] as const), ...TOKEN_CASES.map((spoilt) => ["token", "ROUTE_TOKEN_FILE", ...spoilt] as const),
  ];

  test.each(cases)("%s file (%s) %s: said at the start, 503 until it is there, then it works", async (what, variable, _state, content, says) => {
    const api = await startApi();
    const file = join(temporary(), "spoilt");
    if (content === "directory") mkdirSync(file);
    else if (content !== null) writeFileSync(file, content);
    const router = await startRouter(api, { env: { [variable]: file } });
    const wanted = `cannot load service account ${what} ${file}: `;

    const atStart = router.lines.find(({ level }) => level === "error");
    expect(atStart).toMatchObject({ message: `service "kubevirt" answers 503 until its credentials are there` });
    expect(atStart?.["reason"]).toStartWith(wanted);
    expect(atStart?.["reason"]).toContain(says);

    const client = await visit(router);
    expectRefusal(client, 503, "service unavailable");
    expect(client.head + client.rest).not.toContain("spoilt");
    expect(reasonOf(router)).toStartWith(wanted);
    expect(reasonOf(router)).toContain(says);
    expect(api.seen).toEqual([]);

    rmSync(file, { recursive: true, force: true });
    writeFileSync(file, readFileSync(what === "CA" ? api.files.ca : api.files.token));
    expect((await visit(router)).status).toBe(101);
  });

  test("files are good is not mentioned at the start", async () => {
    const router = await startRouter(await startApi());
    expect(router.lines.map(({ message }) => message)).toEqual(["listening"]);
  });

  test("files break while sessions run does not end those", async () => {
    const api = await startApi();
    const router = await startRouter(api);
    const client = await visit(router);
    rmSync(api.files.token);
    expectRefusal(await visit(router), 503, "service unavailable");
    await echoes(client);
  });

  test("files are not those of a plain API are not looked for", async () => {
    const api = await startApi({ tls: false });
    const router = await startRouter(api, { env: { ROUTE_CA_FILE: "/nonexistent/ca.crt", ROUTE_TOKEN_FILE: "/nonexistent/token" } });
    await echoes(await visit(router));
    expect(router.log.text).not.toContain("nonexistent");
  });
});

describe.skipIf(!HAS_OPENSSL)("rotation under a running router (needs openssl)", () => {
  test("of the token: the old session lives on, a new one brings the new token", async () => {
    const api = await startApi();
    api.addVm({ namespace: NAMESPACE, name: "debian" });
    const router = await startRouter(api);
    const old = await visit(router);
    const token = api.rotateToken();
    const client = await WsClient.open(router.port, router.path("debian"));
    cleanups.push(() => client.close());
    expect(api.seen.map(({ bearer }) => bearer === token)).toEqual([false, true]);
    await echoes(client);
    await echoes(old);
  });

  test("of the authority: the next connection trusts the new one, and only that", async () => {
    const api = await startApi();
    const before = api.authority.pem;
    const router = await startRouter(api);
    const old = await visit(router);
    await api.rotateCa();
    await old.ended();
    await echoes(await visit(router));
    writeFileSync(api.files.ca, before);
    const seen = api.seen.length;
    expectRefusal(await visit(router), 502, "bad gateway");
    expect(api.seen.length).toBe(seen);
  });
});

function descriptors(): number {
  return readdirSync("/proc/self/fd").length;
}

function hasIpv6(): boolean {
  return Object.values(networkInterfaces()).flat().some((entry) => entry?.address === "::1");
}
