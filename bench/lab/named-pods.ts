// Pods that answer with their names, each on a port of its own that it has again when it comes back: for seeing where requests go,
// and what becomes of them when one of the pods dies.

import { startBareServer } from "./bare-server.ts";
import { freePort, type Lab, type Running } from "./lab.ts";
import { cpuSeconds } from "./process-stats.ts";

export type NamedPod = { readonly name: string; readonly port: number };

export class NamedPods {
  readonly #running = new Map<NamedPod, Running>();

  private constructor(private readonly lab: Lab, readonly pods: readonly NamedPod[]) {}

  static async start(lab: Lab, names: readonly string[]): Promise<NamedPods> {
    const pods = new NamedPods(lab, await Promise.all(names.map(async (name) => ({ name, port: await freePort() }))));
    await Promise.all(pods.pods.map((pod) => pods.restart(pod)));
    return pods;
  }

  /** @throws Error when it does not listen again */
  async restart(pod: NamedPod): Promise<void> {
    this.#running.set(pod, await startBareServer(this.lab, pod.port, "text/plain", pod.name));
  }

  /** SIGKILL: its connections are cut, and further ones are refused. */
  async kill(pod: NamedPod): Promise<void> {
    const running = this.#running.get(pod);
    if (running === undefined) return;
    this.#running.delete(pod);
    running.child.kill("SIGKILL");
    await running.child.exited;
    await this.lab.stop(running);
  }

  /** CPU time of those that run, s. */
  get cpuSeconds(): number {
    return [...this.#running.values()].reduce((sum, { pid }) => sum + cpuSeconds(pid), 0);
  }
}
