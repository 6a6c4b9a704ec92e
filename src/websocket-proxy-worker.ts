// The library's thread: one App, told what to serve by WebsocketProxy and when to stop. An error that nothing here caught
// ends the thread; WebsocketProxy hears it with its stack and passes it on.

import { App } from "./app.ts";
import { warningsOnStderr } from "./lib/log.ts";
import type { ThreadAnswer } from "./lib/thread.ts";
import type { ThreadOrder } from "./websocket-proxy.ts";

declare const self: Worker;

/** Orders are obeyed one after the other: a stop during a start waits for it. */
let turn: Promise<App | null> = Promise.resolve(null);

self.addEventListener("message", ({ data }: MessageEvent<ThreadOrder>) => {
  turn = turn.then((app) => (data.kind === "start" ? start(data) : stop(app, data)));
});

for (const event of ["uncaughtException", "unhandledRejection"] as const) {
  process.on(event, (thrown: unknown) => say({ kind: "failed", message: thrown instanceof Error ? thrown.stack ?? thrown.message : String(thrown) }));
}

async function start({ settings, isQuiet }: ThreadOrder & { kind: "start" }): Promise<App | null> {
  const app = new App(settings, isQuiet ? { log: warningsOnStderr() } : {});
  try {
    await app.start();
  } catch (error) {
    await app.log.end();
    const { message, cause } = error as Error;
    say({ kind: "failed", message, code: (cause as NodeJS.ErrnoException | undefined)?.code });
    return null;
  }
  say({ kind: "ready", ready: app.port });
  return app;
}

async function stop(app: App | null, { drainMs, close }: ThreadOrder & { kind: "stop" }): Promise<null> {
  await app?.stop(drainMs, close);
  await app?.log.end();
  say({ kind: "stopped" });
  return null;
}

function say(answer: ThreadAnswer<number>): void {
  self.postMessage(answer);
}
