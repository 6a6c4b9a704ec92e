import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { type KubernetesApi, startKubernetesApi } from "../../src/demo/kubernetes.ts";
import { MACHINES } from "../../src/demo/vm/machines.ts";
import { eventually } from "../support/eventually.ts";
import { readConsole } from "./console-text.ts";
import { HANDSHAKE, RfbClient, say } from "./rfb-client.ts";

const PROTOCOL = "plain.kubevirt.io";
const path = (vm: string, query = "", namespace = "demo") =>
  `/apis/subresources.kubevirt.io/v1/namespaces/${namespace}/virtualmachineinstances/${vm}/vnc${query}`;

let api: KubernetesApi;
const sockets: WebSocket[] = [];

beforeEach(() => { api = startKubernetesApi(); });
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.close();
  await api.stop();
});

function ask(what: string, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`http://127.0.0.1:${api.port}${what}`, { headers });
}

/** A handshake as a request, for its answer. */
const HANDSHAKE_HEADERS = {
  Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
  "Sec-WebSocket-Protocol": PROTOCOL,
};

/** A viewer whose screen is there. */
async function view(vm = "ubuntu", query = "") {
  const socket = new WebSocket(`ws://127.0.0.1:${api.port}${path(vm, query)}`, [PROTOCOL]);
  sockets.push(socket);
  socket.binaryType = "arraybuffer";
  const client = new RfbClient();
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.onclose = ({ code, reason }) => resolve({ code, reason });
  });
  const first = Promise.withResolvers<void>();
  socket.onmessage = ({ data }) => {
    client.receive(new Uint8Array(data as ArrayBuffer));
    if (client.updates.length > 0) first.resolve();
  };
  socket.onerror = () => first.reject(new Error("refused"));
  socket.onopen = () => socket.send(Buffer.concat([HANDSHAKE, say.request(false)]));
  await first.promise;
  return { socket, client, closed };
}

describe("demo Kubernetes API", () => {
  test("shows a machine's screen in the binary frames of KubeVirt's subprotocol", async () => {
    const { socket, client } = await view();
    expect(socket.protocol).toBe(PROTOCOL);
    expect(client.screen).toMatchObject({ name: "ubuntu", width: 960, height: 600 });
    expect(client.colorAt(30, 30)).toEqual([255, 138, 76]);
  });

  test.each([
    ["a stopped machine", path("backup"), 409, "VMI is not running"],
    ["an unknown machine", path("debian"), 404, "\"debian\" not found"],
    ["another namespace", path("ubuntu", "", "kube-system"), 404, "\"ubuntu\" not found"],
    ["a name that every object has", path("constructor"), 404, "\"constructor\" not found"],
    ["another resource", "/api/v1/namespaces", 404, "could not find the requested resource"],
    ["a path with more behind it", `${path("ubuntu")}/x`, 404, "could not find the requested resource"],
  ])("refuses %s with a Status", async (_name, what, code, message) => {
    const response = await ask(what, HANDSHAKE_HEADERS);
    expect(response.status).toBe(code);
    expect(await response.json()).toMatchObject({ kind: "Status", status: "Failure", code, message: expect.stringContaining(message) });
  });

  test("refuses what offers no subprotocol of its own, and what is no WebSocket", async () => {
    const { "Sec-WebSocket-Protocol": _, ...withoutProtocol } = HANDSHAKE_HEADERS;
    expect((await ask(path("ubuntu"), withoutProtocol)).status).toBe(400);
    expect((await ask(path("ubuntu"), { ...withoutProtocol, "Sec-WebSocket-Protocol": "binary" })).status).toBe(400);
    expect((await ask(path("ubuntu"), { "Sec-WebSocket-Protocol": PROTOCOL })).status).toBe(400);
  });

  test("a second viewer takes the first one's place", async () => {
    const first = await view();
    const second = await view();
    expect(await first.closed).toEqual({ code: 1000, reason: "another viewer took this one's place" });
    expect(second.socket.readyState).toBe(WebSocket.OPEN);
  });

  test("a second viewer that preserves the session is refused while the first one looks, and no longer", async () => {
    const first = await view();
    const asked = () => ask(path("ubuntu", "?preserveSession=true"), HANDSHAKE_HEADERS);
    const refused = await asked();
    expect([refused.status, (await refused.json() as { message: string }).message]).toEqual([409, "Active VNC connection. Request denied."]);
    expect(first.socket.readyState).toBe(WebSocket.OPEN);
    await view("kali", "?preserveSession=true");
    first.socket.close();
    await first.closed;
    await eventually("the machine to be free", async () => {
      return view("ubuntu", "?preserveSession=true").then(() => true, () => false);
    }, (isFree) => isFree);
  });

  test("what is typed in one session is on the screen of the next", async () => {
    const keys = Array.from("copy kept\r", (letter) => say.key(letter === "\r" ? 0xff0d : letter.charCodeAt(0)));
    const first = await view();
    first.socket.send(Buffer.concat(keys));
    await eventually("the copied text", () => first.client.cutTexts, (texts) => texts.includes("kept"));
    const { client } = await view();
    const background = MACHINES[0]!.look!.back.join();
    expect(readConsole((x, y) => client.colorAt(x, y).join() !== background)).toContain("root@ubuntu:~# copy kept");
  });

  test("closes on what is no RFB, with the reason", async () => {
    const { socket, closed } = await view();
    socket.send(Buffer.from([99]));
    expect(await closed).toEqual({ code: 1002, reason: "unknown message 99" });
  });

  test("closes on text", async () => {
    const { socket, closed } = await view();
    socket.send("hello");
    expect(await closed).toEqual({ code: 1003, reason: "binary frames only" });
  });

  test("stops with its viewers", async () => {
    const { closed } = await view();
    await api.stop();
    await closed;
    await expect(ask("/")).rejects.toThrow();
  });
});
