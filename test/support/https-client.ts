// Clients of an HTTPS address on loopback: node's TLS, curl, openssl, and a door through which the clients of plain HTTP come
// (raw requests, WebSocket frames), as `stunnel` in client mode is one. All of them verify the certificate for the name that
// they ask for; a test that wants it otherwise says so.

import { createServer, type Server, type Socket } from "node:net";
import { connect, type ConnectionOptions, type PeerCertificate, type TLSSocket } from "node:tls";
import { eventually } from "./eventually.ts";

export type HttpsAddress = {
  readonly port: number;
  /** The authority that is trusted, as text and as a file. */
  readonly ca: string;
  readonly caFile: string;
};

export type Ran = { readonly code: number; readonly stdout: string; readonly stderr: string };

/** @returns when the handshake is done and the certificate is good. @throws Error with the alert or the verdict */
export async function connectTls({ port, ca }: HttpsAddress, servername: string | null, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const name = servername === null ? { checkServerIdentity: () => undefined } : { servername };
  const socket = connect({ host: "127.0.0.1", port, ca, ...name, ...options });
  await new Promise<void>((resolve, reject) => {
    socket.once("secureConnect", resolve);
    socket.once("error", reject);
    socket.once("close", () => reject(new Error("closed during the handshake")));
  });
  socket.on("error", () => {});
  return socket;
}

/** Whose certificate a client gets that asks for this name; null: for none. */
export async function certificateOf(address: HttpsAddress, servername: string | null): Promise<PeerCertificate> {
  const socket = await connectTls(address, servername);
  const certificate = socket.getPeerCertificate();
  socket.destroy();
  return certificate;
}

/** Certificates that are made at run time are served a moment after they were issued, when they are kept. */
export async function untilServed(address: HttpsAddress, name: string): Promise<void> {
  await eventually(`a certificate for ${name}`, () => certificateOf(address, name).then(() => "", (error: Error) => error.message), (fault) => fault === "");
}

/** `https://name:port/path` by curl, which resolves the name to loopback. */
export async function curl({ port, caFile }: HttpsAddress, name: string, path: string, ...options: string[]): Promise<Ran> {
  return run(["curl", "-sS", "--max-time", "60", "--noproxy", "*", "--cacert", caFile, "--resolve", `${name}:${port}:127.0.0.1`, ...options, `https://${name}:${port}${path}`]);
}

/** `openssl s_client`; it hangs up when its input ends. @returns what it says on both outputs */
export async function openssl({ port, caFile }: HttpsAddress, options: readonly string[], input = ""): Promise<string> {
  const { stdout, stderr } = await run(["openssl", "s_client", "-connect", `127.0.0.1:${port}`, "-CAfile", caFile, ...options], input);
  return stdout + stderr;
}

/** A program to its end; what it talks to lives in this process, so it must not be waited for synchronously. */
export async function run(command: readonly string[], input = ""): Promise<Ran> {
  const child = Bun.spawn([...command], { stdin: Buffer.from(input), stdout: "pipe", stderr: "pipe", timeout: 120_000 });
  const [code, stdout, stderr] = await Promise.all([child.exited, child.stdout.text(), child.stderr.text()]);
  return { code, stdout, stderr };
}

/** A plain port whose every connection goes on through TLS to one name of the address. */
export class TlsDoor {
  readonly #sockets = new Set<Socket>();

  private constructor(private readonly server: Server) {}

  static async open(address: HttpsAddress, servername: string): Promise<TlsDoor> {
    const server = createServer();
    const door = new TlsDoor(server);
    server.on("connection", (plain) => void door.#join(plain, connectTls(address, servername, { ALPNProtocols: ["http/1.1"] })));
    await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
    return door;
  }

  get port(): number {
    return (this.server.address() as { port: number }).port;
  }

  close(): void {
    this.server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  async #join(plain: Socket, connecting: Promise<TLSSocket>): Promise<void> {
    this.#sockets.add(plain);
    plain.on("error", () => {});
    plain.on("close", () => this.#sockets.delete(plain));
    plain.pause();
    try {
      const secure = await connecting;
      plain.on("close", () => secure.destroy());
      secure.on("close", () => plain.destroy());
      plain.pipe(secure);
      secure.pipe(plain);
    } catch {
      // A refused handshake: what the plain client sees of it is the end.
      plain.destroy();
    }
  }
}
