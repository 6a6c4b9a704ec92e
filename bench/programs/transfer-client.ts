// Program: the browser's end of a large transfer, on a raw socket.

import type { Socket } from "bun";
import { answerCalls } from "../lab/calls.ts";
import { type Check, PatternReader, PatternWriter } from "./byte-stream.ts";
import { HttpReader } from "./http-reader.ts";
import type { Receipt } from "./transfer-pod.ts";

export type Transfer = { readonly port: number; readonly token: string; readonly bytes: number; readonly check: Check };
export type Uploaded = { readonly seconds: number; readonly sha256: string | null; readonly receipt: Receipt };
export type Downloaded = Receipt & { readonly seconds: number };
export type Slow = { readonly port: number; readonly token: string; readonly bytesPerSecond: number; readonly seconds: number };

/** How often the slow reader looks whether it may read on. */
const SLOW_TICK_MS = 20;

const calls = { upload, download, downloadSlowly };
export type TransferClientCalls = typeof calls;

async function upload({ port, token, bytes, check }: Transfer): Promise<Uploaded> {
  const writer = new PatternWriter(bytes, check);
  const { promise: done, resolve, reject } = Promise.withResolvers<string>();
  let answer = "";
  const reader = new HttpReader(requireOk(reject), (piece) => void (answer += piece.toString()), () => resolve(answer));
  const start = performance.now();
  const socket = await connect(port, {
    onData: (piece) => reader.data(piece), onDrain: (socket) => void writer.write(socket), onClose: reject,
  });
  socket.write(head("PUT", `/filer?check=${check}`, token, `Content-Type: application/octet-stream\r\nContent-Length: ${bytes}\r\n`));
  writer.write(socket);
  const receipt = JSON.parse(await done) as Receipt;
  const seconds = (performance.now() - start) / 1000;
  socket.end();
  return { seconds, sha256: writer.sha256, receipt };
}

async function download({ port, token, bytes, check }: Transfer): Promise<Downloaded> {
  const body = new PatternReader(check);
  const { promise: done, resolve, reject } = Promise.withResolvers<void>();
  const reader = new HttpReader(requireOk(reject), (piece) => body.read(piece), resolve);
  const start = performance.now();
  const socket = await connect(port, { onData: (piece) => reader.data(piece), onClose: reject });
  socket.write(head("GET", `/filer?bytes=${bytes}&check=${check}`, token));
  await done;
  const seconds = (performance.now() - start) / 1000;
  socket.end();
  return { seconds, bytes: body.received, isExact: body.isExact, sha256: body.sha256 };
}

/** Reads at a fixed pace for a while, then leaves. The pod has far more to send. */
async function downloadSlowly({ port, token, bytesPerSecond, seconds }: Slow): Promise<{ bytes: number; isExact: boolean }> {
  const body = new PatternReader("compare");
  const { promise: failed, reject } = Promise.withResolvers<never>();
  const reader = new HttpReader(requireOk(reject), (piece) => body.read(piece), () => reject(new Error("the download ended too early")));
  const start = performance.now();
  const mayRead = (): boolean => body.received <= (performance.now() - start) / 1000 * bytesPerSecond;
  const socket = await connect(port, {
    onData: (piece, socket) => { reader.data(piece); if (!mayRead()) socket.pause(); },
    onClose: reject,
  });
  socket.write(head("GET", `/filer?bytes=${1024 ** 4}&check=compare`, token));
  const timer = setInterval(() => { if (mayRead()) socket.resume(); }, SLOW_TICK_MS);
  await Promise.race([failed, Bun.sleep(seconds * 1000)]).finally(() => clearInterval(timer));
  socket.terminate();
  return { bytes: body.received, isExact: body.isExact };
}

type Handlers = {
  readonly onData: (bytes: Buffer, socket: Socket) => void;
  readonly onDrain?: (socket: Socket) => void;
  readonly onClose: (error: Error) => void;
};

function connect(port: number, { onData, onDrain, onClose }: Handlers): Promise<Socket> {
  return Bun.connect({
    hostname: "127.0.0.1", port,
    socket: {
      data: (socket, bytes) => onData(bytes, socket),
      drain: (socket) => onDrain?.(socket),
      error: (_, error) => onClose(error),
      close: () => onClose(new Error("the connection was closed in the middle")),
    },
  });
}

function head(method: string, target: string, token: string, fields = ""): string {
  return `${method} ${target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\n${fields}\r\n`;
}

function requireOk(reject: (error: Error) => void): (head: string) => void {
  return (head) => {
    const line = head.slice(0, head.indexOf("\r"));
    if (!line.startsWith("HTTP/1.1 200")) reject(new Error(`refused: ${line}`));
  };
}

answerCalls(calls);
