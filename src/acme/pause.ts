// Waiting that can be stopped.

import { stopError } from "./transport.ts";

/** @throws AcmeError when `signal` ends it */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) throw stopError(signal);
  const { promise, resolve } = Promise.withResolvers<void>();
  const end = () => resolve();
  const timer = setTimeout(end, ms);
  signal.addEventListener("abort", end, { once: true });
  await promise;
  clearTimeout(timer);
  signal.removeEventListener("abort", end);
  if (signal.aborted) throw stopError(signal);
}
