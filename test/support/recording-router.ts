// A router by the shipped table whose upstreams record (test/support/recorder.ts): the website, the control plane and one
// service of a desktop, reached over plain HTTP/1.1, HTTP/1.1 inside TLS, and HTTP/2.

import { TlsDoor } from "./https-client.ts";
import { H2Client } from "./https-h2.ts";
import { type HttpsOptions, HttpsRouter } from "./https-router.ts";
import { converse } from "./http.ts";
import { type Recorded, Recorder } from "./recorder.ts";

export const DESK = "desk.test";

export class RecordingRouter {
  private constructor(readonly router: HttpsRouter, readonly door: TlsDoor, readonly web: Recorder, readonly pyos: Recorder, readonly filer: Recorder) {}

  static async start(options: HttpsOptions = {}): Promise<RecordingRouter> {
    const [web, pyos, filer] = [new Recorder("web"), new Recorder("pyos"), new Recorder("filer")] as const;
    try {
      const router = await HttpsRouter.start({
        ...options,
        env: { WEBSITE_URL: web.url, PYOS_FQDN: pyos.address, PYOS_SERVICE_PORT: String(pyos.port), FILE_SERVICE_TCP_PORT: String(filer.port), ...options.env },
      });
      return new RecordingRouter(router, await TlsDoor.open(router, DESK), web, pyos, filer);
    } catch (error) {
      for (const recorder of [web, pyos, filer]) recorder.stop();
      throw error;
    }
  }

  get recorders(): readonly Recorder[] {
    return [this.web, this.pyos, this.filer];
  }

  /** Of plain HTTP. */
  get port(): number {
    return this.router.httpPort;
  }

  /** Whole requests that arrived anywhere, service by service. */
  get arrived(): Recorded[] {
    return this.recorders.flatMap(({ requests }) => requests);
  }

  /** What came with them, or what they were: `service METHOD target`. */
  get targets(): string[] {
    return this.arrived.map(({ recorder, method, target }) => `${recorder} ${method} ${target}`);
  }

  /** What no strict server takes, and what was left unfinished on a connection that is still open. */
  get faults(): string[] {
    return this.recorders.flatMap((recorder) => [...recorder.faults, ...recorder.unfinished]);
  }

  bearer(): string {
    return `Authorization: Bearer ${this.router.token()}`;
  }

  reset(cuts = false): void {
    for (const recorder of this.recorders) recorder.reset(cuts);
    this.router.pod.seen.length = 0;
  }

  async h2(): Promise<H2Client> {
    return await H2Client.open(this.router, DESK);
  }

  /** The path through the upstream's kept connections, tried from a new client: it is clean. @throws Error when it is not */
  async expectClean(path = "/API/next"): Promise<void> {
    const { answers } = await converse(this.port, `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    if (answers[0]?.body !== `pyos GET ${path}`) throw new Error(`the next request got ${JSON.stringify(answers[0]?.body)}`);
  }

  async stop(): Promise<void> {
    this.door.close();
    await this.router.stop();
    for (const recorder of this.recorders) recorder.stop();
  }
}
