// Reads a DNS query that anybody may have sent: the header, the one question, and whether the client speaks EDNS. Nothing
// here throws; what cannot be read is null.
//
// The records are decoded by dns-packet. The question is read here: dns-packet makes text of labels (UTF-8, joined with
// dots), so that different names look alike, and a question that cannot be repeated byte by byte cannot be answered.

import { type Answer, decode, type OptAnswer } from "dns-packet";

export const HEADER_BYTES = 12;
/** No honest query is longer; it also bounds what a chain of compression pointers can cost. */
const QUERY_LIMIT_BYTES = 4096;
/** RFC 1035 section 3.1. */
const NAME_LIMIT_BYTES = 255;
const LABEL_LIMIT_BYTES = 63;
/** IXFR carries one SOA record here (RFC 1995 section 3). */
const AUTHORITY_LIMIT = 1;
/** OPT and a signature. */
const ADDITIONAL_LIMIT = 2;

export type Header = {
  readonly id: number;
  readonly opcode: number;
  readonly isRecursionDesired: boolean;
};

export type Question = {
  /** As sent: its letter case is part of what the client checks (0x20). */
  readonly bytes: Buffer;
  /** The part of `bytes` that is the name. */
  readonly nameBytes: number;
  /** Lower case, without a trailing dot; a dot inside a label is written `\046`, so that every dot is a border. */
  readonly name: string;
  readonly type: number;
  readonly class: number;
};

export type Edns = {
  readonly version: number;
  /** What the client takes over UDP. */
  readonly payloadBytes: number;
  readonly isDnssecOk: boolean;
};

export type Body = { readonly question: Question; readonly edns: Edns | null };

/** The header of a query; null for what must not be answered: a response, or less than a header. */
export function readHeader(message: Buffer): Header | null {
  if (message.length < HEADER_BYTES) return null;
  const flags = message.readUInt16BE(2);
  // Two servers that answer each other's answers never stop.
  if ((flags & 0x8000) !== 0) return null;
  return { id: message.readUInt16BE(0), opcode: (flags >> 11) & 15, isRecursionDesired: (flags & 0x0100) !== 0 };
}

/** What follows the header; null when it is malformed. */
export function readBody(message: Buffer): Body | null {
  if (message.length > QUERY_LIMIT_BYTES || !hasPlausibleCounts(message)) return null;
  const question = readQuestion(message);
  const records = question === null ? null : readAdditionals(message);
  if (question === null || records === null) return null;
  const options = records.filter((record): record is OptAnswer => record.type === "OPT");
  // RFC 6891 section 6.1.1: one at most, and its name is the root.
  if (options.length > 1 || options.some(({ name }) => name !== ".")) return null;
  return { question, edns: options[0] === undefined ? null : readEdns(options[0]) };
}

function hasPlausibleCounts(message: Buffer): boolean {
  const [questions, answers, authorities, additionals] = [4, 6, 8, 10].map((at) => message.readUInt16BE(at)) as [number, number, number, number];
  return questions === 1 && answers === 0 && authorities <= AUTHORITY_LIMIT && additionals <= ADDITIONAL_LIMIT;
}

function readQuestion(message: Buffer): Question | null {
  const labels: string[] = [];
  let at = HEADER_BYTES;
  for (;;) {
    const length = message[at];
    // A compression pointer is a length above the limit, too: there is nothing before the question to point to.
    if (length === undefined || length > LABEL_LIMIT_BYTES) return null;
    at += 1;
    if (length === 0) break;
    labels.push(message.toString("latin1", at, at + length).replaceAll(".", "\\046"));
    at += length;
  }
  const nameBytes = at - HEADER_BYTES;
  if (nameBytes > NAME_LIMIT_BYTES || at + 4 > message.length) return null;
  return {
    bytes: message.subarray(HEADER_BYTES, at + 4), nameBytes, name: labels.join(".").toLowerCase(),
    type: message.readUInt16BE(at), class: message.readUInt16BE(at + 2),
  };
}

/** null when the message is not exactly what its counts and lengths say. */
function readAdditionals(message: Buffer): readonly Answer[] | null {
  try {
    const { additionals = [] } = decode(message);
    return decode.bytes === message.length ? additionals : null;
  } catch {
    // Whatever it says: cut short, a pointer that does not point back, a length that lies.
    return null;
  }
}

function readEdns(record: OptAnswer): Edns {
  return { version: record.ednsVersion, payloadBytes: record.udpPayloadSize, isDnssecOk: record.flag_do };
}
