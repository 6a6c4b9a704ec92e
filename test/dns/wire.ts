// DNS messages for tests: queries written byte by byte (what a well-behaved library refuses to write), answers read by dns-packet.

import { type Answer, decode } from "dns-packet";
import type { Zone } from "../../src/dns/zone.ts";

export const ZONE: Zone = {
  name: "_acme-challenge.gent01.grid.example", nameserver: "gent01.grid.example", addresses: ["192.0.2.1", "2001:db8::1"],
  caaIssuers: ["letsencrypt.org"], values: ["first-value"], serial: 7,
};

export const TXT = 16;
export const IN = 1;
const OPT = 41;

export const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 255]);

export function wireName(name: string): Buffer {
  const labels = name.split(".").filter((label) => label !== "");
  return Buffer.concat([...labels.map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label, "latin1")])), Buffer.from([0])]);
}

export function header(fields: { id?: number; flags?: number; counts?: readonly number[] } = {}): Buffer {
  const { id = 0x1234, flags = 0x0100, counts = [1, 0, 0, 0] } = fields;
  return Buffer.concat([id, flags, ...counts].map(u16));
}

export function question(name: string | Buffer, type = TXT, klass = IN): Buffer {
  return Buffer.concat([typeof name === "string" ? wireName(name) : name, u16(type), u16(klass)]);
}

export function query(name: string, type = TXT, fields: { id?: number; flags?: number } = {}): Buffer {
  return Buffer.concat([header(fields), question(name, type)]);
}

export function optRecord(fields: { payload?: number; version?: number; isDnssecOk?: boolean; owner?: Buffer; options?: Buffer } = {}): Buffer {
  const { payload = 4096, version = 0, isDnssecOk = false, owner = Buffer.from([0]), options = Buffer.alloc(0) } = fields;
  return Buffer.concat([owner, u16(OPT), u16(payload), Buffer.from([0, version]), u16(isDnssecOk ? 0x8000 : 0), u16(options.length), options]);
}

export function ednsQuery(name: string, type = TXT, fields: Parameters<typeof optRecord>[0] = {}): Buffer {
  return Buffer.concat([header({ counts: [1, 0, 0, 1] }), question(name, type), optRecord(fields)]);
}

const RCODES = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];

export type Decoded = {
  readonly id: number; readonly rcode: string; readonly isAuthoritative: boolean; readonly isTruncated: boolean;
  readonly isRecursionDesired: boolean; readonly isRecursionAvailable: boolean;
  readonly answers: readonly Answer[]; readonly authorities: readonly Answer[]; readonly additionals: readonly Answer[];
};

/** @throws Error when it is no response, or has bytes that belong to nothing */
export function read(message: Buffer): Decoded {
  const packet = decode(message);
  if (!packet.flag_qr) throw new Error("not a response");
  if (decode.bytes !== message.length) throw new Error(`${message.length} bytes, of which ${decode.bytes} are a message`);
  return {
    id: packet.id ?? -1, rcode: RCODES[message.readUInt16BE(2) & 15] ?? "?", isAuthoritative: packet.flag_aa, isTruncated: packet.flag_tc,
    isRecursionDesired: packet.flag_rd, isRecursionAvailable: packet.flag_ra,
    answers: packet.answers ?? [], authorities: packet.authorities ?? [], additionals: packet.additionals ?? [],
  };
}

/** The strings of the TXT records among `answers`. */
export function texts(answers: readonly Answer[]): string[] {
  return answers.map((record) => record.type === "TXT" ? String((record.data as Buffer[])[0]) : record.type);
}
