// route-gateway demo: starts the demo, says what to do with it, and stays until Ctrl-C.

import { DEFAULT_LISTEN, startDemo, type Demo } from "../demo/demo.ts";
import { Log } from "../lib/log.ts";
import type { Arguments } from "./args.ts";
import { listenFlag } from "./settings-flags.ts";
import type { Command, Io } from "./command.ts";

export const command: Command = {
  name: "demo",
  summary: "Shows the router at work: demo desktops and virtual machines, a stand-in control plane, and a page for it all.",
  spec: {
    flags: [
      {
        name: "http", value: "HOST:PORT", default: DEFAULT_LISTEN,
        help: "address of the router; if the port is taken, the next free one; port 0 lets the kernel choose",
      },
      { name: "log", help: "print the router's log, one line a request" },
    ],
    examples: ["route-gateway demo", "route-gateway demo --http 127.0.0.1:0 --log"],
  },
  run: demo,
};

async function demo(args: Arguments, io: Io): Promise<number> {
  const stopped = stopSignal();
  const log = args.has("log") ? new Log("pretty") : undefined;
  const running = await startDemo({ httpListen: listenFlag(args), ...(log && { log }) });
  io.stdout(banner(running));
  await stopped;
  io.stdout("\nstopping\n");
  await running.stop();
  log?.close();
  return 0;
}

/**
 * The first Ctrl-C, SIGTERM, or end of the terminal; also one that comes before the start is through, so that nothing is
 * left behind then either.
 */
function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => resolve());
  });
}

function banner({ url, consoleUrl, controlPlanePort, websitePort, kubernetesPort, directory }: Demo): string {
  return `
route-gateway demo is running

  open      ${url}
  log in    alice / alice   or   bob / bob

  to try    draw on the screen and type into it; use the terminal
            upload a big file: pause it, go on, compare the hashes
            open a second tab; log in as bob in a private window
            watch the desktop token: it lives 60 s and is refreshed before
            open the console of a virtual machine: ubuntu runs, backup does not, kali is bob's
            curl ${url}healthz

  console   of ubuntu at once, without a login; this address is good for an hour:
${consoleUrl}

  parts     router ${new URL(url).host}, control plane 127.0.0.1:${controlPlanePort} (behind /API),
            website 127.0.0.1:${websitePort} (behind /), desktops on 127.0.1.1, 127.0.1.2,
            Kubernetes API 127.0.0.1:${kubernetesPort} (behind /consoles)
  keys      ${directory} (removed at the end)

Ctrl-C stops everything and leaves nothing behind.
`;
}
