// route-gateway serve: the main job. Loads the configuration, runs the App, and answers signals: SIGTERM and SIGINT drain,
// SIGHUP reloads. A changed configuration file is picked up by itself; a broken one is refused and the old one stays.

import { App } from "../app.ts";
import { loadSettings } from "../config/load.ts";
import { ConfigError } from "../config/mistake.ts";
import { watchSettings } from "../config/watch.ts";
import { keepAlive, notify, notifyReloading } from "../lib/notify.ts";
import type { Settings } from "../settings.ts";
import type { Arguments } from "./args.ts";
import type { Command, Io } from "./command.ts";
import { settingsOptions } from "./settings-flags.ts";

export const command: Command = {
  name: "serve",
  summary: "Routes requests to desktops and services.",
  spec: {
    flags: [
      { name: "config", value: "FILE", help: "configuration; without it, the built-in endpoint table (see: routes)" },
      { name: "http", value: "HOST:PORT", help: "address to listen on, \":80\" by default; port 0 lets the kernel choose" },
      { name: "allow-targets", value: "LIST", repeat: true, help: "CIDRs and DNS suffixes that tokens may lead to as well, separated by commas" },
      { name: "log-format", value: "json|pretty", help: "one JSON object a line, or lines for people (default json)" },
    ],
    environment: [
      ["JWT_DESKTOP_SIGNING_PUBLIC_KEY", "file with the RSA public key that verifies tokens (required)"],
      ["JWT_DESKTOP_PAYLOAD_PRIVATE_KEY", "file with the RSA private key that opens their hash (required)"],
      ["PYOS_FQDN, PYOS_SERVICE_PORT", "control plane, pyos:8000 by default"],
      ["NODE_NAME", "what /node answers"],
      ["NAMESERVER_RESOLVER", "DNS server for targets; the first one of /etc/resolv.conf by default"],
      ["HTTP_LISTEN", "like --http"],
      ["ROUTE_ALLOWED_TARGETS", "like --allow-targets"],
      ["ROUTE_TRUSTED_PROXIES", "CIDRs of proxies whose X-Forwarded-* headers are believed"],
      ["ROUTE_ALLOW_WEAK_RSA_KEYS", "true: accept RSA keys below 2048 bits"],
    ],
    examples: [
      "JWT_DESKTOP_SIGNING_PUBLIC_KEY=signing.pem JWT_DESKTOP_PAYLOAD_PRIVATE_KEY=payload.pem route-gateway serve",
      "route-gateway serve --config /etc/route-gateway/routes.yaml --http :8080",
    ],
  },
  run: serve,
};

async function serve(args: Arguments, io: Io): Promise<number> {
  const file = args.get("config");
  const load = (): Promise<Settings> => loadSettings(settingsOptions(args, io));
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
  const mistakes = error instanceof ConfigError ? error.message : (error as Error).message;
  app.log.error("configuration refused, the old one stays", { reason: mistakes });
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
