// HTTP/2 at an HTTPS front: much at a time, large bodies whole and without stalls, clients that give up, and requests that no
// library would send. By curl and nghttp, and frame by frame.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { HAS_OPENSSL } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { curl, run } from "../support/https-client.ts";
import { type Field, H2Client } from "../support/https-h2.ts";
import { Origin, patternOf, sha256 } from "../support/https-origin.ts";
import { HttpsRouter } from "../support/https-router.ts";
import type { Seen } from "../support/pod.ts";

const HAS_NGHTTP = Bun.which("nghttp") !== null && Bun.which("h2load") !== null;
const MIB = 1024 ** 2;
/** Ten times what the bodies take; Bun's own stalls, which this is about, take longer. */
const STALLED_MS = 15_000;

let origin: Origin;
let router: HttpsRouter;
let token: string;

beforeAll(async () => {
  if (!HAS_OPENSSL) return;
  origin = new Origin();
  router = await HttpsRouter.start({
    tls: (files) => {
      files.put("local", "localhost");
      return files.section(["desk", "local"]);
    },
    env: { FILE_SERVICE_TCP_PORT: String(origin.port) },
  });
  token = router.token();
});
afterAll(async () => {
  await router?.stop();
  await origin?.stop();
});

const bearer = (): Field => ["authorization", `Bearer ${token}`];
const accessLines = (): Array<Record<string, unknown>> => router.events("access");

async function withClient(use: (client: H2Client) => Promise<void>): Promise<void> {
  const client = await H2Client.open(router, "desk.test");
  try {
    await use(client);
  } finally {
    client.close();
  }
}

/** The connection serves on. */
async function expectAlive(client: H2Client): Promise<void> {
  expect(await client.ended(client.get("/healthz"))).toMatchObject({ status: 200, bytes: 3, isEnded: true, resetCode: null });
}

