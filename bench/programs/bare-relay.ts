// Program: what a relay costs in this runtime when it does nothing else: it reads no server name, bounds nothing, waits for nobody,
// logs nothing. Half-closed connections stay open, as ours do. `bare-relay.ts PORT BACKENDPORT`.

import type { Socket } from "bun";

const [port = 0, backendPort = 0] = process.argv.slice(2).map(Number);

type Relay = { readonly client: Socket<Relay>; backend: Socket<Relay> | null; first: Buffer | null; clientIsDone: boolean; backendIsDone: boolean };

Bun.listen<Relay>({
  hostname: "127.0.0.1", port, allowHalfOpen: true,
  socket: {
    open(client) { client.data = { client, backend: null, first: null, clientIsDone: false, backendIsDone: false }; },
    data(client, bytes) {
      const relay = client.data;
      if (relay.backend !== null) return void relay.backend.write(bytes);
      relay.first = bytes;
      void Bun.connect<Relay>({ hostname: "127.0.0.1", port: backendPort, allowHalfOpen: true, data: relay, socket: BACKEND });
    },
    end: ({ data }) => clientDone(data),
    close: ({ data }) => clientDone(data),
    error() {},
  },
});

const BACKEND = {
  open(backend: Socket<Relay>) {
    backend.data.backend = backend;
    if (backend.data.first !== null) backend.write(backend.data.first);
  },
  data(backend: Socket<Relay>, bytes: Buffer) { backend.data.client.write(bytes); },
  end: ({ data }: Socket<Relay>) => backendDone(data),
  close: ({ data }: Socket<Relay>) => backendDone(data),
  error() {},
};

function clientDone(relay: Relay): void {
  if (relay.clientIsDone) return;
  relay.clientIsDone = true;
  if (relay.backendIsDone) close(relay);
  else relay.backend?.shutdown();
}

function backendDone(relay: Relay): void {
  if (relay.backendIsDone) return;
  relay.backendIsDone = true;
  if (relay.clientIsDone) close(relay);
  else relay.client.shutdown();
}

function close({ client, backend }: Relay): void {
  client.end();
  backend?.end();
}
