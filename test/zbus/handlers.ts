// Handlers that keep what they were called with: what zbus is tested against, where the real registry is not the question.

import type { GatewayHandlers, ServiceTotals } from "../../src/gateway.ts";
import type { Fields } from "../../src/lib/log.ts";

export class KeptCalls implements GatewayHandlers {
  readonly calls: unknown[][] = [];
  /** What the next calls throw; null for nothing. */
  failure: Error | null = null;
  /** Calls wait for it. */
  gate: Promise<void> = Promise.resolve();
  totals: ServiceTotals = { Request: {}, Response: {} };

  async setNamedProxy(...args: [string, string, readonly string[], boolean]): Promise<string> {
    await this.#keep("setNamedProxy", args);
    return `${args[1]}.gent01.dev.grid.tf`;
  }

  async setFQDNProxy(...args: [string, string, readonly string[], boolean]): Promise<void> {
    await this.#keep("setFQDNProxy", args);
  }

  async deleteNamedProxy(...args: [string]): Promise<boolean> {
    await this.#keep("deleteNamedProxy", args);
    return true;
  }

  async metrics(): Promise<ServiceTotals> {
    await this.#keep("metrics", []);
    return this.totals;
  }

  async #keep(name: string, args: readonly unknown[]): Promise<void> {
    this.calls.push([name, ...args]);
    await this.gate;
    if (this.failure !== null) throw this.failure;
  }
}

/** A log whose lines are kept: `level message {fields}`. */
export class KeptLog {
  readonly lines: string[] = [];

  info(message: string, fields: Fields = {}): void { this.#keep("info", message, fields); }
  warn(message: string, fields: Fields = {}): void { this.#keep("warn", message, fields); }
  error(message: string, fields: Fields = {}): void { this.#keep("error", message, fields); }

  count(part: string): number {
    return this.lines.filter((line) => line.includes(part)).length;
  }

  #keep(level: string, message: string, fields: Fields): void {
    this.lines.push(`${level} ${message} ${JSON.stringify(fields)}`);
  }
}
