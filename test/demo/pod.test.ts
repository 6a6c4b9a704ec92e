import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { POD_PORTS, startPod, type Pod } from "../../src/demo/pod.ts";
import { patternBlock, PATTERN_BLOCK_BYTES } from "../../src/demo/filer.ts";
import { connect, type Conversation } from "./conversation.ts";

let pod: Pod;
const open: Conversation[] = [];

beforeAll(() => {
  pod = startPod("alice");
});

afterAll(async () => {
  for (const conversation of open) conversation.close();
  await pod.stop();
});

function url(port: number, path: string): string {
  return `http://${pod.address}:${port}${path}`;
}

async function dial(port: number, path: string): Promise<Conversation> {
  const conversation = await connect(`ws://${pod.address}:${port}${path}`);
  open.push(conversation);
  return conversation;
}

describe("demo pod", () => {
  test("takes another address when its first one has a port in use", async () => {
    const second = startPod("bob");
    expect(second.address).not.toBe(pod.address);
    expect(second.address).toStartWith("127.0.1.");
    await second.stop();
  });

  test("closes every port when it stops", async () => {
    const second = startPod("bob");
    await second.stop();
    for (const port of Object.values(POD_PORTS)) {
      await expect(fetch(`http://${second.address}:${port}/`)).rejects.toThrow();
    }
  });

  test("names the network when no address is free", () => {
    expect(() => startPod("bob", [pod.address])).toThrow("no address of 127.0.1.0/24 has its ports free");
  });
});

