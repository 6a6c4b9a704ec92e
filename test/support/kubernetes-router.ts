// A router of VM consoles before a Kubernetes API of the test's choice: the real App as `route-gateway consoles` makes it, on a
// port that the kernel chose.

import { createSecretKey } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { App } from "../../src/app.ts";
import { loadConsoles } from "../../src/config/consoles.ts";
import { loadSettings } from "../../src/config/load.ts";
import { Log } from "../../src/lib/log.ts";
import type { Settings } from "../../src/settings.ts";
import { mintVmToken } from "../../src/token/mint.ts";
import { MemorySink } from "./router.ts";

/** The shared key of the tests' tokens. */
export const CONSOLE_SECRET = "a secret of the tests, 32 bytes+!";

/** The namespace of a token that says no other. */
export const NAMESPACE = "lab-7";

/** Something that says how it is reached. */
export type Upstream = { readonly env: Readonly<Record<string, string>> };

export type ConsoleRouterOptions = {
  /** Beside what the API says of itself: ROUTE_CONSOLE_POLICY, HOST_PATH_PREFIX, ROUTE_CLOSE_AFTER_UPGRADE and the like. */
  readonly env?: Readonly<Record<string, string>>;
  /** In place of KubeVirt's VNC path. */
  readonly apiPath?: string;
  /** Text of a routes.yaml in place of the built-in consoles.yaml; `env` fills in its variables. */
  readonly config?: string;
};

export type ConsoleTokenOptions = { readonly vms?: readonly string[]; readonly namespace?: string; readonly ttlS?: number };

export class ConsoleRouter {
  private constructor(readonly app: App, readonly log: MemorySink) {}

  static async start(api: Upstream, options: ConsoleRouterOptions = {}): Promise<ConsoleRouter> {
    const settings = await load({ SECRET_KEY: CONSOLE_SECRET, ...api.env, ...options.env }, options);
    const log = new MemorySink();
    const app = new App(settings, { log: new Log("json", log) });
    await app.start();
    return new ConsoleRouter(app, log);
  }

  get port(): number {
    return this.app.port;
  }

  url(path: string): string {
    return `http://127.0.0.1:${this.port}${path}`;
  }

  token(options: ConsoleTokenOptions = {}): string {
    return consoleToken(options);
  }

  /** The path of a machine's console, with a token for it. */
  path(vm: string, options: Omit<ConsoleTokenOptions, "vms"> = {}): string {
    return consoleTarget(vm, options);
  }

  /** Log lines so far, parsed. */
  get lines(): Array<Record<string, unknown>> {
    this.app.log.close();
    return this.log.text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  async stop(): Promise<void> {
    await this.app.stop(0);
  }
}

export function consoleRouter(api: Upstream, options: ConsoleRouterOptions = {}): Promise<ConsoleRouter> {
  return ConsoleRouter.start(api, options);
}

export function consoleToken({ vms = [], namespace = NAMESPACE, ttlS = 300 }: ConsoleTokenOptions = {}): string {
  return mintVmToken({ user: 1, lab: 2, labInstance: 3, namespace, vms, secret: createSecretKey(Buffer.from(CONSOLE_SECRET)), ttlS });
}

/** The path of a machine's console, with a token for it. */
export function consoleTarget(vm: string, options: Omit<ConsoleTokenOptions, "vms"> = {}): string {
  return `/${consoleToken({ ...options, vms: [vm] })}/${vm}`;
}

async function load(env: Record<string, string>, { config, apiPath }: ConsoleRouterOptions): Promise<Settings> {
  if (config === undefined) return loadConsoles({ env, httpListen: "127.0.0.1:0", ...(apiPath === undefined ? {} : { apiPath }) });
  const directory = mkdtempSync(join(tmpdir(), "route-consoles-"));
  try {
    writeFileSync(join(directory, "routes.yaml"), config);
    return await loadSettings({ env, httpListen: "127.0.0.1:0", file: join(directory, "routes.yaml") });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
