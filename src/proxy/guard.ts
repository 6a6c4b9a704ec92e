// The target guard: where a token may lead. A token says which pod; the guard says that it is a pod. Checked on addresses,
// after resolution, and the checked address is the one that is dialled, so a name that changes its mind gains nothing.

import { isIP } from "node:net";
import { RouteError } from "../errors.ts";
import { CidrSet, CLOUD_METADATA, isCidr } from "../lib/address.ts";

/** Never a desktop: this machine, the link, cloud metadata, nothing, everybody. Also inside NAT64 and 6to4 spellings. */
const DENIED = new CidrSet([
  ...CLOUD_METADATA,
  "0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/127", "ff00::/8",
  // IPv4 in other clothes: NAT64, compatible, translated, Teredo, and 6to4 of the classes above.
  "64:ff9b::/96", "64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96", "2001::/32",
  "2002::/24", "2002:7f00::/24", "2002:a9fe::/32", "2002:e000::/19",
]);

export class TargetGuard {
  readonly #anyAllowed: boolean;
  readonly #cidrs: CidrSet;
  readonly #suffixes: readonly string[];
  readonly #ports: ReadonlySet<number>;

  /**
   * @param allowedTargets `*` (everything but the denied classes), CIDRs (which also lift those), DNS suffixes
   * @param allowedPorts that a path may name
   */
  constructor(allowedTargets: readonly string[], allowedPorts: readonly number[]) {
    this.#anyAllowed = allowedTargets.includes("*");
    this.#cidrs = new CidrSet(allowedTargets.filter(isCidr));
    this.#suffixes = allowedTargets.filter((entry) => entry !== "*" && !isCidr(entry)).map((entry) => `.${entry.replace(/^\./, "").toLowerCase()}`);
    this.#ports = new Set(allowedPorts);
  }

  /** @throws RouteError forbidden for a port that paths may not name */
  checkPort(text: string): number {
    const port = /^[1-9]\d{0,4}$/.test(text) ? Number(text) : 0;
    if (!this.#ports.has(port)) throw new RouteError("forbidden", `port refused: ${JSON.stringify(text.slice(0, 20))}`);
    return port;
  }

  /** @throws RouteError forbidden for a name that no address could make right */
  checkName(name: string): void {
    if (name === "localhost" || name.endsWith(".localhost")) throw new RouteError("forbidden", `target refused: "${name}" is this machine`);
  }

  /**
   * @param name that resolved to the address; null when the token holds the address itself
   * @throws RouteError forbidden
   */
  checkAddress(address: string, name: string | null): void {
    this.#checkDenied(address);
    if (!this.#isListed(address, name)) throw new RouteError("forbidden", `target refused: ${name ?? address} is not in allowedTargets`);
  }

  /**
   * Those of a name's addresses that may be dialled, at least one. One denied address among good ones is how rebinding looks: then none is.
   * One that is merely not listed is left out: a cluster's names may have IPv6 where only IPv4 was allowed.
   * @throws RouteError forbidden
   */
  listedAddresses(addresses: readonly string[], name: string): readonly string[] {
    for (const address of addresses) this.#checkDenied(address);
    const listed = addresses.filter((address) => this.#isListed(address, name));
    if (listed.length === 0) throw new RouteError("forbidden", `target refused: ${name} is not in allowedTargets`);
    return listed;
  }

  #checkDenied(address: string): void {
    const isDenied = !this.#cidrs.has(address) && (isIP(address) === 0 || DENIED.has(address));
    if (isDenied) throw new RouteError("forbidden", `target refused: ${address} is not an address for desktops`);
  }

  #isListed(address: string, name: string | null): boolean {
    return this.#anyAllowed || this.#cidrs.has(address) || (name !== null && this.#suffixes.some((suffix) => `.${name}`.endsWith(suffix)));
  }
}
