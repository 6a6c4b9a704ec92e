// PEM text as a Certificate. What comes out can be served: the key fits, there is a name, every block is what it says.
// Messages say what is wrong and hold nothing of what was read: it may be a key.

import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import type { Certificate } from "../certificate.ts";

const CERTIFICATE_BLOCK = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;
const KEY_BLOCK = /-----BEGIN (?:(?:RSA|EC|ENCRYPTED) )?PRIVATE KEY-----[\s\S]+?-----END (?:(?:RSA|EC|ENCRYPTED) )?PRIVATE KEY-----/;
/** One entry as node:crypto prints it; odd ones are printed in quotes and don't match. */
const NAME = /^(?:DNS|IP Address):([0-9a-z*._:-]+)$/i;

export class CertificateError extends Error {
  override readonly name = "CertificateError";
}

/**
 * @param certPem the leaf first, then its chain; other blocks are passed over, so one file may hold key and chain
 * @throws CertificateError
 */
export function readCertificate(certPem: string, keyPem: string): Certificate {
  const chain = readChain(certPem);
  const [leaf] = chain as [X509Certificate, ...X509Certificate[]];
  const key = readKey(keyPem);
  if (!leaf.checkPrivateKey(key)) throw new CertificateError(ofAnother(chain, key));
  const names = readNames(leaf);
  if (names.length === 0) throw new CertificateError("the certificate has no subject alternative name, which is where clients look");
  return {
    names, certPem: chain.map((each) => each.toString().trim()).join("\n").concat("\n"),
    keyPem: key.export({ type: "pkcs8", format: "pem" }) as string,
    issuer: readIssuer(leaf), notBeforeMs: Date.parse(leaf.validFrom), notAfterMs: Date.parse(leaf.validTo),
    fingerprint: leaf.fingerprint256.replaceAll(":", "").toLowerCase(),
  };
}

/** Whether `name` (in lower case; a wildcard for itself) is one that the certificate was made for. */
export function isFor(certificate: Certificate, name: string): boolean {
  return certificate.names.includes(name) || certificate.names.includes(`*${name.slice(name.indexOf("."))}`);
}

/** Whether `name` (in lower case) has the certificate by the wildcard of `domain` only. */
export function isByWildcardOf(certificate: Certificate, name: string, domain: string | null): boolean {
  return name.slice(name.indexOf(".") + 1) === domain && !certificate.names.includes(name);
}

function readChain(text: string): X509Certificate[] {
  const blocks = text.match(CERTIFICATE_BLOCK) ?? [];
  if (blocks.length === 0) throw new CertificateError("there is no certificate in PEM");
  return blocks.map((block, index) => {
    try {
      return new X509Certificate(block);
    } catch {
      throw new CertificateError(`certificate ${index + 1} of ${blocks.length} is damaged`);
    }
  });
}

function ofAnother(chain: readonly X509Certificate[], key: KeyObject): string {
  return chain.some((each) => each.checkPrivateKey(key)) ? "the certificate stands after its chain: put it first" : "the key belongs to another certificate";
}

function readKey(text: string): KeyObject {
  const [block] = text.match(KEY_BLOCK) ?? [];
  if (block === undefined) throw new CertificateError("there is no private key in PEM");
  if (block.includes("ENCRYPTED")) throw new CertificateError("the private key is encrypted; it has to be stored without a passphrase");
  try {
    return createPrivateKey(block);
  } catch {
    throw new CertificateError("the private key is damaged"); // Without the cause: nobody promises that it quotes nothing.
  }
}

function readNames(leaf: X509Certificate): string[] {
  const names = (leaf.subjectAltName ?? "").split(", ").map((entry) => NAME.exec(entry)?.[1]?.toLowerCase());
  return [...new Set(names.filter((name) => name !== undefined))];
}

/** The common name, or else the whole line. */
function readIssuer(leaf: X509Certificate): string {
  const lines = leaf.issuer.split("\n");
  return lines.find((line) => line.startsWith("CN="))?.slice(3) ?? lines.join(", ");
}
