// The demo's virtual machines: who owns them, and which of them run.

import type { Look } from "./console-screen.ts";
import { DrawnMachine, type Machine } from "./machine.ts";

export const DEMO_NAMESPACE = "demo";

export type MachineEntry = {
  readonly name: string;
  readonly owner: string;
  readonly about: string;
  /** null: the machine is there and does not run. */
  readonly look: Look | null;
};

export const MACHINES: readonly MachineEntry[] = [
  {
    name: "ubuntu", owner: "alice", about: "a text console to type into",
    look: { back: [36, 12, 32], bar: [54, 20, 46], accent: [255, 138, 76] },
  },
  {
    name: "kali", owner: "bob", about: "the same in blue",
    look: { back: [9, 15, 30], bar: [17, 27, 51], accent: [96, 172, 255] },
  },
  { name: "backup", owner: "alice", about: "switched off", look: null },
];

/** The running ones, by name. Nothing of them moves before somebody looks. */
export function startMachines(entries: readonly MachineEntry[] = MACHINES): ReadonlyMap<string, Machine> {
  return new Map(entries.flatMap(({ name, look }) => (look === null ? [] : [[name, new DrawnMachine(name, DEMO_NAMESPACE, look)]])));
}
