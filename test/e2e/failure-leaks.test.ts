// Ten thousand comings and goings of every kind against a router in a process of its own: afterwards its descriptors are
// what they were, and its memory nearly so.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { KeyFiles } from "../support/keys.ts";
import { Pod, type PodConnection } from "../support/pod.ts";
import { RawClient } from "../support/raw.ts";
import { closeData, OP, ServeProcess, waitFor, WsClient } from "../support/ws-client.ts";

const MIB = 1024 * 1024;
const AT_ONCE = 50;

let pod: Pod;
let keys: KeyFiles;
let router: ServeProcess;
let target: string;
let idleDescriptors: number;

beforeAll(async () => {
  pod = new Pod();
  keys = new KeyFiles();
  router = await ServeProcess.start({ ...pod.env, ...keys.env, ROUTE_ALLOWED_TARGETS: "127.0.1.0/24" });
  target = `/websockify?jwt_token=${keys.token()}`;
  // How a session goes is said by its client, in a subprotocol.
  pod.answer((seen, connection) => podPart(seen.headers["sec-websocket-protocol"]?.[0] ?? "", connection, () => connection.accept(seen)));
  idleDescriptors = router.descriptors();
});
afterAll(async () => {
  await router.stop();
  pod.stop();
  keys.remove();
});

function podPart(part: string, connection: PodConnection, accept: () => void): void {
  if (part === "refuse") return connection.write("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n");
  if (part === "hang-up") return connection.cut();
  accept();
  if (part === "pod-closes") connection.send(OP.close, closeData(4000, "bye"));
  if (part === "pod-cuts") connection.cut();
}

/** One coming and going, each kind in turn. */
const KINDS: ReadonlyArray<() => Promise<void>> = [
  () => visit("talk", async (client) => {
    client.send(OP.text, "hello");
    await client.until(() => client.frames.length > 0, 10_000);
    client.sendClose(1000);
    await client.ended(10_000);
  }),
  () => visit("client-cuts", (client) => client.cut()),
  () => visit("client-ends", (client) => client.close()),
  () => visit("pod-closes", async (client) => { await client.ended(10_000); }),
  () => visit("pod-cuts", async (client) => { await client.ended(10_000); }),
  () => visit("refuse", (client) => expect(client.status).toBe(403)),
  () => visit("hang-up", (client) => expect(client.status).toBe(502)),
  async () => {
    const client = await WsClient.dial(router.port, target, { headers: { "Sec-WebSocket-Protocol": "in-a-hurry" } });
    client.cut();
  },
  async () => {
    const client = await RawClient.open(router.port);
    client.write("GET /healthz HTTP/1.1\r\nHost: desk\r\n\r\n");
    await client.until(() => client.status === 200, 10_000);
    client.close();
  },
  async () => (await RawClient.open(router.port)).close(),
];

async function visit(part: string, then: (client: WsClient) => unknown): Promise<void> {
  const client = await WsClient.try(router.port, target, { headers: { "Sec-WebSocket-Protocol": part }, timeoutMs: 10_000 });
  try {
    await then(client);
  } finally {
    client.close();
  }
}

async function visits(count: number): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) {
      const kind = KINDS[next % KINDS.length] as () => Promise<void>;
      next += 1;
      await kind();
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  pod.seen.length = 0;
}

async function quiet(): Promise<void> {
  await waitFor(() => router.descriptors() <= idleDescriptors, 15_000, () => `${router.descriptors()} descriptors, ${idleDescriptors} before`);
}

test("ten thousand connects and disconnects leave no descriptor and no memory behind", async () => {
  // As many beforehand: compiled code and the allocator's arenas come with them, and are not what is meant.
  await visits(10_000);
  await quiet();
  const before = router.rssBytes();
  await visits(10_000);
  await quiet();
  expect(router.descriptors()).toBeLessThanOrEqual(idleDescriptors);
  expect(pod.open.size).toBe(0);
  expect((router.rssBytes() - before) / MIB).toBeLessThan(16);
  expect(router.log).not.toContain("request failed");
}, 60_000);

test("a thousand sessions cut at once, three times over, leave no descriptor behind", async () => {
  for (let round = 0; round < 3; round += 1) {
    const all: WsClient[] = [];
    for (let i = 0; i < 20; i += 1) all.push(...await Promise.all(Array.from({ length: 50 }, () => WsClient.open(router.port, target))));
    expect(router.descriptors()).toBeGreaterThanOrEqual(idleDescriptors + 2000);
    if (round === 1) for (const socket of pod.open) socket.terminate();
    else for (const client of all) client.cut();
    if (round === 1) await Promise.all(all.map((client) => client.ended().then(() => client.close())));
    await quiet();
  }
}, 60_000);

test("and the router still serves", async () => {
  const client = await WsClient.open(router.port, target);
  client.send(OP.text, "still there?");
  await client.until(() => client.messages.length === 1);
  client.close();
});
