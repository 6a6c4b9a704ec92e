import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Outgoing, type WritableSocket } from "../../src/upstream/outgoing.ts";

/** A kernel that takes `room` bytes and then no more; -1 once it is closed. */
class Kernel implements WritableSocket {
  readonly taken: number[] = [];
  isClosed = false;
  constructor(public room: number) {}

  write(data: Uint8Array, offset: number, length: number): number {
    if (this.isClosed) return -1;
    const taken = Math.min(this.room, length);
    this.room -= taken;
    this.taken.push(...data.subarray(offset, offset + taken));
    return taken;
  }
}

describe("bytes on their way into a socket", () => {
  test("wait in order for what the kernel did not take", () => {
    const kernel = new Kernel(2);
    const outgoing = new Outgoing();
    expect(outgoing.write(kernel, Buffer.from([1, 2, 3]))).toBe(true);
    expect(outgoing.write(kernel, Buffer.from([4]))).toBe(true);
    expect(outgoing.pendingBytes).toBe(2);
    kernel.room = 10;
    expect(outgoing.drain(kernel)).toBe(true);
    expect(kernel.taken).toEqual([1, 2, 3, 4]);
    expect(outgoing.pendingBytes).toBe(0);
  });

  test("never overtake those that wait, even when there is room again", () => {
    const kernel = new Kernel(1);
    const outgoing = new Outgoing();
    outgoing.write(kernel, Buffer.from([1, 2]));
    kernel.room = 10;
    outgoing.write(kernel, Buffer.from([3]));
    expect(kernel.taken).toEqual([1]);
    outgoing.drain(kernel);
    expect(kernel.taken).toEqual([1, 2, 3]);
  });

  test("are reported lost when the socket is closed", () => {
    const kernel = new Kernel(1);
    const outgoing = new Outgoing();
    outgoing.write(kernel, Buffer.from([1, 2]));
    kernel.isClosed = true;
    expect(outgoing.drain(kernel)).toBe(false);
    expect(new Outgoing().write(kernel, Buffer.from([1]))).toBe(false);
  });

  test("let the producer wait until all of them are gone", async () => {
    const kernel = new Kernel(0);
    const outgoing = new Outgoing();
    outgoing.write(kernel, Buffer.from([1, 2]));
    let isEmpty = false;
    const wait = async (): Promise<void> => {
      await outgoing.whenEmpty();
      isEmpty = true;
    };
    const waiting = wait();
    kernel.room = 1;
    outgoing.drain(kernel);
    await Promise.resolve();
    expect(isEmpty).toBe(false);
    kernel.room = 1;
    outgoing.drain(kernel);
    await waiting;
    expect(isEmpty).toBe(true);
  });

  test("do not keep the producer waiting for a socket that is given up", async () => {
    const outgoing = new Outgoing();
    outgoing.write(new Kernel(0), Buffer.from([1]));
    const waiting = outgoing.whenEmpty();
    outgoing.release();
    expect(await waiting).toBeUndefined();
  });

  test("arrive whole and in order for any writes and any room", () => {
    fc.assert(fc.property(fc.array(fc.uint8Array({ maxLength: 20 }), { maxLength: 10 }),
      fc.array(fc.nat(15), { maxLength: 10 }), (writes, rooms) => {
      const kernel = new Kernel(0);
      const outgoing = new Outgoing();
      writes.forEach((bytes, i) => {
        outgoing.write(kernel, bytes);
        kernel.room = rooms[i] ?? 0;
        outgoing.drain(kernel);
      });
      kernel.room = Infinity;
      outgoing.drain(kernel);
      expect(kernel.taken).toEqual(writes.flatMap((bytes) => [...bytes]));
      expect(outgoing.pendingBytes).toBe(0);
    }), { numRuns: 300 });
  });
});
