import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { startDemo, type Demo } from "../../src/demo/demo.ts";
import { connect, type Conversation } from "./conversation.ts";

type DesktopToken = { desktopToken: string; expiresInS: number };

const open: Conversation[] = [];
let demo: Demo;
let alice: { userToken: string; desktopToken: string };

beforeAll(async () => {
  demo = await startDemo({ httpListen: "127.0.0.1:0", podDelayMs: 50 });
  alice = await createDesktop("alice");
});

afterAll(async () => {
  for (const conversation of open) conversation.close();
  await demo.stop();
});

async function callApi<T>(base: string, path: string, options: { token?: string; body?: object } = {}): Promise<T> {
  const response = await fetch(new URL(`/API${path}`, base), {
    method: "POST",
    headers: options.token ? { Authorization: `Bearer ${options.token}` } : {},
    ...(options.body && { body: JSON.stringify(options.body) }),
  });
  expect(response.status).toBe(200);
  return (await response.json() as { result: T }).result;
}

async function createDesktop(user: string, base = demo.url): Promise<{ userToken: string; desktopToken: string }> {
  const { userToken } = await callApi<{ userToken: string }>(base, "/auth/login", { body: { user, password: user } });
  const { desktopToken } = await callApi<DesktopToken>(base, "/composer/launchdesktop", { token: userToken });
  return { userToken, desktopToken };
}

async function dial(pathAndQuery: string): Promise<Conversation> {
  const conversation = await connect(new URL(pathAndQuery, demo.url).href.replace("http", "ws"));
  open.push(conversation);
  return conversation;
}

function pod(path: string, token: string, init: RequestInit = {}, base = demo.url): Promise<Response> {
  return fetch(new URL(path, base), { ...init, headers: { ...init.headers, AbcAuthorization: `Bearer ${token}` } });
}

