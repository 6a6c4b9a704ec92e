// route-gateway schema: the configuration format as JSON Schema, for editors.

import { jsonSchema } from "../config/schema.ts";
import type { Command } from "./command.ts";

export const command: Command = {
  name: "schema",
  summary: "Prints the JSON Schema of the configuration format.",
  spec: {
    examples: [
      "route-gateway schema > routes.schema.json",
      "# first line of routes.yaml: # yaml-language-server: $schema=routes.schema.json",
    ],
  },
  run: async (_args, io) => {
    io.stdout(`${JSON.stringify(jsonSchema(), null, 2)}\n`);
    return 0;
  },
};
