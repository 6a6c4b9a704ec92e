// Several servers of one service, each saying who it is, and a router in front of them.

import { ok } from "./http.ts";
import { Pod } from "./pod.ts";
import { TestRouter } from "./router.ts";

/** A server that answers with its name; `fails` makes it answer a status, cut the connection, or stay silent. */
export class NamedServer {
  readonly pod: Pod;
  fails: number | "cut" | "silent" | null = null;
  /** Requests but health checks. */
  requests = 0;
  checks = 0;

  constructor(readonly name: string, address = "127.0.1.20") {
    this.pod = new Pod(address, ["http"]);
    this.pod.answer((seen, connection) => {
      if (seen.target === "/healthz") this.checks += 1;
      else this.requests += 1;
      if (this.fails === "cut") return connection.cut();
      if (this.fails === "silent") return;
      if (seen.headers["upgrade"] !== undefined) return connection.accept(seen);
      connection.write(ok(seen.method === "HEAD" ? "" : this.name, [], this.fails === null ? "200 OK" : `${this.fails} Failed`));
    });
  }

  get port(): number {
    return this.pod.port("http");
  }

  get url(): string {
    return `http://${this.pod.address}:${this.port}`;
  }

  stop(): void {
    this.pod.stop();
  }
}

/** A router whose only service has these servers. @param keys of the service beside `servers`, as YAML flow */
export async function routerOf(servers: ReadonlyArray<string | { readonly url: string; readonly weight: number }>, keys = "", options: { readonly top?: string; readonly route?: string } = {}): Promise<TestRouter> {
  const list = servers.map((server) => (typeof server === "string" ? `"${server}"` : `{ url: "${server.url}", weight: ${server.weight} }`)).join(", ");
  return TestRouter.start({
    config: `${options.top ?? ""}\nservices:\n  s: { servers: [${list}]${keys === "" ? "" : `, ${keys}`} }\nroutes:\n  - { path: /, service: s, websocket: true${options.route === undefined ? "" : `, ${options.route}`} }\n`,
  });
}

/** Names of the servers that answered, in order. */
export async function answers(router: TestRouter, count: number, init: (index: number) => RequestInit = () => ({})): Promise<string[]> {
  const names: string[] = [];
  for (let index = 0; index < count; index += 1) {
    const response = await fetch(router.url("/"), init(index));
    names.push(response.ok ? await response.text() : String(response.status));
  }
  return names;
}

export function countsOf(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}
