// The configuration while the program runs: changed files, swapped symlinks, SIGHUP, broken files, and keys that rotate.
// Whatever happens to the table, open sessions and running requests do not notice.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { generateKeys } from "../../src/token/mint.ts";
import { KeyFiles } from "../support/keys.ts";
import { Pod } from "../support/pod.ts";
import { RawClient } from "../support/raw.ts";
import { TestRouter } from "../support/router.ts";
import { receive } from "../support/service-manager.ts";
import { OP, ServeProcess, waitFor, WsClient } from "../support/ws-client.ts";

const SHIPPED = readFileSync(join(import.meta.dir, "../../routes.yaml"), "utf8");
const withNode = (text: string): string => SHIPPED.replace("node: { text: \"${NODE_NAME:-}\\n\" }", `node: { text: "${text}" }`);

let pod: Pod;
let keys: KeyFiles;
let router: ServeProcess | null = null;
const clients: Array<{ close(): void }> = [];
let runs = 0;

beforeAll(() => { pod = new Pod(); });
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await router?.stop();
  router = null;
  keys?.remove();
});
afterAll(() => pod.stop());

/** A directory of its own for each test, with keys and a configuration that says "one" at /node. */
async function serve(file: string = newFile("one")): Promise<ServeProcess> {
  router = await ServeProcess.start({ ...pod.env, ...keys.env, ROUTE_ALLOWED_TARGETS: "127.0.1.0/24" }, ["--config", file]);
  return router;
}

function newFile(text: string): string {
  keys = new KeyFiles();
  runs += 1;
  const file = keys.path(`routes-${runs}.yaml`);
  writeFileSync(file, withNode(text));
  return file;
}

async function node(serving: ServeProcess): Promise<string> {
  const client = await RawClient.ask(serving.port, "GET /node HTTP/1.1\r\nHost: desk\r\n\r\n");
  return client.body;
}

async function untilNode(serving: ServeProcess, text: string): Promise<void> {
  const deadline = Date.now() + 8000;
  while (await node(serving) !== text) if (Date.now() > deadline) throw new Error(`/node never became "${text}"; log:\n${serving.log.slice(-1500)}`);
}

async function session(port: number, token: string): Promise<WsClient> {
  pod.answer((seen, connection) => connection.accept(seen));
  const client = await WsClient.open(port, `/websockify?jwt_token=${token}`);
  clients.push(client);
  return client;
}

async function talks(client: WsClient): Promise<void> {
  const before = client.messages.length;
  client.send(OP.text, "still there?");
  await client.until(() => client.messages.length > before);
}

/** Of the admin listener. */
async function metric(serving: ServeProcess, name: string): Promise<number> {
  const url = serving.lines.map(({ admin }) => admin).find((admin) => typeof admin === "string");
  return Number(new RegExp(`^${name} (\\d+)$`, "m").exec(await (await fetch(`${url}/metrics`)).text())?.[1]);
}

async function untilMetric(serving: ServeProcess, name: string, value: number): Promise<void> {
  const deadline = Date.now() + 8000;
  while (await metric(serving, name) !== value) if (Date.now() > deadline) throw new Error(`${name} never became ${value}; log:\n${serving.log.slice(-1500)}`);
}

test("what was refused is in the metrics as long as it is so: a configuration, and keys", async () => {
  const file = newFile("one");
  router = await ServeProcess.start({ ...pod.env, ...keys.env, ROUTE_ALLOWED_TARGETS: "127.0.1.0/24" }, ["--config", file, "--admin", "127.0.0.1:0"]);
  expect([await metric(router, "route_config_refused"), await metric(router, "route_key_problems")]).toEqual([0, 0]);
  writeFileSync(file, "routes: no list");
  await untilMetric(router, "route_config_refused", 1);
  writeFileSync(file, withNode("two"));
  await untilMetric(router, "route_config_refused", 0);
  writeFileSync(keys.path("signing.pem"), "no key at all");
  await untilMetric(router, "route_key_problems", 1);
  keys.write();
  await untilMetric(router, "route_key_problems", 0);
}, 40_000);

