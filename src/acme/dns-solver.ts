// DNS-01 (RFC 8555 section 8.4) where we are the DNS server of `_acme-challenge.<domain>` ourselves: what is put there is there
// at once.

import { createHash } from "node:crypto";
import type { ChallengeSolver } from "./solver.ts";

/** TXT values at the one name that was delegated to us. */
export interface DnsZone {
  present(value: string): void | Promise<void>;
  cleanup(value: string): void | Promise<void>;
}

export class DnsSolver implements ChallengeSolver {
  constructor(private readonly zone: DnsZone) {}

  async present(_identifier: string, _token: string, keyAuthorization: string): Promise<void> {
    await this.zone.present(txtValue(keyAuthorization));
  }

  async cleanup(_identifier: string, _token: string, keyAuthorization: string): Promise<void> {
    await this.zone.cleanup(txtValue(keyAuthorization));
  }
}

/** What the TXT record holds. */
export function txtValue(keyAuthorization: string): string {
  return createHash("sha256").update(keyAuthorization).digest("base64url");
}
