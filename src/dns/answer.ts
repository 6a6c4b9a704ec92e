// What an authoritative server of one small zone says to a query: bytes in, bytes out, no I/O and no state. It never throws, whatever
// the bytes are, never answers a response, and never knows more than its zone: there is no recursion to be had.

import { EDNS_PAYLOAD_BYTES, emptyReply, encodeReply, RCODE, type Reply } from "./message.ts";
import { type Body, type Edns, type Question, readBody, readHeader } from "./query.ts";
import { isInZone, NEGATIVE_TTL_S, recordsAt, startOfAuthority, TYPE, type Zone } from "./zone.ts";

export type Transport =
  | "udp"
  | "tcp"
  /** Over the rate limit: the answer is "ask over TCP", which a forged source address cannot. */
  | "udp-limited";

/** RFC 1035 section 4.2.1. */
const PLAIN_UDP_BYTES = 512;
const TCP_BYTES = 65_535;
const OPCODE_QUERY = 0;
const CLASS_IN = 1;

/** @returns null when nothing is to be sent: no query, or too short to be one */
export function answer(message: Uint8Array, zone: Zone, transport: Transport): Buffer | null {
  const bytes = Buffer.from(message.buffer, message.byteOffset, message.byteLength);
  const header = readHeader(bytes);
  if (header === null) return null;
  const body = readBody(bytes);
  if (transport === "udp-limited") return body === null ? null : encodeReply(header, body, { ...emptyReply(RCODE.NOERROR), isTruncated: true }, zone.name, PLAIN_UDP_BYTES);
  return encodeReply(header, body, decide(header.opcode, body, zone), zone.name, limitBytes(transport, body?.edns ?? null));
}

function decide(opcode: number, body: Body | null, zone: Zone): Reply {
  if (opcode !== OPCODE_QUERY) return emptyReply(RCODE.NOTIMP);
  if (body === null) return emptyReply(RCODE.FORMERR);
  // RFC 6891 section 6.1.3.
  if (body.edns !== null && body.edns.version > 0) return emptyReply(RCODE.BADVERS);
  return lookUp(body.question, zone);
}

function lookUp(question: Question, zone: Zone): Reply {
  const { name, type } = question;
  const isTransfer = type === TYPE.AXFR || type === TYPE.IXFR;
  if (question.class !== CLASS_IN || isTransfer || !isInZone(zone, name)) return emptyReply(RCODE.REFUSED);
  const found = recordsAt(zone, name, type);
  const reply = { ...emptyReply(found === null ? RCODE.NXDOMAIN : RCODE.NOERROR), isAuthoritative: true };
  if (found !== null && found.answers.length > 0) return { ...reply, ...found };
  return { ...reply, authorities: [startOfAuthority(zone, NEGATIVE_TTL_S)] };
}

function limitBytes(transport: "udp" | "tcp", edns: Edns | null): number {
  if (transport === "tcp") return TCP_BYTES;
  // RFC 6891 section 6.2.3: less than 512 means 512.
  return edns === null ? PLAIN_UDP_BYTES : Math.min(Math.max(edns.payloadBytes, PLAIN_UDP_BYTES), EDNS_PAYLOAD_BYTES);
}
