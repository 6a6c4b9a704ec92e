// What goes wrong between a gateway and its CA, and what clients and operators see of it: a CA that is away, refuses or limits us, storage
// that is lost or cannot be written, processes that are killed or start at once.

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileNameOf } from "../../src/acme/account.ts";
import { eventually } from "../support/eventually.ts";
import { backendOf, DOMAIN, type GatewayProcess, makeRoot } from "../support/gateway.ts";
import { AcmeGateway, type AcmeGatewayOptions, certified, JumpingClock, refusal, shownTo, startProcess, stateOf, TestCa } from "../support/gateway-acme.ts";
import { CertificateDirectory } from "../support/https-files.ts";
import { HAS_PEBBLE } from "../support/pebble.ts";
import { Pod } from "../support/pod.ts";

// A test that times out ends the CA, and with it the others: each wait in them has a shorter end, which says what it waited for.
setDefaultTimeout(60_000);

const NAME = "app.example.org";
const YEAR_MS = 365 * 86_400_000;
/** Longer than the pause after a first failure. */
const PAUSE_MS = 90_000;

const pod = new Pod("127.0.1.1", ["web"]);
const backends = [backendOf(pod)];
let ca: TestCa;
beforeAll(async () => { if (HAS_PEBBLE) ca = await TestCa.start(); });
afterAll(async () => {
  await ca?.stop();
  pod.stop();
});

