// `route-gateway consoles` under measurement, told by the environment variables of its container: in front of a plain ws API
// as beside `kubectl proxy`, or of one with TLS and a service account as in a cluster. Its access log goes to a file.

import { createSecretKey } from "node:crypto";
import { mintVmToken } from "../../src/token/mint.ts";
import { TOKEN_TTL_S } from "./gateway.ts";
import { freePort, type Lab } from "./lab.ts";
import type { Bridge } from "./session-rounds.ts";

const SECRET = "a key of the bench, 32 bytes or more";
const NAMESPACE = "lab-1";
const VM = "ubuntu";

/** Where KubeVirt has the screen of the machine that the token lists. */
export const CONSOLE_PATH = `/apis/subresources.kubevirt.io/v1/namespaces/${NAMESPACE}/virtualmachineinstances/${VM}/vnc`;

export type Api = {
  readonly port: number;
  /** null: plain ws, LOCAL_DEV_MODE. */
  readonly account: { readonly caFile: string; readonly tokenFile: string } | null;
};

export async function startConsoles(lab: Lab, command: readonly string[], { port: apiPort, account }: Api): Promise<Bridge> {
  const port = await freePort();
  const log = lab.path(`consoles-${port}.log`);
  const env = {
    SECRET_KEY: SECRET,
    HOST_PATH_PREFIX: "",
    LOCAL_DEV_MODE: `${account === null}`,
    WS_REMOTE_URL: `${account === null ? "ws" : "wss"}://127.0.0.1:${apiPort}`,
    ...(account === null ? {} : { ROUTE_CA_FILE: account.caFile, ROUTE_TOKEN_FILE: account.tokenFile }),
  };
  const running = lab.spawn("route-gateway", [...command, "consoles", "--http", `127.0.0.1:${port}`], { env, stdout: log });
  await running.untilListening("127.0.0.1", port);
  const name = account === null ? "route-gateway" : "route-gateway, TLS";
  return { name, pid: running.pid, port, log, target: `/${mintToken()}/${VM}` };
}

function mintToken(): string {
  const secret = createSecretKey(Buffer.from(SECRET));
  return mintVmToken({ user: 1, lab: 1, labInstance: 1, namespace: NAMESPACE, vms: [VM], secret, ttlS: TOKEN_TTL_S });
}
