// Real clients behind a real Bun.serve: what curl and Chromium make of the head and the body together.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Server } from "bun";
import type { Browser } from "playwright-core";
import { compressStream } from "../../src/compression/compress.ts";
import { DEFAULT_LEVELS, ENCODINGS, type Encoding } from "../../src/compression/encoding.ts";
import { compressedHeaders } from "../../src/compression/headers.ts";
import { chooseEncoding } from "../../src/lib/accept-encoding.ts";
import { CHROMIUM, launchBrowser, openPage } from "../support/browser.ts";
import { CertificateAuthority, HAS_OPENSSL } from "../support/certificates.ts";
import { noise, PushedSource, records, streamOf } from "./bodies.ts";

const CURL = Bun.which("curl");
const BODY = records(300_000);
const BIG = noise(20_000_000);
/** The event stream that is open. */
let events = new PushedSource();
let cancelled = 0;

const PAGE = "<!doctype html><title>compression</title>";
const paths: Readonly<Record<string, () => [type: string, body: ReadableStream<Uint8Array>]>> = {
  "/": () => ["text/html", streamOf(new TextEncoder().encode(PAGE), 1000)],
  "/records": () => ["application/json", streamOf(BODY, 16_384)],
  "/big": () => ["text/plain", streamOf(BIG, 65_536)],
  "/events": () => {
    events = new PushedSource();
    events.push(": hello\n\n");
    return ["text/event-stream", events.stream];
  },
  "/cut": () => ["application/json", cutAfter(BODY)],
  "/endless": () => ["text/plain", new ReadableStream({ async pull(controller) { await Bun.sleep(1); controller.enqueue(noise(10_000)); }, cancel() { cancelled += 1; } })],
};

function cutAfter(body: Uint8Array): ReadableStream<Uint8Array> {
  let isSent = false;
  return new ReadableStream({
    async pull(controller) {
      await Bun.sleep(5);
      if (isSent) return controller.error(new Error("upstream died"));
      isSent = true;
      controller.enqueue(body);
    },
  });
}

function answer(request: Request): Response {
  const { pathname, search } = new URL(request.url);
  const made = paths[pathname]?.();
  if (made === undefined) return new Response(null, { status: 404 });
  const [type, body] = made;
  const encoding = chooseEncoding(request.headers.get("accept-encoding") ?? undefined, search === "" ? ENCODINGS : [search.slice(1) as Encoding]);
  if (encoding === null) return new Response(body, { headers: { "content-type": type } });
  const compressed = compressStream(body, encoding, DEFAULT_LEVELS[encoding], { flush: true, isLongLived: type === "text/event-stream" });
  return new Response(compressed, { headers: compressedHeaders([["content-type", type], ["etag", "\"x\""]], encoding) });
}

let server: Server<undefined>;
beforeAll(() => { server = Bun.serve({ port: 0, hostname: "127.0.0.1", development: false, fetch: answer }); });
afterAll(() => server.stop(true));
const url = (path: string): string => `http://127.0.0.1:${server.port}${path}`;

async function curl(...args: string[]): Promise<{ exit: number; stdout: Buffer }> {
  const child = Bun.spawn([CURL!, "--silent", "--max-time", "20", ...args], { stdout: "pipe", stderr: "ignore" });
  const stdout = Buffer.from(await new Response(child.stdout).arrayBuffer());
  return { exit: await child.exited, stdout };
}

describe.skipIf(CURL === null)("curl", () => {
  test.each([...ENCODINGS])("decodes %s", async (encoding) => {
    const { exit, stdout } = await curl("--compressed", "--header", `Accept-Encoding: ${encoding}`, "--write-out", "%header{content-encoding} %header{etag} %header{vary}", url("/records"));
    expect(exit).toBe(0);
    const text = stdout.toString();
    expect(text.endsWith(`${encoding} W/"x" Accept-Encoding`)).toBe(true);
    expect(text.startsWith(new TextDecoder().decode(BODY))).toBe(true);
  });

  test.each([...ENCODINGS])("sees a %s body that was cut as an error", async (encoding) => {
    const { exit, stdout } = await curl("--compressed", "--header", `Accept-Encoding: ${encoding}`, url("/cut"));
    expect(exit).not.toBe(0);
    expect(stdout.length).toBeLessThanOrEqual(BODY.length);
  });

  test("leaving in the middle ends the source", async () => {
    const before = cancelled;
    await curl("--compressed", "--max-time", "0.5", url("/endless"));
    expect(cancelled).toBe(before + 1);
  });
});

describe.skipIf(CURL === null || !HAS_OPENSSL)("over HTTP/2", () => {
  let authority: CertificateAuthority;
  let secure: Server<undefined>;
  beforeAll(() => {
    authority = new CertificateAuthority();
    secure = Bun.serve({ port: 0, hostname: "127.0.0.1", development: false, http2: true, tls: authority.sign({ names: ["DNS:localhost"] }), fetch: answer });
  });
  afterAll(async () => { await secure.stop(true); authority.remove(); });

  // Bun stalls on streams that enqueue in their pull: 20 MB took 6 s and more.
  test.each([...ENCODINGS])("20 MB of %s arrive without stalling", async (encoding) => {
    const { exit, stdout } = await curl("--http2", "--insecure", "--resolve", `localhost:${secure.port}:127.0.0.1`, "--header", `Accept-Encoding: ${encoding}`, "--output", "/dev/null",
      "--write-out", "%{http_version} %{size_download} %{time_total}", `https://localhost:${secure.port}/big`);
    const [version, bytes, seconds] = stdout.toString().split(" ");
    expect([exit, version, Number(bytes) > 19_900_000]).toEqual([0, "2", true]);
    expect(Number(seconds)).toBeLessThan(5);
  }, 30_000);
});

describe.skipIf(CHROMIUM === null)("Chromium", () => {
  let browser: Browser;
  beforeAll(async () => { browser = await launchBrowser(); }, 30_000);
  afterAll(() => browser?.close());

  test.each([...ENCODINGS])("decodes %s, whole and event by event", async (encoding: Encoding) => {
    const problems: string[] = [];
    const page = await openPage(browser, url("/"), { width: 300, height: 200 }, problems);
    const seen = await page.evaluate(async (encoding) => {
      const answer = await fetch(`/records?${encoding}`);
      return { encoding: answer.headers.get("content-encoding"), length: (await answer.text()).length };
    }, encoding);
    expect(seen).toEqual({ encoding, length: BODY.length });

    await page.evaluate(`new Promise((resolve, reject) => { const reader = new EventSource("/events?${encoding}"); globalThis.heard = [];
      reader.onmessage = ({ data }) => globalThis.heard.push(data); reader.onerror = reject; reader.onopen = resolve; }).then(() => null)`);
    for (let i = 0; i < 5; i++) {
      events.push(`data: ${i}\n\n`);
      await page.waitForFunction((count) => (globalThis as unknown as { heard: string[] }).heard.length === count, i + 1);
    }
    expect(await page.evaluate("globalThis.heard")).toEqual(["0", "1", "2", "3", "4"]);
    expect(problems).toEqual([]);
    await page.context().close();
  }, 30_000);
});
