// Certificates by HTTP-01 through the whole gateway: a domain is registered by REST, pebble looks for the answer at our :80 and
// refuses half of all nonces, and clients meet what it issued. And the same for names of a router's own table, by `serve`.

import { Database } from "bun:sqlite";
import { afterAll, afterEach, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "../support/eventually.ts";
import { backendOf, run } from "../support/gateway.ts";
import { AcmeGateway, certified, JumpingClock, shownTo, stateOf, TestCa } from "../support/gateway-acme.ts";
import { SHIPPED } from "../support/https-router.ts";
import { KeyFiles } from "../support/keys.ts";
import { HAS_PEBBLE } from "../support/pebble.ts";
import { Pod, POD_PORTS } from "../support/pod.ts";
import { OP, ServeProcess, type WsClient } from "../support/ws-client.ts";

// A test that times out ends the CA, and with it the others: each wait in them has a shorter end, which says what it waited for.
setDefaultTimeout(60_000);

const CHALLENGES = "/.well-known/acme-challenge/";
const YEAR_MS = 365 * 86_400_000;

const pod = new Pod("127.0.1.1", ["web"]);
afterAll(() => pod.stop());

describe.skipIf(!HAS_PEBBLE)("certificates by HTTP-01", () => {
  const clock = new JumpingClock();
  let ca: TestCa;
  let gateway: AcmeGateway;

  beforeAll(async () => {
    ca = await TestCa.start();
    gateway = await AcmeGateway.start(ca, { clock });
    await gateway.set("1-one", "one.example.org", [backendOf(pod)]);
    await gateway.set("2-two", "Two.example.org", [backendOf(pod)]);
    // Of a service that speaks TLS itself, and of nobody.
    await gateway.set("3-through", "through.example.org", ["127.0.1.1:443"], true);
    expect(await shownTo(gateway, "stranger.example.org")).toBeNull();
    expect((await gateway.plain("/", "stranger.example.org")).status).toBe(404);
    await Promise.all([certified(gateway, "one.example.org"), certified(gateway, "two.example.org")]);
  });
  afterAll(async () => {
    await gateway?.remove();
    await ca?.stop();
  });

  test("gets each registered domain a certificate of its own, with which clients reach its backend", async () => {
    expect((await shownTo(gateway, "one.example.org"))?.names).toEqual(["one.example.org"]);
    expect((await shownTo(gateway, "two.example.org"))?.names).toEqual(["two.example.org"]);
    const seen = JSON.parse(await gateway.curl("two.example.org", "/path?q=1"));
    expect(seen).toMatchObject({ target: "/path?q=1", headers: { "x-forwarded-proto": ["https"] } });
  });

  test("asks for registered names only, once each, and for none whose TLS passes through", () => {
    expect(ca.asked.toSorted()).toEqual(["one.example.org", "two.example.org"]);
    expect(ca.orders).toBe(2);
  });

  test("shows what it has to operators and to Prometheus", async () => {
    const state = await stateOf(gateway, "one.example.org");
    expect(state).toMatchObject({ names: ["one.example.org"], issuer: expect.stringContaining("Pebble"), lastError: null, failures: 0 });
    const { stdout } = await gateway.cli("certificates");
    expect(stdout).toMatch(new RegExp(`^one\\.example\\.org +Pebble Intermediate CA \\w+ +${state?.expiry} +${state?.nextRenewal} +-$`, "m"));
    const metrics = await gateway.metrics();
    expect(metrics).toContain(`route_certificate_expiry_seconds{name="one.example.org"} ${Date.parse(state?.expiry ?? "") / 1000}\n`);
    expect(metrics).toContain('route_certificate_renewal_failures_total{name="one.example.org"} 0\n');
  });

  test("keeps keys to itself", () => {
    const directory = join(gateway.root, "acme/resolver");
    // One directory for each authority: what one signed is not served after a change to another.
    const [authority = ""] = readdirSync(join(directory, "certificates"));
    expect(authority).toMatch(/^127\.0\.0\.1-[0-9a-f]{8}$/);
    const secrets = [...readdirSync(directory), ...readdirSync(join(directory, "certificates", authority)).map((file) => `certificates/${authority}/${file}`)]
      .filter((file) => /\.(json|pem)$/.test(file) && readFileSync(join(directory, file), "utf8").includes("PRIVATE KEY"));
    expect(secrets).toHaveLength(3);
    for (const file of secrets) expect([file, statSync(join(directory, file)).mode & 0o777]).toEqual([file, 0o600]);
    expect(statSync(join(directory, "certificates", authority)).mode & 0o777).toBe(0o700);
  });

  describe("the path of challenges", () => {
    const HELD = "held.example.org";
    const held = Promise.withResolvers<void>();
    let interloper: Bun.Server<undefined>;
    let path: string;

    /** The domain leads past us first, so that the order stays open for as long as this test looks at it. */
    beforeAll(async () => {
      const asked = Promise.withResolvers<string>();
      interloper = Bun.serve({ hostname: "127.0.0.2", port: ca.httpPort, fetch: async (request) => {
        const { pathname } = new URL(request.url);
        asked.resolve(pathname);
        await held.promise;
        return gateway.plain(pathname, HELD);
      } });
      await ca.setAddress(HELD, "127.0.0.2");
      await gateway.set("4-held", HELD, [backendOf(pod)]);
      path = await asked.promise;
    });
    afterAll(async () => {
      held.resolve();
      await interloper?.stop(true);
    });

    test("answers a running challenge with its key authorization, and with nothing that a browser would run", async () => {
      const answer = await gateway.plain(path, HELD);
      expect(answer.status).toBe(200);
      expect(answer.headers.get("content-type")).toStartWith("text/plain");
      expect(await answer.text()).toMatch(new RegExp(`^${path.slice(CHALLENGES.length)}\\.[\\w-]{43}$`));
    });

    const unanswered: ReadonlyArray<readonly [string, (path: string) => string]> = [
      ["an unknown token", () => `${CHALLENGES}unknown`], ["no token", () => CHALLENGES], ["a directory", () => CHALLENGES.slice(0, -1)],
      ["a path out of it", () => `${CHALLENGES}../x`], ["a path out of it, encoded", () => `${CHALLENGES}%2e%2e/%2e%2e/etc/passwd`],
      ["the token with a slash", (known) => `${known}/`], ["the token and more", (known) => `${known}x`], ["a part of the token", (known) => known.slice(0, -1)],
      ["the token below another path", (known) => `/x${known}`], ["the token in capitals", (known) => `${CHALLENGES}${known.slice(CHALLENGES.length).toUpperCase()}`],
    ];
    for (const [what, makePath] of unanswered) {
      test(`answers 404 for ${what}, and redirects it for a host that is served`, async () => {
        const ask = (host: string) => run(["curl", "-sS", "--path-as-is", "-o", "-", "-w", "\n%{http_code}", "-H", `Host: ${host}`, `http://127.0.0.1:${gateway.httpPort}${makePath(path)}`]);
        const [stranger, served] = [await ask("stranger.example.org"), await ask("one.example.org")];
        expect(stranger.stdout).toEndWith("\n404");
        expect(served.stdout).toEndWith("\n308");
        expect(stranger.stdout + served.stdout).not.toMatch(/\.[\w-]{43}/);
      });
    }

    test("is the backend's own over TLS", async () => {
      expect(JSON.parse(await gateway.curl("one.example.org", path))).toMatchObject({ target: path });
    });

    test("knows nothing of a challenge that is over", async () => {
      held.resolve();
      await certified(gateway, HELD);
      expect((await gateway.plain(path, "stranger.example.org")).status).toBe(404);
    });
  });

  test("refuses a deleted name at once, does not renew it, and needs no order when it comes back", async () => {
    await gateway.delete("2-two");
    expect(await shownTo(gateway, "two.example.org")).toBeNull();
    expect(await stateOf(gateway, "two.example.org")).toBeUndefined();

    const before = await shownTo(gateway, "one.example.org");
    clock.advance(4 * YEAR_MS); // Of five.
    await eventually("the renewal of the other", () => shownTo(gateway, "one.example.org"), (shown) => shown?.serial !== before?.serial);
    expect(ca.asked.filter((name) => name === "two.example.org")).toHaveLength(1);

    clock.advance(-4 * YEAR_MS);
    const { orders } = ca;
    await gateway.set("2-two", "two.example.org", [backendOf(pod)]);
    await eventually("the end of the attempt", () => stateOf(gateway, "two.example.org"), (state) => Date.parse(state?.nextRenewal ?? "") > Date.now() + YEAR_MS);
    expect(await shownTo(gateway, "two.example.org")).not.toBeNull();
    expect(ca.orders).toBe(orders);
  });

  test("serves what is in its store right after a restart, without the CA, and without waiting for whoever renews it", async () => {
    const before = await shownTo(gateway, "one.example.org");
    await gateway.stop();
    await ca.down();
    // As another process does for the time of an order.
    using lock = new Database(join(gateway.root, "acme/resolver/certificates/one.example.org.lock"));
    lock.run("BEGIN EXCLUSIVE");
    gateway = await AcmeGateway.start(ca, { root: gateway.root, clock });
    expect(await shownTo(gateway, "one.example.org")).toEqual(before);
    await gateway.curl("two.example.org", "/");
    const states = await Promise.all(["one.example.org", "two.example.org"].map((name) => stateOf(gateway, name)));
    for (const state of states) {
      expect(state).toMatchObject({ lastError: null, failures: 0 });
      expect(Date.parse(state?.nextRenewal ?? "")).toBeGreaterThan(Date.now() + YEAR_MS);
    }
  });
});

describe.skipIf(!HAS_PEBBLE)("a renewal under load", () => {
  const NAME = "busy.example.org";
  let ca: TestCa;
  let gateway: AcmeGateway;
  const cleanups: Array<() => unknown> = [];

  beforeAll(async () => {
    ca = await TestCa.start({ validityS: 12 });
    gateway = await AcmeGateway.start(ca);
  });
  afterEach(() => { for (const cleanup of cleanups.splice(0)) cleanup(); });
  afterAll(async () => {
    await gateway?.remove();
    await ca?.stop();
  });

  /** A connection of its own for each request, verified. */
  async function ask(): Promise<string> {
    const socket = await gateway.connect(NAME);
    socket.write(`GET /new HTTP/1.1\r\nHost: ${NAME}\r\nConnection: close\r\n\r\n`);
    let answer = "";
    for await (const chunk of socket) answer += String(chunk);
    return answer.slice(0, answer.indexOf("\r\n"));
  }

  async function echo(socket: WsClient, text: string): Promise<void> {
    socket.send(OP.text, text);
    await socket.until(() => socket.messages.some(({ data }) => data.toString() === text));
  }

  test("fails no request, shows new handshakes the new certificate and leaves open connections alone", async () => {
    await gateway.set("1-busy", NAME, [backendOf(pod)]);
    await certified(gateway, NAME);
    const first = await shownTo(gateway, NAME);

    const webSocket = await gateway.webSocket(NAME);
    cleanups.push(() => webSocket.close());
    await echo(webSocket, "before");
    // One connection for all of them, until after the renewal.
    const url = `https://${NAME}:${gateway.httpsPort}/old`;
    const kept = Bun.spawn(["curl", "-sS", "--fail", "--rate", "40/s", "--cacert", gateway.caFile, "--resolve", `${NAME}:${gateway.httpsPort}:127.0.0.1`,
      "-o", "/dev/null", "-w", "%{stderr}%{num_connects} ", `${url}?[1-100000]`], { stdin: "ignore", stdout: "ignore", stderr: "pipe" });
    cleanups.push(() => kept.kill());
    const output = kept.stderr.text();
    let isOver = false;
    let answers = 0;
    const faults: string[] = [];
    const asking = Array.from({ length: 3 }, async () => {
      while (!isOver) {
        const line = await ask().catch((error: Error) => error.message);
        if (line === "HTTP/1.1 200 OK") answers += 1;
        else faults.push(line);
        await Bun.sleep(5); // The machine has other work.
      }
    });

    const second = await eventually("another certificate", () => shownTo(gateway, NAME), (shown) => shown?.serial !== first?.serial, 20_000);
    const answersThen = answers;
    await eventually("requests after the renewal", () => answers, (count) => count > answersThen + 30);
    isOver = true;
    await Promise.all(asking);
    expect(faults).toEqual([]);
    expect(second?.names).toEqual([NAME]);

    await echo(webSocket, "after");
    expect(kept.exitCode).toBeNull();
    const seenBefore = pod.seen.length;
    await pod.until(() => pod.seen.slice(seenBefore).some(({ target }) => target.startsWith("/old")));
    kept.kill();
    const connects = (await output).trim().split(" ");
    expect(connects.length).toBeGreaterThan(50);
    expect(connects.filter((count) => count !== "0")).toEqual(["1"]);
    expect(gateway.events("certificate issued")).toHaveLength(ca.issued);
  });
});

describe.skipIf(!HAS_PEBBLE)("serve with certificates by ACME", () => {
  test("gets the names of its table a certificate, and serves desktops through TLS", async () => {
    const directory = mkdtempSync(join(tmpdir(), "route-serve-"));
    const ca = await TestCa.start();
    const keys = new KeyFiles();
    const desktop = new Pod("127.0.1.1", POD_PORTS);
    const file = join(directory, "routes.yaml");
    writeFileSync(file, `tls:\n  names: [desk.test]\n  acme: { directory: "${ca.directoryUrl}", caFile: "${ca.pebble.caFile}", storage: "${directory}/acme" }\n${SHIPPED}`);
    let served: ServeProcess | null = null;
    try {
      served = await ServeProcess.start({ ...keys.env, ...desktop.env },
        ["--config", file, "--https", "127.0.0.1:0", "--allow-targets", "127.0.1.0/24"], `127.0.0.1:${ca.httpPort}`);
      const https = Number(/"https":"[^"]*:(\d+)"/.exec(served.log)?.[1]);
      await eventually("the certificate", () => shownTo({ httpsPort: https }, "desk.test"), (shown) => shown !== null, 20_000);
      const answer = await run(["curl", "-sS", "--fail", "--cacert", ca.rootFile, "--resolve", `desk.test:${https}:127.0.0.1`,
        "-H", `Authorization: Bearer ${keys.token()}`, `https://desk.test:${https}/filer/home?x=1`]);
      expect(answer.stderr).toBe("");
      expect(JSON.parse(answer.stdout)).toMatchObject({ port: "file_service_tcp_port", headers: { host: [expect.any(String)], "x-forwarded-proto": ["https"] } });
      expect(ca.asked).toEqual(["desk.test"]);
    } finally {
      await served?.stop();
      desktop.stop();
      keys.remove();
      await ca.stop();
      rmSync(directory, { recursive: true });
    }
  });
});
