// Collected or passed on: what a client sees of an answer that comes in two pieces, and a pod of a request that does.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Pod, type PodConnection } from "../support/pod.ts";
import { RawClient } from "../support/raw.ts";
import { TestRouter } from "../support/router.ts";

let pod: Pod;
let router: TestRouter;

beforeAll(async () => {
  pod = new Pod("127.0.1.1", ["web"]);
  const url = `http://127.0.1.1:${pod.port("web")}`;
  router = await TestRouter.start({ env: { SPEEDTEST_URL: url, WEBSITE_URL: url } });
});

afterAll(async () => {
  await router.stop();
  pod.stop();
});

/** The pod sends the head and half of its answer, and the other half when told. */
function halfAnswer(): Promise<PodConnection> {
  const { promise, resolve } = Promise.withResolvers<PodConnection>();
  pod.answer((_seen, connection) => {
    connection.write("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\nfirst");
    resolve(connection);
  });
  return promise;
}

describe("an answer in two pieces", () => {
  test("passes through the speed test piece by piece", async () => {
    const answering = halfAnswer();
    const client = await RawClient.open(router.port);
    client.write("GET /speedtest/garbage HTTP/1.1\r\nHost: a\r\n\r\n");
    const connection = await answering;
    await client.until(() => client.text.includes("first"));
    expect(client.text).not.toContain("other");
    connection.write("other");
    await client.until(() => client.text.includes("other"));
    client.close();
  });

  test("is collected elsewhere, and keeps its length", async () => {
    const answering = halfAnswer();
    const client = await RawClient.open(router.port);
    client.write("GET /page HTTP/1.1\r\nHost: a\r\n\r\n");
    (await answering).write("other");
    await client.until(() => client.text.includes("other"));
    expect(client.header("content-length")).toBe("10");
    expect(client.body).toBe("firstother");
    client.close();
  });
});

describe("a short request body in two pieces", () => {
  test("reaches the speed test before it is complete", async () => {
    // Without a kept connection, the request announces itself by a new one.
    for (const socket of pod.open) socket.end();
    await pod.until(() => pod.open.size === 0 && router.app.counts.upstream.open === 0);
    const client = await RawClient.open(router.port);
    const before = pod.accepted;
    client.write("POST /speedtest/empty HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfirst");
    await pod.until(() => pod.accepted > before);
    client.close();
  });

  test("waits for its end elsewhere", async () => {
    pod.answer((_seen, connection) => connection.write("HTTP/1.1 204 No Content\r\n\r\n"));
    const client = await RawClient.open(router.port);
    const before = pod.seen.length;
    client.write("POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfirst");
    // A whole request after it has come and gone: had the first one been passed on, the pod would have its connection by now.
    const other = await RawClient.ask(router.port, "GET /other HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(other.status).toBe(204);
    expect(pod.seen.slice(before).map(({ target }) => target)).toEqual(["/other"]);
    client.write("other");
    await client.until(() => client.status === 204);
    expect(pod.seen.at(-1)?.body.toString()).toBe("firstother");
    client.close();
  });
});
