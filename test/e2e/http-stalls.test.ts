// Clients and pods that stop in the middle of an upload: both are given up in time, and told apart.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Pod } from "../support/pod.ts";
import { RawClient } from "../support/raw.ts";
import { TestRouter } from "../support/router.ts";

const CONFIG = `
entrypoints: { http: "127.0.0.1:0" }
upstream: { writeTimeout: 400ms }
services: { web: { url: "\${WEB_URL}" } }
routes: [{ path: /, service: web, bodyLimit: 1GiB }]
`;

let pod: Pod;
let router: TestRouter;

beforeAll(async () => {
  pod = new Pod("127.0.1.1", ["web"]);
  router = await TestRouter.start({ config: CONFIG, env: { WEB_URL: `http://127.0.1.1:${pod.port("web")}` } });
});

afterAll(async () => {
  await router.stop();
  pod.stop();
});

describe("an upload that stops", () => {
  test.each([
    ["of known length", "Content-Length: 200000\r\n\r\nfirst"],
    ["in chunks", "Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"],
  ])("at the client's end is answered with 408, and the pod's connection ends: %s", async (_name, rest) => {
    const client = await RawClient.open(router.port);
    client.write(`POST /x HTTP/1.1\r\nHost: a\r\n${rest}`);
    await client.until(() => client.text.includes("request timeout\n"));
    expect(client.status).toBe(408);
    await pod.until(() => pod.open.size === 0);
    expect(router.lines.filter(({ status }) => status === 408).at(-1)).toMatchObject({ reason: "client stopped sending its body" });
    client.close();
  });

  test("at the pod's end is answered with 504", async () => {
    const client = await RawClient.open(router.port);
    const before = pod.accepted;
    client.write("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 500000000\r\n\r\n");
    await pod.until(() => pod.accepted > before);
    for (const socket of pod.open) socket.pause();
    const block = Buffer.alloc(1024 * 1024);
    const send = (): void => {
      while (client.socket.writable && client.socket.write(block));
      client.socket.once("drain", send);
    };
    send();
    await client.until(() => client.status > 0, 10_000);
    expect(client.status).toBe(504);
    client.close();
    for (const socket of pod.open) socket.terminate();
  });
});

describe("the log", () => {
  test("holds no token of a path, however often it stands there", async () => {
    const token = router.token();
    const ask = (path: string): Promise<RawClient> => RawClient.ask(router.port, `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
    const other = await TestRouter.start();
    await RawClient.ask(other.port, `GET /container/${token}/6081/${token}/x HTTP/1.1\r\nHost: a\r\n\r\n`);
    await RawClient.ask(other.port, `GET /container/foo/80/${token}/x HTTP/1.1\r\nHost: a\r\n\r\n`);
    await ask(`/a/${token}`);
    expect(other.lines.filter(({ message }) => message === "access").length).toBe(2);
    expect(JSON.stringify([...other.lines, ...router.lines])).not.toContain(token.slice(0, 60));
    await other.stop();
  });
});