describe.skipIf(!HAS_OPENSSL)("HTTP/2", () => {
  test.skipIf(!HAS_NGHTTP)("serves 3,000 requests in 100 streams of 4 connections, each with its access line", async () => {
    const before = accessLines().length;
    const { stdout } = await run(["h2load", "-n", "3000", "-c", "4", "-m", "100", "-H", bearer().join(": "), `https://localhost:${router.port}/filer/x`]);
    expect(stdout).toContain("requests: 3000 total, 3000 started, 3000 done, 3000 succeeded, 0 failed, 0 errored, 0 timeout");
    expect(stdout).toContain("Application protocol: h2");
    const lines = accessLines().slice(before);
    expect(lines.length).toBe(3000);
    expect(new Set(lines.map(({ request_id }) => request_id)).size).toBe(3000);
    expect(lines.every(({ status, client, service }) => status === 200 && client === "127.0.0.1" && service === "filer")).toBe(true);
  }, 30_000);

  test.skipIf(!HAS_NGHTTP)("serves nghttp, many requests at a time and an upload", async () => {
    const url = `https://localhost:${router.port}/filer/x`;
    const { stdout } = await run(["nghttp", "-n", "-s", "-y", "-m", "50", "-H", bearer().join(": "), url]);
    expect((stdout.match(/ 200 +\d+ \/filer\/x/g) ?? []).length).toBe(50);
    const file = router.files.file("upload");
    writeFileSync(file, patternOf(3));
    const upload = await run(["nghttp", "-y", "-d", file, "-H", bearer().join(": "), url]);
    expect(upload.stdout).toBe(sha256(patternOf(3)));
  }, 30_000);

  test("uploads 64 MiB whole", async () => {
    const file = router.files.file("upload");
    writeFileSync(file, patternOf(64));
    const startedMs = performance.now();
    const { stdout } = await curl(router, "desk.test", "/filer/up", "--http2", "-H", bearer().join(": "), "-T", file, "-w", " %{http_version}");
    expect(stdout).toBe(`${sha256(patternOf(64))} 2`);
    expect(performance.now() - startedMs).toBeLessThan(STALLED_MS);
    expect(accessLines().at(-1)).toMatchObject({ status: 200, bytes_in: 64 * MIB });
  }, 30_000);

  test("uploads what has no announced length whole, and no body as none", async () => {
    await withClient(async (client) => {
      const upload = client.request(client.fields("PUT", "/filer/up", [bearer()]), false);
      for (const text of ["hel", "lo"]) client.data(upload, Buffer.from(text));
      client.data(upload, Buffer.alloc(0), true);
      expect(Buffer.concat((await client.ended(upload)).body).toString()).toBe(sha256(Buffer.from("hello")));
      const framing = async (method: string): Promise<unknown[]> => {
        expect((await client.ended(client.request(client.fields(method, "/printerfiler/x", [bearer()])))).status).toBe(200);
        const { headers, body } = router.pod.seen.at(-1) as Seen;
        return [headers["content-length"]?.[0], headers["transfer-encoding"]?.[0], body.length];
      };
      expect([await framing("POST"), await framing("DELETE")]).toEqual([["0", undefined, 0], [undefined, undefined, 0]]);
    });
    const file = router.files.file("upload");
    writeFileSync(file, patternOf(8));
    const { stdout } = await run(["sh", "-c", `exec curl -sS --http2 --cacert "$1" --resolve "desk.test:$2:127.0.0.1" -H "$3" -T - "https://desk.test:$2/filer/up" < "$4"`, "sh", router.caFile, String(router.port), bearer().join(": "), file]);
    expect(stdout).toBe(sha256(patternOf(8)));
  });

  test("downloads 64 MiB whole, without a stall", async () => {
    const file = router.files.file("download");
    const startedMs = performance.now();
    const { stdout } = await curl(router, "desk.test", "/filer/bytes/64", "--http2", "-H", bearer().join(": "), "-o", file, "-w", "%{http_version}");
    expect(stdout).toBe("2");
    expect(performance.now() - startedMs).toBeLessThan(STALLED_MS);
    expect(sha256(await Bun.file(file).bytes())).toBe(sha256(patternOf(64)));
    await eventually("its line", () => accessLines().at(-1), (line) => line?.["bytes_out"] === 64 * MIB);
  }, 30_000);

  test("downloads eight bodies at a time on one connection, beside small requests", async () => {
    await withClient(async (client) => {
      client.keeps = false;
      const streams = Array.from({ length: 8 }, () => client.get("/filer/bytes/8", [bearer()]));
      const small = client.get("/healthz");
      expect((await client.ended(small)).status).toBe(200);
      for (const stream of streams) expect(await client.ended(stream, STALLED_MS)).toMatchObject({ status: 200, bytes: 8 * MIB, resetCode: null });
    });
  }, 30_000);

  test.each([20_000, 31_000])("passes a header of %d bytes on", async (bytes) => {
    await withClient(async (client) => {
      const { status } = await client.ended(client.get("/printerfiler/x", [bearer(), ["x-big", "a".repeat(bytes)]]));
      expect(status).toBe(200);
      expect(router.pod.seen.at(-1)?.headers["x-big"]?.[0]?.length).toBe(bytes);
      await expectAlive(client);
    });
  });

  test("refuses headers over our limit with 431, and over the server's with the end of the connection", async () => {
    await withClient(async (client) => {
      expect((await client.ended(client.get("/healthz", [["x-big", "a".repeat(40_000)]]))).status).toBe(431);
      expect(accessLines().at(-1)).toMatchObject({ status: 431, path: "" });
      expect((await client.ended(client.get("/healthz", Array.from({ length: 150 }, (_, index): Field => [`x-${index}`, "v"])))).status).toBe(431);
      await expectAlive(client);
      await client.ended(client.get("/healthz", [["x-big", "a".repeat(80_000)]]));
      expect([client.goaway !== null || client.isClosed, client.stream(1).status]).toEqual([true, 431]);
    });
    await withClient(expectAlive);
  });
});

