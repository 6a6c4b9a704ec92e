// The stand-in for Kubernetes: a pod that was asked for is there a moment later, and until then it is not ready.

import { startPod, type Pod } from "./pod.ts";

export type Cluster = {
  /** Asks for the owner's pod; it starts by itself. A second call for the same owner changes nothing. */
  create(owner: string): void;
  /** Whether the owner's pod is asked for, ready or not. */
  has(owner: string): boolean;
  /** The pod once it answers, null before. Throws what made the start fail. */
  readyPod(owner: string): Pod | null;
  delete(owner: string): Promise<void>;
  stop(): Promise<void>;
};

type Entry = { readonly timer: Timer; pod: Pod | null; failure: unknown };

/** How long a pod takes to appear, ms. */
const START_DELAY_MS = 1000;

export function startCluster(startDelayMs = START_DELAY_MS, start: (owner: string) => Pod = startPod): Cluster {
  const entries = new Map<string, Entry>();

  function create(owner: string): void {
    if (entries.has(owner)) return;
    const timer = setTimeout(() => startInto(entries.get(owner)!, owner), startDelayMs);
    entries.set(owner, { timer, pod: null, failure: null });
  }

  function startInto(entry: Entry, owner: string): void {
    try {
      entry.pod = start(owner);
    } catch (failure) {
      // Told to whoever asks for the pod; a later request may try again.
      entry.failure = failure;
    }
  }

  function readyPod(owner: string): Pod | null {
    const entry = entries.get(owner);
    if (!entry?.failure) return entry?.pod ?? null;
    entries.delete(owner);
    throw entry.failure;
  }

  async function remove(owner: string): Promise<void> {
    const entry = entries.get(owner);
    if (!entry) return;
    entries.delete(owner);
    clearTimeout(entry.timer);
    await entry.pod?.stop();
  }

  return {
    create,
    has: (owner) => entries.has(owner),
    readyPod,
    delete: remove,
    async stop() {
      await Promise.all([...entries.keys()].map(remove));
    },
  };
}
