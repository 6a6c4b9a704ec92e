// The PROXY protocol, versions 1 and 2 (haproxy's doc/proxy-protocol.txt): what a proxy in front of us says about a connection
// before the client's own first byte. Pure: bytes in, what they say out. Whether somebody may say such a thing is decided elsewhere.
//
// Strict, because a header that is read in two ways is two clients: one spelling of the text form, no address of another family.

import { isIPv4, isIPv6 } from "node:net";
import { canonicalAddress } from "../lib/address.ts";

/** With its CRLF; section 2.1. */
const V1_LONGEST = 107;
const V1_START = Buffer.from("PROXY ");
/** Section 2.2. */
const V2_SIGNATURE = Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]);
const V2_FIXED = 16;

export type ProxyHeader =
  /** Good so far. */
  | { readonly kind: "incomplete" }
  | { readonly kind: "bad"; readonly reason: string }
  | {
    readonly kind: "header";
    /** Bytes of it; what follows is the client's. */
    readonly length: number;
    /** null: none is said (LOCAL, UNKNOWN, a Unix socket), the connection is the proxy's own. */
    readonly client: { readonly address: string; readonly port: number } | null;
  };

/** @param bytes from the beginning of the connection; at most 64 KiB and 15 of them belong to a header */
export function readProxyHeader(bytes: Buffer): ProxyHeader {
  if (startsAs(bytes, V1_START)) return readText(bytes);
  if (startsAs(bytes, V2_SIGNATURE)) return readBinary(bytes);
  return bad("no PROXY header");
}

/** As far as there are bytes. */
function startsAs(bytes: Buffer, start: Buffer): boolean {
  const length = Math.min(bytes.length, start.length);
  return bytes.compare(start, 0, length, 0, length) === 0;
}

// ---- version 1

function readText(bytes: Buffer): ProxyHeader {
  const end = bytes.subarray(0, V1_LONGEST).indexOf("\r\n");
  if (end < 0) return bytes.length < V1_LONGEST ? INCOMPLETE : bad("PROXY line without an end");
  const length = end + 2;
  const line = bytes.toString("latin1", V1_START.length, end);
  // "the receiver must ignore anything presented before the CRLF"
  if (line === "UNKNOWN" || line.startsWith("UNKNOWN ")) return { kind: "header", length, client: null };
  const [family, source = "", destination = "", sourcePort = "", destinationPort = "", ...more] = line.split(" ");
  const isAddress = family === "TCP4" ? isIPv4 : family === "TCP6" ? isPlainIPv6 : null;
  if (isAddress === null) return bad("PROXY line of another protocol");
  const isGood = isAddress(source) && isAddress(destination) && isPort(sourcePort) && isPort(destinationPort) && more.length === 0;
  return isGood ? { kind: "header", length, client: { address: canonicalAddress(source) ?? source, port: Number(sourcePort) } } : bad("malformed PROXY line");
}

function isPlainIPv6(text: string): boolean {
  return isIPv6(text) && !text.includes("%");
}

/** Without leading zeros: section 2.1. */
function isPort(text: string): boolean {
  return /^(?:0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535;
}

// ---- version 2

const PROXY_COMMAND = 0x21;
const LOCAL_COMMAND = 0x20;
/** Address family and transport → bytes of its addresses; others "must be rejected as invalid". */
const V2_ADDRESSES: ReadonlyMap<number, number> = new Map([[0x00, 0], [0x11, 12], [0x12, 12], [0x21, 36], [0x22, 36], [0x31, 216], [0x32, 216]]);
const TCP4 = 0x11;
const TCP6 = 0x21;

function readBinary(bytes: Buffer): ProxyHeader {
  const command = bytes[12];
  // What is wrong already needs no more bytes.
  if (command !== undefined && command !== PROXY_COMMAND && command !== LOCAL_COMMAND) return bad("PROXY header of another version or command");
  if (bytes.length < V2_FIXED) return INCOMPLETE;
  const length = V2_FIXED + bytes.readUInt16BE(14);
  const family = bytes[13] as number;
  const addressBytes = command === LOCAL_COMMAND ? 0 : V2_ADDRESSES.get(family);
  if (addressBytes === undefined) return bad("PROXY header of an unknown family");
  if (V2_FIXED + addressBytes > length) return bad("PROXY header shorter than its addresses");
  if (bytes.length < length) return INCOMPLETE;
  // "the receiver must accept this connection as valid and must use the real connection endpoints and discard the protocol block"
  if (command === LOCAL_COMMAND || family === 0x00) return { kind: "header", length, client: null };
  if (!areFields(bytes.subarray(V2_FIXED + addressBytes, length))) return bad("malformed fields in the PROXY header");
  return { kind: "header", length, client: addressOf(family, bytes.subarray(V2_FIXED)) };
}

function addressOf(family: number, block: Buffer): { address: string; port: number } | null {
  if (family === TCP4) return { address: block.subarray(0, 4).join("."), port: block.readUInt16BE(8) };
  if (family === TCP6) {
    const source = block.toString("hex", 0, 16).replace(/.{4}(?!$)/g, "$&:");
    return { address: canonicalAddress(source) ?? source, port: block.readUInt16BE(32) };
  }
  // A Unix socket's peer has no address, and this connection brings no datagrams.
  return null;
}

/** Type, length, value; section 2.2.1. What they say is not asked for, but where they end must be where the header ends. */
function areFields(bytes: Buffer): boolean {
  let at = 0;
  while (at + 3 <= bytes.length) at += 3 + bytes.readUInt16BE(at + 1);
  return at === bytes.length;
}

// ----

const INCOMPLETE: ProxyHeader = { kind: "incomplete" };

function bad(reason: string): ProxyHeader {
  return { kind: "bad", reason };
}
