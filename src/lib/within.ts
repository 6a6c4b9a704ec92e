// Waiting for something, but not for ever, and without a timer left behind that would keep the process.

/** Resolves when `promise` does, or after `limitMs`. @throws what `promise` rejects with, when that comes first */
export async function within(promise: Promise<unknown>, limitMs: number): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, limitMs);
  try {
    await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
