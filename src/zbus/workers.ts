// How busy we are, as the status call tells it: one entry for each call that may run at once.

import type { WorkerStatus } from "./calls.ts";

export class Workers {
  readonly #states: WorkerStatus[];

  constructor(count: number, private readonly now: () => Date = () => new Date()) {
    this.#states = Array.from({ length: count }, () => ({ State: "free", StartTime: now(), Action: "" }));
  }

  get states(): readonly WorkerStatus[] {
    return [...this.#states];
  }

  /** Whoever has never more at once than there are entries finds a free one. @returns what to call when it is done */
  begin(action: string): () => void {
    const index = this.#states.findIndex(({ State }) => State === "free");
    if (index < 0) return () => {};
    this.#states[index] = { State: "busy", StartTime: this.now(), Action: action };
    return () => { this.#states[index] = { State: "free", StartTime: this.now(), Action: "" }; };
  }
}
