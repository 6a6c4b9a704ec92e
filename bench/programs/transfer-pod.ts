// Program: a pod's file service that takes and gives gigabytes of the pattern. Raw sockets, so that it is faster than what is
// measured; one request a connection.
//
//   GET /filer?bytes=N&check=C    N bytes of the pattern
//   PUT /filer?check=C            takes a body and says what it was: a Receipt

import type { Socket } from "bun";
import { answerCalls } from "../lab/calls.ts";
import { type Check, PatternReader, PatternWriter } from "./byte-stream.ts";
import { HttpReader } from "./http-reader.ts";

export type Receipt = { readonly bytes: number; readonly isExact: boolean; readonly sha256: string | null };

type Work = { request: HttpReader | null; writer: PatternWriter | null };

const calls = {
  listen({ host, port }: { host: string; port: number }): void {
    Bun.listen<Work>({
      hostname: host, port,
      socket: {
        open: (socket) => void (socket.data = { request: readRequest(socket), writer: null }),
        data: (socket, bytes) => socket.data.request?.data(bytes),
        drain: (socket) => send(socket),
        // The proxy may give up a connection at any time; the client's end of the transfer says whether that was right.
        error() {},
      },
    });
  },
  /** Of the latest download. */
  sent: (): { bytes: number; sha256: string | null } => ({ bytes: latest?.sent ?? 0, sha256: latest?.sha256 ?? null }),
};
export type TransferPodCalls = typeof calls;

let latest: PatternWriter | null = null;

function readRequest(socket: Socket<Work>): HttpReader {
  let body: PatternReader | null = null;
  let isUpload = false;
  return new HttpReader(
    (head) => {
      const [method = "", target = ""] = head.split(" ", 2);
      const query = new URLSearchParams(target.split("?", 2)[1]);
      const check: Check = query.get("check") === "hash" ? "hash" : "compare";
      isUpload = method !== "GET";
      if (isUpload) body = new PatternReader(check);
      else startDownload(socket, Number(query.get("bytes")), check);
    },
    (bytes) => body?.read(bytes),
    () => {
      if (isUpload && body !== null) answer(socket, { bytes: body.received, isExact: body.isExact, sha256: body.sha256 });
    },
  );
}

function startDownload(socket: Socket<Work>, bytes: number, check: Check): void {
  latest = socket.data.writer = new PatternWriter(bytes, check);
  socket.write(`HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: ${bytes}\r\nConnection: close\r\n\r\n`);
  send(socket);
}

function send(socket: Socket<Work>): void {
  if (socket.data.writer?.write(socket) !== true) return;
  socket.data.writer = null;
  socket.end();
}

function answer(socket: Socket<Work>, receipt: Receipt): void {
  const body = JSON.stringify(receipt);
  socket.end(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`);
}

answerCalls(calls);
