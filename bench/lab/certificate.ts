// Certificates made with openssl: an authority's for 127.0.0.1, as a cluster's API shows it to its pods, and a site's own.

import { readFileSync } from "node:fs";
import type { Lab } from "./lab.ts";

/** Of the kind that clusters made by kubeadm have. */
const NEW_KEY = ["-newkey", "rsa:2048", "-nodes"];
const DAYS = "2";

export type Certificate = { readonly caFile: string; readonly key: string; readonly cert: string };

/** @throws Error when openssl fails */
export async function makeCertificate(lab: Lab): Promise<Certificate> {
  const extensions = lab.write("server.ext", "subjectAltName = IP:127.0.0.1\nextendedKeyUsage = serverAuth\n");
  await openssl(lab, "req", "-x509", ...NEW_KEY, "-days", DAYS, "-subj", "/CN=kubernetes", "-keyout", "ca.key", "-out", "ca.crt");
  await openssl(lab, "req", "-new", ...NEW_KEY, "-subj", "/CN=kube-apiserver", "-keyout", "server.key", "-out", "server.csr");
  await openssl(lab, "x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
    "-days", DAYS, "-extfile", extensions, "-out", "server.crt");
  const [key = "", cert = ""] = ["server.key", "server.crt"].map((name) => readFileSync(lab.path(name), "utf8"));
  return { caFile: lab.path("ca.crt"), key, cert };
}

export type SitePair = {
  readonly certFile: string;
  readonly keyFile: string;
  /** Both in one, as haproxy wants them. */
  readonly pemFile: string;
};

/** ECDSA with P-256, the kind that CAs hand out by default. @throws Error when openssl fails */
export async function makeSitePair(lab: Lab, ...names: string[]): Promise<SitePair> {
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const alternatives = `subjectAltName = ${names.map((name) => `DNS:${name}`).join(", ")}`;
  await openssl(lab, "req", "-x509", ...key, "-days", DAYS, "-subj", "/CN=site", "-addext", alternatives, "-keyout", "site.key", "-out", "site.crt");
  const [certFile, keyFile] = [lab.path("site.crt"), lab.path("site.key")];
  const pemFile = lab.write("site.pem", readFileSync(certFile, "utf8") + readFileSync(keyFile, "utf8"));
  return { certFile, keyFile, pemFile };
}

/** In the lab's directory. */
async function openssl(lab: Lab, ...words: string[]): Promise<void> {
  const running = lab.spawn(`openssl ${words[0]}`, ["openssl", ...words]);
  const code = await running.child.exited;
  await lab.stop(running);
  if (code !== 0) throw new Error(`openssl ${words[0]} failed: ${running.complaint}`);
}
