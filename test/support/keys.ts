// Keys for a router in a process of its own, and tokens that they sign.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type DesktopKeys, generateKeys, mintDesktopToken } from "../../src/token/mint.ts";

export class KeyFiles {
  readonly directory = mkdtempSync(join(tmpdir(), "route-keys-"));
  keys: DesktopKeys = generateKeys(2048);

  constructor() {
    this.write();
  }

  /** What the program is told about them. */
  get env(): Record<string, string> {
    return { JWT_DESKTOP_SIGNING_PUBLIC_KEY: this.path("signing.pem"), JWT_DESKTOP_PAYLOAD_PRIVATE_KEY: this.path("payload.pem") };
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  write(): void {
    writeFileSync(this.path("signing.pem"), this.keys.signingPublicKey);
    writeFileSync(this.path("payload.pem"), this.keys.payloadPrivateKey);
  }

  token(host = "127.0.1.1", ttlS = 300): string {
    return mintDesktopToken({ host, signingPrivateKey: this.keys.signingPrivateKey, payloadPublicKey: this.keys.payloadPublicKey, ttlS });
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}
