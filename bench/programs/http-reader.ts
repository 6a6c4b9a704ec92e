// The receiving half of one HTTP/1.1 message: its head, then its body, by Content-Length or chunked, in pieces as they come.
// For messages that we trust: what it does not expect is an error, and no limit is kept.

const CR = 13;
const LF = 10;

export class HttpReader {
  /** Request or status line and fields; empty until it has arrived. */
  head = "";
  isDone = false;
  #start = Buffer.alloc(0);
  /** Body bytes to come: of the whole body, or of this chunk. */
  #left = 0;
  #isChunked = false;
  #sizeLine = "";

  constructor(
    private readonly onHead: (head: string) => void,
    private readonly onBody: (bytes: Buffer) => void,
    private readonly onEnd: () => void,
  ) {}

  data(bytes: Buffer): void {
    let rest = this.head === "" ? this.#readHead(bytes) : bytes;
    while (rest.length > 0 && !this.isDone) rest = this.#isChunked ? this.#readChunked(rest) : this.#readLength(rest);
  }

  #readHead(bytes: Buffer): Buffer {
    const all = this.#start.length === 0 ? bytes : Buffer.concat([this.#start, bytes]);
    const end = all.indexOf("\r\n\r\n");
    if (end < 0) {
      this.#start = Buffer.from(all);
      return Buffer.alloc(0);
    }
    this.head = all.toString("latin1", 0, end);
    this.#isChunked = /\r\ntransfer-encoding: *chunked/i.test(this.head);
    this.#left = Number(/\r\ncontent-length: *(\d+)/i.exec(this.head)?.[1] ?? 0);
    this.onHead(this.head);
    if (!this.#isChunked && this.#left === 0) this.#end();
    return all.subarray(end + 4);
  }

  #readLength(bytes: Buffer): Buffer {
    const piece = bytes.subarray(0, this.#left);
    this.#left -= piece.length;
    this.onBody(piece);
    if (this.#left === 0) this.#end();
    return bytes.subarray(piece.length);
  }

  #readChunked(bytes: Buffer): Buffer {
    if (this.#left > 0) {
      const piece = bytes.subarray(0, this.#left);
      this.#left -= piece.length;
      this.onBody(piece);
      return bytes.subarray(piece.length);
    }
    return this.#readSizeLine(bytes);
  }

  /** The line feed that ends a chunk, then the size of the next one. The last chunk's empty trailer is taken as its end. */
  #readSizeLine(bytes: Buffer): Buffer {
    const end = bytes.indexOf(LF);
    this.#sizeLine += bytes.toString("latin1", 0, end < 0 ? bytes.length : end);
    if (end < 0) return Buffer.alloc(0);
    const line = this.#sizeLine.replace(String.fromCharCode(CR), "");
    this.#sizeLine = "";
    if (line !== "") {
      this.#left = Number.parseInt(line, 16);
      if (Number.isNaN(this.#left)) throw new Error(`not a chunk size: ${line.slice(0, 40)}`);
      if (this.#left === 0) this.#end();
    }
    return bytes.subarray(end + 1);
  }

  #end(): void {
    this.isDone = true;
    this.onEnd();
  }
}
