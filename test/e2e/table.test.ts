// Every row of the endpoint table over HTTP: where a request goes, with which path, Host and headers, and what happens to
// its token. Judged by the bytes that the far side got.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import type { Pod, Seen } from "../support/pod.ts";
import { ask, Cluster, head, ok } from "../support/http.ts";

let cluster: Cluster;
beforeAll(async () => { cluster = await Cluster.start({ env: { NODE_NAME: "node-7" } }); });
afterAll(() => cluster.stop());
beforeEach(() => cluster.reset());

const HEADER_SOURCES: ReadonlyArray<readonly [name: string, line: (token: string) => string]> = [
  ["Authorization: Bearer", (token) => `Authorization: Bearer ${token}`],
  ["authorization: bearer", (token) => `authorization: bearer ${token}`],
  ["AbcAuthorization: Bearer", (token) => `AbcAuthorization: Bearer ${token}`],
  ["ABCAuthorization, bare", (token) => `ABCAuthorization: ${token}`],
];

/** The one request that `backend` got. */
function only(backend: Pod): Seen {
  expect(backend.seen).toHaveLength(1);
  return backend.seen[0] as Seen;
}

describe("a desktop route over HTTP", () => {
  const ROWS: ReadonlyArray<readonly [path: string, port: string, upstreamPath: string,
    host: "client" | "upstream"]> = [
    ["/spawner", "spawner_service_tcp_port", "/spawner", "client"],
    ["/spawner/a/b?c=d", "spawner_service_tcp_port", "/spawner/a/b?c=d", "client"],
    ["/terminals", "xterm_tcp_port", "/terminals", "upstream"],
    ["/terminals/7/size?cols=80", "xterm_tcp_port", "/terminals/7/size?cols=80", "upstream"],
    ["/filer", "file_service_tcp_port", "/filer", "upstream"],
    ["/filer/directory/list/?directory=~", "file_service_tcp_port", "/filer/directory/list/?directory=~", "upstream"],
    ["/printerfiler/x", "printerfile_service_tcp_port", "/printerfiler/x", "upstream"],
    ["/snapshot", "snapshot_service_tcp_port", "/snapshot", "upstream"],
  ];
  for (const [path, port, upstreamPath, host] of ROWS) {
    test.each(HEADER_SOURCES)(`${path} goes to ${port} with %s, and the token stays here`, async (_name, line) => {
      const token = cluster.router.token();
      const answer = await ask(cluster.port, head("GET", path, ["Host: desk.example:8443", line(token), "X-Kept: 1"]));
      expect(answer).toMatchObject({ status: 200, body: `${port} GET ${upstreamPath}` });
      const seen = only(cluster.pod);
      expect(seen).toMatchObject({ port, target: upstreamPath });
      expect(seen.headers["host"]).toEqual([host === "client" ? "desk.example:8443" : `127.0.1.1:${cluster.pod.port(port)}`]);
      expect(seen.headers["x-kept"]).toEqual(["1"]);
      expect(seen.head).not.toContain(token);
      expect(seen.head).not.toMatch(/authorization/i);
      expect(cluster.services.seen).toHaveLength(0);
    });
  }

  test("POST to /terminals creates a terminal: method and body arrive", async () => {
    await ask(cluster.port,
      `${head("POST", "/terminals", [cluster.bearer(), "Content-Type: application/json", "Content-Length: 11"])}{"cols":80}`);
    expect(only(cluster.pod)).toMatchObject({ method: "POST", target: "/terminals", port: "xterm_tcp_port",
      body: Buffer.from('{"cols":80}') });
  });

  test("AbcAuthorization is read before Authorization, whichever comes first", async () => {
    const lines = ["Authorization: Bearer garbage", `AbcAuthorization: ${cluster.router.token()}`];
    for (const order of [lines,
      lines.toReversed()]) expect((await ask(cluster.port, head("GET", "/filer", order))).status).toBe(200);
  });

  test("a bad token in the first source is not made good by a good one in the next", async () => {
    const answer = await ask(cluster.port, head("GET", "/filer", ["AbcAuthorization: garbage", cluster.bearer()]));
    expect(answer.status).toBe(401);
    expect(cluster.seenCount).toBe(0);
  });

  test("Authorization of another scheme is not a token, and goes on when another header has it", async () => {
    expect((await ask(cluster.port, head("GET", "/filer", ["Authorization: Basic eDp5"]))).status).toBe(401);
    expect((await ask(cluster.port,
      head("GET", "/filer",
      ["Authorization: Basic eDp5", `AbcAuthorization: ${cluster.router.token()}`]))).status).toBe(200);
    expect(only(cluster.pod).headers["authorization"]).toEqual(["Basic eDp5"]);
  });

  test("a token in the query is not a token for a header route", async () => {
    expect((await ask(cluster.port, head("GET", `/filer?jwt_token=${cluster.router.token()}`))).status).toBe(401);
  });

  test("the same token in several headers leaves with all of them", async () => {
    const token = cluster.router.token();
    await ask(cluster.port,
      head("GET", "/filer",
      [`Authorization: Bearer ${token}`, `AbcAuthorization: ${token}`, `Referer: http://desk/?jwt_token=${token}`]));
    expect(only(cluster.pod).head).not.toContain(token);
  });
});