describe.skipIf(!HAS_PEBBLE)("a gateway whose CA", () => {
  let clock: JumpingClock;
  let gateway: AcmeGateway;
  beforeEach(() => { clock = new JumpingClock(); });
  afterEach(async () => {
    await gateway?.remove();
    await ca.setAddress(NAME, "127.0.0.1");
    if (!(await ca.pebble.isUp())) await ca.up();
  });

  async function start(options: AcmeGatewayOptions = {}): Promise<void> {
    gateway = await AcmeGateway.start(ca, { clock, ...options });
  }

  async function startWithName(options: AcmeGatewayOptions = {}): Promise<void> {
    await start(options);
    await gateway.set("1-app", NAME, backends);
    await certified(gateway, NAME);
  }

  test("is down at the start serves all the same, and has the new name's certificate when the CA is back", async () => {
    await startWithName();
    await gateway.stop();
    await ca.down();
    await start({ root: gateway.root });
    await gateway.set("2-late", "late.example.org", backends);
    const reason = await refusal(gateway, "late.example.org");
    expect(reason).toStartWith(`cannot reach the CA at ${new URL(ca.directoryUrl).host}: `);

    await gateway.curl(NAME, "/");
    expect((await gateway.plain("/healthz", "127.0.0.1")).status).toBe(200);
    expect(await shownTo(gateway, "late.example.org")).toBeNull();
    expect(await stateOf(gateway, "late.example.org")).toMatchObject({ issuer: null, expiry: null, failures: 1 });
    expect((await gateway.cli("certificates")).stdout).toMatch(/^late\.example\.org +- +- +\S+ +cannot reach the CA at /m);
    const metrics = await gateway.metrics();
    expect(metrics).toContain('route_certificate_renewal_failures_total{name="late.example.org"} 1\n');
    expect(metrics).not.toContain('route_certificate_expiry_seconds{name="late.example.org"}');

    await ca.up();
    clock.advance(PAUSE_MS);
    expect(await certified(gateway, "late.example.org")).toMatchObject({ lastError: null, failures: 1 });
    await gateway.curl("late.example.org", "/");
  });

  test("is down and told of a name that is deleted and registered again shows its failure as before", async () => {
    await start();
    await ca.down();
    await gateway.set("1-app", NAME, backends);
    await refusal(gateway, NAME);
    const before = await stateOf(gateway, NAME);
    expect(before).toMatchObject({ failures: 1, lastError: { message: expect.stringContaining("cannot reach the CA") } });
    await gateway.delete("1-app");
    await gateway.set("1-app", NAME, backends);
    const after = await eventually("the name", () => stateOf(gateway, NAME), Boolean);
    expect({ ...after, nextRenewal: null }).toEqual({ ...before!, nextRenewal: null });
    expect(Date.parse(after!.nextRenewal!)).toBeGreaterThan(clock.now());
    expect(await gateway.metrics()).toContain(`route_certificate_renewal_failures_total{name="${NAME}"} 1\n`);
  });

  test("is down leaves a new name to the default certificate, where there is one, until it has its own", async () => {
    const files = new CertificateDirectory();
    try {
      files.put("desk", "desk.test");
      await ca.down();
      await start({ tls: { files: [{ certFile: files.file("desk.crt"), keyFile: files.file("desk.key") }], defaultName: "desk.test" } });
      await gateway.set("1-app", NAME, backends);
      await refusal(gateway, NAME);
      expect((await shownTo(gateway, NAME))?.names).toEqual(["desk.test"]);
      await ca.up();
      clock.advance(PAUSE_MS);
      await certified(gateway, NAME);
      expect((await shownTo(gateway, NAME))?.names).toEqual([NAME]);
    } finally {
      files.remove();
    }
  });

  test("is down when a certificate has to be renewed goes on with the old one", async () => {
    await startWithName();
    const before = await shownTo(gateway, NAME);
    await ca.down();
    clock.advance(4 * YEAR_MS); // Of five.
    expect(await refusal(gateway, NAME)).toStartWith("cannot reach the CA");
    clock.advance(PAUSE_MS);
    await refusal(gateway, NAME, 2);
    expect(await shownTo(gateway, NAME)).toEqual(before);
    await gateway.curl(NAME, "/");
    expect(await gateway.metrics()).toMatch(new RegExp(`^route_certificate_expiry_seconds\\{name="${NAME}"\\} \\d+\n`, "m"));
    expect(gateway.events("certificate not obtained").map(({ name }) => name)).toEqual([NAME, NAME]);
  });

  test("was another one before is asked anew, though both live at one address", async () => {
    await startWithName();
    const before = await shownTo(gateway, NAME);
    const { orders } = ca;
    await gateway.stop();
    await start({ root: gateway.root, acmeDirectory: `${ca.directoryUrl}?another` });
    await certified(gateway, NAME);
    expect((await shownTo(gateway, NAME))?.serial).not.toBe(before?.serial);
    expect(ca.orders).toBe(orders + 1);
  });

  test("is asked for nothing that a file's certificate covers, until that ends", async () => {
    const files = new CertificateDirectory();
    try {
      files.put("corp", "*.corp.test");
      const { orders } = ca;
      await start({ tls: { files: [{ certFile: files.file("corp.crt"), keyFile: files.file("corp.key") }] } });
      await gateway.set("1-app", "app.corp.test", backends);
      await gateway.set("2-other", NAME, backends);
      await certified(gateway, NAME); // It was wanted later.
      expect(await stateOf(gateway, "app.corp.test")).toBeUndefined();
      expect((await shownTo(gateway, "app.corp.test"))?.names).toEqual(["*.corp.test"]);
      expect(ca.orders).toBe(orders + 1);

      clock.advance(4 * YEAR_MS); // What pebble signs lasts longer.
      expect(await certified(gateway, "app.corp.test")).toMatchObject({ names: ["app.corp.test"] });
      expect((await shownTo(gateway, "app.corp.test"))?.names).toEqual(["app.corp.test"]);
    } finally {
      files.remove();
    }
  });

  /** While the name leads to somebody else's server. */
  async function hijacked(work: () => Promise<void>): Promise<void> {
    const hijacker = Bun.serve({ hostname: "127.0.0.2", port: ca.httpPort, fetch: () => new Response("mine") });
    try {
      await ca.setAddress(NAME, "127.0.0.2");
      await work();
    } finally {
      await hijacker.stop(true);
    }
  }

  test("finds another's answer to the challenge tells so, waits, and succeeds when the name leads here again", () => hijacked(async () => {
    await start();
    await gateway.set("1-app", NAME, backends);
    const reason = await refusal(gateway, NAME);
    expect(reason).toStartWith(`the CA refuses ${NAME}: urn:ietf:params:acme:error:`);
    const state = await stateOf(gateway, NAME);
    expect(Date.parse(state?.nextRenewal ?? "") - Date.parse(state?.lastError?.time ?? "")).toBeGreaterThanOrEqual(60_000);
    expect(await shownTo(gateway, NAME)).toBeNull();

    await ca.setAddress(NAME, "127.0.0.1");
    clock.advance(PAUSE_MS);
    await certified(gateway, NAME);
    expect(ca.asked.slice(-2)).toEqual([NAME, NAME]);
  }));

  test("refused a name is not asked for it again by a restart, until its pause is over or the file that keeps it is removed", () => hijacked(async () => {
    await start();
    await gateway.set("1-app", NAME, backends);
    const reason = await refusal(gateway, NAME);
    const before = await stateOf(gateway, NAME);
    const { orders } = ca;
    for (let restart = 0; restart < 3; restart += 1) {
      await gateway.stop();
      await start({ root: gateway.root });
      const { lastError, nextRenewal, failures } = (await stateOf(gateway, NAME))!;
      expect([lastError?.message, failures]).toEqual([reason, 0]);
      expect(Math.abs(Date.parse(nextRenewal!) - Date.parse(before!.nextRenewal!))).toBeLessThan(1000); // Two clocks are read.
    }
    const file = join(gateway.root, "acme/resolver/certificates", fileNameOf(ca.directoryUrl), `${NAME}.failed`);
    expect(gateway.events("certificate waits for its next attempt")[0]).toMatchObject({ level: "warn", name: NAME, reason, file });
    expect(statSync(file).mode & 0o777).toBe(0o600);
    clock.advance(30_000);
    expect(ca.orders).toBe(orders);

    await gateway.stop();
    await ca.setAddress(NAME, "127.0.0.1");
    rmSync(file);
    await start({ root: gateway.root });
    await certified(gateway, NAME);
    expect(ca.orders).toBe(orders + 1);
  }));

  test("refused a name is asked for it at once by a restart with another challenge configuration", () => hijacked(async () => {
    await start({ http: "127.0.0.1:0" }); // Not where the CA looks.
    await gateway.set("1-app", NAME, backends);
    await refusal(gateway, NAME);
    await gateway.stop();
    await ca.setAddress(NAME, "127.0.0.1");
    await start({ root: gateway.root });
    await certified(gateway, NAME);
    expect(gateway.events("certificate waits for its next attempt")).toEqual([]);
  }));

  test("would sign for no underscore is not asked for one, and the state of the name says that it never is", async () => {
    const { orders } = ca;
    await start();
    await gateway.set("1-app", "my_app.example.org", backends);
    const never = 'no certificate can ever be had for "my_app.example.org": names in certificates have no underscore (RFC 5280 section 4.2.1.6)';
    expect(await refusal(gateway, "my_app.example.org")).toBe(never);
    clock.advance(YEAR_MS);
    expect(await stateOf(gateway, "my_app.example.org")).toMatchObject({ issuer: null, nextRenewal: null, failures: 1 });
    expect(gateway.events("certificate not obtained")).toEqual([expect.objectContaining({ level: "error", name: "my_app.example.org", reason: never })]);
    expect(gateway.events("certificate not obtained")[0]).not.toHaveProperty("retry_s");
    expect(ca.orders).toBe(orders);
  });

  test("limits us is left alone for as long as it asks", async () => {
    const limiting = new LimitingCa(300);
    try {
      await start({ acmeDirectory: limiting.directoryUrl });
      await gateway.set("1-app", NAME, backends);
      expect(await refusal(gateway, NAME)).toBe("the CA limits us: urn:ietf:params:acme:error:rateLimited: too many of them");
      const state = await stateOf(gateway, NAME);
      const pauseMs = Date.parse(state?.nextRenewal ?? "") - Date.parse(state?.lastError?.time ?? "");
      expect(pauseMs).toBeGreaterThanOrEqual(300_000);
      expect(pauseMs).toBeLessThanOrEqual(361_000);

      clock.advance(290_000);
      const askedBefore = ca.asked.length;
      await gateway.set("2-other", "other.example.org", backends);
      await certified(gateway, "other.example.org");
      expect(ca.asked.slice(askedBefore)).toEqual(["other.example.org"]);
      expect(limiting.limited).toBe(1);

      clock.advance(pauseMs - 290_000);
      await certified(gateway, NAME);
    } finally {
      await limiting.stop();
    }
  });

  test("meets a new account when the old one's file is gone, and the same one when only its address is", async () => {
    await startWithName();
    const directory = join(gateway.root, "acme/resolver");
    const file = join(directory, readdirSync(directory).find((name) => name.endsWith(".json")) ?? "");
    const read = () => JSON.parse(readFileSync(file, "utf8")) as { url: string | null; key: string };
    const first = read();
    rmSync(file);
    await gateway.set("2-second", "second.example.org", backends);
    await certified(gateway, "second.example.org");
    const second = read();
    expect(second.key).not.toBe(first.key);
    expect(second.url).not.toBe(first.url);

    // As a crash leaves it between the CA's answer and its being kept.
    writeFileSync(file, JSON.stringify({ ...second, url: null }));
    await gateway.set("3-third", "third.example.org", backends);
    await certified(gateway, "third.example.org");
    expect(read()).toEqual(second);
  });

  test("is asked for nothing that could not be kept: storage below a file is reported, everything else is served", async () => {
    const root = makeRoot();
    writeFileSync(join(root, "acme"), "a file");
    const { orders } = ca;
    await start({ root });
    await gateway.set("1-app", NAME, backends);
    const reason = await refusal(gateway, NAME);
    expect(reason).toContain(`${root}/acme`);
    expect(await shownTo(gateway, NAME)).toBeNull();
    expect((await gateway.plain("/x", NAME)).status).toBe(308);
    expect(gateway.events("certificate not obtained")[0]).toMatchObject({ name: NAME, reason });
    expect(ca.orders).toBe(orders);

    rmSync(join(root, "acme"));
    clock.advance(PAUSE_MS);
    await certified(gateway, NAME);
  });

  test("gave a certificate that cannot be written after all serves it, and reports that it is not kept until it is", async () => {
    const root = makeRoot();
    const path = join(root, "acme/resolver/certificates", fileNameOf(ca.directoryUrl), `${NAME}.pem`);
    mkdirSync(path, { recursive: true });
    await startWithName({ root });
    await gateway.curl(NAME, "/");
    expect(gateway.events("certificate store").at(-1)).toMatchObject({ level: "error", path, reason: expect.stringContaining("cannot keep it: ") });
    expect((await stateOf(gateway, NAME))?.lastError?.message).toStartWith("cannot keep it: ");
    rmSync(path, { recursive: true });
    clock.advance(PAUSE_MS);
    await eventually("no error any more", () => stateOf(gateway, NAME), (state) => state?.lastError === null);
    expect(readFileSync(path, "utf8")).toContain("BEGIN CERTIFICATE");
  });
});

