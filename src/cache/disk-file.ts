// One entry as a file: 28 bytes that say how long its head and its body are and what their checksums are, the head as
// JSON, the body. A codec. What a variant stands for (cookies, among others) is kept as a hash only.
//
// Invariant: whatever a crash, a full disk or somebody's editor made of a file, `parseHead` refuses it or the body's
// checksum does.

import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import type { Entry, StoredHead } from "./entry.ts";
import type { Policy } from "./policy.ts";
import { keyOf, type Resource } from "./resource.ts";

/** With the version of everything below, and of what the policy in it means. */
const MAGIC = "rg-http1";
/** Magic, length of the head, length of the body, checksum of both and of the head, checksum of the body. */
export const PREFIX_BYTES = 28;
const CHECKED_AT = 20;
/** A response head is at most 64 KiB, in JSON not much more. */
const HEAD_LIMIT_BYTES = 512 * 1024;

/** What a file says of itself. */
export type FileHead = {
  readonly resource: Resource;
  readonly fields: readonly string[];
  readonly variantHash: string;
  readonly status: number;
  readonly headers: ReadonlyArray<readonly [string, string]>;
  readonly contentLength: number | null;
  readonly policy: Policy;
};

/** The lengths that stand at the beginning. */
export type FilePrefix = { readonly headBytes: number; readonly bodyBytes: number; readonly checksum: number; readonly bodyChecksum: number };

/** Everything before the body. */
export function encodeHead({ head }: Entry, body: Uint8Array): Buffer {
  const { resource: { scheme, host, target, scope }, fields, status, headers, contentLength, policy } = head;
  const json = Buffer.from(JSON.stringify({ scheme, host, target, scope, fields, variantHash: hashOf(head.variant), status, headers, contentLength, policy }));
  const bytes = Buffer.alloc(PREFIX_BYTES + json.length);
  bytes.write(MAGIC, "latin1");
  bytes.writeUInt32BE(json.length, 8);
  bytes.writeBigUInt64BE(BigInt(body.byteLength), 12);
  bytes.writeUInt32BE(crc32(body), 24);
  json.copy(bytes, PREFIX_BYTES);
  bytes.writeUInt32BE(checksumOf(bytes), CHECKED_AT);
  return bytes;
}

/** @param size of the whole file. @returns null when it is none of ours, or not whole */
export function parsePrefix(bytes: Buffer, size: number): FilePrefix | null {
  if (bytes.length < PREFIX_BYTES || bytes.toString("latin1", 0, 8) !== MAGIC) return null;
  const headBytes = bytes.readUInt32BE(8);
  const bodyBytes = Number(bytes.readBigUInt64BE(12));
  if (headBytes > HEAD_LIMIT_BYTES || PREFIX_BYTES + headBytes + bodyBytes !== size) return null;
  return { headBytes, bodyBytes, checksum: bytes.readUInt32BE(CHECKED_AT), bodyChecksum: bytes.readUInt32BE(24) };
}

/** @param bytes prefix and head. @returns null when they are not what was written */
export function parseHead(bytes: Buffer, prefix: FilePrefix): FileHead | null {
  if (bytes.length < PREFIX_BYTES + prefix.headBytes || checksumOf(bytes.subarray(0, PREFIX_BYTES + prefix.headBytes)) !== prefix.checksum) return null;
  try {
    const { scheme, host, target, scope, ...rest } = JSON.parse(bytes.toString("utf8", PREFIX_BYTES, PREFIX_BYTES + prefix.headBytes));
    return { resource: { key: keyOf({ scheme, host, target, scope }), scheme, host, target, scope }, ...rest };
  } catch {
    return null; // The checksum fits what is no JSON: nobody of ours wrote it.
  }
}

/** The head as it is in memory. @param variant that the hash was found by */
export function storedHead({ resource, fields, status, headers, contentLength, policy }: FileHead, variant: string): StoredHead {
  return { resource, fields, variant, status, headers, contentLength, policy };
}

/** Of a variant, without what it stands for. */
export function hashOf(variant: string): string {
  return variant === "" ? "" : createHash("sha256").update(variant).digest("hex").slice(0, 32);
}

/** The same for an entry in memory and its file. */
export function entryId(key: string, variant: string): string {
  return `${key}\n${hashOf(variant)}`;
}

/** A name that says nothing and can be no path, whatever was asked for; another one for each version. */
export function fileName(id: string, random: string): string {
  return `${createHash("sha256").update(id).digest("hex").slice(0, 32)}-${random}`;
}

export const FILE_NAME = /^[0-9a-f]{32}-[0-9a-f]{16}$/;

function checksumOf(bytes: Buffer): number {
  return crc32(bytes.subarray(CHECKED_AT + 4), crc32(bytes.subarray(0, CHECKED_AT)));
}
