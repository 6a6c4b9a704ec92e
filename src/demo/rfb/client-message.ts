// What a VNC client says once the two have agreed: RFC 6143 section 7.5. Every length is bounded before it is waited for.

import { PIXEL_FORMAT_BYTES, type PixelFormat, readPixelFormat } from "./pixel-format.ts";
import { type Reading, RfbError } from "./reading.ts";

export type Region = { readonly x: number; readonly y: number; readonly width: number; readonly height: number };

export type ClientMessage =
  | { readonly kind: "setPixelFormat"; readonly format: PixelFormat }
  | { readonly kind: "setEncodings"; readonly encodings: readonly number[] }
  | { readonly kind: "updateRequest"; readonly isIncremental: boolean; readonly region: Region }
  | { readonly kind: "key"; readonly isDown: boolean; readonly keysym: number }
  | { readonly kind: "pointer"; readonly buttons: number; readonly x: number; readonly y: number }
  | { readonly kind: "cutText"; readonly text: string };

/** More encodings than exist. */
export const ENCODING_LIMIT = 256;
export const CUT_TEXT_LIMIT_BYTES = 64 * 1024;

export function* readClientMessage(): Reading<ClientMessage> {
  const type = (yield 1).readUInt8();
  switch (type) {
    case 0: return { kind: "setPixelFormat", format: readPixelFormat((yield 3 + PIXEL_FORMAT_BYTES).subarray(3)) };
    case 2: return yield* readSetEncodings();
    case 3: return readUpdateRequest(yield 9);
    case 4: return readKey(yield 7);
    case 5: return readPointer(yield 5);
    case 6: return yield* readCutText();
    // The length of an unknown message is unknown: there is no going on behind it.
    default: throw new RfbError(`unknown message ${type}`);
  }
}

function* readSetEncodings(): Reading<ClientMessage> {
  const count = (yield 3).readUInt16BE(1);
  if (count > ENCODING_LIMIT) throw new RfbError(`${count} encodings, at most ${ENCODING_LIMIT}`);
  const bytes = yield count * 4;
  return { kind: "setEncodings", encodings: Array.from({ length: count }, (_, index) => bytes.readInt32BE(index * 4)) };
}

function readUpdateRequest(bytes: Buffer): ClientMessage {
  const [x, y, width, height] = [1, 3, 5, 7].map((at) => bytes.readUInt16BE(at)) as [number, number, number, number];
  return { kind: "updateRequest", isIncremental: bytes.readUInt8(0) !== 0, region: { x, y, width, height } };
}

function readKey(bytes: Buffer): ClientMessage {
  return { kind: "key", isDown: bytes.readUInt8(0) !== 0, keysym: bytes.readUInt32BE(3) };
}

function readPointer(bytes: Buffer): ClientMessage {
  return { kind: "pointer", buttons: bytes.readUInt8(0), x: bytes.readUInt16BE(1), y: bytes.readUInt16BE(3) };
}

function* readCutText(): Reading<ClientMessage> {
  const length = (yield 7).readUInt32BE(3);
  if (length > CUT_TEXT_LIMIT_BYTES) throw new RfbError(`clipboard of ${length} bytes, at most ${CUT_TEXT_LIMIT_BYTES}`);
  return { kind: "cutText", text: (yield length).toString("latin1") };
}
