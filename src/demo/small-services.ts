// The services of a demo pod that need a few lines each: broadcast, spawner, printer files, snapshot, sound, and the
// sockets that echo (signalling, microphone, gamepad).

import { refuse, type PodService, type Session, type Socket } from "./service.ts";

const SPAWNER_BODY_LIMIT_BYTES = 8 * 1024 ** 2;
const SOUND_INTERVAL_MS = 100;
/** Unsigned 8-bit mono samples a second. */
export const SOUND_RATE = 8000;

/** Every message of one socket goes to all the others. */
export function broadcastService(port: number): PodService {
  const sockets = new Set<Socket>();
  return {
    port,
    respond: () => refuse(426, "this is a WebSocket"),
    connect: () => ({
      open: (socket) => void sockets.add(socket),
      message: (socket, data) => {
        for (const other of sockets) if (other !== socket) other.send(data);
      },
      close: (socket) => void sockets.delete(socket),
    }),
  };
}

/** Says every message back. */
export function echoService(port: number): PodService {
  const session: Session = { message: (socket, data) => void socket.send(data) };
  return { port, respond: () => refuse(426, "this is a WebSocket"), connect: () => session };
}

/** A soft chord, a tenth of a second a frame. */
export function soundService(port: number): PodService {
  const timers = new Map<Socket, Timer>();
  const play = (socket: Socket) => {
    let sample = 0;
    timers.set(socket, setInterval(() => {
      socket.sendBinary(soundFrame(sample));
      sample += (SOUND_RATE * SOUND_INTERVAL_MS) / 1000;
    }, SOUND_INTERVAL_MS));
  };
  const quiet = (socket: Socket) => {
    clearInterval(timers.get(socket));
    timers.delete(socket);
  };
  return {
    port,
    respond: () => refuse(426, "this is a WebSocket"),
    connect: () => ({ open: play, close: quiet }),
    stop: () => [...timers.keys()].forEach(quiet),
  };
}

const MELODY_HZ = [262, 330, 392, 523, 392, 330];

function soundFrame(firstSample: number): Uint8Array<ArrayBuffer> {
  const samples = (SOUND_RATE * SOUND_INTERVAL_MS) / 1000;
  return Uint8Array.from({ length: samples }, (_, index) => {
    const seconds = (firstSample + index) / SOUND_RATE;
    const note = MELODY_HZ[Math.floor(seconds * 2) % MELODY_HZ.length]!;
    const fade = Math.exp(-3 * ((seconds * 2) % 1));
    return 128 + Math.sin(seconds * note * 2 * Math.PI) * 60 * fade;
  });
}

/** JSON answers; `/spawner/request` tells what reached the pod, so that one can see what the router changes. */
export function spawnerService(port: number, owner: string, address: string): PodService {
  return {
    port,
    async respond(request, url) {
      const what = url.pathname.replace(/^\/spawner\/?/, "");
      if (what === "request") return Response.json(describeRequest(request, url));
      if (request.method === "GET") return Response.json({ code: 200, data: { owner, address, service: "spawner" } });
      const body = await request.arrayBuffer();
      if (body.byteLength > SPAWNER_BODY_LIMIT_BYTES) return refuse(413, "body too large");
      return Response.json({ code: 200, data: { did: what, owner, bytes: body.byteLength } });
    },
  };
}

function describeRequest(request: Request, url: URL) {
  const headers = Object.fromEntries(request.headers);
  return { method: request.method, path: url.pathname, query: url.search, headers };
}

export function snapshotService(port: number, snapshot: () => Buffer<ArrayBuffer>): PodService {
  const headers = { "Content-Type": "image/png", "Cache-Control": "no-store" };
  return { port, respond: () => new Response(snapshot(), { headers }) };
}

const PRINTED: Readonly<Record<string, string>> = {
  "welcome.txt": "Printed by the demo desktop.\n",
  "report.txt": "Nothing to report: the demo pod prints two files.\n",
};

export function printerService(port: number): PodService {
  return {
    port,
    respond(_request, url) {
      const name = url.pathname.replace(/^\/printerfiler\/?/, "");
      if (!name) return Response.json(Object.keys(PRINTED));
      const text = Object.hasOwn(PRINTED, name) ? PRINTED[name] : undefined;
      return text === undefined ? refuse(404, "no such file") : new Response(text);
    },
  };
}
