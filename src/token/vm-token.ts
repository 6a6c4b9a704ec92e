// Console tokens: which virtual machines their bearer may see. Signed with a key that we share with whoever makes them, so
// checking one costs a microsecond and nothing is cached.
//
// Source: seed 004 and the public LabOrchestrator code, which makes `{id, exp, lab_instance: {...}}` and signs it HS256.

import { createHmac, type KeyObject, timingSafeEqual } from "node:crypto";
import { RouteError } from "../errors.ts";
import type { VmIdentity } from "../identity.ts";
import { isLabelName } from "../lib/kubernetes-name.ts";
import type { HmacAlgorithm } from "../settings.ts";
import { checkHeader, checkTimes, type Json, type Jws, own, parseClaims, parseToken, refused } from "./jws.ts";
import { tokenHash } from "./token-hash.ts";

/** More machines than any lab has; a token with 8,192 characters holds fewer anyway. */
const VM_LIMIT = 1000;

/** What is asked of a secret store. */
export type SecretSource = { readonly key: KeyObject | null };

export class VmTokens {
  constructor(private readonly algorithms: readonly HmacAlgorithm[], private readonly secret: SecretSource,
    /** Unix time in ms. */
    private readonly now: () => number = Date.now) {}

  /** @throws RouteError unauthorized, the same for every reason; unavailable without a key */
  identify(token: string): VmIdentity {
    const { key } = this.secret;
    if (key === null) throw new RouteError("unavailable", "the console token's secret is not loadable");
    const jws = parseToken(token);
    const algorithm = checkHeader(jws, this.algorithms);
    if (!hasSigned(key, algorithm, jws)) throw refused("bad signature");
    const claims = parseClaims(jws);
    const expiresAtMs = checkTimes(claims, true, this.now());
    return { kind: "vm", ...readLab(claims), tokenHash: tokenHash(token), expiresAtMs };
  }
}

function hasSigned(key: KeyObject, algorithm: HmacAlgorithm, { signed, signature }: Jws): boolean {
  const expected = createHmac(`sha${algorithm.slice(2)}`, key).update(signed).digest();
  return expected.length === signature.length && timingSafeEqual(expected, signature);
}

function readLab(claims: Json): Pick<VmIdentity, "namespace" | "vms"> {
  const lab = own(claims, "lab_instance");
  if (typeof lab !== "object" || lab === null || Array.isArray(lab)) throw refused("token has no lab_instance");
  const namespace = own(lab as Json, "namespace_name");
  if (typeof namespace !== "string" || !isLabelName(namespace)) throw refused("token namespace_name is not a Kubernetes namespace");
  const vms = own(lab as Json, "allowed_vmi_names");
  // A string is a list of characters to a careless reader, and `"abc".includes("a")` is true.
  if (!Array.isArray(vms) || vms.length > VM_LIMIT || !vms.every((name) => typeof name === "string")) {
    throw refused("token allowed_vmi_names is not a list of names");
  }
  return { namespace, vms: vms as string[] };
}
