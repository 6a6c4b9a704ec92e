// A lab with one virtual machine, whose screen is a real Xvnc: behind a Kubernetes API that speaks TLS, behind `route-gateway
// consoles`. And a relay, which brings TCP to the X server's socket, and can keep what a browser says.

import { createSecretKey, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { App } from "../../src/app.ts";
import { loadConsoles } from "../../src/config/consoles.ts";
import { Log } from "../../src/lib/log.ts";
import { mintVmToken } from "../../src/token/mint.ts";
import { Display } from "./display.ts";
import { eventually } from "./eventually.ts";
import { KubernetesApi } from "./kubernetes.ts";
import { MemorySink } from "./router.ts";

export const [NAMESPACE, VM] = ["lab-2", "ubuntu"];
export const SIZE = { width: 640, height: 400 };
export const [BACKGROUND, LOGO, PAPER, TERMINAL] = ["#204060", "#c02020", "#ffe0a0", "#004020"] as const;
/** In the middle of the terminal, of the window that tells of keys and buttons, and of neither. */
export const [IN_TERMINAL, IN_XEV, IN_NOTHING] = [[150, 280], [480, 300], [20, 20]] as const;

const SECRET = randomBytes(32).toString("base64url");
const SECRET_KEY = createSecretKey(Buffer.from(SECRET));

export class Lab {
  readonly log = new MemorySink();
  app!: App;
  /** The gateway's, for good once the kernel has chosen it. */
  #port = 0;

  private constructor(readonly display: Display, readonly screen: Relay, readonly api: KubernetesApi, private readonly env: Record<string, string>) {}

  static async start(env: Record<string, string> = {}): Promise<Lab> {
    const display = await Display.start(SIZE);
    const screen = await Relay.open({ path: display.socketPath });
    const api = await KubernetesApi.start();
    const lab = new Lab(display, screen, api, env);
    lab.switchOn();
    await lab.restart();
    return lab;
  }

  /** The gateway, started or started again: at the port that it had. */
  async restart(): Promise<void> {
    const env = { SECRET_KEY: SECRET, ...this.api.env, ...this.env };
    this.app = new App(loadConsoles({ env, httpListen: `127.0.0.1:${this.#port}` }), { log: new Log("json", this.log) });
    await this.app.start();
    this.#port = this.app.port;
  }

  switchOn(): void {
    this.api.addVm({ namespace: NAMESPACE, name: VM, vnc: { host: "127.0.0.1", port: this.screen.port } });
  }

  switchOff(): void {
    this.api.addVm({ namespace: NAMESPACE, name: VM, running: false });
  }

  get origin(): string {
    return `http://127.0.0.1:${this.app.port}`;
  }

  token(vms: readonly string[] = [VM], ttlS = 300): string {
    return mintVmToken({ user: 7, lab: 1, labInstance: 2, namespace: NAMESPACE, vms: [...vms], secret: SECRET_KEY, ttlS });
  }

  /** Something to see: a logo on paper, a terminal with a shell, and a window that tells of keys and buttons. */
  async draw(): Promise<void> {
    const { display } = this;
    await display.run("xsetroot", "-solid", BACKGROUND);
    display.open("xlogo", ["xlogo", "-geometry", "120x120+480+30", "-fg", LOGO, "-bg", PAPER]);
    display.open("xterm", ["xterm", "-geometry", "46x10+20+200", "-fg", "#ffffff", "-bg", TERMINAL, "-e", "/bin/sh"]);
    display.open("xev", ["xev", "-geometry", "200x160+400+220", "-event", "button", "-event", "keyboard"]);
    await Promise.all([display.shown("class", "XTerm"), display.shown("class", "XLogo"), display.shown("name", "Event Tester")]);
  }

  /** What the shell wrote, as soon as a line is whole. */
  typed(file: string): Promise<string> {
    return eventually(`the file ${file}`, () => this.display.output(file).catch(() => ""), (text) => text.endsWith("\n"));
  }

  async stop(): Promise<void> {
    await this.app.stop(0);
    await this.api.stop();
    this.screen.stop();
    await this.display.stop();
  }
}

/** A TCP port of 127.0.0.1 that leads to a socket elsewhere. */
export class Relay {
  /** What clients said, of each connection the beginning. */
  readonly said: string[] = [];
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;

  private constructor(target: { path: string } | { host: string; port: number }) {
    this.#server = createServer((client) => {
      const upstream = connect(target);
      const index = this.said.push("") - 1;
      client.on("data", (chunk: Buffer) => {
        if (this.said[index]!.length < 65_536) this.said[index] += chunk.toString("latin1");
      });
      for (const [from, to] of [[client, upstream], [upstream, client]] as const) {
        this.#sockets.add(from);
        from.on("error", () => to.destroy());
        from.on("close", () => { this.#sockets.delete(from); to.end(); });
        from.pipe(to);
      }
    });
  }

  static async open(target: { path: string } | { host: string; port: number }): Promise<Relay> {
    const relay = new Relay(target);
    await new Promise<void>((resolve, reject) => {
      relay.#server.once("error", reject);
      relay.#server.listen(0, "127.0.0.1", resolve);
    });
    return relay;
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port;
  }

  stop(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }
}

export type LockedScreen = { readonly relay: Relay; stop(): Promise<void> };

/** A second screen, which asks for the password `password`. */
export async function startLockedScreen(): Promise<LockedScreen> {
  const directory = mkdtempSync(join(tmpdir(), "route-locked-"));
  const path = join(directory, "rfb");
  // As vncpasswd would write it: the password under VNC's well-known key.
  const words = ["Xvnc", "-displayfd", "1", "-geometry", "320x200", "-depth", "24", "-rfbunixpath", path, "-rfbport", "-1", "-SecurityTypes", "VncAuth", "-Password=dbd83cfd727a1458"];
  const server = Bun.spawn(words, { stdin: "ignore", stdout: "ignore", stderr: Bun.file(join(directory, "log")), env: { PATH: process.env["PATH"] ?? "", HOME: directory } });
  await eventually("the locked screen", () => Bun.file(path).stat().then((found) => found.isSocket(), () => false), (isThere) => isThere || server.exitCode !== null);
  const relay = await Relay.open({ path });
  return {
    relay,
    stop: async () => {
      relay.stop();
      server.kill("SIGTERM");
      await server.exited;
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
