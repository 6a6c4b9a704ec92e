// A body on its way to the client with its bytes counted, and its end told: what the access line says of a body that was not
// received from an upstream as it is sent (a compressed one, one from the cache, a file).

import { type BodyEnd, ClientGoneError } from "../upstream/exchange.ts";

export function countedBody(body: ReadableStream<Uint8Array>): { readonly stream: ReadableStream<Uint8Array>; readonly ended: Promise<BodyEnd> } {
  const { promise: ended, resolve } = Promise.withResolvers<BodyEnd>();
  const reader = body.getReader();
  let bytes = 0;
  const stream = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { done, value } = await reader.read();
        if (done) {
          resolve({ bytes, error: null });
          return controller.close();
        }
        bytes += value.length;
        controller.enqueue(value);
      } catch (error) {
        resolve({ bytes, error: error as Error });
        controller.error(error);
      }
    },
    async cancel(reason) {
      resolve({ bytes, error: new ClientGoneError("client went away") });
      await reader.cancel(reason);
    },
  }, { highWaterMark: 0 });
  return { stream, ended };
}

const SLICE_BYTES = 64 * 1024;

/** Bytes in hand as a stream, slice by slice as the client takes them: Bun.serve would keep a copy of all that waits. */
export function slicedBody(bytes: Uint8Array): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      // Bun.serve stalls over HTTP/2 when a pull enqueues at once (docs/ARCHITECTURE.md).
      await new Promise((resolve) => { setImmediate(resolve); });
      controller.enqueue(bytes.subarray(at, at + SLICE_BYTES));
      at += SLICE_BYTES;
      if (at >= bytes.length) controller.close();
    },
  }, { highWaterMark: 0 });
}
