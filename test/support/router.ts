// A router under test: the real App with the real default configuration, fresh keys, and addresses that the kernel chose.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { App } from "../../src/app.ts";
import { loadSettings } from "../../src/config/load.ts";
import { Log, type LogSink } from "../../src/lib/log.ts";
import { generateKeys, mintDesktopToken } from "../../src/token/mint.ts";

/** One pair of key pairs for a whole test run: making them is slow. */
let sharedKeys: ReturnType<typeof generateKeys> | null = null;

/** Keeps what would be printed. */
export class MemorySink implements LogSink {
  text = "";
  write(text: string, done: () => void): void { this.text += text; queueMicrotask(done); }
  writeSync(text: string): void { this.text += text; }
}

/** What of the shipped table is not there: desktops are not waited for, and no name is asked of whatever resolver this machine has. */
export const NOBODY = { ROUTE_DIAL_TIMEOUT: "200ms", CONSOLE_URL: "http://127.0.0.1:9", SPEEDTEST_URL: "http://127.0.0.1:9" };

export type RouterOptions = {
  readonly env?: Record<string, string>;
  /** Text of a routes.yaml; the shipped one by default. */
  readonly config?: string;
  readonly allowTargets?: readonly string[];
};

export class TestRouter {
  private constructor(readonly app: App, readonly log: MemorySink, readonly directory: string, readonly keys: ReturnType<typeof generateKeys>,
    private readonly load: (config: string | undefined) => ReturnType<typeof loadSettings>, private config: string | undefined) {}

  static async start(options: RouterOptions = {}): Promise<TestRouter> {
    const keys = (sharedKeys ??= generateKeys(2048));
    const directory = mkdtempSync(join(tmpdir(), "route-test-"));
    const file = (name: string, text: string): string => {
      writeFileSync(join(directory, name), text);
      return join(directory, name);
    };
    const env = {
      JWT_DESKTOP_SIGNING_PUBLIC_KEY: file("signing.pem", keys.signingPublicKey),
      JWT_DESKTOP_PAYLOAD_PRIVATE_KEY: file("payload.pem", keys.payloadPrivateKey),
      ...NOBODY,
      ...options.env,
    };
    const load = (config: string | undefined): ReturnType<typeof loadSettings> => loadSettings({
      env, httpListen: "127.0.0.1:0", allowTargets: [...(options.allowTargets ?? ["127.0.1.0/24"])],
      ...(config === undefined ? {} : { file: file("routes.yaml", config) }),
    });
    const settings = await load(options.config);
    const log = new MemorySink();
    const app = new App(settings, { log: new Log("json", log) });
    await app.start();
    return new TestRouter(app, log, directory, keys, load, options.config);
  }

  /** Serves a changed configuration. */
  async reload(change: (config: string) => string): Promise<void> {
    this.config = change(this.config ?? "");
    await this.app.apply(await this.load(this.config));
  }

  get port(): number {
    return this.app.port;
  }

  url(path: string): string {
    return `http://127.0.0.1:${this.port}${path}`;
  }

  /** A token for the pod at `host`. */
  token(host = "127.0.1.1", ttlS = 300): string {
    return mintDesktopToken({ host, signingPrivateKey: this.keys.signingPrivateKey, payloadPublicKey: this.keys.payloadPublicKey, ttlS });
  }

  async stop(): Promise<void> {
    await this.app.stop(0);
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** Access lines so far, parsed. */
  get lines(): Array<Record<string, unknown>> {
    this.app.log.close();
    return this.log.text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line) as Record<string, unknown>);
  }
}
