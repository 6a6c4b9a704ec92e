// `route-gateway consoles` as it is run: a process of its own, told by environment variables, ended by a signal.

import { afterEach, describe, expect, test } from "bun:test";
import { createSecretKey } from "node:crypto";
import { mintVmToken } from "../../src/token/mint.ts";

const MAIN = new URL("../../src/main.ts", import.meta.url).pathname;
const SECRET = "strong-secret-of-32-bytes-and-no";
const LOCAL = { SECRET_KEY: SECRET, LOCAL_DEV_MODE: "true", HOST: "127.0.0.1", PORT: "0" };

type Child = Bun.Subprocess<"ignore", "pipe", "pipe">;
const children: Child[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill("SIGKILL");
    await child.exited;
  }
});

/** Nothing but `env`: what this machine has set is not to be tested. */
function spawn(env: Record<string, string>, ...args: string[]): Child {
  const child = Bun.spawn([process.execPath, MAIN, "consoles", ...args], { env, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  children.push(child);
  return child;
}

/** A process that ends by itself. */
async function outcome(env: Record<string, string>, ...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = spawn(env, ...args);
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, stdout, stderr };
}

type Line = Record<string, unknown>;

/** Its log, line by line as it comes. */
class LogReader {
  readonly lines: Line[] = [];
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #decoder = new TextDecoder();
  #rest = "";

  constructor(child: Child) {
    this.#reader = child.stdout.getReader() as ReadableStreamDefaultReader<Uint8Array>;
  }

  /** The first line with this message, waited for. */
  async until(message: string): Promise<Line> {
    for (;;) {
      const found = this.lines.find((line) => line["message"] === message);
      if (found !== undefined) return found;
      if (!await this.#more()) throw new Error(`the process ended without the line "${message}": ${JSON.stringify(this.lines)}`);
    }
  }

  async #more(): Promise<boolean> {
    const { done, value } = await this.#reader.read();
    if (done) return false;
    const parts = `${this.#rest}${this.#decoder.decode(value, { stream: true })}`.split("\n");
    this.#rest = parts.pop() ?? "";
    this.lines.push(...parts.map((line) => JSON.parse(line) as Line));
    return true;
  }
}

describe("route-gateway consoles", () => {
  test.each(["SIGTERM", "SIGINT"] as const)("listens where it is told to, asks for tokens, and ends with 0 at %s", async (signal) => {
    const child = spawn({ ...LOCAL, HOST_PATH_PREFIX: "ws" });
    const log = new LogReader(child);
    const { http, config } = await log.until("listening");
    expect([String(http), config]).toEqual([expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\/?$/), "consoles.yaml (built in)"]);
    const token = mintVmToken({ user: 7, lab: 1, labInstance: 12, namespace: "lab-12", vms: ["ubuntu"], secret: createSecretKey(Buffer.from(SECRET)), ttlS: 60 });
    const upgrade = { Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==" };
    const status = async (path: string, headers: Record<string, string> = {}): Promise<number> => (await fetch(new URL(path, String(http)), { headers })).status;
    expect(await status("/healthz")).toBe(200);
    expect(await status(`/ws/${token}/ubuntu`)).toBe(426);
    expect(await status(`/ws/${token}/debian`, upgrade)).toBe(403);
    expect(await status(`/ws/${token}x/ubuntu`, upgrade)).toBe(401);
    expect(await status(`/${token}/ubuntu`, upgrade)).toBe(404);
    child.kill(signal);
    expect(await log.until("stopping")).toMatchObject({ signal });
    await log.until("stopped");
    expect(await child.exited).toBe(0);
    expect(await child.stderr.text()).toBe("");
    expect(JSON.stringify(log.lines)).not.toContain(SECRET);
    expect(JSON.stringify(log.lines)).not.toContain(token);
  });

  test("takes --http in place of HOST and PORT, and --log-format", async () => {
    const child = spawn({ ...LOCAL, HOST: "192.0.2.77", PORT: "1" }, "--http", "127.0.0.1:0", "--log-format", "json");
    expect(await new LogReader(child).until("listening")).toMatchObject({ http: expect.stringContaining("http://127.0.0.1:") });
    child.kill("SIGTERM");
    expect(await child.exited).toBe(0);
  });

  test("starts without the service account's files, and says that consoles have to wait for them", async () => {
    const child = spawn({ SECRET_KEY: SECRET, HOST: "127.0.0.1", PORT: "0", KUBERNETES_SERVICE_HOST: "10.96.0.1", ROUTE_CA_FILE: "/nowhere/ca.crt" });
    const log = new LogReader(child);
    await log.until("listening");
    expect(await log.until("service \"kubevirt\" answers 503 until its credentials are there")).toMatchObject({
      level: "error", reason: expect.stringContaining("cannot load service account CA /nowhere/ca.crt: no such file"),
    });
    child.kill("SIGTERM");
    expect(await child.exited).toBe(0);
  });

  test("takes a weak secret on request, and warns about it", async () => {
    const child = spawn({ ...LOCAL, SECRET_KEY: "hunter2", ROUTE_ALLOW_WEAK_SECRET: "true" });
    const log = new LogReader(child);
    await log.until("listening");
    expect(await log.until("weak secret accepted: it has 7 bytes, below 32 (allowWeakSecret is set)")).toMatchObject({ level: "warn" });
    expect(JSON.stringify(log.lines)).not.toContain("hunter2");
    child.kill("SIGTERM");
    expect(await child.exited).toBe(0);
  });
});

describe("route-gateway consoles does not start", () => {
  test("without SECRET_KEY, and names it", async () => {
    expect(await outcome({ LOCAL_DEV_MODE: "true" })).toEqual({
      code: 1, stdout: "", stderr: "environment variable SECRET_KEY is not set: the key that the tokens are signed with\n",
    });
  });

  test("with a short secret, and says how it could", async () => {
    const { code, stdout, stderr } = await outcome({ ...LOCAL, SECRET_KEY: "hunter2" });
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toBe("environment variable SECRET_KEY: expected a secret of 32 bytes or more, found one of 7 "
      + "(to accept it, set allowWeakSecret: true in token.vm, or ROUTE_ALLOW_WEAK_SECRET=true)\n");
  });

  test("with credentials for plain ws", async () => {
    const { code, stderr } = await outcome({ SECRET_KEY: SECRET, WS_REMOTE_URL: "ws://api.example" });
    expect([code, stderr]).toEqual([1, "credentials are never sent over plain ws: the remote URL is \"ws://api.example\" (write wss://, or set LOCAL_DEV_MODE=true)\n"]);
  });

  test.each([[["--config", "x.yaml"], "unknown flag --config"], [["--http", "80"], "--http: expected an address to listen on"], [["--log-format", "xml"], "--log-format is json or pretty"], [["now"], "unexpected argument \"now\""]])(
    "with %j: wrong usage, exit code 2", async (args, message) => {
      const { code, stdout, stderr } = await outcome(LOCAL, ...args);
      expect([code, stdout]).toEqual([2, ""]);
      expect(stderr).toStartWith(`route-gateway: ${message}`);
    });
});

test("route-gateway consoles --help lists every variable of the built-in configuration", async () => {
  const { code, stdout, stderr } = await outcome({}, "--help");
  expect([code, stderr]).toEqual([0, ""]);
  const shipped = await Bun.file(new URL("../../consoles.yaml", import.meta.url)).text();
  const names = [...shipped.matchAll(/\$\{([A-Z_]+)/g)].map((match) => match[1] ?? "");
  expect(names.length).toBeGreaterThan(10);
  const ours = ["LOCAL_DEV_MODE", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "ROUTE_TRUSTED_PROXIES"];
  expect([...names, ...ours].filter((name) => !new RegExp(`\\b${name}\\b`).test(stdout))).toEqual([]);
});