describe("a WebSocket route asked over plain HTTP", () => {
  const REPLACED = [
    ["/websockify", "ws_tcp_bridge_tcp_port"], ["/signalling", "signalling_service_tcp_port"],
    ["/sound", "sound_service_tcp_port"], ["/sound/x", "sound_service_tcp_port"],
    ["/microphone", "microphone_service_tcp_port"], ["/gamepad", "gamepad_service_tcp_port"],
  ] as const;
  test.each(REPLACED)("%s goes to %s as / without a query, with the token in a parameter or as the whole query", async (path, port) => {
    const token = cluster.router.token();
    for (const query of [`jwt_token=${token}`, `a=b&jwt_token=${token}&c=d`, token]) {
      cluster.reset();
      expect((await ask(cluster.port, head("GET", `${path}?${query}`))).status).toBe(200);
      expect(only(cluster.pod)).toMatchObject({ port, target: "/" });
      expect(only(cluster.pod).headers["host"]).toEqual([`127.0.1.1:${cluster.pod.port(port)}`]);
      expect(only(cluster.pod).head).not.toContain(token);
    }
  });

  const FORWARDED = [["/broadcast", "broadcast_tcp_port"], ["/broadcast/x", "broadcast_tcp_port"],
    ["/terminals/7", "xterm_tcp_port"]] as const;
  test.each(FORWARDED)("%s goes to %s as it came, the token in its query included", async (path, port) => {
    const token = cluster.router.token();
    for (const query of [`jwt_token=${token}`, `a=b&jwt_token=${token}`, token]) {
      cluster.reset();
      expect((await ask(cluster.port, head("GET", `${path}?${query}`))).status).toBe(200);
      expect(only(cluster.pod)).toMatchObject({ port, target: `${path}?${query}` });
    }
  });

  test("/terminals/<pid> takes the token from headers as well, and forwards them", async () => {
    for (const [, line] of HEADER_SOURCES) {
      cluster.reset();
      const token = cluster.router.token();
      expect((await ask(cluster.port, head("GET", "/terminals/7", [line(token)]))).status).toBe(200);
      expect(only(cluster.pod).head).toContain(token);
    }
  });

  test.each(["/websockify", "/broadcast", "/sound"])("%s takes no token from a header", async (path) => {
    expect((await ask(cluster.port, head("GET", path, [cluster.bearer()]))).status).toBe(401);
  });

  test.each(["/websockify/x", "/websockifyx",
    "/signalling/"])("%s is not one of them, but the website's", async (path) => {
    await ask(cluster.port, head("GET", path));
    expect(only(cluster.services)).toMatchObject({ port: "website", target: path });
  });
});

