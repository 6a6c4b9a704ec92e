import { describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const MAIN = join(import.meta.dir, "../../src/main.ts");

async function startProcess(temporary: string) {
  const child = Bun.spawn([process.execPath, MAIN, "demo", "--http", "127.0.0.1:0"], {
    env: { ...process.env, TMPDIR: temporary }, stdout: "pipe", stderr: "pipe",
  });
  let output = "";
  const decoder = new TextDecoder();
  // Not `for await`, which would close the pipe at its end: the process still has a last line to say.
  const reader = child.stdout.getReader();
  while (!output.includes("Ctrl-C stops everything")) {
    const { done, value } = await reader.read();
    if (done) break;
    output += decoder.decode(value, { stream: true });
  }
  const url = output.match(/open\s+(http:\/\/127\.0\.0\.1:\d+\/)/)?.[1];
  return { child, output, url };
}

async function logIn(url: string): Promise<{ Authorization: string }> {
  const body = JSON.stringify({ user: "bob", password: "bob" });
  const response = await fetch(new URL("/API/auth/login", url), { method: "POST", body });
  const { result } = await response.json() as { result: { userToken: string } };
  return { Authorization: `Bearer ${result.userToken}` };
}

describe("route-gateway demo", () => {
  test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)("stops at %s with exit code 0 and leaves nothing", async (signal) => {
    const temporary = mkdtempSync(join(tmpdir(), "route-demo-test-"));
    try {
      const { child, output, url } = await startProcess(temporary);
      if (!url) throw new Error(`no URL was printed: ${output}${await new Response(child.stderr).text()}`);
      expect(readdirSync(temporary).length).toBe(1);
      expect((await fetch(url)).status).toBe(200);
      const consoleUrl = output.match(/^http:\S+\/consoles\/\S+\/ubuntu$/m)?.[0] ?? "";
      expect((await fetch(consoleUrl, { headers: { Accept: "text/html" } })).status).toBe(200);

      const headers = await logIn(url);
      const launch = await fetch(new URL("/API/composer/launchdesktop", url), { method: "POST", headers });
      expect(launch.status).toBe(200);

      child.kill(signal);
      expect(await child.exited).toBe(0);
      expect(readdirSync(temporary)).toEqual([]);
      await expect(fetch(url)).rejects.toThrow();
      expect(await new Response(child.stderr).text()).toBe("");
    } finally {
      rmSync(temporary, { recursive: true, force: true });
      expect(existsSync(temporary)).toBe(false);
    }
  }, 30_000);

  test("ends while a desktop is still being made", async () => {
    const temporary = mkdtempSync(join(tmpdir(), "route-demo-test-"));
    try {
      const { child, url } = await startProcess(temporary);
      const headers = await logIn(url!);
      const launch = fetch(new URL("/API/composer/launchdesktop", url), { method: "POST", headers }).catch(() => null);
      const progress = async () => await (await fetch(new URL("/API/composer/progress", url), { headers })).text();
      while (!(await progress()).includes("created")) await Bun.sleep(5);
      child.kill("SIGINT");
      expect(await child.exited).toBe(0);
      await launch;
      expect(readdirSync(temporary)).toEqual([]);
    } finally {
      rmSync(temporary, { recursive: true, force: true });
    }
  }, 30_000);

  test("says which flag is wrong", () => {
    const child = Bun.spawnSync([process.execPath, MAIN, "demo", "--htp", "127.0.0.1:0"]);
    expect(child.exitCode).toBe(2);
    expect(child.stderr.toString()).toContain("--http");
  });
});
