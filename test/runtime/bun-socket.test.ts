// What the project relies on in Bun's raw sockets and in node:crypto, bare.

import { expect, test } from "bun:test";
import { constants, generateKeyPairSync, privateDecrypt, publicEncrypt } from "node:crypto";
import type { Socket } from "bun";

type Ended = { error: Error | null };

/** A server that does `act` to its first connection, and how a client of ours sees the end. */
async function endSeen(act: (socket: Socket<undefined>) => void): Promise<Ended> {
  const { promise, resolve } = Promise.withResolvers<Ended>();
  const server = Bun.listen<undefined>({ hostname: "127.0.0.1", port: 0,
    socket: { open: (socket) => { socket.write("hello"); }, data: (socket) => act(socket), close: () => {},
    error: () => {} } });
  try {
    const client = await Bun.connect<undefined>({
      hostname: "127.0.0.1", port: server.port,
      socket: { data: (socket) => { socket.write("go"); }, close: (_socket, error) => resolve({ error: error ?? null }),
        error: (_socket, error) => resolve({ error }) },
    });
    const ended = await promise;
    client.terminate();
    return ended;
  } finally {
    server.stop(true);
  }
}

test("close says nothing of an error when the other side ended in order, and names one after a reset (a body without a length ends by the first only)", async () => {
  expect((await endSeen((socket) => { socket.end(); })).error).toBeNull();
  expect((await endSeen((socket) => { socket.terminate(); })).error).toBeInstanceOf(Error);
});

test("write takes what the kernel takes, says how much, and drain follows (upstream/outgoing.ts)", async () => {
  const { promise: drained, resolve: onDrained } = Promise.withResolvers<void>();
  let reader: Socket<undefined> | null = null;
  const server = Bun.listen<undefined>({ hostname: "127.0.0.1", port: 0,
    socket: { open: (socket) => { reader = socket; socket.pause(); }, data: () => {}, error: () => {} } });
  const client = await Bun.connect<undefined>({ hostname: "127.0.0.1", port: server.port,
    socket: { data: () => {}, drain: () => onDrained(), error: () => {} } });
  try {
    const data = Buffer.alloc(64 * 1024 ** 2);
    const taken = client.write(data, 0, data.length);
    expect(taken).toBeGreaterThan(0);
    expect(taken).toBeLessThan(data.length);
    while (reader === null) await Bun.sleep(1);
    (reader as Socket<undefined>).resume();
    await drained;
  } finally {
    client.terminate();
    server.stop(true);
  }
});

test("write says -1 on a socket that is closed", async () => {
  const server = Bun.listen<undefined>({ hostname: "127.0.0.1", port: 0, socket: { data: () => {}, error: () => {} } });
  const client = await Bun.connect<undefined>({ hostname: "127.0.0.1", port: server.port,
    socket: { data: () => {}, error: () => {} } });
  client.terminate();
  expect(client.write("x")).toBe(-1);
  server.stop(true);
});

test("a refused connection rejects", async () => {
  const server = Bun.listen<undefined>({ hostname: "127.0.0.1", port: 0, socket: { data: () => {} } });
  const { port } = server;
  server.stop(true);
  await expect(Bun.connect({ hostname: "127.0.0.1", port, socket: { data: () => {} } })).rejects.toThrow();
});

test("received buffers stay as they are: they may be kept", async () => {
  const got: Buffer[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const server = Bun.listen<undefined>({ hostname: "127.0.0.1", port: 0,
    socket: { data: (_socket, chunk) => { got.push(chunk); if (got.reduce((sum, { length }) => sum + length,
    0) === 4) resolve(); }, error: () => {} } });
  const client = await Bun.connect<undefined>({ hostname: "127.0.0.1", port: server.port,
    socket: { data: () => {}, error: () => {} } });
  for (const byte of "abcd") {
    client.write(byte);
    await Bun.sleep(0);
  }
  await promise;
  expect(Buffer.concat(got).toString()).toBe("abcd");
  client.terminate();
  server.stop(true);
});

test("PKCS#1 v1.5 padding is refused for decryption while raw RSA works: the padding is removed by us (token/decrypt.ts)", () => {
  const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const encrypted = publicEncrypt({ key: publicKey, padding: constants.RSA_PKCS1_PADDING }, Buffer.from("pod"));
  expect(() => privateDecrypt({ key: privateKey, padding: constants.RSA_PKCS1_PADDING }, encrypted)).toThrow();
  const raw = privateDecrypt({ key: privateKey, padding: constants.RSA_NO_PADDING }, encrypted);
  expect([raw.length, raw[0], raw[1], raw.subarray(-4).toString("latin1")]).toEqual([256, 0, 2, "\0pod"]);
});
