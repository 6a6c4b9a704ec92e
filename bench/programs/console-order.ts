// What a client says to a console's sender, in 64 bytes, which are the same in a TCP stream and in a WebSocket message: an
// order to send, or anything else, which comes back as it is.

export const ORDER_BYTES = 64;

/** The first byte of an order to send; echoes begin with a small number's high byte, 0. */
const SEND = 0xff;

export type Order = {
  readonly bytes: number;
  /** Payload of a frame, except that the last one may be shorter; a TCP stream knows no frames. */
  readonly frameBytes: number;
};

export function encodeOrder({ bytes, frameBytes }: Order): Buffer {
  const message = Buffer.alloc(ORDER_BYTES);
  message[0] = SEND;
  message.writeDoubleBE(bytes, 8);
  message.writeUInt32BE(frameBytes, 16);
  return message;
}

/** null: to be echoed. @throws Error when it is not of 64 bytes: somebody on the way made other messages of it */
export function decodeOrder(message: Buffer): Order | null {
  if (message.length !== ORDER_BYTES) throw new Error(`a message of ${message.length} bytes`);
  return message[0] === SEND ? { bytes: message.readDoubleBE(8), frameBytes: message.readUInt32BE(16) } : null;
}
