// What every scenario is given, and what it is.

import type { Lab } from "./lab.ts";
import type { Report } from "./report.ts";

/** full: what the issue asks for. quick: smaller, minutes become seconds. tiny: only to see that the harness works. */
export type Size = "full" | "quick" | "tiny";

export type Bench = {
  readonly size: Size;
  /** Command words that run route-gateway, up to its own arguments. */
  readonly command: readonly string[];
  readonly lab: Lab;
  readonly report: Report;
};

export type Scenario = {
  readonly name: string;
  readonly summary: string;
  run(bench: Bench): Promise<void>;
};

/** Something that answers on a loopback port: route-gateway or one of its peers. */
export type Server = {
  readonly name: string;
  readonly pid: number;
  readonly port: number;
  /** Access log; null: none is kept. */
  readonly log: string | null;
};
