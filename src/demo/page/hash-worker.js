// Hashes a source off the page's thread. In: a source. Out: {hashed} while it goes on, then {sha256}, or {error}.

import { Sha256 } from "./sha256.js";
import { readSource } from "./source.js";

const PIECE_BYTES = 4 * 1024 ** 2;

self.onmessage = async ({ data: source }) => {
  try {
    const hash = new Sha256();
    for (let at = 0; at < source.size; at += PIECE_BYTES) {
      hash.update(await readSource(source, at, Math.min(at + PIECE_BYTES, source.size)));
      self.postMessage({ hashed: Math.min(at + PIECE_BYTES, source.size) });
    }
    self.postMessage({ sha256: hash.hex() });
  } catch (failure) {
    self.postMessage({ error: failure.message });
  }
};
