// The machine's own measure for RSA: how many private-key operations one core does in a second.

import type { Lab } from "./lab.ts";

export function opensslMissing(): string | null {
  return Bun.which("openssl") === null ? "openssl is not installed" : null;
}

/** Signatures per second with RSA of 2048 bits. @throws Error when openssl says something else */
export async function rsaSignsPerSecond(lab: Lab, seconds: number): Promise<number> {
  const output = lab.path("openssl.out");
  await Bun.write(output, "");
  const running = lab.spawn("openssl", ["openssl", "speed", "-mr", "-seconds", `${seconds}`, "rsa2048"], { stdout: output });
  await running.child.exited;
  await lab.stop(running);
  const line = /^\+F2:\d+:2048:([\d.]+):/m.exec(await Bun.file(output).text());
  if (line === null) throw new Error(`cannot read "openssl speed": ${running.complaint}`);
  const figure = Number(line[1]);
  // Some versions print the seconds of one signature instead.
  return figure > 1 ? figure : 1 / figure;
}
