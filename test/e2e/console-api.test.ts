// A browser's console request as the Kubernetes API sees it, and the API's answers as the browser sees them: what of each may
// cross to the other side, and what the log keeps.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { CONSOLES_TEXT } from "../../src/config/consoles.ts";
import { eventually } from "../support/eventually.ts";
import { type ConsoleRouter, consoleRouter, HAS_OPENSSL, KubernetesApi, NAMESPACE, SERVICE_ACCOUNT, status } from "../support/kubernetes.ts";
import type { PodConnection, Seen } from "../support/pod.ts";
import { TlsPod } from "../support/tls-pod.ts";
import { OP, WsClient } from "../support/ws-client.ts";

const VNC = `/apis/subresources.kubevirt.io/v1/namespaces/${NAMESPACE}/virtualmachineinstances/ubuntu/vnc`;
const SERIAL = "/apis/subresources.kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstances/{vmi_name}/console";

const open: WsClient[] = [];
const routers: ConsoleRouter[] = [];
let api: KubernetesApi;
let router: ConsoleRouter;

beforeAll(async () => {
  if (!HAS_OPENSSL) return;
  api = await KubernetesApi.start();
  api.addVm({ namespace: NAMESPACE, name: "ubuntu" });
  api.addVm({ namespace: NAMESPACE, name: "stopped", running: false });
  router = await consoleRouter(api);
});
afterEach(async () => {
  for (const client of open.splice(0)) client.close();
  for (const other of routers.splice(0)) await other.stop();
  if (!HAS_OPENSSL) return;
  api.answer(null);
  api.grant("vnc", true);
  api.grant("console", true);
  await eventually("sessions to end", () => [api.open, router.app.counts.sessions], ([bridged, sessions]) => bridged === 0 && sessions === 0);
});
afterAll(async () => {
  await router?.stop();
  await api?.stop();
});

async function visit(path: string, headers: Record<string, string | null> = {}, at: ConsoleRouter = router): Promise<WsClient> {
  const client = await WsClient.try(at.port, path, { headers, timeoutMs: 8000 });
  open.push(client);
  // A refusal is whole when its body is.
  if (client.status !== 101) await client.until(() => client.rest.length >= Number(client.header("content-length") ?? 0));
  return client;
}

async function another(options: Parameters<typeof consoleRouter>[1], before: Parameters<typeof consoleRouter>[0] = api): Promise<ConsoleRouter> {
  const made = await consoleRouter(before, options);
  routers.push(made);
  return made;
}

function lastLine(at: ConsoleRouter = router): Record<string, unknown> {
  return at.lines.filter(({ message }) => message === "access").at(-1) ?? {};
}

/** What of the API, its credentials and its words must be nowhere in what a client got. */
function expectNoTrace(client: WsClient, ...words: string[]): void {
  const got = client.head.replace(/^x-request-id: .*$/im, "") + client.rest;
  for (const word of [String(api.port), NAMESPACE, "token-", "eyJ", "127.0.0.1", "kubevirt", "Kubernetes", "serviceaccount", "virtualmachineinstance", ...words]) {
    expect(got).not.toContain(word);
  }
}

/** A refusal as a client reads it. */
function expectRefusal(client: WsClient, code: number, text: string): void {
  expect(client.head.split("\r\n")[0]).toMatch(new RegExp(`^HTTP/1\\.1 ${code} `));
  expect(client.rest).toBe(`${text}\n`);
  expect(client.header("content-type")).toBe("text/plain; charset=utf-8");
  expect(client.header("cache-control")).toBe("no-store");
  expect(client.header("sec-websocket-accept")).toBeNull();
  expect(client.header("location")).toBeNull();
}

const OURS = ["authorization", "connection", "host", "sec-websocket-key", "sec-websocket-protocol", "sec-websocket-version", "upgrade"];