describe("demo through the router", () => {
  test("the page comes with its policy", async () => {
    const response = await fetch(demo.url);
    expect(response.headers.get("content-security-policy")).toContain("default-src 'none'");
    expect(await response.text()).toContain("<title>route-gateway demo</title>");
  });

  test("the desktop token opens the screen of one's own pod", async () => {
    const screen = await dial(`/websockify?jwt_token=${alice.desktopToken}`);
    expect(JSON.parse(String(await screen.next()))).toMatchObject({ type: "hello", owner: "alice" });
    expect((await screen.nextBinary()).length).toBeGreaterThan(100_000);
  });

  test("the pod's address cannot be read in the token", async () => {
    const claims = JSON.parse(Buffer.from(alice.desktopToken.split(".")[1]!, "base64url").toString());
    expect(Object.keys(claims)).toEqual(["key", "nfb", "hash", "exp"]);
    const { data } = await (await pod("/spawner", alice.desktopToken)).json() as { data: { address: string } };
    expect(data.address).toStartWith("127.0.1.");
    expect(JSON.stringify(claims)).not.toContain(data.address);
  });

  test("two users get two pods", async () => {
    const bob = await createDesktop("bob");
    const [one, other] = await Promise.all([alice, bob].map(async ({ desktopToken }) =>
      (await (await pod("/spawner", desktopToken)).json() as { data: { owner: string; address: string } }).data));
    expect([one!.owner, other!.owner]).toEqual(["alice", "bob"]);
    expect(one!.address).not.toBe(other!.address);
  });

  test("nobody gets in without a token, or with a user token", async () => {
    expect((await fetch(new URL("/spawner", demo.url))).status).toBe(401);
    expect((await pod("/spawner", alice.userToken)).status).toBe(401);
    await expect(dial("/websockify?jwt_token=a.b.c")).rejects.toThrow();
  });

  test("a terminal is made, sized, and spoken with, its token being the whole query", async () => {
    const { pid } = await (await pod("/terminals", alice.desktopToken, { method: "POST" })).json() as { pid: number };
    const terminal = await dial(`/terminals/${pid}?${alice.desktopToken}`);
    await terminal.until("$ ");
    const sized = await pod(`/terminals/${pid}/size?cols=99&rows=9`, alice.desktopToken, { method: "POST" });
    expect(sized.status).toBe(200);
    terminal.send("whoami\rsize\r");
    expect(await terminal.until("99x9")).toContain("whoami\r\nalice\r\n");
  });

  test("tabs hear one another", async () => {
    const path = `/broadcast?jwt_token=${alice.desktopToken}`;
    const [one, other] = [await dial(path), await dial(path)];
    one.send("hello tab");
    expect(await other.next()).toBe("hello tab");
  });

  test("an upload that was cut goes on where it stopped, and arrives whole", async () => {
    const bytes = new Uint8Array(8 * 1024 ** 2).map((_, index) => index * 7);
    const cut = new AbortController();
    const half = new ReadableStream({
      start: (controller) => controller.enqueue(bytes.slice(0, bytes.length / 2)),
    });
    const first = pod("/filer/big.bin", alice.desktopToken, {
      method: "PATCH", headers: { "Upload-Offset": "0" }, body: half, signal: cut.signal,
    }).catch((failure: Error) => failure.name);
    while (await arrived() < bytes.length / 2) await Bun.sleep(5);
    cut.abort();
    expect(await first).toBe("AbortError");

    const head = await pod("/filer/big.bin", alice.desktopToken, { method: "HEAD" });
    const offset = Number(head.headers.get("upload-offset"));
    expect(offset).toBe(bytes.length / 2);
    const second = await pod("/filer/big.bin", alice.desktopToken, {
      method: "PATCH", headers: { "Upload-Offset": String(offset) }, body: bytes.slice(offset),
    });
    const sha256 = new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
    expect(await second.json()).toEqual({ name: "big.bin", size: bytes.length, sha256 });
  });

  async function arrived(): Promise<number> {
    const response = await pod("/filer/big.bin", alice.desktopToken);
    return response.ok ? (await response.json() as { size: number }).size : 0;
  }

  test("every other pod service answers", async () => {
    expect((await pod("/snapshot", alice.desktopToken)).headers.get("content-type")).toBe("image/png");
    expect(await (await pod("/printerfiler", alice.desktopToken)).json()).toContain("welcome.txt");
    for (const path of ["signalling", "microphone", "gamepad"]) {
      const socket = await dial(`/${path}?jwt_token=${alice.desktopToken}`);
      socket.send(path);
      expect(await socket.next()).toBe(path);
    }
    expect((await (await dial(`/sound?jwt_token=${alice.desktopToken}`)).nextBinary()).length).toBe(800);
  });

  test("the page's own origin may open sockets, a foreign one may not", async () => {
    const url = new URL(`/broadcast?jwt_token=${alice.desktopToken}`, demo.url).href.replace("http", "ws");
    open.push(await connect(url, { Origin: new URL(demo.url).origin }));
    await expect(connect(url, { Origin: "http://evil.test" })).rejects.toThrow();
  });

  test("stopping a desktop ends its sockets, and its token leads nowhere", async () => {
    const bob = await createDesktop("bob");
    const socket = await dial(`/gamepad?jwt_token=${bob.desktopToken}`);
    await callApi(demo.url, "/composer/stopdesktop", { token: bob.userToken });
    await socket.closed;
    // A desktop that does not listen may be about to: it is waited for, 5 s.
    expect((await pod("/spawner", bob.desktopToken)).status).toBe(502);
  }, 15_000);
});

