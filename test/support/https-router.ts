// A router that serves its table over TLS beside plain HTTP: the real App by the shipped table (or another one) with a `tls`
// section before it, certificate files of a test's authority, and a pod with everything that the table leads to.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { App } from "../../src/app.ts";
import { parseSettings } from "../../src/config/parse.ts";
import { Log } from "../../src/lib/log.ts";
import { CertificateDirectory } from "./https-files.ts";
import type { HttpsAddress } from "./https-client.ts";
import { KeyFiles } from "./keys.ts";
import { Pod, POD_PORTS } from "./pod.ts";
import { MemorySink, NOBODY } from "./router.ts";

export const SHIPPED = readFileSync(join(import.meta.dir, "../../routes.yaml"), "utf8");

export type HttpsOptions = {
  /** The `tls` section, with whatever stands beside it; a pair "desk" for desk.test is there. */
  readonly tls?: (files: CertificateDirectory) => string;
  /** What follows it; the shipped table by default. */
  readonly table?: string;
  readonly env?: Readonly<Record<string, string>>;
};

export class HttpsRouter implements HttpsAddress {
  private constructor(readonly app: App, readonly files: CertificateDirectory, readonly keys: KeyFiles, readonly pod: Pod, readonly log: MemorySink) {}

  static async start({ tls = (files) => files.section(["desk"]), table = SHIPPED, env = {} }: HttpsOptions = {}): Promise<HttpsRouter> {
    const files = new CertificateDirectory();
    const keys = new KeyFiles();
    const pod = new Pod("127.0.1.1", [...POD_PORTS, "website", "pyos"]);
    files.put("desk", "desk.test");
    try {
      const parsed = parseSettings(`${tls(files)}${table}`, "routes.yaml", {
        env: {
          ...keys.env, ...pod.env, WEBSITE_URL: `http://127.0.1.1:${pod.port("website")}`, PYOS_FQDN: "127.0.1.1", PYOS_SERVICE_PORT: String(pod.port("pyos")), ...NOBODY, ...env,
        },
        httpListen: "127.0.0.1:0", httpsListen: "127.0.0.1:0", allowTargets: ["127.0.1.0/24"], readResolvConf: () => "nameserver 127.0.0.1\n",
      });
      if ("mistakes" in parsed) throw new Error(JSON.stringify(parsed.mistakes));
      const log = new MemorySink();
      const app = new App(parsed.settings, { log: new Log("json", log) });
      await app.start();
      return new HttpsRouter(app, files, keys, pod, log);
    } catch (error) {
      for (const opened of [files, keys]) opened.remove();
      pod.stop();
      throw error;
    }
  }

  /** Of TLS. */
  get port(): number {
    return Number(new URL(this.app.addresses.https ?? "").port);
  }

  get httpPort(): number {
    return this.app.port;
  }

  get ca(): string {
    return this.files.authority.pem;
  }

  get caFile(): string {
    return this.files.caFile;
  }

  /** For the pod. */
  token(): string {
    return this.keys.token("127.0.1.1");
  }

  /** The log so far, parsed. */
  get lines(): Array<Record<string, unknown>> {
    this.app.log.close();
    return this.log.text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  events(message: string): Array<Record<string, unknown>> {
    return this.lines.filter((line) => line["message"] === message);
  }

  async stop(): Promise<void> {
    await this.app.stop(0);
    this.pod.stop();
    this.keys.remove();
    this.files.remove();
  }
}