describe.skipIf(!HAS_OPENSSL)("a client that gives up over HTTP/2", () => {
  test("in the middle of a download ends it at the service, and nothing else", async () => {
    await withClient(async (client) => {
      client.keeps = false;
      const before = origin.givenUp;
      const stream = client.get("/filer/half/64", [bearer()]);
      const other = client.get("/filer/slow", [bearer()]);
      await client.until(() => client.stream(stream).bytes > MIB && origin.waiting > 0);
      client.reset(stream);
      await eventually("the end at the service", () => origin.givenUp, (count) => count === before + 1);
      await eventually("its line", () => accessLines().at(-1), (line) => line?.["path"] === "/filer/half/64" && typeof line["reason"] === "string");
      origin.release();
      expect((await client.ended(other)).status).toBe(200);
      await expectAlive(client);
    });
    await eventually("nothing running", () => router.app.counts.running, (count) => count === 0);
  });

  test("in the middle of an upload ends it at the service, and nothing else", async () => {
    await withClient(async (client) => {
      const before = origin.givenUp;
      const stream = client.request(client.fields("PUT", "/filer/up", [bearer(), ["content-length", "60000000"]]), false);
      client.data(stream, Buffer.alloc(16_000, 1));
      await eventually("the upload at the service", () => origin.running, (count) => count === 1);
      client.reset(stream);
      await eventually("the end at the service", () => origin.givenUp, (count) => count === before + 1);
      await eventually("its line", () => accessLines().at(-1), (line) => line?.["status"] === 499 && line["path"] === "/filer/up");
      await expectAlive(client);
    });
  });

  test("a thousand times at once starts hardly anything at the service, and is logged", async () => {
    await withClient(async (client) => {
      const [begun, lines] = [origin.begun, accessLines().length];
      for (let count = 0; count < 1000; count += 1) client.reset(client.get("/filer/slow", [bearer()]));
      await eventually("a line for each", () => accessLines().length, (count) => count === lines + 1000);
      expect(accessLines().slice(lines).every(({ status }) => status === 499)).toBe(true);
      expect(origin.begun - begun).toBeLessThanOrEqual(client.streamLimit);
      await expectAlive(client);
    });
    await eventually("nothing left", () => [router.app.counts.running, router.app.counts.upstream.open - router.app.counts.upstream.idle, origin.running], (left) => left.every((count) => count === 0));
  });

  test("a thousand times, each as soon as the service has begun, has no more at the service than streams are served at a time", async () => {
    await withClient(async (client) => {
      await expectAlive(client);
      const begun = origin.begun;
      origin.peak = 0;
      const atATime = Math.min(client.streamLimit, 50);
      for (let round = 0; round < 1000 / atATime; round += 1) {
        const wanted = origin.begun + atATime;
        const streams = Array.from({ length: atATime }, () => client.get("/filer/slow", [bearer()]));
        await client.until(() => origin.begun >= wanted);
        for (const stream of streams) client.reset(stream);
        await eventually("the end at the service", () => origin.running, (count) => count === 0);
      }
      expect(origin.begun - begun).toBe(1000);
      expect(origin.peak).toBe(atATime);
      await expectAlive(client);
    });
    expect(router.app.counts.upstream.open - router.app.counts.upstream.idle).toBe(0);
  }, 30_000);
});