describe("/container", () => {
  test.each(["//container/TOKEN/29783/x", "/container%2fTOKEN/29783", "/%63ontainer/TOKEN/29783/", "/container;x/TOKEN/29783/"])(
    "in another spelling is refused, so that its token gets to nobody's log: %s", async (path) => {
      expect((await ask(cluster.port, head("GET", path.replace("TOKEN", cluster.router.token())))).status).toBe(400);
      expect(cluster.seenCount).toBe(0);
    });

  test("a token without a port goes nowhere, least of all to the website", async () => {
    const before = cluster.pod.seen.length;
    for (const path of [`/container/${cluster.router.token()}/`, "/container", "/container/"]) {
      expect((await ask(cluster.port, head("GET", path))).status).toBe(404);
    }
    expect(cluster.pod.seen.length).toBe(before);
  });

  test.each([["", "/"], ["/", "/"], ["/a/b%2fc?d=e", "/a/b%2fc?d=e"], ["//a", "//a"], ["?d=e", "/?d=e"]])(
    "/<token>/<port>%s goes to that port as %s, with the client's Host and without the token", async (rest, target) => {
      const token = cluster.router.token();
      const port = cluster.pod.port("sound_service_tcp_port");
      expect((await ask(cluster.port,
        head("GET", `/container/${token}/${port}${rest}`, ["Host: desk.example"]))).status).toBe(200);
      expect(only(cluster.pod)).toMatchObject({ port: "sound_service_tcp_port", target });
      expect(only(cluster.pod).headers["host"]).toEqual(["desk.example"]);
      expect(only(cluster.pod).head).not.toContain(token);
    });

  test.each(["", "/", "/a/b"])("a redirect of the service to its own address stays below /<token>/<port>, from %p, and the token stays out of the log", async (rest) => {
    const token = cluster.router.token();
    const port = cluster.pod.port("sound_service_tcp_port");
    cluster.pod.answer((_seen, connection) => connection.write(ok("", [`Location: http://127.0.1.1:${port}/login?next=/`], "302 Found")));
    expect((await ask(cluster.port, head("GET", `/container/${token}/${port}${rest}`))).one("location")).toBe(`/container/${token}/${port}/login?next=/`);
    expect(cluster.router.lines.at(-1)).toMatchObject({ status: 302 });
    expect(cluster.router.log.text).not.toContain(token);
  });

  test("/<port> takes the token from headers and goes to /", async () => {
    for (const [, line] of HEADER_SOURCES) {
      cluster.reset();
      const answer = await ask(cluster.port,
        head("GET", `/container/${cluster.pod.port("file_service_tcp_port")}`,
        [line(cluster.router.token()), "Host: desk.example"]));
      expect(answer.status).toBe(200);
      expect(only(cluster.pod)).toMatchObject({ port: "file_service_tcp_port", target: "/" });
      expect(only(cluster.pod).headers["host"]).toEqual(["desk.example"]);
    }
  });

  test.each(["22", "80", "0", "65536", "99999", "x", "-1", "+6081", "%36081",
    "06081"])("refuses port %s, whoever asks", async (port) => {
    expect((await ask(cluster.port, head("GET", `/container/${cluster.router.token()}/${port}/`))).status).toBe(403);
    expect((await ask(cluster.port, head("GET", `/container/${port}`, [cluster.bearer()]))).status).toBe(403);
    expect(cluster.seenCount).toBe(0);
  });

  test("asks for the token before it says anything about the port", async () => {
    expect((await ask(cluster.port, head("GET", "/container/garbage/22/"))).status).toBe(401);
    expect((await ask(cluster.port, head("GET", "/container/22"))).status).toBe(401);
  });
});

describe("a route without a token", () => {
  const ROWS: ReadonlyArray<readonly [path: string, service: string, target: string, host: "client" | "upstream"]> = [
    ...["/API", "/API/auth", "/API/manager/image", "/API/manager/image/x", "/API/composer/launchdesktop",
      "/API/composer/launchdesktop/x", "/status", "/autologin/x", "/oauth", "/moauth",
      "/gauth/x", "/fauth"].map((path) => [path, "pyos", path, "client"] as const),
    ["/console", "console", "/", "client"], ["/console/", "console", "/", "client"],
    ["/console?a=b", "console", "/?a=b", "client"], ["/console/x/y", "console", "/x/y", "client"],
    ["/console//x", "console", "/x", "client"], ["/console///evil.example/x", "console", "/evil.example/x", "client"],
    ["/consolex", "website", "/consolex", "upstream"],
    ["/speedtest", "speedtest", "/", "upstream"],
    ["/speedtest/garbage.php?ckSize=1", "speedtest", "/garbage.php?ckSize=1", "upstream"],
    ["/speedtest//x", "speedtest", "/x", "upstream"], ["/", "website", "/", "upstream"],
    ["/index.html", "website", "/index.html", "upstream"],
    ["/APIs", "website", "/APIs", "upstream"], ["/api", "website", "/api", "upstream"],
    ["/filerx", "website", "/filerx", "upstream"], ["/healthz/x", "website", "/healthz/x", "upstream"],
  ];
  test.each(ROWS)("%s goes to %s as %s with the %s's Host", async (path, service, target, host) => {
    expect((await ask(cluster.port, head("GET", path, ["Host: desk.example:81"]))).status).toBe(200);
    expect(only(cluster.services)).toMatchObject({ port: service, target });
    expect(only(cluster.services).headers["host"]).toEqual([host === "client" ? "desk.example:81" : `127.0.1.2:${cluster.services.port(service)}`]);
    expect(cluster.pod.seen).toHaveLength(0);
  });

  test("passes credentials on: they are not ours", async () => {
    await ask(cluster.port, head("GET", "/API", ["Authorization: Bearer x.y.z", "Cookie: a=b"]));
    expect(only(cluster.services).headers).toMatchObject({ authorization: ["Bearer x.y.z"], cookie: ["a=b"] });
  });

  test.each(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])("passes %s on", async (method) => {
    const body = method === "GET" || method === "HEAD" ? "" : "body";
    await ask(cluster.port, head(method, "/API", body === "" ? [] : ["Content-Length: 4"]) + body);
    expect(only(cluster.services)).toMatchObject({ method, body: Buffer.from(body) });
  });
});

