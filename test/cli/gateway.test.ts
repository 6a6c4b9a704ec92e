// `route-gateway gateway` as a process: its flags, its start and what can go wrong with it. What it does with calls and traffic
// is in test/e2e/gateway-*.test.ts.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "../support/eventually.ts";
import { closedPort, DOMAIN, GatewayProcess, isClosed, makeRoot, program, TestGateway } from "../support/gateway.ts";
import { HAS_REDIS, RedisServer, SEED, ZbusCaller, zbusResult } from "../support/redis.ts";

let root: string;
const running: Array<{ stop(): Promise<void> }> = [];

beforeEach(() => { root = makeRoot(); });
afterEach(async () => {
  for (const started of running.splice(0)) await started.stop();
  rmSync(root, { recursive: true, force: true });
});

async function start(...flags: string[]): Promise<GatewayProcess> {
  const started = await GatewayProcess.start(root, ...flags);
  running.push(started);
  return started;
}

async function startRedis(): Promise<RedisServer> {
  const redis = await RedisServer.start();
  running.push(redis);
  return redis;
}

/** A start that is to fail, on addresses that would be free. */
function failing(...flags: string[]) {
  const free = ["--http", "--https", "--admin"].filter((flag) => !flags.includes(flag)).flatMap((flag) => [flag, "127.0.0.1:0"]);
  const own = flags.includes("--root") ? [] : ["--root", root];
  return program(["gateway", ...own, ...free, ...flags]);
}

