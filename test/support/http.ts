// HTTP on the wire for tests: whole conversations over one raw connection, answers taken apart byte by byte, and a router
// with a pod and every fixed service behind it.

import { Pod, POD_PORTS } from "./pod.ts";
import { RawClient } from "./raw.ts";
import { type RouterOptions, TestRouter } from "./router.ts";

/** One answer as it stood on the wire. */
export type Answer = {
  readonly status: number;
  readonly statusLine: string;
  readonly headers: ReadonlyArray<readonly [name: string, value: string]>;
  /** All values of one name, in lower case. */
  all(name: string): string[];
  /** The only value; null when there is none. Throws when there are several. */
  one(name: string): string | null;
  /** Decoded: without chunk framing. */
  readonly body: string;
  readonly isChunked: boolean;
};

export type Conversation = { readonly answers: readonly Answer[]; readonly isClosed: boolean; readonly text: string };

/**
 * Sends `bytes` on one connection and waits for `answers` final answers, or for the end of the connection.
 * @param methods of the requests, because the answer to HEAD has no body
 */
export async function converse(
  port: number, bytes: string | Buffer,
    { answers = 1, methods = [], timeoutMs = 5000 }: { answers?: number; methods?: string[]; timeoutMs?: number } = {},
): Promise<Conversation> {
  const client = await RawClient.open(port);
  try {
    client.write(bytes);
    await client.until(() => client.isClosed || readAnswers(client.text, methods).length >= answers, timeoutMs);
    return { answers: readAnswers(client.text, methods), isClosed: client.isClosed, text: client.text };
  } finally {
    client.close();
  }
}

/** Sends one request after the other's answer, all on one connection. Ends early when the connection does. */
export async function inTurn(port: number, requests: ReadonlyArray<string | Buffer>,
  timeoutMs = 5000): Promise<Conversation> {
  const methods = requests.map((request) => request.toString("latin1").split(" ", 1)[0] ?? "");
  const client = await RawClient.open(port);
  try {
    for (const [i, request] of requests.entries()) {
      if (client.isClosed) break;
      client.write(request);
      await client.until(() => client.isClosed || readAnswers(client.text, methods).length > i, timeoutMs);
    }
    return { answers: readAnswers(client.text, methods), isClosed: client.isClosed, text: client.text };
  } finally {
    client.close();
  }
}

/** Sends one request and gives its answer. */
export async function ask(port: number, bytes: string | Buffer, timeoutMs = 5000): Promise<Answer> {
  const { answers, text } = await converse(port, bytes,
    { methods: [bytes.toString("latin1").split(" ", 1)[0] ?? ""], timeoutMs });
  const [answer] = answers;
  if (answer === undefined) throw new Error(`no whole answer: ${JSON.stringify(text.slice(0, 300))}`);
  return answer;
}

/** A request head; `lines` are header lines without their CRLF. Host is `localhost` unless a line says otherwise. */
export function head(method: string, target: string, lines: readonly string[] = []): string {
  const host = lines.some((line) => /^host *:/i.test(line)) ? [] : ["Host: localhost"];
  return `${[`${method} ${target} HTTP/1.1`, ...host, ...lines].join("\r\n")}\r\n\r\n`;
}

/** Whole answers at the start of `text`; interim ones (1xx other than 101) are left out. */
export function readAnswers(text: string, methods: readonly string[] = []): Answer[] {
  const answers: Answer[] = [];
  let at = 0;
  for (;;) {
    const end = text.indexOf("\r\n\r\n", at);
    if (end < 0) return answers;
    const [statusLine = "", ...lines] = text.slice(at, end).split("\r\n");
    const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(statusLine)?.[1] ?? 0);
    at = end + 4;
    if (status < 100 || status === 101 || status >= 200) {
      const headers = lines.map((line): [string, string] => [line.slice(0, line.indexOf(":")).toLowerCase(),
        line.slice(line.indexOf(":") + 1).trim()]);
      const body = readBody(text, at, status, methods[answers.length] ?? "GET", headers);
      if (body === null) return answers;
      at = body.end;
      answers.push(makeAnswer(status, statusLine, headers, body));
    }
  }
}

