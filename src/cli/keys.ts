// `route-gateway keys`: makes the two RSA key pairs of desktop tokens, in four PEM files under the names that the
// platform gives them, so that the directory can be made into the same Kubernetes secrets.

import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeFault } from "../lib/file-fault.ts";
import { MAX_RSA_BITS, MIN_RSA_BITS, STRONG_RSA_BITS } from "../token/keys.ts";
import { type DesktopKeys, generateKeys } from "../token/mint.ts";
import { UsageError } from "./args.ts";
import type { Command, Io } from "./command.ts";

/** The platform's file names. */
export const KEY_FILES: Readonly<Record<keyof DesktopKeys, string>> = {
  signingPrivateKey: "abcdesktop_jwt_desktop_signing_private_key.pem",
  signingPublicKey: "abcdesktop_jwt_desktop_signing_public_key.pem",
  payloadPrivateKey: "abcdesktop_jwt_desktop_payload_private_key.pem",
  payloadPublicKey: "abcdesktop_jwt_desktop_payload_public_key.pem",
};

const ROLES = Object.keys(KEY_FILES) as ReadonlyArray<keyof DesktopKeys>;

const SIZES = `${MIN_RSA_BITS} to ${MAX_RSA_BITS} bits, in steps of 8`;

export const command: Command = {
  name: "keys",
  summary: "make the four RSA key files of the platform",
  spec: {
    flags: [
      { name: "out", value: "DIR", help: "directory for the files; made when it is missing (required)" },
      { name: "bits", value: "N", help: `size of each key, ${SIZES}`, default: "2048" },
      { name: "force", help: "replace files that are there" },
    ],
    examples: ["route-gateway keys --out keys", "route-gateway keys --out keys --bits 4096 --force"],
  },
  async run(args, io) {
    const directory = args.require("out");
    const bits = parseBits(args.require("bits"));
    const existing = ROLES.map((role) => join(directory, KEY_FILES[role])).find((path) => existsSync(path));
    if (existing !== undefined && !args.has("force")) {
      io.stderr(`cannot write ${existing}: it exists (--force replaces all four files)\n`);
      return 1;
    }
    if (bits < STRONG_RSA_BITS) {
      io.stderr(`warning: ${bits}-bit RSA is weak; the router needs ROUTE_ALLOW_WEAK_RSA_KEYS=true for these keys\n`);
    }
    return writeKeys(directory, generateKeys(bits), io);
  },
};

function parseBits(text: string): number {
  const bits = /^\d{1,5}$/.test(text) ? Number(text) : NaN;
  if (bits >= MIN_RSA_BITS && bits <= MAX_RSA_BITS && bits % 8 === 0) return bits;
  throw new UsageError(`not a key size: "${text}" (${SIZES}; usual are 2048, 3072 and 4096)`);
}

function writeKeys(directory: string, keys: DesktopKeys, io: Io): number {
  try {
    mkdirSync(directory, { recursive: true });
    for (const role of ROLES) {
      const path = join(directory, KEY_FILES[role]);
      replaceFile(path, keys[role], role.endsWith("PrivateKey") ? 0o600 : 0o644);
      io.stdout(`${path}\n`);
    }
    return 0;
  } catch (error) {
    io.stderr(`cannot write keys: ${directory}: ${makeFault(error)}\n`);
    return 1;
  }
}

/** Written beside and renamed: nobody sees half a file, and the mode holds from the first byte on. */
function replaceFile(path: string, text: string, mode: number): void {
  const temporary = `${path}.new-${process.pid}`;
  rmSync(temporary, { force: true });
  writeFileSync(temporary, text, { mode, flag: "wx" });
  renameSync(temporary, path);
}
