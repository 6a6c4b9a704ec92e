import { describe, expect, test } from "bun:test";
import { constants, publicEncrypt } from "node:crypto";
import fc from "fast-check";
import { openHash, removePadding } from "../../src/token/decrypt.ts";
import { sampleKeys } from "./sample-keys.ts";

fc.configureGlobal({ seed: 7 }); // The same cases every run: a failure can be looked at.

const keys = sampleKeys(2048);
const SIZE = 256;

function encrypt(text: string, bits = 2048): Buffer {
  return publicEncrypt({ key: sampleKeys(bits).payloadPublic, padding: constants.RSA_PKCS1_PADDING }, Buffer.from(text));
}

/** The public-key operation on a block of our own making: what a well-meaning library would never produce. */
function encryptBlock(...parts: Array<number[] | string>): Buffer {
  const block = Buffer.concat(parts.map((part) => Buffer.from(part as string)));
  expect(block.length).toBe(SIZE);
  return publicEncrypt({ key: keys.payloadPublic, padding: constants.RSA_NO_PADDING }, block);
}

const filling = (length: number, byte = 0xaa) => Array<number>(length).fill(byte);

describe("openHash", () => {
  test.each([1024, 2048, 4096])("opens what the platform made with %d bits", (bits) => {
    for (const host of ["10.0.0.7", "fd00::7", "1f0c.desktop.abcdesktop.svc.cluster.local"]) {
      expect(openHash(sampleKeys(bits).payloadPrivate, encrypt(host, bits))).toBe(host);
    }
  });

  test("gives the host in its one spelling", () => {
    expect(openHash(keys.payloadPrivate, encrypt("Pod.Example."))).toBe("pod.example");
    expect(openHash(keys.payloadPrivate, encrypt("[FD00::7]"))).toBe("fd00::7");
  });

  test.each([
    "", "http://pod/", "pod:80", "10.0.0.7:80", "a@b", "pod\r\nHost: x", "pod\0", "münchen", "0x7f.1", "fe80::1%eth0", " pod", "pod ", "x".repeat(64),
  ])("opens to nothing when %p is inside", (host) => {
    expect(openHash(keys.payloadPrivate, encrypt(host))).toBeNull();
  });

  test("opens to nothing when 300 characters are inside", () => {
    const long = Array<string>(30).fill("abcdefghi").join(".");
    expect(long.length).toBe(299);
    expect(openHash(sampleKeys(4096).payloadPrivate, encrypt(`${long}j`, 4096))).toBeNull();
    expect(openHash(sampleKeys(4096).payloadPrivate, encrypt(long.slice(0, 249), 4096))).toBe(long.slice(0, 249));
  });

  test("opens to nothing with another key, another size, or no number below the modulus", () => {
    expect(openHash(sampleKeys(2048, "b").payloadPrivate, encrypt("pod"))).toBeNull();
    expect(openHash(sampleKeys(1024).payloadPrivate, encrypt("pod"))).toBeNull();
    for (const length of [0, 1, 255, 257, 512]) expect(openHash(keys.payloadPrivate, Buffer.alloc(length, 1))).toBeNull();
    for (const byte of [0, 255]) expect(openHash(keys.payloadPrivate, Buffer.alloc(SIZE, byte))).toBeNull();
    expect(openHash(keys.payloadPrivate, Buffer.concat([encrypt("pod"), Buffer.of(0)]))).toBeNull();
    expect(openHash(keys.payloadPrivate, Buffer.concat([Buffer.of(0), encrypt("pod")]))).toBeNull();
  });

  test("opens to nothing when it was encrypted with OAEP", () => {
    const oaep = publicEncrypt({ key: keys.payloadPublic, padding: constants.RSA_PKCS1_OAEP_PADDING }, Buffer.from("pod"));
    expect(openHash(keys.payloadPrivate, oaep)).toBeNull();
  });

  test.each<[string, Array<number[] | string>, string | null]>([
    ["the block as it should be", [[0, 2], filling(250), [0], "pod"], "pod"],
    ["the shortest padding", [[0, 2], filling(8), [0], `${"a".repeat(61)}.${"b".repeat(61)}.${"c".repeat(61)}.${"d".repeat(59)}`], `${"a".repeat(61)}.${"b".repeat(61)}.${"c".repeat(61)}.${"d".repeat(59)}`],
    ["seven bytes of padding", [[0, 2], filling(7), [0], `${"a".repeat(61)}.${"b".repeat(61)}.${"c".repeat(61)}.${"d".repeat(60)}`], null],
    ["no padding", [[0, 2, 0], "p".repeat(50), [0], filling(198), [0], "pod"], null],
    ["a zero within the first eight bytes", [[0, 2], filling(5), [0], filling(244), [0], "pod"], null],
    ["first byte 1", [[1, 2], filling(250), [0], "pod"], null],
    ["block type 0", [[0, 0], filling(250), [0], "pod"], null],
    ["block type 1", [[0, 1], filling(250, 0xff), [0], "pod"], null],
    ["block type 3", [[0, 3], filling(250), [0], "pod"], null],
    ["block type 0x82", [[0, 0x82], filling(250), [0], "pod"], null],
    ["no separator", [[0, 2], filling(251), "pod"], null],
    ["the separator as the last byte", [[0, 2], filling(253), [0]], null],
    ["a second separator", [[0, 2], filling(248), [0], "a", [0], "pod"], null],
    ["nothing but zeros", [filling(256, 0)], null],
    ["one byte late", [[0, 0, 2], filling(249), [0], "pod"], null],
    ["padding of 0x01 and 0xff", [[0, 2], filling(125, 1), filling(125, 0xff), [0], "pod"], "pod"],
  ])("block: %s", (_, parts, host) => {
    expect(openHash(keys.payloadPrivate, encryptBlock(...parts))).toBe(host);
  });
});

describe("removePadding", () => {
  /** RFC 8017 section 7.2.2 step 3, in the words of the standard. */
  function reference(block: Uint8Array): number[] | null {
    const zero = block.indexOf(0, 2);
    return block[0] !== 0 || block[1] !== 2 || zero < 0 || zero - 2 < 8 ? null : [...block.slice(zero + 1)];
  }

  const byte = fc.oneof({ weight: 3, arbitrary: fc.integer({ min: 1, max: 255 }) }, { weight: 1, arbitrary: fc.constant(0) }, fc.constantFrom(1, 2, 127, 128, 255));
  const head = fc.constantFrom([0, 2], [0, 2], [0, 2], [0, 1], [1, 2], [2, 0], [0, 0], [0, 3], [255, 2], [128, 2], [0, 130]);

  test("agrees with the standard on every block", () => {
    fc.assert(fc.property(head, fc.array(byte, { minLength: 9, maxLength: 300 }), (start, rest) => {
      const block = Uint8Array.from([...start, ...rest]);
      const { valid, message } = removePadding(block);
      expect(valid ? [...message] : null).toEqual(reference(block));
    }), { numRuns: 2000 });
  });

  test("agrees with the standard for every place of the separator", () => {
    for (let at = 2; at < 256; at++) {
      const block = new Uint8Array(256).fill(7);
      block.set([0, 2]);
      block[at] = 0;
      expect(removePadding(block)).toEqual({ valid: at >= 10, message: block.subarray(at + 1) });
    }
  });
});
