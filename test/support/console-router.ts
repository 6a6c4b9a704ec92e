// A router for consoles under test: the real App, by the built-in configuration of `route-gateway consoles` or by the text of a
// routes.yaml, in front of a Kubernetes API that says what it got. And tokens: those that the platform makes, and those that
// nobody should.

import { createHmac, createSecretKey, type KeyObject } from "node:crypto";
import { expect } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { App } from "../../src/app.ts";
import { loadConsoles } from "../../src/config/consoles.ts";
import { loadSettings } from "../../src/config/load.ts";
import { Log } from "../../src/lib/log.ts";
import type { Settings } from "../../src/settings.ts";
import { generateKeys } from "../../src/token/mint.ts";
import { Pod, type Seen } from "./pod.ts";
import { RawClient } from "./raw.ts";
import { MemorySink } from "./router.ts";
import { handshakeHead, type Handshake, WsClient } from "./ws-client.ts";

export const SECRET = "a-key-of-the-lab-that-has-forty-characters";
export const SECRET_KEY: KeyObject = createSecretKey(Buffer.from(SECRET));

export type AccessLine = Readonly<Record<string, unknown>> & { readonly status: number; readonly reason?: string };

/** What a client sees of a refusal, and what the log says of it. */
export type Refusal = { readonly status: number; readonly body: string; readonly reason: string };

export class ConsoleRouter {
  #checked = 0;

  private constructor(readonly app: App, readonly log: MemorySink, readonly api: KubernetesApi, readonly keys: ReturnType<typeof generateKeys>,
    private readonly directory: string) {}