describe("demo screen", () => {
  test("says its size, then sends the whole picture, then tiles that changed", async () => {
    const screen = await dial(POD_PORTS.websockify, "/");
    const hello = JSON.parse(String(await screen.next()));
    expect(hello).toMatchObject({ type: "hello", width: 640, height: 400, owner: "alice", address: pod.address });
    const first = await screen.nextBinary();
    expect(tileCount(first)).toBe((640 / hello.tileWidth) * (400 / hello.tileHeight));
    expect(first.length).toBe(3 + tileCount(first) * (2 + hello.tileWidth * hello.tileHeight * 3));
    expect(tileCount(await screen.nextBinary())).toBeLessThan(tileCount(first));
  });

  test("shows the ink where the pointer went with its button down", async () => {
    const screen = await dial(POD_PORTS.websockify, "/");
    await screen.next();
    const before = pixel(await screen.nextBinary(), 600, 60);
    screen.send(JSON.stringify({ type: "pointer", x: 580, y: 60, isDown: true }));
    screen.send(JSON.stringify({ type: "pointer", x: 620, y: 60, isDown: true }));
    screen.send(JSON.stringify({ type: "pointer", x: 20, y: 380, isDown: false }));
    let after = before;
    while (after.join() === before.join()) after = pixel(await screen.nextBinary(), 600, 60, after);
    expect(after).toEqual([255, 209, 128]);
  });

  test("outlives input that it cannot read", async () => {
    const screen = await dial(POD_PORTS.websockify, "/");
    for (const junk of ["{", "null", "7", "{\"type\":\"pointer\",\"x\":-1}", new Uint8Array([1, 2])]) screen.send(junk);
    await screen.next();
    expect(tileCount(await screen.nextBinary())).toBeGreaterThan(0);
  });

  test("gives a PNG of the picture as its snapshot", async () => {
    const response = await fetch(url(POD_PORTS.snapshot, "/snapshot"));
    expect(response.headers.get("content-type")).toBe("image/png");
    const png = Buffer.from(await response.arrayBuffer());
    expect(png.subarray(1, 4).toString()).toBe("PNG");
    expect([png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual([640, 400]);
  });
});

describe("demo terminal", () => {
  async function openTerminal(): Promise<{ pid: number; terminal: Conversation }> {
    const created = await fetch(url(POD_PORTS.terminals, "/terminals?cols=80&rows=24"), { method: "POST" });
    const { pid } = await created.json() as { pid: number };
    const terminal = await dial(POD_PORTS.terminals, `/terminals/${pid}?any.token`);
    await terminal.until("$ ");
    return { pid, terminal };
  }

  test("echoes keys and runs its commands", async () => {
    const { terminal } = await openTerminal();
    terminal.send("echo hello\r");
    expect(await terminal.until("hello\r\nhello\r\n")).toContain("echo hello\r\nhello\r\n");
    terminal.send("host\r");
    expect(await terminal.until(pod.address)).toContain(pod.address);
  });

  test("starts no program: what it does not know is no command", async () => {
    const { terminal } = await openTerminal();
    terminal.send("ls $(id) ; sh\r");
    expect(await terminal.until("try help")).toContain("ls: no such command");
  });

  test("rubs out with backspace and drops the line at Ctrl-C", async () => {
    const { terminal } = await openTerminal();
    terminal.send("echo ab\x7fc\r");
    expect(await terminal.until("\r\nac\r\n")).toContain("\b \b");
    terminal.send("echo never\x03host\r");
    expect(await terminal.until(pod.address)).not.toContain("\r\nnever");
  });

  test("tells the size that was set", async () => {
    const { pid, terminal } = await openTerminal();
    const sized = await fetch(url(POD_PORTS.terminals, `/terminals/${pid}/size?cols=132&rows=43`), { method: "POST" });
    expect(sized.status).toBe(200);
    terminal.send("size\r");
    expect(await terminal.until("132x43")).toContain("132x43");
  });

  test("refuses sizes that are no sizes, and terminals that are not there", async () => {
    const { pid } = await openTerminal();
    const sized = await fetch(url(POD_PORTS.terminals, `/terminals/${pid}/size?cols=0&rows=x`), { method: "POST" });
    expect(sized.status).toBe(400);
    await expect(connect(`ws://${pod.address}:${POD_PORTS.terminals}/terminals/99999`)).rejects.toThrow();
  });

  test("ends with code 1000 at exit", async () => {
    const { terminal } = await openTerminal();
    terminal.send("exit\r");
    expect(await terminal.closed).toEqual({ code: 1000, reason: "exit" });
  });
});

describe("demo filer", () => {
  const filer = (path: string) => url(POD_PORTS.filer, `/filer/${path}`);
  const sha256 = (data: string) => new Bun.CryptoHasher("sha256").update(data).digest("hex");
  const patch = (name: string, offset: number, body: string) =>
    fetch(filer(name), { method: "PATCH", headers: { "Upload-Offset": String(offset) }, body });

  test("puts the pieces of an upload together and hashes the whole", async () => {
    expect((await patch("pieces", 0, "hello ")).headers.get("upload-offset")).toBe("6");
    expect((await fetch(filer("pieces"), { method: "HEAD" })).headers.get("upload-offset")).toBe("6");
    await patch("pieces", 6, "world");
    const description = await (await fetch(filer("pieces"))).json();
    expect(description).toEqual({ name: "pieces", size: 11, sha256: sha256("hello world") });
  });

  test("takes Content-Range in the place of an offset", async () => {
    const put = (range: string, body: string) =>
      fetch(filer("ranges"), { method: "PUT", headers: { "Content-Range": range }, body });
    expect((await put("bytes 0-2/6", "abc")).status).toBe(200);
    expect(await (await put("bytes 3-5/6", "def")).json()).toMatchObject({ size: 6, sha256: sha256("abcdef") });
  });

  test("refuses a piece at the wrong place and says the right one", async () => {
    await patch("gap", 0, "abc");
    const response = await patch("gap", 5, "xyz");
    expect(response.status).toBe(409);
    expect(response.headers.get("upload-offset")).toBe("3");
    expect((await patch("unknown", 5, "xyz")).status).toBe(409);
  });

  test.each(["-1", "1e3", "", "99999999999999999999", "0x10"])("refuses the offset %p", async (offset) => {
    const headers = { "Upload-Offset": offset };
    const response = await fetch(filer("offsets"), { method: "PATCH", headers, body: "x" });
    expect(response.status).toBe(400);
  });

  test("starts anew at a PUT without a range, and forgets at DELETE", async () => {
    await patch("again", 0, "first");
    await fetch(filer("again"), { method: "PUT", body: "second" });
    expect(await (await fetch(filer("again"))).json()).toMatchObject({ size: 6, sha256: sha256("second") });
    await fetch(filer("again"), { method: "DELETE" });
    expect((await fetch(filer("again"))).status).toBe(404);
  });

  test("ends a running upload when somebody asks where to go on", async () => {
    const gate = Promise.withResolvers<void>();
    const body = new ReadableStream({
      async pull(controller) {
        controller.enqueue(Buffer.from("early"));
        await gate.promise;
        controller.enqueue(Buffer.from("late"));
        controller.close();
      },
    });
    const running = fetch(filer("turns"), { method: "PATCH", headers: { "Upload-Offset": "0" }, body });
    let offset = "0";
    while (offset === "0") offset = (await fetch(filer("turns"))).ok ? await sizeOf("turns") : "0";
    const head = await fetch(filer("turns"), { method: "HEAD" });
    gate.resolve();
    expect((await running).status).toBe(409);
    expect(head.headers.get("upload-offset")).toBe("5");
    expect(await sizeOf("turns")).toBe("5");
  });

  test("downloads exactly as many bytes as asked, each block with its offset", async () => {
    const bytes = PATTERN_BLOCK_BYTES * 2 + 100;
    const body = new Uint8Array(await (await fetch(filer(`download?bytes=${bytes}`))).arrayBuffer());
    expect(body.length).toBe(bytes);
    expect(Buffer.from(body.subarray(PATTERN_BLOCK_BYTES * 2))).toEqual(
      Buffer.from(patternBlock(PATTERN_BLOCK_BYTES * 2).subarray(0, 100)));
  });

  test.each(["..%2Fx", "a%2Fb", "%00", "%"])("refuses the name %p", async (name) => {
    expect((await fetch(filer(name))).status).toBe(400);
  });

  test("refuses a name of 256 characters, and none of 255", async () => {
    expect((await fetch(filer("x".repeat(256)), { method: "HEAD" })).status).toBe(400);
    expect((await fetch(filer("x".repeat(255)), { method: "HEAD" })).status).toBe(200);
  });

  async function sizeOf(name: string): Promise<string> {
    return String((await (await fetch(filer(name))).json() as { size: number }).size);
  }
});

describe("demo pod's small services", () => {
  test("broadcast gives a message to the other tabs, not to its sender", async () => {
    const [first, second, third] = [
      await dial(POD_PORTS.broadcast, "/broadcast"), await dial(POD_PORTS.broadcast, "/broadcast/x"),
      await dial(POD_PORTS.broadcast, "/broadcast"),
    ];
    first.send("from first");
    expect([await second.next(), await third.next()]).toEqual(["from first", "from first"]);
    second.send("from second");
    expect(await first.next()).toBe("from second");
  });

  test.each(["signalling", "microphone", "gamepad"] as const)("%s says everything back", async (name) => {
    const socket = await dial(POD_PORTS[name], "/");
    socket.send("text");
    expect(await socket.next()).toBe("text");
    socket.send(new Uint8Array([0, 255, 7]));
    expect([...await socket.nextBinary()]).toEqual([0, 255, 7]);
  });

  test("sound sends small binary frames unasked", async () => {
    const socket = await dial(POD_PORTS.sound, "/");
    expect((await socket.nextBinary()).length).toBe(800);
    expect((await socket.nextBinary()).length).toBe(800);
  });

  test("spawner answers in JSON and tells what reached it", async () => {
    const spawned = await fetch(url(POD_PORTS.spawner, "/spawner/setDesktop"), { method: "POST", body: "12345" });
    expect(await spawned.json()).toEqual({ code: 200, data: { did: "setDesktop", owner: "alice", bytes: 5 } });
    const seen = await fetch(url(POD_PORTS.spawner, "/spawner/request?a=1"), { headers: { "X-Test": "yes" } });
    const headers = { "x-test": "yes" };
    expect(await seen.json()).toMatchObject({ method: "GET", path: "/spawner/request", query: "?a=1", headers });
  });

  test("printer files are listed and read", async () => {
    const names = await (await fetch(url(POD_PORTS.printerfiler, "/printerfiler"))).json() as string[];
    expect(names).toContain("welcome.txt");
    expect(await (await fetch(url(POD_PORTS.printerfiler, "/printerfiler/welcome.txt"))).text()).toContain("Printed");
    expect((await fetch(url(POD_PORTS.printerfiler, "/printerfiler/toString"))).status).toBe(404);
  });
});

function tileCount(frame: Uint8Array): number {
  expect(frame[0]).toBe(1);
  return (frame[1]! << 8) | frame[2]!;
}

/** The colour at x, y as this frame tells it; `known` when the frame doesn't hold that tile. */
function pixel(frame: Uint8Array, x: number, y: number, known: number[] = []): number[] {
  for (let at = 3; at < frame.length; at += 2 + 32 * 20 * 3) {
    if (frame[at] !== Math.floor(x / 32) || frame[at + 1] !== Math.floor(y / 20)) continue;
    const offset = at + 2 + ((y % 20) * 32 + (x % 32)) * 3;
    return [...frame.subarray(offset, offset + 3)];
  }
  return known;
}
