// A process that writes to a registry, for tests that kill it, or that take away its disk or its rights.
//
//   writer.ts DIRECTORY forever            sets and deletes without end; prints "writing" when it has written for the first time
//   writer.ts DIRECTORY once ID PORT [UID]    sets one gateway (as another user); prints "ok" or the error as JSON

import { Registry } from "../../src/registry/registry.ts";
import { gateway } from "./examples.ts";

/** So many that a file takes several blocks, and all with one port: a torn file would show. */
export function versioned(id: string, port: number): ReturnType<typeof gateway> {
  return gateway(id, `${id}.example.org`, { backends: Array.from({ length: 300 }, (_, index) => ({ address: `10.0.${index >> 8}.${index & 255}`, port })) });
}

async function main(directory: string, mode: string, id = "", port = "", uid = ""): Promise<void> {
  const registry = await Registry.open({ directory, domain: null, log: { problem: () => {}, solved: () => {}, removed: () => {} } });
  if (mode === "once") {
    if (uid !== "") process.setuid?.(Number(uid));
    const result = await registry.set(versioned(id, Number(port))).then(() => "ok", ({ code, message }) => JSON.stringify({ code, message, served: registry.get(id)?.backends[0]?.port ?? null }));
    console.log(result);
    process.exit(0);
  }
  for (let version = 1; ; version = (version % 60_000) + 1) {
    await Promise.all(["a", "b", "c"].map((id) => registry.set(versioned(id, version))));
    if (version === 1) console.log("writing");
    if (version % 3 === 0) await registry.delete("c");
  }
}

if (import.meta.main) await main(process.argv[2] ?? "", process.argv[3] ?? "", ...process.argv.slice(4));