describe.skipIf(!HAS_PEBBLE)("gateway processes with a CA", () => {
  let root: string;
  const processes: GatewayProcess[] = [];
  beforeEach(() => {
    root = makeRoot();
    mkdirSync(join(root, "proxy"));
  });
  afterEach(async () => {
    await Promise.all(processes.splice(0).map((each) => each.stop()));
    rmSync(root, { recursive: true, force: true });
  });

  async function startOne(...flags: string[]): Promise<GatewayProcess> {
    const started = await startProcess(ca, root, ...flags);
    processes.push(started);
    return started;
  }

  function register(id: string, host: string, resolver: string): void {
    writeFileSync(join(root, "proxy", `${id}.yaml`), [
      "http:", "  routers:", `    ${id}-route:`, `      rule: Host(\`${host}\`)`, `      service: ${id}`, "      tls:", `        certResolver: ${resolver}`,
      "  services:", `    ${id}:`, "      loadbalancer:", "        servers:", `          - url: ${backends[0]}`, "",
    ].join("\n"));
  }

  test("that start at once on one root make one order, and both serve what came of it", async () => {
    const program = join(root, "dns-provider");
    writeFileSync(program, `#!/bin/sh
      case "$1" in
        present) exec curl -sS --fail --noproxy '*' -d "{\\"host\\":\\"$2\\",\\"value\\":\\"$3\\"}" ${ca.pebble.managementUrl}/set-txt ;;
        timeout) echo '{"timeout": 0.1, "interval": 0.1}' ;;
      esac`, { mode: 0o755 });
    register("1-one", `one.${DOMAIN}`, "dnsresolver");
    const { orders } = ca;
    const flags = ["--domain", DOMAIN, "--challenge-program", program];
    const both = await Promise.all([startOne(...flags), startOne(...flags)]);
    await Promise.all(both.map((each) => certified(each, `*.${DOMAIN}`)));
    const shown = await Promise.all(both.map((each) => shownTo(each, `one.${DOMAIN}`)));
    expect(shown[0]?.names).toEqual([`*.${DOMAIN}`]);
    expect(shown[1]).toEqual(shown[0]);
    expect(ca.orders).toBe(orders + 1);
    for (const each of both) await each.curl(`one.${DOMAIN}`, "/", "--cacert", ca.rootFile);
  });

  test("that are killed in the middle of an order leave nothing that keeps the next one from its certificate", async () => {
    const asked = Promise.withResolvers<void>();
    const end = Promise.withResolvers<Response>();
    const interloper = Bun.serve({ hostname: "127.0.0.2", port: ca.httpPort, fetch: () => {
      asked.resolve();
      return end.promise;
    } });
    try {
      await ca.setAddress(NAME, "127.0.0.2");
      register("1-app", NAME, "resolver");
      const flags = ["--http", `127.0.0.1:${ca.httpPort}`];
      const first = await startOne(...flags);
      await asked.promise;
      first.signal("SIGKILL");
      await first.exit();

      const directory = join(root, "acme/resolver");
      const accounts = () => readdirSync(directory).filter((name) => name.endsWith(".json")).map((name) => readFileSync(join(directory, name), "utf8"));
      const account = accounts();
      expect(account).toHaveLength(1);
      await ca.setAddress(NAME, "127.0.0.1");
      const second = await startOne(...flags);
      await certified(second, NAME);
      await second.curl(NAME, "/", "--cacert", ca.rootFile);
      expect(accounts()).toEqual(account);

      // And the next one asks for nothing.
      const { orders } = ca;
      const serial = (await shownTo(second, NAME))?.serial;
      second.signal("SIGKILL");
      await second.exit();
      const third = await startOne(...flags);
      expect((await shownTo(third, NAME))?.serial).toBe(serial as string);
      expect(ca.orders).toBe(orders);
    } finally {
      end.resolve(new Response("", { status: 404 }));
      await interloper.stop(true);
      await ca.setAddress(NAME, "127.0.0.1");
    }
  });

  test("end soon when they are told to, in the middle of an order", async () => {
    await ca.setAddress(NAME, "127.0.0.2");
    const asked = Promise.withResolvers<void>();
    const interloper = Bun.serve({ hostname: "127.0.0.2", port: ca.httpPort, fetch: () => {
      asked.resolve();
      return new Promise<Response>(() => {});
    } });
    try {
      register("1-app", NAME, "resolver");
      const started = await startOne("--http", `127.0.0.1:${ca.httpPort}`);
      await asked.promise;
      const startMs = performance.now();
      started.signal("SIGTERM");
      expect(await started.exit()).toBe(0);
      expect(performance.now() - startMs).toBeLessThan(5000);
    } finally {
      await interloper.stop(true);
      await ca.setAddress(NAME, "127.0.0.1");
    }
  });
});

/** Stands before pebble with its address and its certificate, and answers the first order with 429. */
class LimitingCa {
  limited = 0;
  readonly #server: Bun.Server<undefined>;

  constructor(retryAfterS: number) {
    const file = (name: string): string => readFileSync(join(ca.pebble.directory, name), "utf8");
    const target = new URL(ca.directoryUrl).origin;
    this.#server = Bun.serve({
      hostname: "127.0.0.1", port: 0, tls: { key: file("key.pem"), cert: file("cert.pem") },
      fetch: async (request) => {
        const { pathname } = new URL(request.url);
        if (pathname === "/order-plz" && this.limited === 0) {
          this.limited += 1;
          return Response.json({ type: "urn:ietf:params:acme:error:rateLimited", detail: "too many of them" }, { status: 429, headers: { "retry-after": String(retryAfterS), "content-type": "application/problem+json" } });
        }
        // With the Host of the request, so that pebble's addresses lead back here.
        return fetch(`${target}${pathname}`, {
          method: request.method, headers: request.headers, redirect: "manual", decompress: false, tls: { ca: ca.pebble.caPem },
          ...(request.method === "POST" ? { body: await request.arrayBuffer() } : {}),
        });
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

