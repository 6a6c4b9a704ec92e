import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { startCluster, type Cluster } from "../../src/demo/cluster.ts";
import { startControlPlane, type ControlPlane } from "../../src/demo/control-plane.ts";

type Answer = { status: number; message?: string; result: Record<string, unknown> };

const START_DELAY_MS = 60;
let cluster: Cluster;
let controlPlane: ControlPlane;
let started: string[];
let stopped: string[];

beforeEach(async () => {
  started = [];
  stopped = [];
  cluster = startCluster(START_DELAY_MS, (owner) => {
    started.push(owner);
    return { owner, address: `10.0.0.${started.length}`, stop: async () => void stopped.push(owner) };
  });
  let minted = 0;
  controlPlane = await startControlPlane({
    cluster, version: "1.2.3", pollIntervalMs: 5, desktopTokenTtlS: 60,
    mintToken: (host, ttlS) => `token ${++minted} for ${host}, ${ttlS} s`,
    mintConsoleToken: (user, vms, ttlS) => `console token of ${user} for ${vms.join(" and ")}, ${ttlS} s`,
  });
});

afterEach(async () => {
  await controlPlane.stop();
  await cluster.stop();
});

async function call(method: string, path: string, options: { token?: unknown; body?: unknown } = {}): Promise<Answer> {
  const response = await fetch(`http://127.0.0.1:${controlPlane.port}/API${path}`, {
    method,
    headers: options.token === undefined ? {} : { Authorization: `Bearer ${options.token}` },
    ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
  });
  const answer = await response.json() as Answer;
  expect(answer.status).toBe(response.status);
  return answer;
}

async function logIn(user: string): Promise<unknown> {
  return (await call("POST", "/auth/login", { body: { user, password: user } })).result["userToken"];
}

describe("demo control plane", () => {
  test("tells its version to everyone", async () => {
    expect((await call("GET", "/version")).result).toMatchObject({ version: "1.2.3" });
  });

  test.each([
    [{ user: "alice", password: "bob" }], [{ user: "carol", password: "carol" }], [{ user: "alice" }], [{}], [null],
    [{ user: "toString", password: "x" }], [{ user: ["alice"], password: ["alice"] }],
  ])("refuses the login %j", async (body) => {
    expect((await call("POST", "/auth/login", { body })).status).toBe(401);
  });

  const calls = ["launchdesktop", "refreshdesktoptoken", "stopdesktop"];
  test.each(calls)("refuses %s without a good user token", async (name) => {
    expect((await call("POST", `/composer/${name}`)).status).toBe(401);
    expect((await call("POST", `/composer/${name}`, { token: "a.b.c" })).status).toBe(401);
    const forged = `${String(await logIn("alice")).split(".").slice(0, 2).join(".")}.AAAA`;
    expect((await call("POST", `/composer/${name}`, { token: forged })).status).toBe(401);
    expect(started).toEqual([]);
  });

  test("answers launchdesktop when the pod is ready, with a token for its address", async () => {
    const token = await logIn("alice");
    const startedAt = performance.now();
    const { result } = await call("POST", "/composer/launchdesktop", { token });
    expect(result).toEqual({ desktopToken: "token 1 for 10.0.0.1, 60 s", expiresInS: 60 });
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(START_DELAY_MS - 5);
  });

  test("tells the steps of the workflow in their order", async () => {
    const token = await logIn("alice");
    await call("POST", "/composer/launchdesktop", { token });
    const { steps } = (await call("GET", "/composer/progress", { token })).result as { steps: { text: string }[] };
    const texts = steps.map(({ text }) => text).filter((text, index, all) => text !== all[index - 1]);
    expect(texts).toEqual([
      "user token of alice verified", "pod of alice created", "is alice's pod ready?", "alice's pod: I'm ready",
      "pod address encrypted, desktop token signed",
    ]);
  });

  test("gives every user one pod, however often it is launched", async () => {
    const [alice, bob] = [await logIn("alice"), await logIn("bob")];
    await Promise.all([alice, alice, bob].map((token) => call("POST", "/composer/launchdesktop", { token })));
    expect(started.toSorted()).toEqual(["alice", "bob"]);
  });

  test("refreshes the token of a desktop that is there, and of no other", async () => {
    const token = await logIn("alice");
    expect((await call("POST", "/composer/refreshdesktoptoken", { token })).status).toBe(404);
    await call("POST", "/composer/launchdesktop", { token });
    const refreshed = await call("POST", "/composer/refreshdesktoptoken", { token });
    expect(refreshed.result["desktopToken"]).toBe("token 2 for 10.0.0.1, 60 s");
  });

  test("stops a desktop, and can make it again", async () => {
    const token = await logIn("alice");
    await call("POST", "/composer/launchdesktop", { token });
    await call("POST", "/composer/stopdesktop", { token });
    expect(stopped).toEqual(["alice"]);
    expect((await call("POST", "/composer/refreshdesktoptoken", { token })).status).toBe(404);
    await call("POST", "/composer/launchdesktop", { token });
    expect(started).toEqual(["alice", "alice"]);
  });

  test("says so when the desktop is stopped before it was ready", async () => {
    const token = await logIn("alice");
    const launch = call("POST", "/composer/launchdesktop", { token });
    while (!cluster.has("alice")) await Bun.sleep(1);
    await call("POST", "/composer/stopdesktop", { token });
    expect(await launch).toMatchObject({ status: 500, message: "the desktop was stopped before it was ready" });
    expect(started).toEqual([]);
  });

  test("tells why a pod could not start, and tries again the next time", async () => {
    const failing = startCluster(0, () => {
      throw new Error("no address is free");
    });
    failing.create("alice");
    await Bun.sleep(5);
    expect(() => failing.readyPod("alice")).toThrow("no address is free");
    expect(failing.has("alice")).toBe(false);
  });

  test("answers 404 in JSON for what it does not know", async () => {
    expect((await call("GET", "/nothing")).status).toBe(404);
  });

  test("lists all machines, with whose they are and which of them run", async () => {
    const { result } = await call("GET", "/consoles", { token: await logIn("bob") });
    expect(result).toMatchObject({
      namespace: "demo",
      machines: [
        { name: "ubuntu", owner: "alice", state: "Running" }, { name: "kali", owner: "bob", state: "Running" },
        { name: "backup", owner: "alice", state: "Stopped" },
      ],
    });
  });

  test.each([
    ["alice", ["ubuntu", "backup"]], ["bob", ["kali"]],
  ])("gives %s a console token for their own machines, for ten minutes", async (user, vms) => {
    const { result } = await call("POST", "/consoles/token", { token: await logIn(user) });
    const consoleToken = `console token of ${user} for ${vms.join(" and ")}, 600 s`;
    expect(result).toEqual({ consoleToken, vms, expiresInS: 600 });
  });

  test("takes no wishes for other machines", async () => {
    const { result } = await call("POST", "/consoles/token", { token: await logIn("bob"), body: { vms: ["ubuntu"], user: "alice" } });
    expect(result["vms"]).toEqual(["kali"]);
  });

  test.each([["GET", "/consoles"], ["POST", "/consoles/token"]])("refuses %s %s without a good user token", async (method, path) => {
    expect((await call(method, path)).status).toBe(401);
    expect((await call(method, path, { token: "a.b.c" })).status).toBe(401);
  });
});
