// A Pod behind TLS that stands in for the Kubernetes API where every byte of its answers matters: heads that are wrong, bodies
// that never end, frames and pings at will. It checks no credentials (kubernetes.ts does).

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CertificateAuthority } from "./certificates.ts";
import { Pod, PodConnection } from "./pod.ts";

export type TlsPodOptions = {
  readonly hostname?: string;
  /** As the router is to dial it; the address that is listened on by default. */
  readonly dialled?: string;
  readonly names?: readonly string[];
};

export class TlsPod {
  readonly pod = new Pod("127.0.0.1", []);
  readonly token = "token-of-the-tls-pod";
  readonly #directory = mkdtempSync(join(tmpdir(), "route-tls-pod-"));
  readonly #authority = new CertificateAuthority();
  readonly #listener: Bun.TCPSocketListener<PodConnection>;
  readonly #dialled: string;

  constructor({ hostname = "127.0.0.1", dialled = hostname, names = ["IP:127.0.0.1"] }: TlsPodOptions = {}) {
    const pod = this.pod;
    this.#dialled = dialled;
    writeFileSync(join(this.#directory, "ca.crt"), this.#authority.pem);
    writeFileSync(join(this.#directory, "token"), this.token);
    this.#listener = Bun.listen<PodConnection>({
      hostname, port: 0, tls: this.#authority.sign({ names }),
      socket: {
        open: (socket) => { socket.data = new PodConnection(pod, "kubernetes", socket); pod.accepted += 1; pod.open.add(socket); },
        data: (socket, chunk) => socket.data.received(chunk),
        drain: (socket) => socket.data.flush(),
        close: (socket) => { pod.open.delete(socket); socket.data.isClosed = true; pod.changed(); },
        error: () => {},
      },
    });
  }

  get port(): number {
    return this.#listener.port;
  }

  get env(): Record<string, string> {
    const host = this.#dialled.includes(":") ? `[${this.#dialled}]` : this.#dialled;
    return { WS_REMOTE_URL: `wss://${host}:${this.port}`, ROUTE_CA_FILE: join(this.#directory, "ca.crt"), ROUTE_TOKEN_FILE: join(this.#directory, "token") };
  }

  stop(): void {
    this.pod.stop();
    this.#listener.stop(true);
    this.#authority.remove();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
