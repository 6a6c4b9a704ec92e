// The credentials of a Kubernetes service account, as the kubelet mounts them into a pod. Read again for each connection:
// the kubelet rotates the token about every hour and the CA when the cluster does.

import { readSmallFile } from "../lib/small-file.ts";
import type { CredentialFiles } from "../service.ts";

/** A bundle of a cluster's CAs has some kilobytes, a projected token about one. */
const CA_LIMIT_BYTES = 1024 * 1024;
const TOKEN_LIMIT_BYTES = 64 * 1024;

export type Credentials = { readonly ca: string; readonly token: string };

/** The message names the file and says what is wrong with it. */
export class CredentialsError extends Error {
  override name = "CredentialsError";
}

/** @throws CredentialsError */
export function readServiceAccount({ caFile, tokenFile }: CredentialFiles): Credentials {
  const ca = read(caFile, "service account CA", CA_LIMIT_BYTES);
  if (!ca.includes("-----BEGIN CERTIFICATE-----")) {
    throw new CredentialsError(`cannot load service account CA ${caFile}: it holds no PEM, expected "-----BEGIN CERTIFICATE-----"`);
  }
  const token = read(tokenFile, "service account token", TOKEN_LIMIT_BYTES).trim();
  // It is going to stand in a header.
  if (!/^[\x21-\x7e]+$/.test(token)) {
    throw new CredentialsError(`cannot load service account token ${tokenFile}: it ${token === "" ? "is empty" : "holds more than one word"}`);
  }
  return { ca, token };
}

function read(path: string, what: string, limitBytes: number): string {
  try {
    return readSmallFile(path, limitBytes, "file of its kind");
  } catch (cause) {
    throw new CredentialsError(`cannot load ${what} ${path}: ${(cause as Error).message}`, { cause });
  }
}
