// Binding an address that somebody configured: what an empty host means, and what to do when it cannot be had.

import { isIP } from "node:net";
import type { ListenAddress } from "../settings.ts";

/**
 * All addresses means both families where the machine has both.
 * @param flag of the command line that says another address
 * @throws Error EADDRINUSE, EACCES and others as its cause: with the address in its message
 */
export function bind<S>(listen: ListenAddress, flag: string, serve: (hostname: string) => S): S {
  try {
    return listen.host === "" ? onAll(serve) : serve(listen.host);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new Error(`cannot listen on ${listen.host || "*"}:${listen.port}: ${hint(code, error, listen.host, flag)}`, { cause: error });
  }
}

function onAll<S>(serve: (hostname: string) => S): S {
  try {
    return serve("::");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Anything else is a machine without IPv6.
    if (code === "EADDRINUSE" || code === "EACCES") throw error;
    return serve("0.0.0.0");
  }
}

/** Why an address cannot be bound, and what to do about it. @param flag that says another one */
export function hint(code: string | undefined, error: unknown, host: string, flag = "--http"): string {
  // Bun says the same of a name that it cannot resolve.
  if (code === "EADDRINUSE" && host !== "" && host !== "localhost" && isIP(host) === 0) return `the address is in use, or the name cannot be resolved (choose another with ${flag} HOST:PORT)`;
  if (code === "EADDRINUSE") return `the address is in use (another server? choose one with ${flag} HOST:PORT)`;
  if (code === "EACCES" || code === "EPERM") return `not permitted (ports below 1024 need CAP_NET_BIND_SERVICE or root; or choose one with ${flag} HOST:PORT)`;
  if (code === "EADDRNOTAVAIL") return "no such address on this machine";
  // Bun says "invalid argument", or "try again", of a name that it cannot resolve; of an address it means something else.
  if (code === "ENOENT" || ((code === "EINVAL" || code === "EAGAIN") && isIP(host) === 0)) return "cannot resolve the name";
  return (error as Error).message;
}
