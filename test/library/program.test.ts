import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "../support/eventually.ts";
import { consoleTarget, LibraryProgram, optionsFor, plainApi } from "../support/library-driver.ts";
import { answerRecord, answerWith, type Pod } from "../support/pod.ts";
import { closeData, OP, WsClient } from "../support/ws-client.ts";

let api: Pod;
let program: LibraryProgram;
let directory = "";

beforeAll(() => {
  api = plainApi();
  directory = mkdtempSync(join(tmpdir(), "route-library-"));
});
afterAll(() => {
  api.stop();
  rmSync(directory, { recursive: true, force: true });
});
beforeEach(async () => {
  program = new LibraryProgram();
  await program.do({ do: "new", options: optionsFor(api) });
});
afterEach(() => program.kill());

async function echo(client: WsClient, text: string): Promise<void> {
  client.send(OP.binary, text);
  await client.until(() => client.messages.at(-1)?.data.toString() === text);
}

/** @returns whether anybody listens there */
async function isOpen(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  const opened = await new Promise<boolean>((resolve) => {
    socket.once("connect", () => resolve(true));
    socket.once("error", () => resolve(false));
  });
  socket.destroy();
  return opened;
}

describe("a program whose own thread is busy", () => {
  test("bridges consoles all the while when they are served in a thread", async () => {
    const port = await program.start("runInThread");
    const file = join(directory, "thread");
    const spinning = program.order({ do: "spin", file });
    await program.until(() => program.isBegun(spinning));
    const client = await WsClient.open(port, consoleTarget());
    for (let round = 0; round < 50; round += 1) await echo(client, `frame ${round}`);
    expect(program.isDone(spinning)).toBe(false);
    writeFileSync(file, "");
    await program.result(spinning);
    await echo(client, "afterwards");
    client.close();
  });

  test("cannot bridge them in its own event loop until it is done", async () => {
    const port = await program.start("run");
    const file = join(directory, "own");
    const spinning = program.order({ do: "spin", file });
    await program.until(() => program.isBegun(spinning));
    const client = await WsClient.dial(port, consoleTarget());
    await Bun.sleep(300); // Nothing to wait for: the test is that nothing comes.
    expect(client.head).toBe("");
    writeFileSync(file, "");
    await program.result(spinning);
    await client.until(() => client.status === 101);
    client.close();
  });
});

describe.each(["run", "runInThread"] as const)("stopThread() after %s()", (how) => {
  test("closes 100 sessions with 1001, and leaves no port and no descriptor", async () => {
    await program.start(how);
    await program.do({ do: "stopThread" }); // What the first round loads stays loaded.
    const before = await program.counts();
    const port = await program.start(how);
    const clients = await Promise.all(Array.from({ length: 100 }, () => WsClient.open(port, consoleTarget())));
    // Every other one answers as browsers do, the others say nothing.
    for (const client of clients.filter((_, index) => index % 2 === 0)) {
      client.onFrame = ({ opcode }) => { if (opcode === OP.close) client.send(OP.close, closeData(1001, "")); };
    }
    await Promise.all(clients.map((client, index) => echo(client, `session ${index}`)));
    expect((await program.counts()).descriptors).toBeGreaterThan(before.descriptors + 200);
    await program.do({ do: "stopThread" });
    const after = await program.counts();
    expect(await Promise.all(clients.map((client) => client.ended()))).toEqual(clients.map(() => ({ code: 1001, reason: "going away" })));
    expect(after).toMatchObject({ port: 0, url: "", descriptors: before.descriptors });
    expect(await isOpen(port)).toBe(false);
    expect(await program.start(how, port)).toBe(port);
    await program.do({ do: "stopThread" });
  }, 30_000);

  test("during the start waits for it, and ends it", async () => {
    const started = program.order({ do: how, port: 0 });
    const stopped = program.order({ do: "stopThread" });
    await program.result(started);
    await program.result(stopped);
    expect(await program.counts()).toMatchObject({ port: 0, url: "" });
  });

  test("called twice stops once, and again does nothing", async () => {
    await program.start(how);
    const stops = [program.order({ do: "stopThread" }), program.order({ do: "stopThread" })];
    for (const stop of stops) await program.result(stop);
    await program.do({ do: "stopThread" });
    expect((await program.counts()).port).toBe(0);
  });

  test("lets the program end by itself", async () => {
    const port = await program.start(how);
    const client = await WsClient.open(port, consoleTarget());
    await program.do({ do: "stopThread" });
    expect(await program.end()).toBe(0);
    expect(program.complaints).toBe("");
    client.close();
  });

  test("20 times leaves no descriptor and no thread behind", async () => {
    const round = async (): Promise<void> => {
      await program.start(how);
      await program.do({ do: "stopThread" });
    };
    for (let warmUp = 0; warmUp < 3; warmUp += 1) await round();
    const before = await program.counts();
    for (let count = 0; count < 20; count += 1) await round();
    const after = await program.counts();
    expect(after.descriptors).toBe(before.descriptors);
    expect(after.threads).toBeLessThanOrEqual(before.threads + 1); // The runtime's own come and go.
  }, 30_000);
});

describe("stopThread() before any start", () => {
  test("does nothing, and a start afterwards works", async () => {
    await program.do({ do: "stopThread" });
    const client = await WsClient.open(await program.start("runInThread"), consoleTarget());
    await echo(client, "hello");
    client.close();
  });
});

describe("run()", () => {
  test("is under way until stopThread(), and then settles", async () => {
    const running = program.order({ do: "run", port: 0 });
    await eventually("its port", () => program.counts(), ({ port }) => port !== 0);
    expect(program.isDone(running)).toBe(false);
    await program.do({ do: "stopThread" });
    await program.result(running);
  });
});

describe.each(["run", "runInThread"] as const)("%s() on an address that is in use", (how) => {
  test("rejects, leaves nothing, and says what is wrong", async () => {
    const other = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => {} } });
    const message = `cannot listen on 127.0.0.1:${other.port}: the address is in use by another server`;
    const attempt = () => program.do({ do: how, port: other.port });
    expect(await attempt().catch((error: Error) => error)).toMatchObject({ message, code: "EADDRINUSE" });
    const before = await program.counts();
    await attempt().catch(() => {});
    expect(await program.counts()).toMatchObject({ port: 0, descriptors: before.descriptors });
    other.stop(true);
    expect(await program.start(how, other.port)).toBe(other.port);
  });
});

describe("a start while it serves", () => {
  test.each([["run", "runInThread"], ["runInThread", "run"], ["runInThread", "runInThread"]] as const)("%s(), then %s(): is an error that says so", async (first, second) => {
    const port = await program.start(first);
    const again = await program.do({ do: second, port: 0 }).catch((error: Error) => error);
    expect(again).toMatchObject({ message: "cannot start: this WebsocketProxy serves already (await stopThread() first)" });
    const client = await WsClient.open(port, consoleTarget());
    await echo(client, "undisturbed");
    client.close();
  });
});

describe("the log", () => {
  test("has a console that could not be had on standard error, and nothing else", async () => {
    const port = await program.start("runInThread");
    api.answer(answerWith("HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nno go"));
    const refused = await WsClient.try(port, consoleTarget());
    api.answer(answerRecord);
    expect(refused.status).toBe(502);
    await program.do({ do: "stopThread" });
    expect(await program.end()).toBe(0);
    expect(program.complaints.trim().split("\n")).toEqual([expect.stringMatching(/ 502 GET .*our service account lacks the permission "get"/)]);
    expect(program.complaints).not.toContain(consoleTarget().slice(1, 40));
  });
});
