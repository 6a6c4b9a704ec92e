import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs, UsageError } from "../../src/cli/args.ts";
import { command, healthUrl } from "../../src/cli/healthcheck.ts";
import { TABLE } from "../config/support.ts";

let directory: string;
beforeAll(async () => { directory = await mkdtemp(join(tmpdir(), "route-health-")); });
afterAll(() => rm(directory, { recursive: true }));

async function healthcheck(argv: readonly string[], env: Record<string, string> = {}) {
  const written = { stdout: "", stderr: "" };
  const code = await command.run(parseArgs(argv, command.spec), {
    stdout: (text) => { written.stdout += text; },
    stderr: (text) => { written.stderr += text; },
    env,
  });
  return { code, ...written };
}

function serve(answer: () => Response | Promise<Response>) {
  return Bun.serve({ hostname: "127.0.0.1", port: 0, reusePort: false, development: false, fetch: answer });
}

describe("healthcheck", () => {
  test("is 0 and one line for an answer of 200, at the address of HTTP_LISTEN", async () => {
    await using server = serve(() => new Response("OK\n"));
    const { code, stdout, stderr } = await healthcheck([], { HTTP_LISTEN: `127.0.0.1:${server.port}` });
    expect([code, stdout, stderr]).toEqual([0, `healthy: http://127.0.0.1:${server.port}/healthz\n`, ""]);
  });

  test("--consoles asks at the address of HOST and PORT, which are those of `consoles`", async () => {
    await using server = serve(() => new Response("OK"));
    for (const host of ["127.0.0.1", "0.0.0.0", ""]) {
      const { code, stdout } = await healthcheck(["--consoles"], { HOST: host, PORT: String(server.port), HTTP_LISTEN: "127.0.0.1:9" });
      expect([code, stdout]).toEqual([0, `healthy: http://127.0.0.1:${server.port}/healthz\n`]);
    }
    // Nobody may listen there; what is asked is what counts.
    const standard = await healthcheck(["--consoles"]);
    expect(standard.stdout + standard.stderr).toContain("http://127.0.0.1:5001/healthz");
    for (const HOST of ["::1", "[::1]"]) expect((await healthcheck(["--consoles"], { HOST, PORT: "9" })).stderr).toContain("http://[::1]:9/healthz");
    await expect(healthcheck(["--consoles"], { PORT: "http" })).rejects.toThrow("environment variable HOST or PORT: ");
    await expect(healthcheck(["--consoles", "--url", "http://127.0.0.1/"])).rejects.toThrow("leave --url out");
  });

  test("--config asks at the address that the file says", async () => {
    await using server = serve(() => new Response("OK\n"));
    const file = join(directory, "routes.yaml");
    await Bun.write(file, `entrypoints: { http: "\${HTTP_LISTEN:-127.0.0.1:${server.port}}" }\n${TABLE}`);
    const healthy = { code: 0, stdout: `healthy: http://127.0.0.1:${server.port}/healthz\n`, stderr: "" };
    expect(await healthcheck(["--config", file])).toEqual(healthy);
    expect((await healthcheck(["--config", file], { HTTP_LISTEN: ":9" })).stderr).toContain("http://127.0.0.1:9/healthz");
    await expect(healthcheck(["--config", join(directory, "nowhere.yaml")])).rejects.toThrow("no such file");
    for (const other of [["--consoles"], ["--url", "http://127.0.0.1/"]]) await expect(healthcheck(["--config", file, ...other])).rejects.toThrow("leave --consoles and --url out");
  });

  test("is 1 and names the status for any other answer, redirects included", async () => {
    for (const status of [204, 301, 404, 503]) {
      await using server = serve(() => new Response(null, { status, headers: { location: "/elsewhere" } }));
      const url = `http://127.0.0.1:${server.port}/healthz`;
      expect(await healthcheck(["--url", url])).toEqual({ code: 1, stdout: "", stderr: `unhealthy: ${url} answered ${status}\n` });
    }
  });

  test("is 1 when nobody listens", async () => {
    const server = serve(() => new Response());
    const url = `http://127.0.0.1:${server.port}/healthz`;
    await server.stop(true);
    expect(await healthcheck(["--url", url])).toEqual({ code: 1, stdout: "", stderr: `unhealthy: ${url}: connection refused\n` });
  });

  test("is 1 when no answer comes in time", async () => {
    const never = Promise.withResolvers<Response>();
    await using server = serve(() => never.promise);
    const url = `http://127.0.0.1:${server.port}/healthz`;
    const { code, stderr } = await healthcheck(["--url", url, "--timeout", "100ms"]);
    never.resolve(new Response());
    expect([code, stderr]).toEqual([1, `unhealthy: ${url}: no answer within 100 ms\n`]);
  });

  test("does not go through a proxy of the environment", async () => {
    await using server = serve(() => new Response("OK\n"));
    const before = process.env.http_proxy;
    process.env.http_proxy = "http://127.0.0.1:9";
    try {
      expect((await healthcheck(["--url", `http://127.0.0.1:${server.port}/`])).code).toBe(0);
    } finally {
      if (before === undefined) delete process.env.http_proxy;
      else process.env.http_proxy = before;
    }
  });

  test("asks over loopback when the router listens on all addresses", () => {
    const cases: ReadonlyArray<readonly [string | undefined, string]> = [
      [undefined, "http://127.0.0.1:80/healthz"],
      ["", "http://127.0.0.1:80/healthz"],
      [":8080", "http://127.0.0.1:8080/healthz"],
      ["0.0.0.0:81", "http://127.0.0.1:81/healthz"],
      ["[::]:81", "http://[::1]:81/healthz"],
      ["[fd00::1]:81", "http://[fd00::1]:81/healthz"],
      ["192.0.2.1:81", "http://192.0.2.1:81/healthz"],
      ["*:8080", "http://127.0.0.1:8080/healthz"],
    ];
    for (const [listen, url] of cases) expect(healthUrl(listen)).toBe(url);
    expect(() => healthUrl("8080")).toThrow('did you mean ":8080"?');
  });

  test("names the variable when HTTP_LISTEN is no address", async () => {
    expect(healthcheck([], { HTTP_LISTEN: "abc" })).rejects.toThrow('environment variable HTTP_LISTEN: expected an address to listen on such as ":80"');
  });

  test("prints no user and no password of the URL", async () => {
    const server = serve(() => new Response("OK\n"));
    const url = `http://user:secret@127.0.0.1:${server.port}/healthz`;
    const shown = `http://127.0.0.1:${server.port}/healthz`;
    expect(await healthcheck(["--url", url])).toEqual({ code: 0, stdout: `healthy: ${shown}\n`, stderr: "" });
    await server.stop(true);
    expect(await healthcheck(["--url", url])).toEqual({ code: 1, stdout: "", stderr: `unhealthy: ${shown}: connection refused\n` });
    for (const malformed of ["http://user:secret@", "http://user:se/cret@host/", "ftp://user:secret@host/"]) {
      const error = await healthcheck(["--url", malformed]).catch((thrown: unknown) => thrown as Error);
      expect(error).toBeInstanceOf(UsageError);
      expect((error as Error).message).toStartWith('not a URL: "...@');
    }
  });

  test("refuses what is no URL and no time", async () => {
    for (const argv of [["--url", "nonsense"], ["--url", "file:///etc/passwd"], ["--timeout", "2"], ["--timeout", "0"]]) {
      expect(healthcheck(argv)).rejects.toBeInstanceOf(UsageError);
    }
  });
});
