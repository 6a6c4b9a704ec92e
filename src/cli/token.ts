// `route-gateway token desktop|vm`: makes a token as the platform would, for trying a router out. Only the token goes to
// stdout, so that `curl -H "Authorization: Bearer $(route-gateway token ...)"` works.

import { parseHost } from "../lib/host.ts";
import { parseDuration } from "../lib/duration.ts";
import { isLabelName, isSubdomainName } from "../lib/kubernetes-name.ts";
import { suggestion } from "../lib/suggest.ts";
import { STRONG_SECRET_BYTES } from "../settings.ts";
import { loadKey, rsaBits, STRONG_RSA_BITS } from "../token/keys.ts";
import { mintDesktopToken, mintVmToken } from "../token/mint.ts";
import { loadSecret } from "../token/secret.ts";
import { type Arguments, UsageError } from "./args.ts";
import type { Command, Io } from "./command.ts";

const KINDS = ["desktop", "vm"] as const;
/** Which flags belong to which kind. */
const FLAGS: Record<(typeof KINDS)[number], readonly string[]> = {
  desktop: ["host", "signing-private-key", "payload-public-key"],
  vm: ["secret-file", "user", "lab", "lab-instance", "namespace", "vm"],
};
const TTL_S = { desktop: "420", vm: "3600" };

export const command: Command = {
  name: "token",
  summary: "make a token",
  spec: {
    positionals: [{ name: "KIND", help: `what the token is for: ${KINDS.join(", ")}` }],
    flags: [
      { name: "host", value: "H", help: "required for desktop: name or address of the desktop's pod, without a port" },
      { name: "signing-private-key", value: "FILE", help: "required for desktop: RSA private key that signs" },
      { name: "payload-public-key", value: "FILE", help: "required for desktop: RSA public key that encrypts the host" },
      { name: "secret-file", value: "FILE", help: "required for vm: file with the key that signs" },
      { name: "user", value: "U", help: "required for vm: id of the user" },
      { name: "lab", value: "L", help: "required for vm: id of the lab" },
      { name: "lab-instance", value: "I", help: "required for vm: id of the lab's instance" },
      { name: "namespace", value: "N", help: "required for vm: namespace of the virtual machines" },
      { name: "vm", value: "V", repeat: true, help: "required for vm: a virtual machine that the user may see" },
      { name: "ttl", value: "S", help: `how long the token is good: seconds, or 10m, 2h (default ${TTL_S.desktop} for desktop, ${TTL_S.vm} for vm)` },
    ],
    examples: [
      "route-gateway token desktop --host 10.0.0.7 "
        + "--signing-private-key keys/abcdesktop_jwt_desktop_signing_private_key.pem "
        + "--payload-public-key keys/abcdesktop_jwt_desktop_payload_public_key.pem",
      "route-gateway token vm --secret-file console.key --user 7 --lab 1 --lab-instance 12 --namespace lab-12 --vm ubuntu --vm kali",
    ],
  },
  async run(args, io) {
    const word = args.get("KIND") ?? "";
    const kind = KINDS.find((known) => known === word);
    if (kind === undefined) throw new UsageError(`unknown kind of token "${word}"${suggestion(word, KINDS)}`);
    refuseForeignFlags(args, kind);
    try {
      io.stdout(`${kind === "vm" ? vmToken(args, io) : desktopToken(args, io)}\n`);
      return 0;
    } catch (error) {
      if (error instanceof UsageError) throw error;
      io.stderr(`${error instanceof Error ? error.message : String(error)}\n`);
      return 1;
    }
  },
};

function refuseForeignFlags(args: Arguments, kind: keyof typeof FLAGS): void {
  const foreign = Object.values(FLAGS).flat().find((name) => args.has(name) && !FLAGS[kind].includes(name));
  if (foreign !== undefined) throw new UsageError(`--${foreign} is not for a ${kind} token`);
}

function desktopToken(args: Arguments, io: Io): string {
  const host = parseHost(args.require("host"));
  if (host === null) throw new UsageError(`not a host name or address: "${args.get("host")}" (no port, no scheme)`);
  const ttlS = parseTtl(args.get("ttl") ?? TTL_S.desktop);
  const files = { signing: args.require("signing-private-key"), payload: args.require("payload-public-key") };
  // Weak keys are for the router to refuse; a token made with them harms nobody.
  const signingPrivateKey = loadKey(files.signing, "private", "signing private key", true);
  const payloadPublicKey = loadKey(files.payload, "public", "payload public key", true);
  if (Math.min(rsaBits(signingPrivateKey), rsaBits(payloadPublicKey)) < STRONG_RSA_BITS) {
    io.stderr("warning: RSA keys below 2048 bits are weak; the router needs ROUTE_ALLOW_WEAK_RSA_KEYS=true\n");
  }
  return mintDesktopToken({ host: host.host, signingPrivateKey, payloadPublicKey, ttlS });
}

function vmToken(args: Arguments, io: Io): string {
  const namespace = args.require("namespace");
  if (!isLabelName(namespace)) throw new UsageError(`not a Kubernetes namespace: "${namespace}" (lower case letters, digits, dashes; at most 63)`);
  args.require("vm");
  const vms = args.all("vm");
  const wrong = vms.find((name) => !isSubdomainName(name));
  if (wrong !== undefined) throw new UsageError(`not a name of a virtual machine: "${wrong}" (lower case letters, digits, dashes, dots)`);
  const ttlS = parseTtl(args.get("ttl") ?? TTL_S.vm);
  const [user, lab, labInstance] = [idFlag(args, "user"), idFlag(args, "lab"), idFlag(args, "lab-instance")];
  const secret = loadSecret({ secret: { kind: "file", path: args.require("secret-file") }, allowWeakSecret: true });
  if ((secret.symmetricKeySize ?? 0) < STRONG_SECRET_BYTES) io.stderr("warning: a secret below 32 bytes is weak; the router needs ROUTE_ALLOW_WEAK_SECRET=true\n");
  return mintVmToken({ user, lab, labInstance, namespace, vms, secret, ttlS });
}

/** Ids are numbers in the platform's database; what is none stays text. */
function idFlag(args: Arguments, name: string): string | number {
  const text = args.require(name);
  return /^(?:0|[1-9]\d{0,14})$/.test(text) ? Number(text) : text;
}

function parseTtl(text: string): number {
  const ms = parseDuration(/^\d+$/.test(text) ? `${text}s` : text);
  if (ms === undefined || ms < 1000) throw new UsageError(`not a time to live: "${text}" (use seconds, or 10m, 2h)`);
  return Math.floor(ms / 1000);
}
