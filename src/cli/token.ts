// `route-gateway token desktop`: makes a desktop token as the platform would, for trying a router out. Only the token
// goes to stdout, so that `curl -H "Authorization: Bearer $(route-gateway token ...)"` works.

import { parseHost } from "../lib/host.ts";
import { parseDuration } from "../lib/duration.ts";
import { suggestion } from "../lib/suggest.ts";
import { loadKey, rsaBits, STRONG_RSA_BITS } from "../token/keys.ts";
import { mintDesktopToken } from "../token/mint.ts";
import { type Arguments, UsageError } from "./args.ts";
import type { Command, Io } from "./command.ts";

const KINDS = ["desktop"];

export const command: Command = {
  name: "token",
  summary: "make a token",
  spec: {
    positionals: [{ name: "KIND", help: `what the token is for: ${KINDS.join(", ")}` }],
    flags: [
      { name: "host", value: "H", help: "name or address of the desktop's pod, without a port (required)" },
      { name: "signing-private-key", value: "FILE", help: "RSA private key that signs (required)" },
      { name: "payload-public-key", value: "FILE", help: "RSA public key that encrypts the host (required)" },
      { name: "ttl", value: "S", help: "how long the token is good: seconds, or 10m, 2h", default: "420" },
    ],
    examples: [
      "route-gateway token desktop --host 10.0.0.7 "
        + "--signing-private-key keys/abcdesktop_jwt_desktop_signing_private_key.pem "
        + "--payload-public-key keys/abcdesktop_jwt_desktop_payload_public_key.pem",
    ],
  },
  async run(args, io) {
    const kind = args.get("KIND") ?? "";
    if (!KINDS.includes(kind)) throw new UsageError(`unknown kind of token "${kind}"${suggestion(kind, KINDS)}`);
    return desktopToken(args, io);
  },
};

function desktopToken(args: Arguments, io: Io): number {
  const host = parseHost(args.require("host"));
  if (host === null) throw new UsageError(`not a host name or address: "${args.get("host")}" (no port, no scheme)`);
  const ttlS = parseTtl(args.require("ttl"));
  const files = { signing: args.require("signing-private-key"), payload: args.require("payload-public-key") };
  try {
    // Weak keys are for the router to refuse; a token made with them harms nobody.
    const signingPrivateKey = loadKey(files.signing, "private", "signing private key", true);
    const payloadPublicKey = loadKey(files.payload, "public", "payload public key", true);
    if (Math.min(rsaBits(signingPrivateKey), rsaBits(payloadPublicKey)) < STRONG_RSA_BITS) {
      io.stderr("warning: RSA keys below 2048 bits are weak; the router needs ROUTE_ALLOW_WEAK_RSA_KEYS=true\n");
    }
    io.stdout(`${mintDesktopToken({ host: host.host, signingPrivateKey, payloadPublicKey, ttlS })}\n`);
    return 0;
  } catch (error) {
    io.stderr(`${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}

function parseTtl(text: string): number {
  const ms = parseDuration(/^\d+$/.test(text) ? `${text}s` : text);
  if (ms === undefined || ms < 1000) throw new UsageError(`not a time to live: "${text}" (use seconds, or 10m, 2h)`);
  return Math.floor(ms / 1000);
}
