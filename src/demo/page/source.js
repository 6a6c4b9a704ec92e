// What is uploaded: a file of the user, or a sample of any size that is made while it is read and fills no memory.
// A source is plain data, so that it can be handed to the hash worker as it is.

const SAMPLE_BLOCK_BYTES = 64 * 1024;

export function fileSource(file) {
  return { name: file.name, size: file.size, id: `${file.size}-${file.lastModified}-${file.name}`.slice(0, 200), file };
}

export function sampleSource(mebibytes, seed) {
  const size = mebibytes * 1024 ** 2;
  return { name: `sample-${mebibytes}-MiB.bin`, size, id: `sample-${size}-${seed}`, seed };
}

/** The bytes from `start` to before `end`. */
export async function readSource(source, start, end) {
  if (source.file) return new Uint8Array(await source.file.slice(start, end).arrayBuffer());
  const bytes = new Uint8Array(end - start);
  for (let at = start; at < end;) {
    const block = Math.floor(at / SAMPLE_BLOCK_BYTES);
    const blockBytes = sampleBlock(source.seed, block);
    const from = at - block * SAMPLE_BLOCK_BYTES;
    const part = blockBytes.subarray(from, Math.min(SAMPLE_BLOCK_BYTES, from + end - at));
    bytes.set(part, at - start);
    at += part.length;
  }
  return bytes;
}

/** Xorshift, seeded by the block's number: no two blocks are alike, and each can be made alone. */
function sampleBlock(seed, block) {
  const words = new Uint32Array(SAMPLE_BLOCK_BYTES / 4);
  let state = (seed ^ Math.imul(block + 1, 0x9e3779b1)) | 1;
  for (let index = 0; index < words.length; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[index] = state;
  }
  return new Uint8Array(words.buffer);
}
