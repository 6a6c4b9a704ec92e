// A WebSocket client for tests that reads messages one after the other, in the order in which they came.

export type Message = string | Uint8Array;

export type Conversation = {
  send(message: Message): void;
  next(): Promise<Message>;
  /** The next binary message; text before it is passed over. */
  nextBinary(): Promise<Uint8Array>;
  /** Text messages joined until they hold `text`. */
  until(text: string): Promise<string>;
  readonly closed: Promise<{ code: number; reason: string }>;
  close(): void;
};

/** Resolves when the socket is open, rejects when it is refused. */
export async function connect(url: string, headers: Record<string, string> = {}): Promise<Conversation> {
  const socket = new WebSocket(url, { headers });
  socket.binaryType = "arraybuffer";
  const messages: Message[] = [];
  let wake = () => {};
  socket.onmessage = ({ data }) => {
    messages.push(typeof data === "string" ? data : new Uint8Array(data as ArrayBuffer));
    wake();
  };
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.addEventListener("close", ({ code, reason }) => { resolve({ code, reason }); wake(); });
  });
  await new Promise<void>((resolve, reject) => {
    socket.onopen = () => resolve();
    socket.onerror = () => reject(new Error(`${url.split("?")[0]} refused the WebSocket`));
  });

  async function next(): Promise<Message> {
    while (messages.length === 0) {
      if (socket.readyState === WebSocket.CLOSED) throw new Error("the WebSocket closed before the next message");
      await new Promise<void>((resolve) => { wake = resolve; });
    }
    return messages.shift()!;
  }
  return {
    send: (message) => socket.send(message as string),
    next,
    async nextBinary() {
      for (;;) {
        const message = await next();
        if (typeof message !== "string") return message;
      }
    },
    async until(text) {
      let heard = "";
      while (!heard.includes(text)) heard += String(await next());
      return heard;
    },
    closed,
    close: () => socket.close(),
  };
}
