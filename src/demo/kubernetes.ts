// The stand-in for the Kubernetes API with KubeVirt: the VNC WebSocket of the demo's virtual machines, as virt-api serves it,
// plain and without credentials, as behind `kubectl proxy`. One viewer a machine: a second one takes its place, or is refused
// when it says `preserveSession=true`.

import { RfbError } from "./rfb/reading.ts";
import type { Machine, Viewer } from "./vm/machine.ts";
import { DEMO_NAMESPACE, type MachineEntry, MACHINES, startMachines } from "./vm/machines.ts";

export type KubernetesApi = { readonly port: number; stop(): Promise<void> };

/** What travels in the WebSocket's binary frames: raw bytes. */
const PROTOCOL = "plain.kubevirt.io";
const VNC_PATH = /^\/apis\/subresources\.kubevirt\.io\/(?:v1|v1alpha3)\/namespaces\/([^/]+)\/virtualmachineinstances\/([^/]+)\/vnc$/;
/** A viewer that has this much unsent waits for its next update. */
const UNSENT_LIMIT_BYTES = 1024 ** 2;
const MESSAGE_LIMIT_BYTES = 256 * 1024;
const PROTOCOL_ERROR = 1002;
const NO_TEXT = 1003;

type Socket = Bun.ServerWebSocket<Leg>;
/** A viewer's connection; `viewer` is there once it is open. */
type Leg = { readonly machine: Machine; viewer: Viewer | null };

/** Starts it, and the machines, on a free loopback port. */
export function startKubernetesApi(entries: readonly MachineEntry[] = MACHINES): KubernetesApi {
  const machines = startMachines(entries);
  const sockets = new Map<Machine, Socket>();

  function answer(request: Request, server: Bun.Server<Leg>): Response | undefined {
    const url = new URL(request.url);
    const [, namespace, name] = VNC_PATH.exec(url.pathname) ?? [];
    if (name === undefined) return refuse(404, "NotFound", "the server could not find the requested resource");
    if (namespace !== DEMO_NAMESPACE || !entries.some((entry) => entry.name === name)) {
      return refuse(404, "NotFound", `virtualmachineinstance.kubevirt.io "${name}" not found`);
    }
    const machine = machines.get(name);
    if (machine === undefined) return refuse(409, "Conflict", "VMI is not running");
    if (sockets.has(machine) && url.searchParams.get("preserveSession") === "true") {
      return refuse(409, "Conflict", "Active VNC connection. Request denied.");
    }
    const offered = request.headers.get("sec-websocket-protocol")?.split(",").map((text) => text.trim()) ?? [];
    if (!offered.includes(PROTOCOL)) return refuse(400, "BadRequest", `expected a WebSocket with the subprotocol ${PROTOCOL}`);
    const isUpgraded = server.upgrade(request, { data: { machine, viewer: null }, headers: { "Sec-WebSocket-Protocol": PROTOCOL } });
    return isUpgraded ? undefined : refuse(400, "BadRequest", "bad WebSocket handshake");
  }

  function open(socket: Socket): void {
    const { data } = socket;
    const previous = sockets.get(data.machine);
    sockets.set(data.machine, socket);
    previous?.close(1000, "another viewer took this one's place");
    data.viewer = data.machine.join({
      send: (bytes) => void socket.sendBinary(bytes),
      isBusy: () => socket.getBufferedAmount() > UNSENT_LIMIT_BYTES,
    });
  }

  function close(socket: Socket): void {
    const { machine, viewer } = socket.data;
    viewer?.leave();
    if (sockets.get(machine) === socket) sockets.delete(machine);
  }

  const server = Bun.serve<Leg>({
    hostname: "127.0.0.1",
    port: 0,
    reusePort: false,
    development: false,
    fetch: answer,
    websocket: {
      maxPayloadLength: MESSAGE_LIMIT_BYTES,
      open,
      message: receive,
      drain: (socket) => socket.data.viewer?.drained(),
      close,
    },
  });
  return {
    port: server.port!,
    async stop() {
      for (const machine of machines.values()) machine.stop();
      await server.stop(true);
    },
  };
}

function receive(socket: Socket, data: string | Buffer): void {
  if (typeof data === "string") return socket.close(NO_TEXT, "binary frames only");
  try {
    socket.data.viewer?.receive(data);
  } catch (failure) {
    if (!(failure instanceof RfbError)) throw failure;
    socket.close(PROTOCOL_ERROR, failure.message.slice(0, 100));
  }
}

/** As Kubernetes says no. */
function refuse(code: 400 | 404 | 409, reason: string, message: string): Response {
  return Response.json({ kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message, reason, code }, { status: code });
}