describe("answers of our own", () => {
  test.each([["/healthz", "OK\n"], ["/node", "node-7\n"],
    ["/healthz?x", "OK\n"]])("%s says %p in plain text", async (path, body) => {
    const answer = await ask(cluster.port, head("GET", path));
    expect(answer).toMatchObject({ status: 200, body });
    expect(answer.one("content-type")).toBe("text/plain; charset=utf-8");
    expect(answer.one("content-length")).toBe(String(body.length));
    expect(cluster.seenCount).toBe(0);
  });

  test("HEAD has the same head and no body", async () => {
    const answer = await ask(cluster.port, head("HEAD", "/healthz"));
    expect(answer).toMatchObject({ status: 200, body: "" });
    expect(answer.one("content-length")).toBe("3");
  });

  test("other methods are refused with the two that are offered", async () => {
    const answer = await ask(cluster.port, head("DELETE", "/healthz"));
    expect(answer).toMatchObject({ status: 405, body: "method not allowed\n" });
    expect(answer.one("allow")).toBe("GET, HEAD");
  });

  test("without a webroot there is nothing below /.well-known/", async () => {
    expect((await ask(cluster.port, head("GET", "/.well-known/acme-challenge/x"))).status).toBe(404);
    expect((await ask(cluster.port, head("GET", "/.well-known/"))).status).toBe(404);
    expect(cluster.seenCount).toBe(0);
  });
});

describe("ports are settings", () => {
  test("the default table has the platform's ports", async () => {
    const { loadSettings } = await import("../../src/config/load.ts");
    const { routes } = await loadSettings({ env: { JWT_DESKTOP_SIGNING_PUBLIC_KEY: "a",
      JWT_DESKTOP_PAYLOAD_PRIVATE_KEY: "b" } });
    const ports = Object.fromEntries(routes.flatMap(({ match,
      service }) => (service.kind === "target" ? [[match.path, service.port]] : [])));
    expect(ports).toEqual({
      "/spawner": 29786, "/terminals/": 29781, "/terminals/{id}/size": 29781, "/terminals": 29781, "/filer": 29783,
      "/printerfiler": 29782, "/websockify": 6081, "/signalling": 29787,
      "/broadcast": 29784, "/sound": 29788, "/microphone": 29789, "/gamepad": 29790, "/snapshot": 29785,
      "/container/{token}/{port}/{path*}": "path", "/container/{port}": "path",
    });
  });
});

describe("allowedClients", () => {
  test.each([["127.0.0.0/8", 200],
    ["10.0.0.0/8", 403]])("%s on /console gives a client at 127.0.0.1 %d", async (cidr, status) => {
    const other = await Cluster.start({ env: { ROUTE_CONSOLE_ALLOWED_CLIENTS: cidr } });
    try {
      expect((await ask(other.port, head("GET", "/console/x"))).status).toBe(status);
      // A stranger's word about who it is counts for nothing.
      expect((await ask(other.port,
        head("GET", "/console/x",
        ["X-Forwarded-For: 10.1.1.1", "X-Real-IP: 10.1.1.1", "Forwarded: for=10.1.1.1"]))).status).toBe(status);
      expect((await ask(other.port, head("GET", "/API/x"))).status).toBe(200);
    } finally {
      await other.stop();
    }
  });

  test("counts the client that a trusted proxy names, not the proxy", async () => {
    const other = await Cluster.start({ env: { ROUTE_CONSOLE_ALLOWED_CLIENTS: "10.0.0.0/8",
      ROUTE_TRUSTED_PROXIES: "127.0.0.1" } });
    try {
      expect((await ask(other.port, head("GET", "/console/x", ["X-Forwarded-For: 10.1.1.1"]))).status).toBe(200);
      expect((await ask(other.port,
        head("GET", "/console/x", ["X-Forwarded-For: 10.1.1.1, 203.0.113.9"]))).status).toBe(403);
      expect((await ask(other.port, head("GET", "/console/x"))).status).toBe(403);
    } finally {
      await other.stop();
    }
  });
});
