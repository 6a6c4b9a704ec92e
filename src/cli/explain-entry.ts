// How a request comes in, for `explain`, and what answers it before the table does: the handshake that no certificate is for, the
// redirect to https. By the certificates that the configuration names: one that is still to be obtained is taken as obtained.

import type { Certificate } from "../certificate.ts";
import { CertificateSet } from "../certificate/certificate-set.ts";
import { readCertificatePair } from "../certificate/files.ts";
import { isByWildcardOf } from "../certificate/read.ts";
import { parseHost } from "../lib/host.ts";
import type { Scheme } from "../proxy/client.ts";
import { Edge } from "../proxy/edge.ts";
import { hostName } from "../proxy/gateways.ts";
import type { ClientRequest } from "../proxy/request.ts";
import { leadSomewhere } from "../registry/rules.ts";
import type { Settings, TlsSettings } from "../settings.ts";

export type Say = (label: string, text: string) => void;

/**
 * @param isSecure whether the URL begins with https://
 * @returns what the request comes by; null: there is no connection, and that has been said
 * @throws RouteError as the program does
 */
export function enter({ tls, gateway, routes }: Settings, request: ClientRequest, isSecure: boolean, say: Say): Scheme | null {
  if (tls === null) {
    if (isSecure) say("tls", "the configuration has none: as over plain HTTP");
    return "http";
  }
  const host = hostName(request.host);
  const certificates = certificatesOf(tls, say);
  // Hosts of the program's own routes, where it has any, are nobody's to register.
  const isOwn = leadSomewhere(routes) && (host === tls.defaultName || certificates.find(host)?.names.includes(host) === true);
  if (gateway !== null && isDomain(host) && !isOwn) say("gateway", `registered gateways are not looked at: one of ${host} takes all of its requests`);
  const certificateFor = (name: string): Certificate | null => {
    const found = certificates.find(name);
    return found === null || isByWildcardOf(found, name, gateway?.domain ?? null) ? null : found;
  };
  const certificate = isSecure ? certificateFor(host) ?? (tls.defaultName === null ? null : certificates.find(tls.defaultName)) : null;
  if (isSecure && certificate === null) {
    say("answer", `none: the TLS handshake is refused, there is no certificate for ${host}`);
    return null;
  }
  if (certificate !== null) say("tls", `with the certificate for ${certificate.names.join(", ")}`);
  const redirectPort = tls.redirect ? tls.https.port : null;
  new Edge({ gateways: null, challenge: () => null, certificateFor, defaultName: tls.defaultName, redirectPort }).match(request, certificate);
  return isSecure ? "https" : "http";
}

/** What a workload can be registered for. */
function isDomain(host: string): boolean {
  return parseHost(host)?.kind === "name" && host.includes(".");
}

function certificatesOf({ files, names }: TlsSettings, say: Say): CertificateSet {
  const certificates = new CertificateSet();
  for (const pair of files) {
    try {
      certificates.put(readCertificatePair(pair));
    } catch (error) {
      say("tls", `without this certificate: ${(error as Error).message}`);
    }
  }
  for (const name of names) certificates.put({ names: [name], fingerprint: name, certPem: "", keyPem: "", issuer: "", notBeforeMs: 0, notAfterMs: Infinity });
  return certificates;
}
