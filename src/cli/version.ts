// route-gateway version: which build this is.

import { COMMIT, VERSION } from "../lib/build-info.ts";
import type { Command } from "./command.ts";

export const command: Command = {
  name: "version",
  summary: "Prints the version.",
  spec: { examples: ["route-gateway version"] },
  run: async (_args, io) => {
    io.stdout(`route-gateway ${VERSION} (${COMMIT}, bun ${Bun.version}, ${process.platform}-${process.arch})\n`);
    return 0;
  },
};
