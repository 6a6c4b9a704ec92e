// An upstream that keeps every byte it got, connection by connection, and reads them as the strictest of servers would: a
// request that is not exactly one well-framed request is a fault, and so is a byte behind one that nobody can account for.
// What attacks are judged by: the router may send nothing, or what was meant, and never anything else.

import type { Socket } from "bun";

export type Recorded = {
  readonly recorder: string;
  readonly method: string;
  readonly target: string;
  /** As it stood on the wire, from its first byte to its last one; the request id, which differs, is `-`. */
  readonly text: string;
  /** Decoded, in Latin-1. */
  readonly body: string;
};

/** A field's values, in the order of arrival. */
export function valuesOf({ text }: Recorded, name: string): string[] {
  const lines = text.slice(0, text.indexOf("\r\n\r\n")).split("\r\n").slice(1);
  return lines.filter((line) => line.slice(0, line.indexOf(":")).toLowerCase() === name.toLowerCase()).map((line) => line.slice(line.indexOf(":") + 1).trim());
}

export type Answering = (request: Recorded, connection: RecordedConnection) => void;

// Of the control characters DEL may be kept in a value (RFC 9110 section 5.5), and Bun.serve keeps it.
// oxlint-disable-next-line no-control-regex
const HEAD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+ \/[!-~]* HTTP\/1\.1\r\n(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [^\0-\x08\x0a-\x1f]*\r\n)+\r\n$/;

/** One connection from the router. */
export class RecordedConnection {
  isClosed = false;
  /** What came and is no whole request yet. */
  rest = "";
  #out: Buffer[] = [];

  constructor(readonly recorder: Recorder, private readonly socket: Socket<RecordedConnection>) {}

  write(text: string | Buffer): void {
    this.#out.push(typeof text === "string" ? Buffer.from(text, "latin1") : text);
    this.flush();
  }

  flush(): void {
    for (let piece = this.#out.shift(); piece !== undefined; piece = this.#out.shift()) {
      const taken = this.socket.write(piece, 0, piece.length);
      this.recorder.sentBytes += Math.max(taken, 0);
      if (taken === piece.length) continue;
      if (taken >= 0) this.#out.unshift(piece.subarray(taken));
      return;
    }
  }

  /** Some of what it was to send was not taken. */
  get isUnsent(): boolean {
    return this.#out.length > 0;
  }

  close(): void {
    this.socket.end();
  }

  /** RST. */
  cut(): void {
    this.socket.terminate();
  }

  received(chunk: Buffer): void {
    this.rest += chunk.toString("latin1");
    for (;;) {
      const taken = this.#readRequest();
      if (taken === 0) return;
      this.rest = this.rest.slice(taken);
    }
  }

  #readRequest(): number {
    const end = this.rest.indexOf("\r\n\r\n");
    if (end < 0) return 0;
    const head = this.rest.slice(0, end + 4);
    const lengths = [...head.matchAll(/\r\ncontent-length: ?([^\r]*)/gi)].map((match) => match[1] as string);
    const codings = [...head.matchAll(/\r\ntransfer-encoding: ?([^\r]*)/gi)].map((match) => match[1] as string);
    if (!HEAD.test(head) || lengths.length + codings.length > 1 || !/^\d*$/.test(lengths[0] ?? "") || (codings[0] ?? "chunked") !== "chunked") {
      this.recorder.faults.push(head);
      return this.rest.length;
    }
    const body = codings.length > 0 ? readChunks(this.rest, end + 4) : readLength(this.rest, end + 4, Number(lengths[0] ?? 0));
    if (body === null) return 0;
    if (body === "malformed") {
      this.recorder.faults.push(this.rest);
      return this.rest.length;
    }
    const [method = "", target = ""] = head.split(" ", 2);
    const text = this.rest.slice(0, body.end).replace(/\r\nX-Request-Id: [\w.-]+/, "\r\nX-Request-Id: -");
    this.recorder.took({ recorder: this.recorder.name, method, target, text, body: body.text }, this);
    return body.end;
  }
}

type Body = { readonly text: string; readonly end: number };

function readLength(text: string, at: number, length: number): Body | null {
  return text.length < at + length ? null : { text: text.slice(at, at + length), end: at + length };
}

function readChunks(text: string, start: number): Body | null | "malformed" {
  let body = "";
  for (let at = start; ;) {
    const line = text.indexOf("\r\n", at);
    if (line < 0) return null;
    if (!/^[0-9a-f]{1,8}$/.test(text.slice(at, line))) return "malformed";
    const size = Number.parseInt(text.slice(at, line), 16);
    const end = line + 2 + size;
    if (text.length < end + 2) return null;
    if (text.slice(end, end + 2) !== "\r\n") return "malformed";
    body += text.slice(line + 2, end);
    at = end + 2;
    if (size === 0) return { text: body, end: at };
  }
}

/** Says who answered what. */
export const answerPlainly: Answering = ({ recorder, method, target }, connection) => {
  const body = `${recorder} ${method} ${target}`;
  const head = `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\n\r\n`;
  connection.write(method === "HEAD" ? head : head + body);
};

export class Recorder {
  readonly requests: Recorded[] = [];
  /** Bytes that are no request that a strict server takes. */
  readonly faults: string[] = [];
  /** Those that are open now. */
  readonly connections = new Set<RecordedConnection>();
  /** Connections so far. */
  accepted = 0;
  /** Of answers, as the kernel took them. */
  sentBytes = 0;
  answer: Answering = answerPlainly;
  readonly #listener: Bun.TCPSocketListener<RecordedConnection>;

  constructor(readonly name: string, readonly address = "127.0.1.1") {
    this.#listener = Bun.listen<RecordedConnection>({
      hostname: address, port: 0,
      socket: {
        open: (socket) => {
          socket.data = new RecordedConnection(this, socket);
          this.connections.add(socket.data);
          this.accepted += 1;
        },
        data: (socket, chunk) => socket.data.received(chunk),
        drain: (socket) => socket.data.flush(),
        close: (socket) => {
          socket.data.isClosed = true;
          this.connections.delete(socket.data);
        },
        error: () => {},
      },
    });
  }

  get port(): number {
    return this.#listener.port;
  }

  get url(): string {
    return `http://${this.address}:${this.port}`;
  }

  /** Bytes on open connections that are no whole request. */
  get unfinished(): string[] {
    return [...this.connections].map(({ rest }) => rest).filter((rest) => rest !== "");
  }

  took(request: Recorded, connection: RecordedConnection): void {
    this.requests.push(request);
    this.answer(request, connection);
  }

  /** Forgets what came and how to answer. @param cuts with it go the connections */
  reset(cuts = false): void {
    this.requests.length = 0;
    this.faults.length = 0;
    this.answer = answerPlainly;
    if (cuts) for (const connection of this.connections) connection.cut();
  }

  stop(): void {
    for (const connection of this.connections) connection.cut();
    this.#listener.stop(true);
  }
}
