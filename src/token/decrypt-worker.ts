// The thread side of decrypt-pool.ts: opens batches of hashes with the key it was given last, and answers with the
// hosts.

import { setPriority } from "node:os";
import type { KeyObject } from "node:crypto";
import { openHash } from "./decrypt.ts";

/** `key` comes with the first batch and whenever it is another one than before. */
export type Batch = { readonly key: KeyObject | null; readonly ciphertexts: readonly Uint8Array[] };
/** In the order of the ciphertexts. An empty one is sent once, when the thread is ready. */
export type Opened = ReadonlyArray<string | null>;

declare const self: Worker;
let key: KeyObject | null = null;

/** Next to nothing beside the thread that carries everybody's bytes, when cores are scarce; all of a core that is free. */
const NICE = 19;
// On Linux, 0 is the calling thread alone; elsewhere it would be the whole process.
if (process.platform === "linux") setPriority(0, NICE);

self.onmessage = ({ data }: MessageEvent<Batch>) => {
  key = data.key ?? key;
  const opener = key;
  const opened: Opened = data.ciphertexts.map((ciphertext) => (opener === null ? null : openHash(opener, ciphertext)));
  postMessage(opened);
};

postMessage([] satisfies Opened);
