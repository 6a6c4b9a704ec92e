// Chromium that knows one name, which is on loopback, and trusts one server key for it: every other certificate is an error
// page to it, as it is to people.

import { createHash, X509Certificate } from "node:crypto";
import { type Browser, chromium } from "playwright-core";
import { CHROMIUM } from "./browser.ts";

/** @param certPem the certificate whose key is trusted */
export async function launchTrusting(certPem: string, name: string): Promise<Browser> {
  const key = new X509Certificate(certPem).publicKey.export({ type: "spki", format: "der" });
  return chromium.launch({
    executablePath: CHROMIUM!,
    // As in browser.ts; it has to be the only profile of its process for the list to count, which playwright sees to.
    args: [
      "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic",
      `--host-resolver-rules=MAP ${name} 127.0.0.1`, `--ignore-certificate-errors-spki-list=${createHash("sha256").update(key).digest("base64")}`,
    ],
  });
}
