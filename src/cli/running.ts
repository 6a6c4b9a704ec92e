// A command that serves until it is told to stop: SIGTERM and SIGINT drain, SIGHUP reloads, a changed configuration file is
// picked up by itself; a broken one is refused and the old one stays.

import { App } from "../app.ts";
import { watchSettings } from "../config/watch.ts";
import { keepAlive, notify, notifyReloading } from "../lib/notify.ts";
import type { Settings } from "../settings.ts";

/** What cutting short may take: one that hangs is left behind. */
const CUT_LIMIT_MS = 1000;

/** @param file is followed; undefined: there is none @returns the exit code */
export async function runUntilStopped(load: () => Promise<Settings>, file: string | undefined): Promise<number> {
  // All of this before anything is loaded: a signal or a changed file that comes during the start counts as well.
  const signals = stopSignals();
  const started = Promise.withResolvers<App>();
  let turn: Promise<App> = started.promise;
  const changed = (settings: Settings): void => { turn = turn.then((app) => apply(app, settings)); };
  const failed = (reason: unknown): void => { turn = turn.then((app) => refused(app, reason)); };
  const watcher = file === undefined ? null : watchSettings(file, load, { onChange: changed, onError: failed });
  const onHangup = (): void => void load().then(changed, failed);
  process.on("SIGHUP", onHangup);
  const serve = async (): Promise<number> => {
    const app = new App(await load());
    const cut = signals.second.then(() => app.hurry());
    await app.start();
    started.resolve(app);
    notify("READY=1");
    const endKeepAlive = keepAlive();
    const signal = await signals.first;
    app.log.info("stopping", { signal });
    notify("STOPPING=1");
    watcher?.close();
    const isWhole = await Promise.race([app.stop().then(() => true), cut.then(() => Bun.sleep(CUT_LIMIT_MS)).then(() => false)]);
    endKeepAlive();
    await app.log.end();
    return isWhole && !signals.isSecond() ? 0 : 1;
  };
  try {
    // A start that hangs has nothing to cut.
    return await Promise.race([serve(), signals.second.then(() => Bun.sleep(2 * CUT_LIMIT_MS)).then(() => 1)]);
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

type StopSignals = { readonly first: Promise<string>; readonly second: Promise<void>; isSecond(): boolean };

/** The first SIGTERM or SIGINT drains. The second one, either of them, is from somebody who does not want to wait. */
function stopSignals(): StopSignals {
  const first = Promise.withResolvers<string>();
  const second = Promise.withResolvers<void>();
  let count = 0;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      count += 1;
      first.resolve(signal);
      if (count > 1) second.resolve();
    });
  }
  return { first: first.promise, second: second.promise, isSecond: () => count > 1 };
}
