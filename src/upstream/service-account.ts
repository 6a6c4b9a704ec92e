// The credentials of a Kubernetes service account, as the kubelet mounts them into a pod. Read again for each connection:
// the kubelet rotates the token about every hour and the CA when the cluster does.

import { X509Certificate } from "node:crypto";
import { fileFault } from "../lib/file-fault.ts";
import { readSmallFile } from "../lib/small-file.ts";
import type { CredentialFiles } from "../service.ts";

/** A bundle of a cluster's CAs has some kilobytes, a projected token about one. */
const CA_LIMIT_BYTES = 1024 * 1024;
const TOKEN_LIMIT_BYTES = 64 * 1024;
const BEGIN = "-----BEGIN CERTIFICATE-----";

export type Credentials = { readonly ca: string; readonly token: string };

/** The message names the file and says what is wrong with it. */
export class CredentialsError extends Error {
  override name = "CredentialsError";
}

/** @throws CredentialsError */
export function readServiceAccount({ caFile, tokenFile }: CredentialFiles): Credentials {
  const ca = read(caFile, "service account CA", CA_LIMIT_BYTES);
  checkCertificates(ca, caFile);
  const token = read(tokenFile, "service account token", TOKEN_LIMIT_BYTES).trim();
  // It is going to stand in a header.
  if (!/^[\x21-\x7e]+$/.test(token)) {
    throw new CredentialsError(`cannot load service account token ${tokenFile}: it ${token === "" ? "is empty" : "holds more than one word"}`);
  }
  return { ca, token };
}

/** What the TLS library would refuse at the dial, without the file's name; or, behind a good certificate, pass over. */
function checkCertificates(pem: string, path: string): void {
  const blocks = pem.split(BEGIN).slice(1);
  if (blocks.length === 0) throw new CredentialsError(`cannot load service account CA ${path}: it holds no PEM, expected "${BEGIN}"`);
  for (const [index, block] of blocks.entries()) {
    try {
      void new X509Certificate(BEGIN + block);
    } catch (cause) {
      throw new CredentialsError(`cannot load service account CA ${path}: certificate ${index + 1} of ${blocks.length} in it is broken`, { cause });
    }
  }
}

function read(path: string, what: string, limitBytes: number): string {
  try {
    return readSmallFile(path, limitBytes, "file of its kind");
  } catch (cause) {
    throw new CredentialsError(`cannot load ${what} ${path}: ${fileFault(cause)}`, { cause });
  }
}
