import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { appendFileSync, copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { API_PATH, consoleTarget, plainApi, SECRET } from "../support/library-driver.ts";
import { CAN_PACK, Package, ROOT } from "../support/library-package.ts";
import { OP, WsClient } from "../support/ws-client.ts";

// Once for all tests: building and packing takes a few seconds.
let pack: Package;
beforeAll(() => {
  if (CAN_PACK) pack = Package.pack();
}, 60_000);
afterAll(() => pack?.remove());

describe.skipIf(!CAN_PACK)("the package (needs npm and tar)", () => {
  test("holds the library, its thread, their chunks and types, and nothing else", () => {
    const names = pack.files.map((path) => path.replace(/-[0-9a-z]{8}\.js$/, "-HASH.js"));
    expect(names).toEqual([
      "README.md", "dist/library/files-HASH.js", "dist/library/index-HASH.js", "dist/library/index.d.ts", "dist/library/index.js",
      "dist/library/websocket-proxy-worker.js", "docs/LIBRARY.md", "examples/consoles.ts", "package.json",
    ]);
    expect(pack.npmSays.map(({ path }) => path).toSorted()).toEqual([...pack.files]);
  });

  test("is small, and has none of the demo, the command line or a dependency in it", () => {
    const project = pack.project("content");
    const bundle = pack.files.filter((path) => path.endsWith(".js")).map((path) => readFileSync(join(project, "node_modules/route", path), "utf8")).join("");
    const sources = [...bundle.matchAll(/^\/\/ (\S+\.(?:ts|js|json|yaml|html|css))$/gm)].map(([, path = ""]) => path);
    expect(sources).toContain("src/websocket-proxy.ts");
    expect(sources.filter((path) => /^src\/(demo|cli|main)|node_modules/.test(path))).toEqual([]);
    expect(bundle.length).toBeLessThan(1_000_000);
    expect(bundle).not.toContain(ROOT);
  });

  test("points at nothing that is not in it", () => {
    const manifest = JSON.parse(readFileSync(join(pack.project("manifest"), "node_modules/route/package.json"), "utf8")) as Record<string, unknown>;
    const named = JSON.stringify([manifest["exports"], manifest["types"], manifest["bin"] ?? null, manifest["main"] ?? null]).match(/\.\/[^"]+/g) ?? [];
    expect(named.length).toBeGreaterThanOrEqual(3);
    expect(named.filter((path) => !pack.files.includes(path.slice(2)))).toEqual([]);
    expect(manifest["bin"]).toBeUndefined();
    // All of it is bundled: whoever installs the package gets no other one.
    for (const kind of ["dependencies", "peerDependencies", "optionalDependencies"]) expect(manifest[kind]).toBeUndefined();
  });
});

/** What the compiler of this project says in a project that has only the package. */
function typeCheck(project: string, files: string[], moduleOptions: object): string {
  const compilerOptions = { ...moduleOptions, strict: true, target: "ESNext", lib: ["ESNext"], noEmit: true, skipLibCheck: false };
  writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions, files }));
  return Bun.spawnSync([process.execPath, join(ROOT, "node_modules/typescript/bin/tsc"), "-p", project]).stdout.toString();
}

const CONSUMER = `
import { WebsocketProxy, type WebsocketProxyOptions } from "route";
const options: WebsocketProxyOptions = { remoteUrl: "ws://a", apiPath: "/{namespace}/{vmi_name}", localDevMode: true, secretKey: "k" };
const proxy = new WebsocketProxy({ ...options, hostPathPrefix: null, algorithms: ["HS512"], log: "json" });
export const ended: Promise<void> = proxy.run("", 0).then(() => proxy.runInThread("::1", 1)).then(() => proxy.stopThread());
export const place: [number, string] = [proxy.port, proxy.url];
// @ts-expect-error: none of the original's arguments may be missing
new WebsocketProxy({ remoteUrl: "ws://a", apiPath: "", localDevMode: true });
// @ts-expect-error: no key of another kind
new WebsocketProxy({ ...options, algorithms: ["RS256"] });
// @ts-expect-error: a port is a number
void proxy.run("", "5001");
`;

describe.skipIf(!CAN_PACK)("the package's types", () => {
  test.each([
    ["bundler", { module: "ESNext", moduleResolution: "bundler" }],
    ["nodenext", { module: "nodenext", moduleResolution: "nodenext" }],
  ])("stand alone, found by moduleResolution %s", (name, options) => {
    const project = pack.project(`types-${name}`);
    writeFileSync(join(project, "consumer.ts"), CONSUMER);
    expect(typeCheck(project, ["consumer.ts"], { ...options, types: [] })).toBe("");
    writeFileSync(join(project, "wrong.ts"), 'import { Other } from "route";\nexport const other: Other = 1;\n');
    expect(typeCheck(project, ["wrong.ts"], { ...options, types: [] })).toContain("has no exported member 'Other'");
  });

  test("fit the example and the code of docs/LIBRARY.md", () => {
    const project = pack.project("types-examples");
    copyFileSync(join(ROOT, "examples/consoles.ts"), join(project, "example.ts"));
    const [, code = ""] = /```ts\n([\s\S]*?)```/.exec(readFileSync(join(ROOT, "docs/LIBRARY.md"), "utf8")) ?? [];
    expect(code).toContain("new WebsocketProxy");
    writeFileSync(join(project, "documented.ts"), code);
    const options = { module: "ESNext", moduleResolution: "bundler", typeRoots: [join(ROOT, "node_modules")], types: ["bun-types"], skipLibCheck: true };
    expect(typeCheck(project, ["example.ts", "documented.ts"], options)).toBe("");
  });
});

