// A demo desktop: all the services of a pod, on the real ports, on a loopback address of its own. It stands in for the
// platform's user pod and trusts whoever reaches it, as those do: the router is what keeps strangers out.

import { Filer } from "./filer.ts";
import { Screen } from "./screen.ts";
import { serveAt, type Listener, type PodService } from "./service.ts";
import {
  broadcastService, echoService, printerService, snapshotService, soundService, spawnerService,
} from "./small-services.ts";
import { Terminals } from "./terminals.ts";

/** The ports that the built-in routes expect on a pod. */
export const POD_PORTS = {
  websockify: 6081, terminals: 29781, printerfiler: 29782, filer: 29783, broadcast: 29784, snapshot: 29785,
  spawner: 29786, signalling: 29787, sound: 29788, microphone: 29789, gamepad: 29790,
} as const;

/** Where demo pods may live; the router is told to allow exactly this network. */
export const POD_NETWORK = "127.0.1.0/24";

export type Pod = { readonly owner: string; readonly address: string; stop(): Promise<void> };

/**
 * Starts a pod on the first address of {@link POD_NETWORK} where every port is free.
 * @throws when there is none, or when the system has no such addresses (only Linux gives all of 127.0.0.0/8 unasked).
 */
export function startPod(owner: string, addresses: Iterable<string> = podAddresses()): Pod {
  let lastFailure: unknown;
  for (const address of addresses) {
    try {
      return startPodAt(owner, address);
    } catch (failure) {
      // Another demo or test has a port of this address, or the address is not this machine's.
      lastFailure = failure;
    }
  }
  throw new Error(`cannot start a demo pod for "${owner}": no address of ${POD_NETWORK} has its ports free`, {
    cause: lastFailure,
  });
}

function* podAddresses(): Generator<string> {
  for (let last = 1; last < 255; last++) yield `127.0.1.${last}`;
}

function startPodAt(owner: string, address: string): Pod {
  const listeners: Listener[] = [];
  try {
    for (const service of podServices(owner, address)) listeners.push(serveAt(address, service));
  } catch (failure) {
    for (const listener of listeners) void listener.stop();
    throw failure;
  }
  return {
    owner,
    address,
    async stop() {
      await Promise.all(listeners.map((listener) => listener.stop()));
    },
  };
}

function podServices(owner: string, address: string): PodService[] {
  const screen = new Screen(owner, address);
  return [
    screen.service(POD_PORTS.websockify),
    new Terminals(POD_PORTS.terminals, owner, address),
    printerService(POD_PORTS.printerfiler),
    new Filer(POD_PORTS.filer),
    broadcastService(POD_PORTS.broadcast),
    snapshotService(POD_PORTS.snapshot, () => screen.snapshot()),
    spawnerService(POD_PORTS.spawner, owner, address),
    echoService(POD_PORTS.signalling),
    soundService(POD_PORTS.sound),
    echoService(POD_PORTS.microphone),
    echoService(POD_PORTS.gamepad),
  ];
}
