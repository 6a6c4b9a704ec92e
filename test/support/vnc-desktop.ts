// Services of a desktop beside its screen, on a pod address: terminals (a real shell on a real pseudo-terminal each, with the
// interface of the platform's xterm service) and broadcast (what one tab says, all tabs hear).

import type { ServerWebSocket, Subprocess } from "bun";

export type Service = {
  readonly port: number;
  /** Request targets in the order of their arrival. */
  readonly seen: readonly string[];
  stop(): Promise<void>;
};

type Terminal = { readonly shell: Subprocess; readonly waiting: Uint8Array[]; socket: ServerWebSocket<Terminal> | null };

/** POST /terminals?cols=&rows= answers the pid; /terminals/<pid> is its WebSocket; POST /terminals/<pid>/size?cols=&rows=. */
export function startTerminals(address: string): Service {
  const terminals = new Map<number, Terminal>();
  const seen: string[] = [];
  const server = Bun.serve<Terminal>({
    hostname: address, port: 0, development: false,
    fetch(request, self) {
      const url = new URL(request.url);
      seen.push(`${request.method} ${url.pathname}${url.search}`);
      const size = { cols: Number(url.searchParams.get("cols")), rows: Number(url.searchParams.get("rows")) };
      if (url.pathname === "/terminals") return new Response(String(addTerminal(terminals, size)));
      const terminal = terminals.get(Number(url.pathname.split("/")[2]));
      if (terminal === undefined) return new Response("no such terminal\n", { status: 404 });
      if (self.upgrade(request, { data: terminal })) return undefined;
      terminal.shell.terminal?.resize(size.cols, size.rows);
      return new Response("resized\n");
    },
    websocket: {
      open(ws) {
        ws.data.socket = ws;
        for (const data of ws.data.waiting.splice(0)) ws.send(data);
      },
      message: (ws, message) => void ws.data.shell.terminal?.write(message),
      close: (ws) => ws.data.shell.kill("SIGHUP"),
    },
  });
  return { port: server.port!, seen, stop: async () => { await endShells(terminals.values()); await server.stop(true); } };
}

function addTerminal(terminals: Map<number, Terminal>, size: { cols: number; rows: number }): number {
  const shell = Bun.spawn(["/bin/sh"], {
    env: { PATH: process.env["PATH"] ?? "", PS1: "$ ", LANG: "C.UTF-8", TERM: "xterm" },
    terminal: {
      ...size,
      data: (_, data) => {
        if (terminal.socket === null) terminal.waiting.push(data);
        else terminal.socket.send(data);
      },
    },
    onExit: () => terminal.socket?.close(1000, "shell ended"),
  });
  const terminal: Terminal = { shell, waiting: [], socket: null };
  terminals.set(shell.pid, terminal);
  return shell.pid;
}

async function endShells(terminals: Iterable<Terminal>): Promise<void> {
  for (const { shell } of terminals) {
    shell.kill("SIGKILL");
    await shell.exited;
    shell.terminal?.close();
  }
}

export type Broadcast = Service & {
  /** Tabs that are connected. */
  readonly tabs: number;
};

export function startBroadcast(address: string, port = 0): Broadcast {
  const seen: string[] = [];
  const server = Bun.serve({
    hostname: address, port, development: false,
    fetch(request, self) {
      const url = new URL(request.url);
      seen.push(`${request.method} ${url.pathname}${url.search}`);
      return self.upgrade(request, { data: undefined }) ? undefined : new Response("WebSocket only\n", { status: 426 });
    },
    websocket: {
      open: (ws) => void ws.subscribe("tabs"),
      message: (_, message) => void server.publish("tabs", message),
    },
  });
  return {
    port: server.port!, seen,
    get tabs() { return server.subscriberCount("tabs"); },
    stop: () => server.stop(true),
  };
}