describe.skipIf(!HAS_OPENSSL)("a request that HTTP/2 does not allow", () => {
  const PROTOCOL_ERROR = 1;
  const from = (...fields: Field[]) => (): Field[] => fields;
  const METHOD: Field = [":method", "GET"];
  const SCHEME: Field = [":scheme", "https"];
  const NAME: Field = [":authority", "desk.test"];
  const PATH: Field = [":path", "/healthz"];

  test.each([
    ["without a host", from(METHOD, SCHEME, PATH)], ["with an empty host", from(METHOD, SCHEME, [":authority", ""], PATH)],
    ["with a user in its host", from(METHOD, SCHEME, [":authority", "a@desk.test"], PATH)], ["with two hosts", from(METHOD, SCHEME, NAME, [":authority", "evil.test"], PATH)],
    ["with another host beside its authority", from(METHOD, SCHEME, NAME, PATH, ["host", "evil.test"])], ["with two paths", from(METHOD, SCHEME, NAME, PATH, [":path", "/node"])],
    ["with two methods", from(METHOD, [":method", "POST"], SCHEME, NAME, PATH)], ["with a pseudo-header behind a header", from(METHOD, SCHEME, ["x", "y"], NAME, PATH)],
    ["with an unknown pseudo-header", from(METHOD, SCHEME, NAME, PATH, [":foo", "x"])], ["with a status", from([":status", "200"], METHOD, SCHEME, NAME, PATH)],
    ["with an empty path", from(METHOD, SCHEME, NAME, [":path", ""])], ["with a path that is no path", from(METHOD, SCHEME, NAME, [":path", "healthz"])],
    ["with an address for a path", from(METHOD, SCHEME, NAME, [":path", "https://evil.test/healthz"])], ["with a line end in its path", from(METHOD, SCHEME, NAME, [":path", "/healthz\r\nx: y"])],
    ["with a space in its path", from(METHOD, SCHEME, NAME, [":path", "/healthz HTTP/1.1"])], ["with a NUL in its path", from(METHOD, SCHEME, NAME, [":path", "/healthz\0"])],
    ["with a space in its method", from([":method", "GET /x"], SCHEME, NAME, PATH)], ["with a name in capitals", from(METHOD, SCHEME, NAME, PATH, ["X-Upper", "1"])],
    ["with a space in a name", from(METHOD, SCHEME, NAME, PATH, ["x y", "1"])], ["with a colon in a name", from(METHOD, SCHEME, NAME, PATH, ["x:y", "1"])],
    ["with a line end in a value", from(METHOD, SCHEME, NAME, PATH, ["x", "1\r\ny: 2"])], ["with a NUL in a value", from(METHOD, SCHEME, NAME, PATH, ["x", "1\0"])],
    ["with a connection header", from(METHOD, SCHEME, NAME, PATH, ["connection", "close"])], ["with chunked encoding", from(METHOD, SCHEME, NAME, PATH, ["transfer-encoding", "chunked"])],
    ["with an upgrade", from(METHOD, SCHEME, NAME, PATH, ["upgrade", "websocket"])], ["with TE other than trailers", from(METHOD, SCHEME, NAME, PATH, ["te", "gzip"])],
    ["with a length and no body", from(METHOD, SCHEME, NAME, PATH, ["content-length", "5"])],
    ["for a WebSocket, which was not offered", from([":method", "CONNECT"], [":protocol", "websocket"], SCHEME, NAME, [":path", "/websockify"])],
  ])("%s is reset, and the connection goes on", async (_what, make) => {
    await withClient(async (client) => {
      const before = accessLines().length;
      expect(await client.ended(client.request(make()))).toMatchObject({ status: 0, resetCode: PROTOCOL_ERROR });
      await expectAlive(client);
      expect(accessLines().slice(before).map(({ path, status }) => [path, status])).toEqual([["/healthz", 200]]);
    });
  });
});

describe.skipIf(!HAS_OPENSSL)("an odd request over HTTP/2", () => {
  test.each([
    ["TRACE", "/healthz", 405], ["GET", "/healthz#x", 400], ["OPTIONS", "*", 400], ["GET", "/a/%2e%2e%2fhealthz", 400], ["GET", "/healthz%00", 400], ["PROPFIND", "/healthz", 405],
    ["GET", "/x/../healthz", 200], ["GET", "/x;/..;/healthz", 400],
  ])("%s %s is answered by our own rules: %d", async (method, path, status) => {
    await withClient(async (client) => {
      const before = accessLines().length;
      expect((await client.ended(client.request(client.fields(method, path)))).status).toBe(status);
      expect(accessLines().slice(before).map((line) => line["status"])).toEqual([status]);
    });
  });

  test.each([["FOO", 501], ["get", 501]])("the unknown method %s is refused and never sent on as another one", async (method, status) => {
    await withClient(async (client) => {
      const before = origin.begun;
      expect((await client.ended(client.request(client.fields(method, "/filer/x", [bearer()])))).status).toBe(status);
      expect(origin.begun).toBe(before);
      await expectAlive(client);
    });
  });

  test("CONNECT is refused", async () => {
    await withClient(async (client) => {
      const { status, resetCode } = await client.ended(client.request([[":method", "CONNECT"], [":authority", "desk.test:443"]]));
      expect(resetCode !== null || status >= 400).toBe(true);
      await expectAlive(client);
    });
  });

  test("names its host in either way, and a host of another certificate gets 421", async () => {
    await withClient(async (client) => {
      const about = async (...fields: Field[]): Promise<number> => (await client.ended(client.request([[":method", "GET"], [":scheme", "https"], [":path", "/healthz"], ...fields]))).status;
      expect(await about(["host", "desk.test"])).toBe(200);
      expect((await client.ended(client.request(client.fields("GET", "/healthz", [["host", `desk.test:${router.port}`]])))).status).toBe(200);
      expect(await about(["host", "localhost"])).toBe(421);
      await expectAlive(client);
    });
  });
});
