// The whole demo in one process: fresh keys in a temporary directory, a stand-in control plane and website, demo
// desktops and virtual machines, and the real router in front, with its two built-in configurations, told where things are
// by their environment variables as in the field. Whatever startDemo opened, stop() closes and removes; a start that fails
// leaves nothing.

import { createSecretKey, randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { App } from "../app.ts";
import { loadConsoles } from "../config/consoles.ts";
import { loadSettings } from "../config/load.ts";
import { VERSION } from "../lib/build-info.ts";
import { Log } from "../lib/log.ts";
import type { Route } from "../route.ts";
import type { Settings } from "../settings.ts";
import { generateKeys, mintDesktopToken, mintVmToken } from "../token/mint.ts";
import { startCluster } from "./cluster.ts";
import { startControlPlane } from "./control-plane.ts";
import { startKubernetesApi } from "./kubernetes.ts";
import { POD_NETWORK } from "./pod.ts";
import { DEMO_NAMESPACE } from "./vm/machines.ts";
import { startWebsite } from "./website.ts";

export type DemoOptions = {
  /** `HOST:PORT` of the router; when the port is taken, the next free one above it. Port 0: the kernel chooses. */
  readonly httpListen?: string;
  /** Where the router's log goes; nowhere by default. */
  readonly log?: Log;
  /** How long a pod takes to appear, ms. */
  readonly podDelayMs?: number;
  readonly desktopTokenTtlS?: number;
};

export type Demo = {
  /** What to open in a browser. */
  readonly url: string;
  /** The temporary directory with the keys. */
  readonly directory: string;
  readonly controlPlanePort: number;
  readonly websitePort: number;
  readonly kubernetesPort: number;
  /** Opens a virtual machine's console in any browser, for an hour. */
  readonly consoleUrl: string;
  /** Closes every port and removes the directory. A second call waits for the first. */
  stop(): Promise<void>;
};

export const DEFAULT_LISTEN = "127.0.0.1:8080";

/** As in the field; weaker keys would need an opt-in. */
const KEY_BITS = 2048;
/** Console tokens stand behind it in the path. The built-in table has `/console` for something else. */
const CONSOLES_PREFIX = "/consoles";
const PRINTED_TOKEN_TTL_S = 3600;
/** How many ports above the wished one are tried. */
const PORT_TRIES = 50;
/** A demo doesn't wait for half an upload, ms. */
const DRAIN_TIMEOUT_MS = 500;

/** @throws when no port is free, or the temporary directory cannot be written */
export async function startDemo(options: DemoOptions = {}): Promise<Demo> {
  const opened: Array<() => Promise<unknown>> = [];
  const stop = once(() => closeAll(opened));
  try {
    return { ...await openAll(options, opened), stop };
  } catch (failure) {
    await stop();
    throw failure;
  }
}

async function openAll(options: DemoOptions, opened: Array<() => Promise<unknown>>): Promise<Omit<Demo, "stop">> {
  const directory = await mkdtemp(join(tmpdir(), "route-gateway-demo-"));
  opened.push(() => rm(directory, { recursive: true, force: true }));
  const keys = await writeKeys(directory);

  const kubernetes = startKubernetesApi();
  opened.push(() => kubernetes.stop());
  const consoleSecret = randomBytes(32).toString("base64url");
  const mintConsoleToken = consoleTokenMint(consoleSecret);
  const cluster = startCluster(options.podDelayMs);
  opened.push(() => cluster.stop());
  const controlPlane = await startControlPlane({
    cluster,
    version: VERSION,
    mintToken: (host, ttlS) => mintDesktopToken({ host, ttlS, ...keys.minting }),
    mintConsoleToken,
    ...(options.desktopTokenTtlS === undefined ? {} : { desktopTokenTtlS: options.desktopTokenTtlS }),
  });
  opened.push(() => controlPlane.stop());
  const website = startWebsite();
  opened.push(() => website.stop());

  const desktops = await loadSettings({
    env: {
      JWT_DESKTOP_SIGNING_PUBLIC_KEY: keys.signingPublicFile,
      JWT_DESKTOP_PAYLOAD_PRIVATE_KEY: keys.payloadPrivateFile,
      PYOS_FQDN: "127.0.0.1",
      PYOS_SERVICE_PORT: String(controlPlane.port),
      WEBSITE_URL: `http://127.0.0.1:${website.port}`,
      ROUTE_ALLOWED_TARGETS: POD_NETWORK,
      NODE_NAME: "demo",
    },
    httpListen: options.httpListen ?? DEFAULT_LISTEN,
    // As the log that people watch: the lines of requests are made by the settings, the others by the log.
    logFormat: "pretty",
  });
  const settings = withConsoles(desktops, kubernetes.port, consoleSecret);
  const app = await startRouter(settings, options.log ?? silentLog());
  opened.push(() => app.stop(DRAIN_TIMEOUT_MS));
  return {
    url: `${app.url}/`, directory,
    controlPlanePort: controlPlane.port, websitePort: website.port, kubernetesPort: kubernetes.port,
    consoleUrl: `${app.url}${CONSOLES_PREFIX}/${mintConsoleToken("alice", ["ubuntu"], PRINTED_TOKEN_TTL_S)}/ubuntu`,
  };
}

function consoleTokenMint(secretText: string): (user: string, vms: readonly string[], ttlS: number) => string {
  const secret = createSecretKey(Buffer.from(secretText));
  return (user, vms, ttlS) =>
    mintVmToken({ user, lab: "demo", labInstance: 1, namespace: DEMO_NAMESPACE, vms, secret, ttlS });
}

/** The routes of `route-gateway consoles`, told by its environment as well, below their own prefix beside the desktops'. */
function withConsoles(desktops: Settings, kubernetesPort: number, secret: string): Settings {
  const { vmToken, routes } = loadConsoles({
    env: {
      SECRET_KEY: secret,
      LOCAL_DEV_MODE: "true",
      WS_REMOTE_URL: `ws://127.0.0.1:${kubernetesPort}`,
      HOST_PATH_PREFIX: CONSOLES_PREFIX,
      ROUTE_VIEWER: "true",
      ROUTE_CLOSE_AFTER_UPGRADE: "true",
      ROUTE_ALLOWED_ORIGINS: "same-host",
    },
  });
  // What says "invalid url" and "wrong path prefix" everywhere else is for a process that serves consoles alone: here the
  // rest of the paths is the desktops'.
  const isBelowPrefix = ({ match: { path } }: Route) => path === CONSOLES_PREFIX || path.startsWith(`${CONSOLES_PREFIX}/`);
  return { ...desktops, vmToken, routes: [...desktops.routes, ...routes.filter(isBelowPrefix)] };
}

/** The router's halves of the two key pairs go to files, as it reads them; the control plane's stay in memory. */
async function writeKeys(directory: string) {
  const keys = await generateKeys(KEY_BITS);
  const signingPublicFile = join(directory, "signing_public.pem");
  const payloadPrivateFile = join(directory, "payload_private.pem");
  await writeFile(signingPublicFile, keys.signingPublicKey, { mode: 0o600 });
  await writeFile(payloadPrivateFile, keys.payloadPrivateKey, { mode: 0o600 });
  const minting = { signingPrivateKey: keys.signingPrivateKey, payloadPublicKey: keys.payloadPublicKey };
  return { signingPublicFile, payloadPrivateFile, minting };
}

async function startRouter(settings: Settings, log: Log): Promise<App> {
  const { host, port } = settings.http;
  for (let tried = 0; ; tried++) {
    const app = new App({ ...settings, http: { host, port: port === 0 ? 0 : port + tried } }, { log });
    try {
      await app.start();
      return app;
    } catch (failure) {
      if (!isAddressInUse(failure) || port + tried >= 65_535 || tried >= PORT_TRIES) throw failure;
    }
  }
}

function isAddressInUse(failure: unknown): boolean {
  const cause = failure instanceof Error ? failure.cause : undefined;
  return [failure, cause].some((error) => (error as NodeJS.ErrnoException | undefined)?.code === "EADDRINUSE");
}

function silentLog(): Log {
  return new Log("json", { write: (_text, done) => done(), writeSync: () => {} });
}

/** Last opened, first closed; what fails to close doesn't keep the rest open, and is told at the end. */
async function closeAll(opened: Array<() => Promise<unknown>>): Promise<void> {
  const failures: unknown[] = [];
  for (const close of opened.reverse()) await close().catch((failure: unknown) => failures.push(failure));
  if (failures.length > 0) throw new AggregateError(failures, "cannot stop the whole demo");
}

function once(work: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | null = null;
  return () => (running ??= work());
}