describe.skipIf(!CAN_PACK)("examples/consoles.ts, with the package installed", () => {
  test("bridges a console, and stops on Ctrl-C with 1001", async () => {
    const api = plainApi();
    const project = pack.project("example");
    copyFileSync(join(ROOT, "examples/consoles.ts"), join(project, "consoles.ts"));
    const program = Bun.spawn([process.execPath, "consoles.ts"], {
      cwd: project, stdout: "pipe", stderr: "pipe", env: { SECRET_KEY: SECRET, WS_REMOTE_URL: `ws://127.0.0.1:${api.port("api")}`, PORT: "0" },
    });
    try {
      const output = program.stdout.pipeThrough(new TextDecoderStream()).getReader();
      const [, port = ""] = /^consoles at ws:\/\/127\.0\.0\.1:(\d+)\/TOKEN\/VM\n$/.exec((await output.read()).value ?? "") ?? [];
      const client = await WsClient.open(Number(port), consoleTarget());
      client.send(OP.binary, "hello");
      await client.until(() => client.messages.length > 0);
      expect(client.messages[0]?.data.toString()).toBe("hello");
      expect(api.seen.at(-1)?.target).toBe(API_PATH.replace("{namespace}", "lab-1").replace("{vmi_name}", "ubuntu"));
      program.kill("SIGINT");
      expect(await client.ended()).toEqual({ code: 1001, reason: "going away" });
      expect([(await output.read()).value, await program.exited, await new Response(program.stderr).text()]).toEqual(["stopped\n", 0, ""]);
    } finally {
      program.kill("SIGKILL");
      api.stop();
    }
  });
});

/** Starts in a thread, says what becomes of it, makes the file that a thread may be waiting for, and starts again. */
const PROGRAM = `
import { writeFileSync } from "node:fs";
import { WebsocketProxy } from "route";
const proxy = new WebsocketProxy({ remoteUrl: "ws://localhost:1", apiPath: "/{namespace}/{vmi_name}", localDevMode: true, secretKey: "${SECRET}" });
// What else the program does; it must not keep one that fails.
const other = setTimeout(() => {}, 60_000);
const start = () => proxy.runInThread("127.0.0.1", 0).then(() => console.log("started", proxy.port > 0), (error) => console.log("rejected:", error.message, proxy.port));
if (process.argv[2] === "listens") process.on("uncaughtException", async (error) => {
  console.log("uncaught:", error.message.split("\\n")[0], proxy.port);
  await start();
  await proxy.stopThread();
  console.log("stopped");
  clearTimeout(other);
});
await start();
if (proxy.port === 0) clearTimeout(other);
writeFileSync("started", "");
`;

describe.skipIf(!CAN_PACK)("a thread of the package", () => {
  const run = async (project: string, ...argv: string[]) => {
    writeFileSync(join(project, "program.ts"), PROGRAM);
    const program = Bun.spawn([process.execPath, "program.ts", ...argv], { cwd: project, stdout: "pipe", stderr: "pipe", timeout: 20_000 });
    const [stdout, stderr] = await Promise.all([new Response(program.stdout).text(), new Response(program.stderr).text()]);
    return { code: await program.exited, stdout, stderr };
  };
  const worker = (project: string): string => join(project, "node_modules/route/dist/library/websocket-proxy-worker.js");
  /** It fails once, as soon as the program says that it has started. */
  const fault = (failure: string): string => `
    import { existsSync, rmSync } from "node:fs";
    const look = setInterval(() => {
      if (!existsSync("started")) return;
      clearInterval(look);
      rmSync("started");
      ${failure}
    }, 5);`;
  const THROW = 'throw new Error("boom in the thread");';

  test("whose file is missing is a rejected start, and the program ends", async () => {
    const project = pack.project("missing-worker");
    rmSync(worker(project));
    expect(await run(project)).toMatchObject({ code: 0, stdout: expect.stringMatching(/^rejected: .*websocket-proxy-worker\.js.* 0\n$/) });
  });

  test("that cannot be loaded is a rejected start, and the program ends", async () => {
    const project = pack.project("broken-worker");
    appendFileSync(worker(project), '\nthrow new Error("broken while it loads");\n');
    expect(await run(project)).toMatchObject({ code: 0, stdout: expect.stringContaining("broken while it loads") });
  });

  test.each([["error", THROW], ["rejection", 'Promise.reject(new Error("boom in the thread"));']])("that dies of an uncaught %s ends a program that does not care", async (what, failure) => {
    const project = pack.project(`dying-of-${what}`);
    appendFileSync(worker(project), fault(failure));
    const { code, stdout, stderr } = await run(project);
    expect([code, stdout]).toEqual([1, "started true\n"]);
    expect(stderr).toContain("the thread of a WebsocketProxy ended unexpectedly: Error: boom in the thread");
  });

  test("that dies of an error can be started again by a program that listens", async () => {
    const project = pack.project("restarted-worker");
    appendFileSync(worker(project), fault(THROW));
    expect(await run(project, "listens")).toEqual({
      code: 0, stderr: "",
      stdout: "started true\nuncaught: the thread of a WebsocketProxy ended unexpectedly: Error: boom in the thread 0\nstarted true\nstopped\n",
    });
  });
});
