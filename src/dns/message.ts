// Writes the answer to a query: the client's question repeated byte by byte, then records as dns-packet encodes them. dns-packet
// does not compress names; here a record's owner, nearly always the end of the question's name, becomes a pointer to it:
// short answers, and in the letter case that the client chose.

import { type Answer, encode } from "dns-packet";
import { type Body, HEADER_BYTES, type Header } from "./query.ts";

/** What fits into every path's packets (DNS flag day 2020); more goes over TCP. */
export const EDNS_PAYLOAD_BYTES = 1232;

/** RFC 1035 section 4.1.1; BADVERS is RFC 6891 section 9, and needs EDNS to be said. */
export const RCODE = { NOERROR: 0, FORMERR: 1, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5, BADVERS: 16 } as const;

export type Reply = {
  readonly rcode: number;
  readonly isAuthoritative: boolean;
  readonly isTruncated: boolean;
  readonly answers: readonly Answer[];
  readonly authorities: readonly Answer[];
  readonly additionals: readonly Answer[];
};

/** A reply without records. */
export function emptyReply(rcode: number): Reply {
  return { rcode, isAuthoritative: false, isTruncated: false, answers: [], authorities: [], additionals: [] };
}

/**
 * @param body null: the query was malformed, and only its header is answered
 * @param zone the name that may end the question's
 * @param limitBytes at least 512. What is longer comes back without any record and with TC, since a part of a set of records is not
 *   to be used (RFC 2181 section 9)
 */
export function encodeReply(header: Header, body: Body | null, reply: Reply, zone: string, limitBytes: number): Buffer {
  const whole = encodeWhole(header, body, reply, zone);
  if (whole.length <= limitBytes) return whole;
  return encodeWhole(header, body, { ...reply, isTruncated: true, answers: [], authorities: [], additionals: [] }, zone);
}

function encodeWhole(header: Header, body: Body | null, reply: Reply, zone: string): Buffer {
  const records = [...reply.answers, ...reply.authorities, ...reply.additionals].map((record) => encodeRecord(record, body, zone));
  const edns = body !== null && body.edns !== null ? [encodeOpt(reply.rcode, body.edns.isDnssecOk)] : [];
  const head = Buffer.alloc(HEADER_BYTES);
  head.writeUInt16BE(header.id, 0);
  head.writeUInt16BE(flagsOf(header, reply), 2);
  head.writeUInt16BE(body === null ? 0 : 1, 4);
  head.writeUInt16BE(reply.answers.length, 6);
  head.writeUInt16BE(reply.authorities.length, 8);
  head.writeUInt16BE(reply.additionals.length + edns.length, 10);
  return Buffer.concat([head, ...(body === null ? [] : [body.question.bytes]), ...records, ...edns]);
}

/** RA is never set, AD and CD are cleared (RFC 4035 section 3.1.6). */
function flagsOf(header: Header, reply: Reply): number {
  return 0x8000 | (header.opcode << 11) | (reply.isAuthoritative ? 0x0400 : 0) | (reply.isTruncated ? 0x0200 : 0)
    | (header.isRecursionDesired ? 0x0100 : 0) | (reply.rcode & 15);
}

function encodeRecord(record: Answer, body: Body | null, zone: string): Buffer {
  if (body === null || record.name !== zone) return encodeAlone(record);
  const pointer = Buffer.alloc(2);
  // Both names are counted with their lengths and the root, so the difference is where the zone's begins.
  pointer.writeUInt16BE(0xc000 | (HEADER_BYTES + body.question.nameBytes - (zone.length + 2)), 0);
  const withRootOwner = encodeAlone({ ...record, name: "." } as Answer);
  return Buffer.concat([pointer, withRootOwner.subarray(1)]);
}

function encodeOpt(rcode: number, isDnssecOk: boolean): Buffer {
  return encodeAlone({
    type: "OPT", name: ".", udpPayloadSize: EDNS_PAYLOAD_BYTES, extendedRcode: rcode >> 4, ednsVersion: 0,
    // RFC 3225 section 3: DO is copied.
    flags: isDnssecOk ? 0x8000 : 0, flag_do: isDnssecOk, options: [],
  });
}

function encodeAlone(record: Answer): Buffer {
  return encode({ type: "response", answers: [record] }).subarray(HEADER_BYTES);
}