describe("a changed configuration file", () => {
  test("is picked up by itself, and sessions and running requests go on", async () => {
    const file = newFile("one");
    const serving = await serve(file);
    const client = await session(serving.port, keys.token());
    const upload = await RawClient.open(serving.port);
    clients.push(upload);
    pod.answer((_seen, connection) => connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    upload.write(`POST /filer HTTP/1.1\r\nHost: desk\r\nAuthorization: Bearer ${keys.token()}\r\nContent-Length: 100000\r\n\r\n`);
    upload.write(Buffer.alloc(50_000));
    expect(await node(serving)).toBe("one");
    writeFileSync(file, withNode("two"));
    await untilNode(serving, "two");
    await serving.until(() => serving.events("configuration applied").length === 1);
    await talks(client);
    upload.write(Buffer.alloc(50_000));
    await upload.until(() => upload.status === 200);
  }, 15_000);

  test("that is broken is refused with every mistake's place, the old table stays, and a mended one is taken", async () => {
    const file = newFile("one");
    const serving = await serve(file);
    const client = await session(serving.port, keys.token());
    writeFileSync(file, withNode("two").replace("service: filer", "service: filr").replace("missedPongs: 2", "missedPongs: many"));
    await serving.until(() => serving.events("configuration refused, the old one stays").length === 1);
    const reason = String(serving.events("configuration refused, the old one stays")[0]?.["reason"]);
    expect(reason).toMatch(/routes-\d+\.yaml:\d+:\d+: .*filr.*filer/);
    expect(reason).toMatch(/:\d+:\d+: .*missedPongs|many/);
    expect(await node(serving)).toBe("one");
    await talks(client);
    writeFileSync(file, withNode("three"));
    await untilNode(serving, "three");
    await talks(client);
  }, 15_000);

  test("that is empty or gone is refused, and its return is noticed", async () => {
    const file = newFile("one");
    const serving = await serve(file);
    renameSync(file, `${file}.away`);
    await serving.until(() => serving.events("configuration refused, the old one stays").length >= 1);
    expect(await node(serving)).toBe("one");
    writeFileSync(file, withNode("back"));
    await untilNode(serving, "back");
  }, 15_000);

  test("that is replaced by a rename, as editors do, is picked up, again and again", async () => {
    const file = newFile("one");
    const serving = await serve(file);
    for (const text of ["two", "three", "four"]) {
      writeFileSync(`${file}.new`, withNode(text));
      renameSync(`${file}.new`, file);
      await untilNode(serving, text);
    }
  }, 20_000);

  test("behind the symlinks of a Kubernetes ConfigMap is picked up when they are swapped, again and again", async () => {
    newFile("unused");
    const mount = keys.path("mount");
    mkdirSync(mount);
    const publish = (version: string): void => {
      mkdirSync(join(mount, `..${version}`));
      writeFileSync(join(mount, `..${version}`, "routes.yaml"), withNode(version));
      symlinkSync(`..${version}`, join(mount, "..data_tmp"));
      renameSync(join(mount, "..data_tmp"), join(mount, "..data"));
    };
    publish("one");
    symlinkSync("..data/routes.yaml", join(mount, "routes.yaml"));
    const serving = await serve(join(mount, "routes.yaml"));
    const client = await session(serving.port, keys.token());
    for (const version of ["two", "three", "four"]) {
      publish(version);
      await untilNode(serving, version);
    }
    await talks(client);
  }, 20_000);

  test("changes what new sessions get and nothing of the old ones: a route may go while its session stays", async () => {
    const file = newFile("one");
    const serving = await serve(file);
    const client = await session(serving.port, keys.token());
    writeFileSync(file, withNode("two").replace("  - path: /websockify\n", "  - path: /elsewhere\n"));
    await untilNode(serving, "two");
    await talks(client);
    const refused = await WsClient.try(serving.port, `/websockify?jwt_token=${keys.token()}`);
    clients.push(refused);
    expect(refused.status).not.toBe(101);
    expect((await WsClient.try(serving.port, `/elsewhere?jwt_token=${keys.token()}`)).status).toBe(101);
  }, 15_000);
});

describe("SIGHUP", () => {
  test("reads the file again", async () => {
    const serving = await serve();
    const client = await session(serving.port, keys.token());
    for (let i = 1; i <= 3; i += 1) {
      serving.signal("SIGHUP");
      await serving.until(() => serving.events("configuration applied").length === i);
    }
    await talks(client);
    expect(await node(serving)).toBe("one");
  });

  test("with a broken file refuses it and keeps the old table", async () => {
    const file = newFile("one");
    const serving = await serve(file);
    writeFileSync(file, "routes: [");
    serving.signal("SIGHUP");
    await serving.until(() => serving.events("configuration refused, the old one stays").length >= 1);
    expect(await node(serving)).toBe("one");
    expect(serving.child.exitCode).toBeNull();
  });

  test.skipIf(!Bun.which("python3"))("tells the service manager that it reloads and is ready, also with a broken file, and then why; the log has it once each time (needs python3)", async () => {
    const socket = `@route-reload-${process.pid}`;
    const manager = await receive(socket);
    try {
      const file = newFile("one");
      router = await ServeProcess.start({ ...pod.env, ...keys.env, NOTIFY_SOCKET: socket }, ["--config", file]);
      expect(await manager.text()).toBe("READY=1");
      router.signal("SIGHUP");
      expect(await manager.text()).toStartWith("RELOADING=1\n");
      expect(await manager.text()).toBe("READY=1\nSTATUS=");
      writeFileSync(file, "routes: [");
      for (let logged = 1; logged <= 2; logged += 1) {
        router.signal("SIGHUP");
        // Of the signal, and the first time of the watcher as well, which has nothing new to say then.
        for (let pair = logged; pair <= 2; pair += 1) {
          expect(await manager.text()).toStartWith("RELOADING=1\n");
          expect(await manager.text()).toMatch(/^READY=1\nSTATUS=configuration refused, the old one stays: .*routes-\d+\.yaml:1:\d+: not valid YAML: .*$/);
        }
        await router.until(() => router?.events("configuration refused, the old one stays").length === logged);
      }
    } finally {
      await manager.stop();
    }
  });

  test("a hundred times in a row leaves no descriptor behind", async () => {
    const serving = await serve();
    serving.signal("SIGHUP");
    await serving.until(() => serving.events("configuration applied").length === 1);
    const before = serving.descriptors();
    for (let i = 2; i <= 100; i += 1) {
      serving.signal("SIGHUP");
      await serving.until(() => serving.events("configuration applied").length >= i);
    }
    await waitFor(() => serving.descriptors() <= before);
  }, 20_000);
});

describe("keys that change while the program runs", () => {
  test("are used for the next token; sessions of the old ones stay", async () => {
    const serving = await serve();
    const client = await session(serving.port, keys.token());
    const oldToken = keys.token();
    keys.keys = generateKeys(2048);
    keys.write();
    await serving.until(() => serving.events("keys reloaded").length >= 1);
    const fresh = async (): Promise<number> => {
      const tried = await WsClient.try(serving.port, `/websockify?jwt_token=${keys.token()}`);
      tried.close();
      return tried.status;
    };
    const deadline = Date.now() + 5000;
    while (await fresh() !== 101) if (Date.now() > deadline) throw new Error("the new key was never used");
    const old = await WsClient.try(serving.port, `/websockify?jwt_token=${oldToken}`);
    expect(old.status).toBe(401);
    await talks(client);
  }, 15_000);

  test("that break keep the last good ones, with an error in the log; mended ones are taken", async () => {
    const serving = await serve();
    writeFileSync(keys.path("signing.pem"), "no key at all");
    await serving.until(() => serving.events("key refused, the old one stays").length === 1);
    const reason = `cannot load signing public key ${keys.path("signing.pem")}: it holds no PEM`;
    expect(serving.events("key refused, the old one stays")).toMatchObject([{ level: "error", reason: expect.stringContaining(reason) }]);
    const client = await session(serving.port, keys.token());
    await talks(client);
    serving.signal("SIGHUP");
    await serving.until(() => serving.events("configuration applied").length === 1);
    expect(serving.events("a key file is still not loadable")).toMatchObject([{ level: "error", reason: expect.stringContaining(reason) }]);
    keys.keys = generateKeys(2048);
    keys.write();
    await serving.until(() => serving.events("keys reloaded").length >= 1);
  }, 15_000);

  test("inside the App as well: a cached token of the old key is not good any more", async () => {
    const through = await TestRouter.start({ env: pod.env });
    try {
      const token = through.token();
      const first = await session(through.port, token);
      const other = generateKeys(2048);
      writeFileSync(join(through.directory, "signing.pem"), other.signingPublicKey);
      await waitFor(() => { through.app.log.close(); return through.log.text.includes("keys reloaded"); });
      const again = await WsClient.try(through.port, `/websockify?jwt_token=${token}`);
      expect(again.status).toBe(401);
      await talks(first);
    } finally {
      for (const client of clients.splice(0)) client.close();
      await through.stop();
    }
  });
});