describe.skipIf(!HAS_OPENSSL)("the request at the Kubernetes API (needs openssl)", () => {
  test("is ours alone: nothing of the client's headers is in it", async () => {
    const client = await visit(router.path("ubuntu"), {
      Cookie: "session=secret", Origin: "https://evil.test", Authorization: "Bearer of-the-client", "X-Forwarded-For": "198.51.100.9",
      "X-Forwarded-Host": "evil.test", Forwarded: "for=198.51.100.9", "User-Agent": "Mozilla/5.0", "Accept-Language": "de", Referer: "https://evil.test/",
      "Sec-WebSocket-Extensions": "permessage-deflate", "Sec-WebSocket-Protocol": "binary, base64.binary.k8s.io", "Impersonate-User": "admin", "X-Request-Id": "chosen",
    });
    expect(client.status).toBe(101);
    const seen = api.seen.at(-1);
    expect(Object.keys(seen?.headers ?? {}).toSorted()).toEqual(OURS);
    expect(seen).toMatchObject({ method: "GET", path: VNC, query: "" });
    expect(seen?.headers).toMatchObject({ host: `127.0.0.1:${api.port}`, "sec-websocket-protocol": "plain.kubevirt.io", "sec-websocket-version": "13" });
  });

  test("carries the service account's token, and not the client's key", async () => {
    const bearer = api.rotateToken();
    const client = await visit(router.path("ubuntu"), { "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==" });
    expect(client.status).toBe(101);
    expect(api.seen.at(-1)?.bearer).toBe(bearer);
    expect(api.seen.at(-1)?.headers["sec-websocket-key"]).not.toBe("dGhlIHNhbXBsZSBub25jZQ==");
    // RFC 6455 section 1.3: the answer to the client's own key.
    expect(client.header("sec-websocket-accept")).toBe("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  });

  test.each(["?preserveSession=true", "?preserveSession=true&preserveSession=false", "?x=%2e%2e%2f&vmi_name=other", "?"])(
    "has nothing of the client's query %p", async (query) => {
      expect((await visit(`${router.path("ubuntu")}${query}`)).status).toBe(101);
      expect(api.seen.at(-1)).toMatchObject({ path: VNC, query: "" });
    });

  test("takes the namespace from the token", async () => {
    api.addVm({ namespace: "lab-8", name: "ubuntu" });
    expect((await visit(router.path("ubuntu", { namespace: "lab-8" }))).status).toBe(101);
    expect(api.seen.at(-1)?.path).toBe(VNC.replace(NAMESPACE, "lab-8"));
  });

  test("asks for the serial console where the service does", async () => {
    const serial = await another({ apiPath: SERIAL });
    expect((await visit(serial.path("ubuntu"), {}, serial)).status).toBe(101);
    expect(api.seen.at(-1)?.path).toBe(VNC.replace("/vnc", "/console"));
  });

  test("a machine that the token does not list is never asked for", async () => {
    const before = api.seen.length;
    const client = await visit(`/${router.token({ vms: ["debian"] })}/ubuntu`);
    expectRefusal(client, 403, "forbidden");
    expect(api.seen.length).toBe(before);
    expect(lastLine()).toMatchObject({ status: 403, upstream_ms: null, reason: `the token does not list the virtual machine "ubuntu"` });
  });

  test("the client's token stands in no log line", async () => {
    const path = router.path("ubuntu");
    await visit(path);
    await visit(path.replace("ubuntu", "gone"));
    for (const part of (path.split("/")[1] as string).split(".")) expect(router.log.text).not.toContain(part);
  });

  test("the service account's token stands in no log line", async () => {
    const bearer = api.rotateToken();
    await visit(router.path("ubuntu"));
    api.answer(() => status(401, "Unauthorized", "Unauthorized"));
    await visit(router.path("ubuntu"));
    expect(router.lines.length).toBeGreaterThan(0);
    expect(router.log.text).not.toContain(bearer);
  });
});

describe("the request at a plain API, as kubectl proxy is", () => {
  test("carries no credentials, and is bridged all the same", async () => {
    const plain = await KubernetesApi.start({ tls: false });
    plain.addVm({ namespace: NAMESPACE, name: "ubuntu" });
    const local = await another({}, plain);
    try {
      const client = await visit(local.path("ubuntu"), { Authorization: "Bearer of-the-client" }, local);
      client.send(OP.binary, "RFB 003.008\n");
      await client.until(() => client.dataBytes === 12);
      expect(plain.seen).toMatchObject([{ method: "GET", path: VNC, query: "", bearer: null }]);
      expect(Object.keys(plain.seen[0]?.headers ?? {}).toSorted()).toEqual(OURS.filter((name) => name !== "authorization"));
    } finally {
      await local.stop();
      await plain.stop();
    }
  });
});

describe.skipIf(!HAS_OPENSSL)("a subprotocol (needs openssl)", () => {
  test.each([
    [null, null], ["binary", "binary"], ["plain.kubevirt.io", "plain.kubevirt.io"], ["foo", null], ["foo, binary", "binary"],
    ["plain.kubevirt.io, binary", "plain.kubevirt.io"], ["base64.plain.kubevirt.io", null], ["BINARY", null],
  ])("offered as %p is answered as %p", async (offered, answered) => {
    const client = await visit(router.path("ubuntu"), { "Sec-WebSocket-Protocol": offered });
    expect(client.status).toBe(101);
    expect(client.header("sec-websocket-protocol")).toBe(answered);
  });
});

describe.skipIf(!HAS_OPENSSL)("a refusal of the Kubernetes API (needs openssl)", () => {
  test("401: a token that it does not know is our fault, and the log says so", async () => {
    writeFileSync(api.files.token, "token-of-yesterday");
    const client = await visit(router.path("ubuntu"));
    api.rotateToken();
    expectRefusal(client, 502, "bad gateway");
    expectNoTrace(client, "Unauthorized", "yesterday");
    expect(client.header("www-authenticate")).toBeNull();
    expect(lastLine()).toMatchObject({ status: 502, target: `127.0.0.1:${api.port}/${NAMESPACE}/ubuntu` });
    expect(lastLine()["reason"]).toBe(`the Kubernetes API answered 401 for ${NAMESPACE}/ubuntu: Unauthorized; it does not know our service account token `
      + `(the permission "get" on "subresources.kubevirt.io" "virtualmachineinstances/vnc" in namespace "${NAMESPACE}")`);
  });

  test.each([["vnc", undefined], ["console", SERIAL]] as const)("403: the log names the permission that %s lacks", async (subresource, apiPath) => {
    const at = apiPath === undefined ? router : await another({ apiPath });
    api.grant(subresource, false);
    const client = await visit(at.path("ubuntu"), {}, at);
    expectRefusal(client, 502, "bad gateway");
    expectNoTrace(client, "Forbidden", "cannot get");
    const reason = String(lastLine(at)["reason"]);
    expect(reason).toContain(`our service account lacks the permission "get" on "subresources.kubevirt.io" "virtualmachineinstances/${subresource}" in namespace "${NAMESPACE}"`);
    expect(reason).toContain(`User "${SERVICE_ACCOUNT}"`);
  });

  test("403 of one subresource leaves the other one open", async () => {
    api.grant("console", false);
    expect((await visit(router.path("ubuntu"))).status).toBe(101);
  });

  test("404: there is no such virtual machine", async () => {
    const client = await visit(router.path("gone"));
    expectRefusal(client, 404, "no such virtual machine");
    expectNoTrace(client, "gone\" not found");
    expect(lastLine()["reason"]).toBe(`the Kubernetes API answered 404 for ${NAMESPACE}/gone: virtualmachineinstance.kubevirt.io "gone" not found`);
  });

  test("400: a machine that is off", async () => {
    const client = await visit(router.path("stopped"));
    expectRefusal(client, 503, "not running");
    expectNoTrace(client, "VMI");
    expect(lastLine()["reason"]).toBe(`the Kubernetes API answered 400 for ${NAMESPACE}/stopped: VMI is not running`);
  });

  test.each([
    [409, "Operation cannot be fulfilled on virtualmachineinstance.kubevirt.io \"ubuntu\": VMI is in failed status", 503, "not running"],
    [409, "Operation cannot be fulfilled on virtualmachineinstance.kubevirt.io \"active-directory\": VMI is not running", 503, "not running"],
    [400, "No graphics devices are present.", 503, "not running"],
    [503, "Active VNC connection. Request denied.", 503, "in use"],
    [503, "the server is currently unable to handle the request", 503, "not running"],
    [409, "", 503, "not running"],
    [500, "Internal error occurred: dialing virt-handler: dial tcp 10.0.0.7:8186: connection refused", 502, "bad gateway"],
    [429, "too many requests", 502, "bad gateway"],
    [502, "bad gateway of node-3", 502, "bad gateway"],
    [504, "timeout at node-3", 502, "bad gateway"],
    [200, "ok", 502, "bad gateway"],
    [418, "short and stout", 502, "bad gateway"],
  ])("%d with the message %p is %d %p for the client", async (code, message, seen, text) => {
    api.answer(() => status(code, "Any", message));
    const client = await visit(router.path("ubuntu"));
    expectRefusal(client, seen, text);
    expectNoTrace(client, "VMI", "node-3", "10.0.0.7", "denied", "graphics", "stout");
    expect(lastLine()).toMatchObject({ status: seen });
    expect(lastLine()["reason"]).toBe(`the Kubernetes API answered ${code} for ${NAMESPACE}/ubuntu${message === "" ? "" : `: ${message}`}`);
  });

  test("a line of text instead of a Status is logged as it is", async () => {
    api.answer(() => new Response("Active VNC connection. Request denied.\n", { status: 503 }));
    const client = await visit(router.path("ubuntu"));
    expectRefusal(client, 503, "in use");
    expect(lastLine()["reason"]).toBe(`the Kubernetes API answered 503 for ${NAMESPACE}/ubuntu: Active VNC connection. Request denied.`);
  });

  test.each([204, 304])("%d, which has no body, is a bad gateway", async (code) => {
    api.answer(() => new Response(null, { status: code }));
    expectRefusal(await visit(router.path("ubuntu")), 502, "bad gateway");
  });

  test.each([301, 302, 307, 308])("%d is not followed and not passed on", async (code) => {
    let followed = 0;
    const elsewhere = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => { followed += 1; return new Response("", { status: 404 }); } });
    try {
      const before = api.seen.length;
      api.answer(() => new Response(null, { status: code, headers: { Location: `http://127.0.0.1:${elsewhere.port}/secret` } }));
      const client = await visit(router.path("ubuntu"));
      expectRefusal(client, 502, "bad gateway");
      expectNoTrace(client, "secret");
      expect(followed).toBe(0);
      expect(api.seen.length).toBe(before + 1);
    } finally {
      await elsewhere.stop(true);
    }
  });

  test("sets no cookie and no header of the API at the client", async () => {
    api.answer(() => new Response("{}", { status: 403, headers: { "Set-Cookie": "a=b", "X-Kubernetes-Pf-Flowschema-Uid": "1", Warning: "299 - old", "Audit-Id": "7" } }));
    const { head } = await visit(router.path("ubuntu"));
    expect(head).not.toMatch(/^(set-cookie|x-kubernetes|warning|audit-id)/im);
  });

  test("with a message of line feeds and quotes is still one log line, and a long one is cut", async () => {
    const lines = router.lines.length;
    api.answer(() => status(500, "Any", `first\n{"level":"error"}\r\n${"x".repeat(3000)}`));
    await visit(router.path("ubuntu"));
    expect(router.lines.length).toBe(lines + 1);
    expect(String(lastLine()["reason"])).toContain("first\n{\"level\":\"error\"}");
    expect(String(lastLine()["reason"]).length).toBeLessThan(400);
  });

  test("after the upgrade, where that is asked for, is a close frame with our words", async () => {
    const late = await another({ env: { ROUTE_CLOSE_AFTER_UPGRADE: "true" } });
    const cases = [["gone", "no such virtual machine"], ["stopped", "not running"]] as const;
    for (const [vm, reason] of cases) {
      const client = await visit(late.path(vm), {}, late);
      expect(client.status).toBe(101);
      expect(await client.ended()).toEqual({ code: 1011, reason });
    }
  });
});

describe.skipIf(!HAS_OPENSSL)("an answer of the Kubernetes API that is none (needs openssl)", () => {
  let peer: TlsPod;
  let patient: ConsoleRouter;
  /** With a short readTimeout. */
  let quick: ConsoleRouter;

  beforeAll(async () => {
    peer = new TlsPod();
    quick = await consoleRouter(peer, { config: CONSOLES_TEXT.replace("    name: console\n", "    name: console\n    readTimeout: 500ms\n") });
    patient = await consoleRouter(peer);
  });
  afterAll(async () => {
    await quick?.stop();
    await patient?.stop();
    peer?.stop();
  });

  type Script = (seen: Seen, connection: PodConnection) => void;

  /** Also that the API's connection is gone soon afterwards. */
  async function answered(script: Script, at: ConsoleRouter = patient): Promise<{ client: WsClient; ms: number; reason: string }> {
    peer.pod.answer(script);
    const startedMs = performance.now();
    const client = await visit(at.path("ubuntu"), {}, at);
    const ms = performance.now() - startedMs;
    await peer.pod.until(() => peer.pod.open.size === 0);
    expectNoTrace(client, String(peer.port), peer.token);
    return { client, ms, reason: String(lastLine(at)["reason"]) };
  }

  const raw = (text: string): Script => (_seen, connection) => connection.write(text);
  const rawAndGone = (text: string): Script => (_seen, connection) => { connection.write(text); connection.close(); };
  const STATUS = JSON.stringify({ kind: "Status", status: "Failure", message: "VMI is not running", code: 409 });

  test("a body that never ends is waited for, for two seconds; the log has what came of it", async () => {
    const { client, ms, reason } = await answered(raw("HTTP/1.1 409 Conflict\r\nContent-Length: 9000\r\n\r\nVMI is"));
    expectRefusal(client, 503, "not running");
    expect(ms).toBeGreaterThan(1500);
    expect(ms).toBeLessThan(4000);
    expect(reason).toBe(`the Kubernetes API answered 409 for ${NAMESPACE}/ubuntu: VMI is`);
  });

  test("a body that drips is not waited for any longer", async () => {
    let drip: ReturnType<typeof setInterval> | null = null;
    const { client, ms } = await answered((_seen, connection) => {
      connection.write("HTTP/1.1 409 Conflict\r\nTransfer-Encoding: chunked\r\n\r\n");
      drip = setInterval(() => connection.write("1\r\nx\r\n"), 100);
    });
    clearInterval(drip ?? undefined);
    expectRefusal(client, 503, "not running");
    expect(ms).toBeLessThan(4000);
  });

  test("a body that floods is read up to 4 KiB, and answered at once", async () => {
    const { client, ms, reason } = await answered((_seen, connection) => {
      connection.write("HTTP/1.1 500 Oops\r\n\r\n");
      connection.write(Buffer.alloc(20 * 1024 * 1024, "flood "));
    });
    expectRefusal(client, 502, "bad gateway");
    expect(ms).toBeLessThan(1500);
    expect(reason.length).toBeLessThan(400);
  });

  test("a Status in chunks is read as one that is whole, at once", async () => {
    const [first, second] = [STATUS.slice(0, 30), STATUS.slice(30)];
    const chunks = [first, second].map((part) => `${part.length.toString(16)}\r\n${part}\r\n`).join("");
    const { client, ms, reason } = await answered(raw(`HTTP/1.1 409 Conflict\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`));
    expectRefusal(client, 503, "not running");
    expect(reason).toBe(`the Kubernetes API answered 409 for ${NAMESPACE}/ubuntu: VMI is not running`);
    expect(ms).toBeLessThan(1000);
  });

  test("a Status that ends with the connection is read whole", async () => {
    const { reason, ms } = await answered(rawAndGone(`HTTP/1.0 409 Conflict\r\nContent-Type: application/json\r\n\r\n${STATUS}`));
    expect(reason).toBe(`the Kubernetes API answered 409 for ${NAMESPACE}/ubuntu: VMI is not running`);
    expect(ms).toBeLessThan(1000);
  });

  test("a Status in many pieces is read whole", async () => {
    const { reason } = await answered((_seen, connection) => {
      const pieces = [`HTTP/1.1 409 Conflict\r\nContent-Length: ${STATUS.length}\r\n\r\n`, ...STATUS.split("\"").flatMap((part) => [part, "\""]).slice(0, -1)];
      const next = (): void => {
        const piece = pieces.shift();
        if (piece === undefined) return;
        if (piece !== "") connection.write(piece);
        setTimeout(next, 1);
      };
      next();
    });
    expect(reason).toBe(`the Kubernetes API answered 409 for ${NAMESPACE}/ubuntu: VMI is not running`);
  });

  test("no answer within the route's readTimeout is 504", async () => {
    const { client, ms, reason } = await answered(() => {}, quick);
    expectRefusal(client, 504, "gateway timeout");
    expect(reason).toBe("no answer to the upgrade in time");
    expect(ms).toBeLessThan(8000);
  });

  test("a head that never ends is 504 as well", async () => {
    const { client } = await answered(raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: web"), quick);
    expectRefusal(client, 504, "gateway timeout");
  });

  const accept = (lines: string): string => `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n${lines}\r\n`;

  test.each([
    ["a wrong Sec-WebSocket-Accept", raw(accept("Sec-WebSocket-Accept: dGhpcyBpcyBub3QgdGhlIGtleQ==\r\n")), "wrong Sec-WebSocket-Accept"],
    ["no Sec-WebSocket-Accept", raw(accept("")), "wrong Sec-WebSocket-Accept"],
    ["no Upgrade", raw("HTTP/1.1 101 Switching Protocols\r\n\r\n"), "101 without Upgrade: websocket"],
    ["a foreign subprotocol", ((seen, connection) => connection.accept(seen, "base64.plain.kubevirt.io")) as Script, "subprotocol that was not offered"],
    ["a protocol that is not HTTP", raw("RFB 003.008\n\r\n\r\n"), "control character in response head"],
    ["a refusal in chunks that are none", raw("HTTP/1.1 409 Conflict\r\nTransfer-Encoding: chunked\r\n\r\nlots\r\n"), "malformed chunk size"],
    ["a head without an end", raw(`HTTP/1.1 403 No\r\n${"X-Long: yes\r\n".repeat(8000)}`), "response head over 64 KiB"],
    ["a connection closed before it", rawAndGone(""), "upstream closed during the handshake"],
    ["a connection closed in the middle", rawAndGone("HTTP/1.1 101 Switching Pro"), "upstream closed during the handshake"],
  ] as Array<[string, Script, string]>)("%s is 502, and the log says what was wrong", async (_what, script, reason) => {
    const found = await answered(script);
    expectRefusal(found.client, 502, "bad gateway");
    expect(found.reason).toContain(reason);
  });

  test("a client that leaves while the API thinks takes the API's connection along", async () => {
    peer.pod.answer(() => {});
    const before = peer.pod.seen.length;
    const client = await WsClient.dial(patient.port, patient.path("ubuntu"));
    await peer.pod.until(() => peer.pod.seen.length > before && peer.pod.open.size === 1);
    client.cut();
    await peer.pod.until(() => peer.pod.open.size === 0);
    await eventually("the access line", () => lastLine(patient)["status"], (found) => found === 499);
  });
});

describe.skipIf(!HAS_OPENSSL)("the console policy (needs openssl)", () => {
  test("takeover: a second viewer takes the first one's place", async () => {
    const first = await visit(router.path("ubuntu"));
    const second = await visit(router.path("ubuntu"));
    expect(await first.ended()).toEqual({ code: 1000, reason: "" });
    expect(api.seen.at(-1)?.query).toBe("");
    second.send(OP.binary, "still here");
    await second.until(() => second.dataBytes === 10);
    expect(api.open).toBe(1);
  });

  test("preserve: a second viewer is refused, the first one stays", async () => {
    const kind = await another({ env: { ROUTE_CONSOLE_POLICY: "preserve" } });
    const first = await visit(kind.path("ubuntu"), {}, kind);
    expect(first.status).toBe(101);
    expect(api.seen.at(-1)).toMatchObject({ path: VNC, query: "?preserveSession=true" });
    const second = await visit(kind.path("ubuntu"), {}, kind);
    expectRefusal(second, 503, "in use");
    expectNoTrace(second, "Active", "denied");
    expect(lastLine(kind)["reason"]).toBe(`the Kubernetes API answered 503 for ${NAMESPACE}/ubuntu: Active VNC connection. Request denied.`);
    first.send(OP.binary, "still here");
    await first.until(() => first.dataBytes === 10);
  });

  test("preserve: the place is free again when the first viewer has left", async () => {
    const kind = await another({ env: { ROUTE_CONSOLE_POLICY: "preserve" } });
    const first = await visit(kind.path("ubuntu"), {}, kind);
    first.sendClose(1000);
    await eventually("the viewer to leave", () => api.open, (bridged) => bridged === 0);
    expect((await visit(kind.path("ubuntu"), {}, kind)).status).toBe(101);
  });

  test("a client cannot preserve its session by itself", async () => {
    const first = await visit(`${router.path("ubuntu")}?preserveSession=true`);
    const second = await visit(`${router.path("ubuntu")}?preserveSession=true`);
    expect(second.status).toBe(101);
    expect(await first.ended()).toEqual({ code: 1000, reason: "" });
  });

  test("screen and serial console of one machine do not take each other's place", async () => {
    const serial = await another({ apiPath: SERIAL });
    const screen = await visit(router.path("ubuntu"));
    const line = await visit(serial.path("ubuntu"), {}, serial);
    expect(line.status).toBe(101);
    screen.send(OP.binary, "still here");
    await screen.until(() => screen.dataBytes === 10);
    expect(api.open).toBe(2);
  });
});