function makeAnswer(status: number, statusLine: string, headers: Array<[string, string]>,
  body: { text: string; isChunked: boolean }): Answer {
  const all = (name: string): string[] => headers.filter(([given]) => given === name).map(([, value]) => value);
  const one = (name: string): string | null => {
    const values = all(name);
    if (values.length > 1) throw new Error(`${name} stands ${values.length} times in the answer`);
    return values[0] ?? null;
  };
  return { status, statusLine, headers, all, one, body: body.text, isChunked: body.isChunked };
}

type Body = { text: string; end: number; isChunked: boolean };

function readBody(text: string, at: number, status: number, method: string,
  headers: Array<[string, string]>): Body | null {
  if (method === "HEAD" || status === 204 || status === 304 || status === 101) return { text: "", end: at,
    isChunked: false };
  if (headers.some(([name]) => name === "transfer-encoding")) return readChunks(text, at);
  const length = Number(headers.find(([name]) => name === "content-length")?.[1] ?? 0);
  return text.length < at + length ? null : { text: text.slice(at, at + length), end: at + length, isChunked: false };
}

function readChunks(text: string, start: number): Body | null {
  let at = start;
  let body = "";
  for (;;) {
    const line = text.indexOf("\r\n", at);
    if (line < 0) return null;
    const size = Number.parseInt(text.slice(at, line), 16);
    if (Number.isNaN(size)) throw new Error(`malformed chunk in an answer: ${JSON.stringify(text.slice(at, at + 40))}`);
    if (text.length < line + 4 + size) return null;
    body += text.slice(line + 2, line + 2 + size);
    at = line + 4 + size;
    if (size === 0) return { text: body, end: at, isChunked: true };
  }
}

/** The router of the shipped table with a pod on 127.0.1.1 and the fixed services on 127.0.1.2, all of them recording. */
export class Cluster {
  private constructor(readonly pod: Pod, readonly services: Pod, readonly router: TestRouter) {}

  static async start(options: RouterOptions = {}): Promise<Cluster> {
    const pod = new Pod("127.0.1.1", POD_PORTS);
    const services = new Pod("127.0.1.2", ["pyos", "website", "console", "speedtest"]);
    const url = (name: string): string => `http://127.0.1.2:${services.port(name)}`;
    const env = {
      ...pod.env, PYOS_FQDN: "127.0.1.2", PYOS_SERVICE_PORT: String(services.port("pyos")), WEBSITE_URL: url("website"),
      CONSOLE_URL: url("console"), SPEEDTEST_URL: url("speedtest"), ...options.env,
    };
    try {
      return new Cluster(pod, services, await TestRouter.start({ ...options, env }));
    } catch (error) {
      pod.stop();
      services.stop();
      throw error;
    }
  }

  get port(): number {
    return this.router.port;
  }

  /** A header line with a token for the pod. */
  bearer(): string {
    return `Authorization: Bearer ${this.router.token()}`;
  }

  /** Requests that arrived anywhere behind the router. */
  get seenCount(): number {
    return this.pod.seen.length + this.services.seen.length;
  }

  /** Forgets what was seen; the tests of a file share one cluster. */
  reset(): void {
    for (const backend of [this.pod, this.services]) {
      backend.seen.length = 0;
      backend.answer(answerPlainly);
    }
  }

  async stop(): Promise<void> {
    await this.router.stop();
    this.pod.stop();
    this.services.stop();
  }
}

const answerPlainly: Parameters<Pod["answer"]>[0] = (seen, connection) => {
  const body = `${seen.port} ${seen.method} ${seen.target}`;
  const lines = `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(body, "latin1")}\r\n\r\n`;
  connection.write(seen.method === "HEAD" ? lines : lines + body);
};

/** An answer of a pod, with its length computed. */
export function ok(body: string, lines: readonly string[] = [], status = "200 OK"): string {
  return `${[`HTTP/1.1 ${status}`, ...lines, `Content-Length: ${Buffer.byteLength(body, "latin1")}`].join("\r\n")}\r\n\r\n${body}`;
}