describe("gateway", () => {
  test.skipIf(!HAS_REDIS)("starts with the flags of the original's unit and takes its calls", async () => {
    const redis = await startRedis();
    const connection = await redis.connect();
    const gateway = await start("--broker", redis.unixUrl);
    const caller = new ZbusCaller(connection);
    expect(zbusResult(await caller.call(SEED, "SetFQDNProxy", "37-2039-mail", "mail.example", ["https://10.0.0.1:443"], true))).toBe(null);
    expect(readdirSync(gateway.directory)).toEqual(["37-2039-mail.yaml"]);
    expect(zbusResult(await caller.call(SEED, "Metrics"))).toEqual({ Request: {}, Response: {} });
    gateway.signal("SIGTERM");
    expect(await gateway.exit()).toBe(0);
    connection.close();
  });

  test.skipIf(!HAS_REDIS)("starts without its Redis, says so, and connects when that comes up", async () => {
    const redis = await startRedis();
    await redis.kill();
    const gateway = await start("--broker", redis.tcpUrl);
    expect(await gateway.logged("zbus cannot use its broker; trying again until it can be reached")).toMatchObject({ level: "warn", broker: redis.tcpUrl });
    expect(await gateway.json("/healthz")).toMatchObject({ status: "ok", zbus: false });
    await redis.run();
    await gateway.logged("zbus connected to its broker");
    const connection = await redis.connect();
    expect(zbusResult(await new ZbusCaller(connection).call(SEED, "Metrics"))).toEqual({ Request: {}, Response: {} });
    connection.close();
  });

  test("makes its root when it is not there", async () => {
    root = join(root, "var/cache/modules/gateway");
    await start("--tls-local");
    expect(readdirSync(root).toSorted()).toEqual(["local-authority", "proxy"]);
  });

  test("keeps keys to itself", async () => {
    const gateway = await start("--tls-local", "--domain", DOMAIN);
    await gateway.set("1", "blog", ["http://10.0.0.1"]);
    const names = readdirSync(root, { recursive: true }).map(String).filter((name) => /key|certificates\/.*\.pem$/.test(name));
    expect(names.length).toBeGreaterThanOrEqual(2);
    for (const name of names) expect([name, statSync(join(root, name)).mode & 0o077]).toEqual([name, 0]);
  });

  test("goes on through a hang-up, as a node's supervisor sends them", async () => {
    const gateway = await start("--tls-local", "--domain", DOMAIN);
    await gateway.set("1", "blog", ["http://10.0.0.1"]);
    gateway.signal("SIGHUP");
    await gateway.logged("configuration applied");
    expect((await gateway.json("/api/gateways") as unknown[]).length).toBe(1);
  });

  test("writes lines for people with --log-format pretty", async () => {
    const started = Bun.spawn([process.execPath, join(import.meta.dir, "../../src/main.ts"), "gateway", "--root", root, "--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--tls-local", "--log-format", "pretty"], { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
    let text = "";
    const decoder = new TextDecoder();
    // Not `for await`, which would close the pipe that the process still writes to.
    const reader = started.stdout.getReader();
    while (!text.includes("routes=")) text += decoder.decode((await reader.read()).value, { stream: true });
    expect(text).toMatch(/listening .*https=https:\/\/localhost:\d+/);
    expect(text).not.toContain("{");
    started.kill("SIGTERM");
    expect(await started.exited).toBe(0);
  });

  test("answers its own health check on the plain address", async () => {
    const gateway = await start("--tls-local");
    expect((await program(["healthcheck", "--url", `http://127.0.0.1:${gateway.httpPort}/healthz`])).code).toBe(0);
  });
});

describe("a flag that is wrong", () => {
  test.each<[string, string[], string]>([
    ["--foo", ["--foo"], "unknown flag --foo"],
    ["--bromer", ["--bromer", "x"], 'unknown flag --bromer (did you mean --broker?)'],
    ["a surplus word", ["serve"], 'unexpected argument "serve"'],
    ["--http", ["--http", "80"], '--http: expected an address to listen on such as ":80" or "127.0.0.1:8080", found "80" (did you mean ":80"?)'],
    ["--https", ["--https", "https://x"], "--https: expected an address to listen on"],
    ["--admin", ["--admin", "127.0.0.1"], "--admin: expected an address to listen on"],
    ["--dns", ["--dns", "53", "--domain", DOMAIN], "--dns: expected an address to listen on"],
    ["--log-format", ["--log-format", "xml"], '--log-format is json or pretty, not "xml"'],
    ["--acme-email beside --tls-local", ["--tls-local", "--acme-email", "a@example.org"], "--acme-email is for certificates by ACME, and --tls-local asks for none"],
    ["--dns beside --tls-local", ["--tls-local", "--domain", DOMAIN, "--dns", ":53"], "--dns is for certificates by ACME, and --tls-local asks for none"],
    ["--dns without --domain", ["--dns", ":53"], "--dns is for the certificate of --domain, which is not given"],
    ["--challenge-program without --domain", ["--challenge-program", "/bin/true"], "--challenge-program is for the certificate of --domain, which is not given"],
    ["two ways to answer DNS-01", ["--domain", DOMAIN, "--dns", ":53", "--challenge-program", "/bin/true"], "--dns or --challenge-program answers DNS-01 challenges, not both"],
    ["--tls-local with a value", ["--tls-local=yes"], "--tls-local"],
    ["--root without one", ["--root"], "--root"],
    ["--broker", ["--broker", "redis://127.0.0.1"], "--broker: expected a broker such as unix:///var/run/redis.sock or tcp://:password@host:6379\n"],
    ["--domain", ["--domain", "a b"], '--domain: expected a domain name such as desk.example.org, found "a b"\n'],
    ["--public-address", ["--public-address", "192.0.2.1", "--public-address", "gw.example"], '--public-address: expected an IP address, found "gw.example"\n'],
    ["--nameserver", ["--nameserver", "dns.example:0"], "--nameserver: expected a nameserver such as "],
    ["--acme-directory", ["--acme-directory", "http://ca.example"], '--acme-directory: expected an https URL such as https://ca.example/directory, found "http://ca.example"\n'],
    ["--acme-email", ["--acme-email", "ops"], '--acme-email: expected an e-mail address such as admin@example.org, found "ops"\n'],
    ["--root that is empty", ["--root", ""], '--root: expected a directory, found ""\n'],
    ["--admin elsewhere without a token", ["--admin", "0.0.0.0:0"], "--admin: an address that is not loopback needs a token: --admin-token FILE\n"],
  ])("is wrong usage, exit code 2: %s", async (_what, flags, message) => {
    const { code, stdout, stderr } = await failing(...flags);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toContain(message);
    expect(stderr).toStartWith("route-gateway: ");
    expect(stderr).toEndWith('\nrun "route-gateway gateway --help" for what there is\n');
  });

  test.each<[string, string[], string]>([
    ["--acme-ca", ["--acme-ca", "/nowhere.pem"], "cannot read the root certificate of the ACME server /nowhere.pem: no such file\n"],
    ["--challenge-program", ["--domain", DOMAIN, "--challenge-program", "/nowhere"], "cannot run the challenge program /nowhere: no such file\n"],
    ["--admin-token", ["--tls-local", "--admin-token", "/nowhere"], "cannot read the admin token /nowhere: no such file\n"],
    ["--admin-token that is a directory", ["--tls-local", "--admin-token", "/sys"], "cannot read the admin token /sys: it is not a file\n"],
  ])("names something that is not there, exit code 1: %s", async (_what, flags, message) => {
    const { code, stderr } = await failing(...flags);
    expect(code).toBe(1);
    expect(stderr).toContain(message);
  });

  test("does not hide the others", async () => {
    const { code, stderr } = await failing("--broker", "x", "--domain", "x", "--public-address", "x");
    expect([code, [...stderr.matchAll(/^route-gateway: (--[a-z-]+): /gm)].map(([, flag]) => flag)]).toEqual([2, ["--broker", "--domain", "--public-address"]]);
  });

  test("is no wrong usage when it is a variable that is wrong", async () => {
    const { code, stderr } = await program(["gateway", "--root", root, "--tls-local"], { XTERM_TCP_PORT: "x" });
    expect([code, stderr]).toEqual([1, 'environment variable XTERM_TCP_PORT: expected a port number from 1 to 65535, found "x"\n']);
  });

  test("is not repeated with the password in it", async () => {
    const { stderr } = await failing("--broker", "tcp://:hunter2@host:port");
    expect(stderr).toContain("--broker: expected a broker");
    expect(stderr).not.toContain("hunter2");
  });

  test("may be a token that is too short to be one", async () => {
    writeFileSync(join(root, "token"), "short");
    expect((await failing("--tls-local", "--admin-token", join(root, "token"))).stderr).toContain("the token has 5 characters, and at least 16 are needed");
  });
});

describe("a root that cannot be used", () => {
  test("is said with its path: a file, a place where nobody may write, a registry that is none", async () => {
    const file = join(root, "file");
    writeFileSync(file, "");
    expect(await failing("--root", file, "--tls-local")).toMatchObject({ code: 1, stderr: expect.stringContaining(`cannot use the registry ${file}/proxy: what stands before a slash is not a directory`) });
    // Read-only for everybody, root included.
    const denied = await failing("--root", "/sys/route-gateway", "--tls-local");
    expect([denied.code, denied.stderr]).toEqual([1, expect.stringMatching(/^route-gateway: cannot use the registry \/sys\/route-gateway\/proxy: (not permitted|the file system is read-only)/)]);
    mkdirSync(join(root, "r"));
    writeFileSync(join(root, "r/proxy"), "");
    expect((await failing("--root", join(root, "r"), "--tls-local")).stderr).toContain(`cannot use the registry ${root}/r/proxy: `);
  });

  test("is said as well when the local authority cannot be kept there", async () => {
    writeFileSync(join(root, "local-authority"), "");
    const { code, stderr } = await failing("--tls-local");
    expect([code, stderr]).toEqual([1, `route-gateway: cannot open the local authority: cannot make the directory ${join(root, "local-authority")}: is not a directory\n`]);
  });
});

describe("an address that is taken", () => {
  const FLAGS = ["http", "https", "admin"] as const;

  test.each(FLAGS)("is said with the flag that chooses another, and nothing is left open: --%s", async (flag) => {
    const holder = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    const addresses = Object.fromEntries(FLAGS.map((name) => [name, `127.0.0.1:${name === flag ? holder.port : closedPort()}`]));
    const { code, stderr } = await failing("--tls-local", ...Object.entries(addresses).flatMap(([name, address]) => [`--${name}`, address]));
    expect(code).toBe(1);
    expect(stderr).toMatch(new RegExp(`^route-gateway: cannot listen on 127\\.0\\.0\\.1:${holder.port}[^:]*: the address is in use \\(another server\\? choose one with --${flag} HOST:PORT\\)\n$`));
    // The same in one process, which lives on: what was opened before is closed again.
    await expect(TestGateway.start({ root, ...addresses })).rejects.toThrow("the address is in use");
    const others = FLAGS.filter((name) => name !== flag).map((name) => Number(addresses[name]?.split(":")[1]));
    expect(await Promise.all(others.map(isClosed))).toEqual([true, true]);
    holder.stop(true);
    const started = await TestGateway.start({ root, ...addresses });
    await started.app.stop(0);
  });

  test("of DNS challenges is said, too", async () => {
    const holder = await Bun.udpSocket({ hostname: "127.0.0.1", port: 0 });
    const { code, stderr } = await failing("--domain", DOMAIN, "--dns", `127.0.0.1:${holder.port}`);
    expect([code, stderr]).toEqual([1, expect.stringContaining(`127.0.0.1:${holder.port}`)]);
    expect(stderr).toMatch(/in use/);
    holder.close();
  });

  test("by a second gateway on the same root ends that one, and the first one serves on", async () => {
    const first = await start("--tls-local", "--domain", DOMAIN);
    await first.set("1", "blog", [`http://127.0.0.2:${closedPort()}`]).catch(() => {});
    const { code } = await failing("--tls-local", "--domain", DOMAIN, "--https", `127.0.0.1:${first.httpsPort}`);
    expect(code).toBe(1);
    await first.set("2", "shop", ["http://10.0.0.1"]);
    (await first.connect(`shop.${DOMAIN}`)).destroy();
  });

  test("may be chosen by the kernel, and is said in the log", async () => {
    const gateway = await start("--tls-local");
    await eventually("the ports", () => [gateway.httpPort, gateway.httpsPort, Number(new URL(gateway.adminUrl).port)], (ports) => ports.every((port) => port > 0));
    expect(await isClosed(gateway.httpsPort)).toBe(false);
  });
});
