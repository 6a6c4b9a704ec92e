// A command that serves until it is told to stop: SIGTERM and SIGINT drain, SIGHUP reloads, a changed configuration file is
// picked up by itself; a broken one is refused and the old one stays.

import { App } from "../app.ts";
import { watchSettings } from "../config/watch.ts";
import { oneLine } from "../lib/log.ts";
import { keepAlive, notify, notifyReloading } from "../lib/notify.ts";
import type { Settings } from "../settings.ts";

/** What cutting short may take: one that hangs is left behind. */
const CUT_LIMIT_MS = 1000;

/** Characters; systemd drops a message of more than 4096 bytes. */
const STATUS_LIMIT = 500;

/** @param file is followed; undefined: there is none @returns the exit code */
export async function runUntilStopped(load: () => Promise<Settings>, file: string | undefined): Promise<number> {
  // All of this before anything is loaded: a signal or a changed file that comes during the start counts as well.
  const signals = stopSignals();
  const started = Promise.withResolvers<App>();
  const reloads = new Reloads(started.promise);
  const watcher = file === undefined ? null : watchSettings(file, load, {
    onChange: (settings) => reloads.take({ settings }, false), onError: (error) => reloads.take({ error: error as Error }, false),
  });
  const onHangup = (): void => reloads.take(load().then((settings) => ({ settings }), (error: Error) => ({ error })), true);
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

type Loaded = { readonly settings: Settings } | { readonly error: Error };

/** Configurations that come while the program runs, one after the other. The service manager hears of the beginning and the end of each. */
class Reloads {
  #turn: Promise<void> = Promise.resolve();
  /** Why the last one was refused; null: it was taken. */
  #refusal: string | null = null;

  constructor(private readonly started: Promise<App>) {}

  /** @param isAsked somebody waits for what comes of it: a file that is seen to be as broken as before is not worth a line */
  take(loaded: Loaded | Promise<Loaded>, isAsked: boolean): void {
    this.#turn = this.#turn.then(() => this.started).then((app) => this.#take(app, loaded, isAsked));
  }

  async #take(app: App, loaded: Loaded | Promise<Loaded>, isAsked: boolean): Promise<void> {
    notifyReloading();
    const known = this.#refusal;
    const result = await loaded;
    const { error } = "error" in result ? result : await app.apply(result.settings).then(() => ({ error: null }), (thrown: Error) => ({ error: thrown }));
    this.#refusal = error?.message ?? null;
    if (error !== null && (isAsked || error.message !== known)) app.refuse(error.message);
    notify(`READY=1\nSTATUS=${error === null ? "" : oneLine(`configuration refused, the old one stays: ${error.message.replaceAll("\n", "; ")}`).slice(0, STATUS_LIMIT)}`);
  }
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
