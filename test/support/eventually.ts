// Waiting for something that happens elsewhere (another process, a browser): looks again until it is right, and says what
// it saw last when it never was.

/** Between two looks, ms. */
const LOOK_MS = 20;

/** @throws Error with what was seen last, after `timeoutMs` */
export async function eventually<T>(
  what: string, look: () => T | Promise<T>, isRight: (found: T) => boolean, timeoutMs = 10_000,
): Promise<T> {
  const deadlineMs = performance.now() + timeoutMs;
  for (;;) {
    const found = await look();
    if (isRight(found)) return found;
    if (performance.now() > deadlineMs) {
      throw new Error(`waited ${timeoutMs} ms in vain for ${what}; last seen: ${shown(found)}`);
    }
    await Bun.sleep(LOOK_MS);
  }
}

function shown(value: unknown): string {
  return Bun.inspect(value).slice(0, 500);
}
