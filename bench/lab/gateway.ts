// route-gateway under measurement: with fresh keys of 2048 bits, its access log going to a file, and tokens made for it.

import { generateKeys, mintDesktopToken } from "../../src/token/mint.ts";
import { freePort, type Lab, type Running } from "./lab.ts";
import type { Server } from "./scenario.ts";

const KEY_BITS = 2048;
/** Longer than any scenario runs. */
export const TOKEN_TTL_S = 3600;

export type Keys = ReturnType<typeof generateKeys>;

export type Gateway = Server & {
  readonly running: Running;
  readonly keys: Keys;
  /** Accepted at once: a fixed token for the desktop at this address. */
  token(host: string): string;
};

export function makeKeys(): Keys {
  return generateKeys(KEY_BITS);
}

/** Started, but perhaps not listening yet. */
export function spawnGateway(lab: Lab, command: readonly string[], keys: Keys, port: number): Gateway {
  const log = lab.path(`route-gateway-${port}.log`);
  // In a directory of their own, as they are mounted: it is watched, and the log is written beside it all the time.
  const env = {
    JWT_DESKTOP_SIGNING_PUBLIC_KEY: lab.write("keys/signing.pem", keys.signingPublicKey),
    JWT_DESKTOP_PAYLOAD_PRIVATE_KEY: lab.write("keys/payload.pem", keys.payloadPrivateKey),
  };
  const words = [...command, "serve", "--http", `127.0.0.1:${port}`, "--allow-targets", "127.0.1.0/24"];
  const running = lab.spawn("route-gateway", words, { env, stdout: log });
  const { signingPrivateKey, payloadPublicKey } = keys;
  const token = (host: string): string => mintDesktopToken({ host, signingPrivateKey, payloadPublicKey, ttlS: TOKEN_TTL_S });
  return { name: "route-gateway", pid: running.pid, port, log, running, keys, token };
}

export async function startGateway(lab: Lab, command: readonly string[]): Promise<Gateway> {
  const gateway = spawnGateway(lab, command, makeKeys(), await freePort());
  await gateway.running.untilListening("127.0.0.1", gateway.port);
  return gateway;
}
