// A command that serves until it is told to stop: SIGTERM and SIGINT drain, SIGHUP reloads, a changed configuration file is
// picked up by itself; a broken one is refused and the old one stays.

import { App } from "../app.ts";
import { watchSettings } from "../config/watch.ts";
import { keepAlive, notify, notifyReloading } from "../lib/notify.ts";
import type { Settings } from "../settings.ts";

/** @param file is followed; undefined: there is none @returns the exit code */
export async function runUntilStopped(load: () => Promise<Settings>, file: string | undefined): Promise<number> {
  // All of this before anything is loaded: a signal or a changed file that comes during the start counts as well.
  const stop = stopSignal();
  const started = Promise.withResolvers<App>();
  let turn: Promise<App> = started.promise;
  const changed = (settings: Settings): void => { turn = turn.then((app) => apply(app, settings)); };
  const failed = (reason: unknown): void => { turn = turn.then((app) => refused(app, reason)); };
  const watcher = file === undefined ? null : watchSettings(file, load, { onChange: changed, onError: failed });
  const onHangup = (): void => void load().then(changed, failed);
  process.on("SIGHUP", onHangup);
  try {
    const app = new App(await load());
    await app.start();
    started.resolve(app);
    notify("READY=1");
    const endKeepAlive = keepAlive();
    const signal = await stop;
    app.log.info("stopping", { signal });
    notify("STOPPING=1");
    watcher?.close();
    await app.stop();
    endKeepAlive();
    await app.log.end();
    return 0;
  } finally {
    watcher?.close();
    process.off("SIGHUP", onHangup);
  }
}

async function apply(app: App, settings: Settings): Promise<App> {
  notifyReloading();
  try {
    await app.apply(settings);
  } catch (error) {
    refused(app, error);
  }
  notify("READY=1");
  return app;
}

function refused(app: App, error: unknown): App {
  app.refuse((error as Error).message);
  return app;
}

/** The first SIGTERM or SIGINT. A second one ends the process at once. */
function stopSignal(): Promise<string> {
  return new Promise((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      process.once(signal, () => {
        process.once(signal, () => process.kill(process.pid, "SIGKILL"));
        resolve(signal);
      });
    }
  });
}