  /** `route-gateway consoles` with these variables. */
  static builtIn(env: Record<string, string> = {}): Promise<ConsoleRouter> {
    return ConsoleRouter.#start(async (api) => loadConsoles({
      env: { SECRET_KEY: SECRET, LOCAL_DEV_MODE: "true", WS_REMOTE_URL: api.url, ...env }, httpListen: "127.0.0.1:0",
    }));
  }

  /** `route-gateway serve` with this routes.yaml; `${API}` in it is the Kubernetes API, SECRET_KEY and the desktop keys are set. */
  static file(config: string, env: Record<string, string> = {}): Promise<ConsoleRouter> {
    return ConsoleRouter.#start((api, directory, keys) => {
      const file = (name: string, text: string): string => {
        writeFileSync(join(directory, name), text);
        return join(directory, name);
      };
      return loadSettings({
        file: file("routes.yaml", config), httpListen: "127.0.0.1:0", allowTargets: ["127.0.1.0/24"],
        env: {
          API: api.url, SECRET_KEY: SECRET, SIGNING_KEY: file("signing.pem", keys.signingPublicKey),
          PAYLOAD_KEY: file("payload.pem", keys.payloadPrivateKey), ...env,
        },
      });
    });
  }

  static async #start(load: (api: KubernetesApi, directory: string, keys: ReturnType<typeof generateKeys>) => Promise<Settings>): Promise<ConsoleRouter> {
    const keys = (sharedKeys ??= generateKeys(2048));
    const directory = mkdtempSync(join(tmpdir(), "route-console-"));
    const api = new KubernetesApi();
    const log = new MemorySink();
    const settings = await load(api, directory, keys);
    const app = new App(settings, { log: new Log("json", log) });
    await app.start();
    return new ConsoleRouter(app, log, api, keys, directory);
  }

  get port(): number {
    return this.app.port;
  }

  /** Access lines so far. */
  get lines(): AccessLine[] {
    this.app.log.close();
    return this.log.text.split("\n").filter((line) => line.includes('"message":"access"')).map((line) => JSON.parse(line) as AccessLine);
  }

  /** The one line about a request that was answered. */
  lineOf(answer: RawClient): AccessLine {
    const id = answer.header("x-request-id");
    const lines = this.lines.filter((line) => line["request_id"] === id);
    expect(lines).toHaveLength(1);
    return lines[0] as AccessLine;
  }

  /** Nothing runs any more, and nothing is open at either end. */
  async idle(): Promise<void> {
    const { app, api } = this;
    await api.until(() => app.counts.running === 0 && app.counts.sessions === 0 && api.open.size === 0);
  }

  /** An HTTP request and its whole answer. */
  ask(method: string, target: string, headers: Readonly<Record<string, string>> = {}): Promise<RawClient> {
    const lines = Object.entries({ Host: `127.0.0.1:${this.port}`, ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
    return askFor(this.port, method, `${method} ${target} HTTP/1.1\r\n${lines.join("")}\r\n`);
  }

  /** A handshake that is answered by an HTTP response, whole. */
  tryUpgrade(target: string, options: Handshake = {}): Promise<RawClient> {
    return askFor(this.port, options.method ?? "GET", handshakeHead(this.port, target, options));
  }

  /**
   * A handshake that must be refused: as the client sees it, without a connection to the API, with one line in the log, and with
   * nothing of what is secret in either.
   * @returns the line
   */
  async expectRefused(target: string, expected: Refusal, options: Handshake = {}): Promise<AccessLine> {
    const { accepted } = this.api;
    const answer = await this.tryUpgrade(target, options);
    expect({ status: answer.status, body: answer.body }).toEqual({ status: expected.status, body: `${expected.body}\n` });
    expect(answer.header("content-type")).toBe("text/plain; charset=utf-8");
    expect(answer.header("cache-control")).toBe("no-store");
    expect(answer.header("x-frame-options")).toBe("SAMEORIGIN");
    expect(answer.header("x-request-id")).toMatch(/^[0-9a-f]{13,32}$/);
    for (const name of ["sec-websocket-accept", "location", "set-cookie"]) expect(answer.header(name)).toBeNull();
    const line = this.lineOf(answer);
    expect(line).toMatchObject({ status: expected.status, reason: expected.reason, target: null, upstream_ms: null });
    expect(this.api.accepted).toBe(accepted);
    this.expectNoSecretIn(answer.text);
    return line;
  }

  /** A handshake that must open a session, which echoes; the client is to be closed by the caller. */
  async expectOpen(target: string, options: Handshake = {}): Promise<{ client: WsClient; seen: Seen }> {
    const before = this.api.seen.length;
    const client = await WsClient.try(this.port, target, options);
    expect({ status: client.status, rest: client.status === 101 ? "" : client.rest }).toEqual({ status: 101, rest: "" });
    const [seen, ...more] = this.api.seen.slice(before);
    expect(more).toEqual([]);
    client.send(2, "RFB 003.008\n");
    await client.until(() => client.messages.length === 1);
    expect(client.messages[0]).toEqual({ isText: false, data: Buffer.from("RFB 003.008\n") });
    return { client, seen: seen as Seen };
  }

  /** Neither the log nor `text` has a piece of any token that was made here, nor of the keys. */
  expectNoSecretIn(text: string): void {
    void this.lines;
    // What was looked at is not looked at again: one leak fails one test.
    const written = this.log.text.slice(this.#checked) + text;
    this.#checked = this.log.text.length;
    expect(written).not.toContain(SECRET);
    for (const token of made) expect(pieces(token).filter((piece) => written.includes(piece))).toEqual([]);
  }

  async stop(): Promise<void> {
    await this.app.stop(0);
    this.api.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** The API behind `kubectl proxy`: plain HTTP, no credentials. Every handshake is accepted with KubeVirt's subprotocol. */
export class KubernetesApi extends Pod {
  constructor() {
    super("127.0.0.1", ["api"]);
    this.answerConsoles();
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port("api")}`;
  }

  answerConsoles(): void {
    this.answer((seen, connection) => connection.accept(seen, "plain.kubevirt.io"));
  }

  /** Refuses as the API does, from now on. */
  refuse(status: number, message: string): void {
    const body = JSON.stringify({ kind: "Status", apiVersion: "v1", status: "Failure", message, code: status });
    this.answer((_seen, connection) => connection.write(`HTTP/1.1 ${status} No\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`));
  }
}

/** Making keys is slow; one set serves a whole file. */
let sharedKeys: ReturnType<typeof generateKeys> | null = null;

/** Tokens that were made so far, for the search for them in the log. */
const made = new Set<string>();

export type Lab = Readonly<Record<string, unknown>>;

/** Claims of a good token, with some replaced; undefined leaves one out. */
export function claims(lab: Lab = {}, own: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return {
    id: 7, exp: Date.now() / 1000 + 300,
    lab_instance: { lab_id: 1, lab_instance_id: 2, namespace_name: "lab-2", allowed_vmi_names: ["ubuntu", "win.office", "fedora-40"], ...lab },
    ...own,
  };
}

/** A good token, but for the claims that are replaced. */
export function token(lab: Lab = {}, own: Readonly<Record<string, unknown>> = {}): string {
  return sign(claims(lab, own));
}

export type Signing = {
  /** The header, as JSON text or as an object over `alg` and `typ`. */
  readonly header?: string | Readonly<Record<string, unknown>>;
  readonly hash?: "sha256" | "sha384" | "sha512";
  readonly key?: KeyObject;
};

/** Any payload, as text where JSON.stringify would not write it so, under any header, signed with any of the digests. */
export function sign(payload: string | object, { header = {}, hash = "sha256", key = SECRET_KEY }: Signing = {}): string {
  const head = typeof header === "string" ? header : JSON.stringify({ alg: "HS256", typ: "JWT", ...header });
  const signed = `${base64url(head)}.${base64url(typeof payload === "string" ? payload : JSON.stringify(payload))}`;
  return remember(`${signed}.${createHmac(hash, key).update(signed).digest("base64url")}`);
}

/** From now on it may stand nowhere in a log. */
export function remember(token: string): string {
  made.add(token);
  return token;
}

export function base64url(text: string): string {
  return Buffer.from(text).toString("base64url");
}

/** Stretches that no log has by accident; of the header, where all tokens are alike, its beginning. */
function pieces(token: string): string[] {
  const [header = "", payload = "", signature = ""] = token.split(".");
  return [header.slice(0, 20), payload.slice(0, 40), payload.slice(-40), signature.slice(0, 20), signature.slice(-20)].filter((piece) => piece.length >= 16);
}

/** The answer to HEAD has the length of a body, and no body. */
async function askFor(port: number, method: string, text: string): Promise<RawClient> {
  if (method !== "HEAD") return RawClient.ask(port, text);
  const client = await RawClient.open(port);
  client.write(text);
  await client.until(() => client.text.includes("\r\n\r\n") || client.isClosed);
  client.close();
  return client;
}
