// A body on its way to the client with its bytes counted, and its end told: what the access line says of a body that was not
// received from an upstream as it is sent (a compressed one, one from the cache, a file).

import type { Sweepable, Sweeper } from "../lib/deadlines.ts";
import { type BodyEnd, ClientGoneError, ClientStalledError, type ExchangeWatcher } from "../upstream/exchange.ts";

/** Who takes it, and who looks whether it does; for bodies that nobody else watches. */
export type Watched = { readonly receiver: Pick<ExchangeWatcher, "taken" | "stallMs">; readonly sweeper: Pick<Sweeper, "add" | "delete"> };

/** @param watched null: somebody else watches */
export function countedBody(body: ReadableStream<Uint8Array>, watched: Watched | null = null): { readonly stream: ReadableStream<Uint8Array>; readonly ended: Promise<BodyEnd> } {
  const { promise: ended, resolve } = Promise.withResolvers<BodyEnd>();
  const reader = body.getReader();
  let bytes = 0;
  /** Since when the client is waited for, and for how much; Infinity: it is not. */
  let givenMs = Infinity;
  let given = 0;
  let controllerOf: ReadableStreamDefaultController<Uint8Array>;
  const end = (error: Error | null): void => {
    watched?.sweeper.delete(watch);
    resolve({ bytes, error });
  };
  const stall = (message: string): void => {
    const error = new ClientStalledError(message);
    end(error);
    controllerOf.error(error);
    void reader.cancel(error).catch(() => {}); // It may have failed by itself.
  };
  const watch: Sweepable = { sweep: (nowMs) => { if (nowMs - givenMs >= (watched?.receiver.stallMs ?? Infinity)) stall("client stopped reading"); } };
  watched?.sweeper.add(watch);
  const stream = new ReadableStream<Uint8Array>({
    start(controller) { controllerOf = controller; },
    async pull(controller) {
      if (givenMs !== Infinity && watched?.receiver.taken?.(given, performance.now() - givenMs) === false) return stall("client reads too slowly");
      givenMs = Infinity;
      try {
        const { done, value } = await reader.read();
        if (done) {
          end(null);
          return controller.close();
        }
        bytes += value.length;
        controller.enqueue(value);
        given = value.length;
        givenMs = performance.now();
      } catch (error) {
        end(error as Error);
        controller.error(error);
      }
    },
    async cancel(reason) {
      end(new ClientGoneError("client went away"));
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
