import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { CHROMIUM, launchBrowser } from "../support/browser.ts";
import { Display, MISSING_PROGRAMS, startWebsockify, type Websockify } from "../support/display.ts";
import { colorAt, difference } from "../support/display-picture.ts";
import { eventually } from "../support/eventually.ts";
import { TestRouter } from "../support/router.ts";
import { podAddress, startWebsite, VncPage, type Website } from "../support/vnc.ts";
import { Tap } from "../support/vnc-tap.ts";

/** Something is not installed. */
const CANNOT_RUN = !CHROMIUM || MISSING_PROGRAMS.length > 0;
const SIZE = { width: 640, height: 400 };
/** `ROUTE_LONG_TESTS=1`: three minutes without a change on the screen, in place of two seconds. */
const IS_LONG = process.env["ROUTE_LONG_TESTS"] === "1";
const PING_INTERVAL_MS = IS_LONG ? 1000 : 200;
const ROUNDS = IS_LONG ? 180 : 10;
const TIMEOUT_MS = 60_000;

let display: Display;
let pod: string;
let websockify: Websockify;
let website: Website;
let router: TestRouter;
let browser: Browser;
let vnc: VncPage;
/** Between browser and router, and between router and websockify. */
let front: Tap;
let back: Tap;

/** The shipped configuration with a shorter interval. */
async function quickConfig(): Promise<string> {
  const shipped = await Bun.file(join(import.meta.dir, "../../routes.yaml")).text();
  expect(shipped).toContain("pingInterval: 30s");
  return shipped.replace("pingInterval: 30s", `pingInterval: ${PING_INTERVAL_MS}ms`);
}

/** Frames that are no keep-alive, on both legs and in both directions. */
function messages(): number {
  const ofLeg = (tap: Tap, direction: "toClient" | "toServer") => tap.count(direction, "binary") + tap.count(direction, "text");
  return [front, back].reduce((sum, tap) => sum + ofLeg(tap, "toClient") + ofLeg(tap, "toServer"), 0);
}

/** Ping rounds that both ends answered. */
function rounds(): number {
  return Math.min(front.count("toServer", "pong"), back.count("toServer", "ping"), back.count("toClient", "pong"));
}

async function passRounds(count: number, timeoutMs: number): Promise<void> {
  const wanted = rounds() + count;
  await eventually(`${count} rounds of pings`, rounds, (seen) => seen >= wanted, timeoutMs);
}

beforeAll(async () => {
  if (CANNOT_RUN) return;
  pod = podAddress();
  display = await Display.start(SIZE);
  browser = await launchBrowser();
  website = startWebsite();
  websockify = await startWebsockify(display, pod);
  back = await Tap.open(pod, { host: pod, port: websockify.port });
  const env = { WS_TCP_BRIDGE_TCP_PORT: String(back.port), WEBSITE_URL: website.url };
  router = await TestRouter.start({ env, config: await quickConfig() });
  front = await Tap.open("127.0.0.1", { host: "127.0.0.1", port: router.port });
  await display.run("xsetroot", "-solid", "#204060");
  vnc = await VncPage.open(browser, `http://127.0.0.1:${front.port}`, SIZE);
  await vnc.connect(`/websockify?jwt_token=${router.token(pod)}`);
}, TIMEOUT_MS);

afterAll(async () => {
  await browser?.close();
  await router?.stop();
  front?.stop();
  back?.stop();
  await website?.stop();
  await websockify?.stop();
  await display?.stop();
}, TIMEOUT_MS);

describe.skipIf(CANNOT_RUN)("a still remote screen", () => {
  test(`stays connected for ${ROUNDS} rounds of pings every ${PING_INTERVAL_MS} ms without any other frame`, async () => {
    await eventually("the picture", async () => difference(await display.picture(), await vnc.canvas()), (text) => text === "");
    await eventually("silence", async () => {
      const before = messages();
      await passRounds(2, 10_000);
      return messages() - before;
    }, (frames) => frames === 0);
    const [startMs, frames] = [performance.now(), messages()];
    await passRounds(ROUNDS, ROUNDS * PING_INTERVAL_MS * 3);
    expect(messages()).toBe(frames);
    // The pings are the configured ones, not some other keep-alive's.
    expect(performance.now() - startMs).toBeGreaterThan((ROUNDS - 2) * PING_INTERVAL_MS);
    expect(await vnc.events()).not.toContainEqual(expect.objectContaining({ type: "close" }));
    expect(router.app.counts.sessions).toBe(1);
  }, TIMEOUT_MS + ROUNDS * PING_INTERVAL_MS * 3);

  test("works afterwards: pictures and the pointer pass", async () => {
    await display.run("xsetroot", "-solid", "#602040");
    await eventually("another background", () => vnc.canvas(), (now) => colorAt(now, 10, 10) === "#602040");
    await vnc.page.mouse.move(321, 123);
    await eventually("the pointer", () => display.pointer(), ({ x, y }) => x === 321 && y === 123);
  }, TIMEOUT_MS);

  test("a pod that hangs is noticed by its missing pongs, and the browser is told", async () => {
    websockify.freeze();
    const events = await eventually("the end", () => vnc.events(), (seen) => seen.some(({ type }) => type === "close"));
    expect(events.find(({ type }) => type === "close")).toMatchObject({ code: 1011 });
    await eventually("no session", () => router.app.counts.sessions, (count) => count === 0);
    expect(router.lines.findLast((line) => line["status"] === 101)).toMatchObject({ service: "vnc", reason: "upstream silent" });
    expect(vnc.problems).toEqual([]);
  }, TIMEOUT_MS);
});
