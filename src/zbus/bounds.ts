// Looks over msgpack bytes before they are decoded: the library trusts the lengths that they claim and follows them to any
// depth (a hostile message of 256 KiB would cost it 100 MB and more). Pure; nothing is copied or decoded here.

import { isUtf8 } from "node:buffer";

/** Containers within containers; a request has 2. */
const DEPTH_LIMIT = 8;
/** Values in all, those within containers and the keys of maps included. */
const VALUE_LIMIT = 4096;

/** @returns what is wrong with `bytes` as one msgpack value, or null when it may be decoded */
export function msgpackFault(bytes: Uint8Array): string | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  /** How many values each open container still has to get; the outermost stands for the message. */
  const open = [1];
  let at = 0;
  let values = 0;
  while (open.length > 0) {
    const remaining = open.at(-1) as number;
    if (remaining === 0) {
      open.pop();
      continue;
    }
    open[open.length - 1] = remaining - 1;
    if (++values > VALUE_LIMIT) return `more than ${VALUE_LIMIT} values`;
    const head = headAt(view, at);
    if (typeof head === "string") return head;
    const start = at + head.headBytes;
    at = start + head.bodyBytes;
    if (at > bytes.length) return "it ends too early";
    if (head.isText && !isUtf8(bytes.subarray(start, at))) return "a string is not UTF-8";
    if (head.children === null) continue;
    // Every value has a byte at least.
    if (head.children > bytes.length - at) return "it ends too early";
    if (open.length > DEPTH_LIMIT) return `nested deeper than ${DEPTH_LIMIT}`;
    open.push(head.children);
  }
  return at === bytes.length ? null : `${bytes.length - at} bytes too many`;
}

type Head = { readonly headBytes: number; readonly bodyBytes: number; readonly isText: boolean; readonly children: number | null };

/** What the value at `at` begins with: https://github.com/msgpack/msgpack/blob/master/spec.md, "Formats". */
function headAt(view: DataView, at: number): Head | string {
  if (at >= view.byteLength) return "it ends too early";
  const first = view.getUint8(at);
  if (first <= 0x7f || first >= 0xe0) return scalar(0);
  if (first <= 0x8f) return container(1, (first & 0x0f) * 2);
  if (first <= 0x9f) return container(1, first & 0x0f);
  if (first <= 0xbf) return { headBytes: 1, bodyBytes: first & 0x1f, isText: true, children: null };
  if (first === 0xc1) return "a byte that msgpack never uses (0xc1)";
  const fixed = FIXED_BYTES[first];
  if (fixed !== undefined) return scalar(fixed);
  const sized = SIZED[first] as Sized;
  const headBytes = 1 + sized.lengthBytes;
  if (at + headBytes > view.byteLength) return "it ends too early";
  const length = sized.lengthBytes === 1 ? view.getUint8(at + 1) : sized.lengthBytes === 2 ? view.getUint16(at + 1) : view.getUint32(at + 1);
  switch (sized.kind) {
    case "array": return container(headBytes, length);
    case "map": return container(headBytes, length * 2);
    // One more byte for the type.
    case "ext": return { headBytes, bodyBytes: length + 1, isText: false, children: null };
    default: return { headBytes, bodyBytes: length, isText: sized.kind === "str", children: null };
  }
}

function scalar(bodyBytes: number): Head {
  return { headBytes: 1, bodyBytes, isText: false, children: null };
}

function container(headBytes: number, children: number): Head {
  return { headBytes, bodyBytes: 0, isText: false, children };
}

/** Bytes behind the first one: nil, booleans, floats, integers, fixext. */
const FIXED_BYTES: Readonly<Record<number, number>> = {
  0xc0: 0, 0xc2: 0, 0xc3: 0, 0xca: 4, 0xcb: 8, 0xcc: 1, 0xcd: 2, 0xce: 4, 0xcf: 8, 0xd0: 1, 0xd1: 2, 0xd2: 4, 0xd3: 8,
  0xd4: 2, 0xd5: 3, 0xd6: 5, 0xd7: 9, 0xd8: 17,
};

type Sized = { readonly kind: "bin" | "ext" | "str" | "array" | "map"; readonly lengthBytes: 1 | 2 | 4 };

const SIZED: Readonly<Record<number, Sized>> = {
  0xc4: { kind: "bin", lengthBytes: 1 }, 0xc5: { kind: "bin", lengthBytes: 2 }, 0xc6: { kind: "bin", lengthBytes: 4 },
  0xc7: { kind: "ext", lengthBytes: 1 }, 0xc8: { kind: "ext", lengthBytes: 2 }, 0xc9: { kind: "ext", lengthBytes: 4 },
  0xd9: { kind: "str", lengthBytes: 1 }, 0xda: { kind: "str", lengthBytes: 2 }, 0xdb: { kind: "str", lengthBytes: 4 },
  0xdc: { kind: "array", lengthBytes: 2 }, 0xdd: { kind: "array", lengthBytes: 4 },
  0xde: { kind: "map", lengthBytes: 2 }, 0xdf: { kind: "map", lengthBytes: 4 },
};