describe("demo's consoles through the router", () => {
  type ConsoleToken = { consoleToken: string };
  const html = { Accept: "text/html" };
  let token: string;
  beforeAll(async () => {
    token = (await callApi<ConsoleToken>(demo.url, "/consoles/token", { token: alice.userToken })).consoleToken;
  });

  const get = (path: string, headers: Record<string, string> = {}) => fetch(new URL(path, demo.url), { headers });
  /** How the console at `path` ends, for one that is refused. */
  const ending = async (path: string) => (await dial(path)).closed;

  test("a machine of one's own speaks RFB", async () => {
    const vm = await dial(`/consoles/${token}/ubuntu`);
    expect(Buffer.from(await vm.nextBinary()).toString()).toBe("RFB 003.008\n");
  });

  test("a browser gets the viewer, anything else is told to upgrade", async () => {
    const page = await get(`/consoles/${token}/ubuntu`, html);
    expect([page.status, page.headers.get("content-type")]).toEqual([200, "text/html; charset=utf-8"]);
    expect((await get("/consoles/_viewer/client.js")).status).toBe(200);
    expect((await get(`/consoles/${token}/ubuntu`)).status).toBe(426);
  });

  test("a machine of somebody else is refused, as a page and as a socket", async () => {
    expect((await get(`/consoles/${token}/kali`, html)).status).toBe(403);
    expect(await ending(`/consoles/${token}/kali`)).toEqual({ code: 1000, reason: "invalid token" });
  });

  test("a stopped machine says so", async () => {
    expect(await ending(`/consoles/${token}/backup`)).toEqual({ code: 1011, reason: "not running" });
  });

  test("a desktop token opens no console, and a console token no desktop", async () => {
    expect((await get(`/consoles/${alice.desktopToken}/ubuntu`, html)).status).toBe(401);
    expect((await get(`/consoles/${alice.userToken}/ubuntu`, html)).status).toBe(401);
    expect((await pod("/spawner", token)).status).toBe(401);
  });

  test("a page of another origin opens no console", async () => {
    const url = new URL(`/consoles/${token}/ubuntu`, demo.url).href.replace("http", "ws");
    open.push(await connect(url, { Origin: new URL(demo.url).origin }));
    await expect(connect(url, { Origin: "http://evil.test" })).rejects.toThrow();
  });

  test("the desktops' routes stay as they are", async () => {
    expect(await (await get("/")).text()).toContain("<title>route-gateway demo</title>");
    // Three segments, and none of a console's.
    const elsewhere = await get("/one/two/three");
    expect([elsewhere.status, await elsewhere.text()]).toEqual([404, "not found\n"]);
    expect((await get("/API/version")).status).toBe(200);
    expect((await get("/consoles")).status).toBe(404);
    expect(await (await get("/consoles.js")).text()).toContain("ConsolesPane");
  });

  test("the printed address opens ubuntu for whoever has it, and nothing else", async () => {
    expect((await get(demo.consoleUrl, html)).status).toBe(200);
    expect((await get(demo.consoleUrl.replace(/ubuntu$/, "backup"), html)).status).toBe(403);
    const { exp } = JSON.parse(Buffer.from(demo.consoleUrl.split(".").at(-2)!, "base64url").toString()) as { exp: number };
    expect(exp - Date.now() / 1000).toBeWithin(3000, 3601);
  });
});

describe("demo's desktop token", () => {
  test("ends when it says so, and a refreshed one works", async () => {
    const short = await startDemo({ httpListen: "127.0.0.1:0", podDelayMs: 0, desktopTokenTtlS: 2 });
    try {
      const { userToken, desktopToken } = await createDesktop("alice", short.url);
      expect((await pod("/spawner", desktopToken, {}, short.url)).status).toBe(200);
      while ((await pod("/spawner", desktopToken, {}, short.url)).status === 200) await Bun.sleep(50);
      expect((await pod("/spawner", desktopToken, {}, short.url)).status).toBe(401);
      const refreshed = await callApi<DesktopToken>(short.url, "/composer/refreshdesktoptoken", { token: userToken });
      expect((await pod("/spawner", refreshed.desktopToken, {}, short.url)).status).toBe(200);
    } finally {
      await short.stop();
    }
  });
});

describe("demo as a whole", () => {
  test("takes the next free port when the wished one is taken", async () => {
    const { port, hostname } = new URL(demo.url);
    const second = await startDemo({ httpListen: `${hostname}:${port}` });
    const secondPort = new URL(second.url).port;
    await second.stop();
    expect(Number(secondPort)).toBeGreaterThan(Number(port));
  });

  test("keeps its keys to its user while it runs, and leaves nothing when it stops", async () => {
    const second = await startDemo({ httpListen: "127.0.0.1:0", podDelayMs: 0 });
    const { desktopToken } = await createDesktop("alice", second.url);
    const spawner = await pod("/spawner", desktopToken, {}, second.url);
    const { data } = await spawner.json() as { data: { address: string } };
    expect(statSync(second.directory).mode & 0o077).toBe(0);
    const files = readdirSync(second.directory);
    expect(files.length).toBe(2);
    for (const file of files) expect(statSync(join(second.directory, file)).mode & 0o077).toBe(0);
    const vm = await connect(second.consoleUrl.replace("http", "ws"));
    await vm.nextBinary();
    await Promise.all([second.stop(), second.stop()]);
    await vm.closed;

    expect(existsSync(second.directory)).toBe(false);
    const addresses = [
      second.url, `http://127.0.0.1:${second.controlPlanePort}/`, `http://127.0.0.1:${second.websitePort}/`,
      `http://127.0.0.1:${second.kubernetesPort}/`,
      `http://${data.address}:6081/`, `http://${data.address}:29783/`,
    ];
    for (const address of addresses) await expect(fetch(address)).rejects.toThrow();
  });
});
