import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Browser } from "playwright-core";
import { CHROMIUM, launchBrowser } from "../support/browser.ts";
import { Display, MISSING_PROGRAMS, startWebsockify, type Websockify } from "../support/display.ts";
import { colorAt, difference } from "../support/display-picture.ts";
import { eventually } from "../support/eventually.ts";
import { TestRouter } from "../support/router.ts";
import { podAddress, startWebsite, VncPage, type Website } from "../support/vnc.ts";

/** Something is not installed. */
const CANNOT_RUN = !CHROMIUM || MISSING_PROGRAMS.length > 0;
const SIZE = { width: 640, height: 400 };
const TIMEOUT_MS = 60_000;
/** Where a desktop really has its websockify. */
const REAL_PORT = 6081;

let website: Website;
let router: TestRouter;
let browser: Browser;
const displays: Display[] = [];
const bridges: Websockify[] = [];
const pods: Array<{ readonly background: string; readonly address: string; readonly display: Display }> = [];

async function startPod(background: string): Promise<void> {
  const display = await Display.start(SIZE);
  displays.push(display);
  await display.run("xsetroot", "-solid", background);
  const address = podAddress();
  bridges.push(await startWebsockify(display, address, REAL_PORT));
  pods.push({ background, address, display });
}

beforeAll(async () => {
  if (CANNOT_RUN) return;
  browser = await launchBrowser();
  for (const background of ["#104010", "#401010"]) await startPod(background);
  website = startWebsite();
  router = await TestRouter.start({ env: { WEBSITE_URL: website.url } });
}, TIMEOUT_MS);

afterAll(async () => {
  await browser?.close();
  await router?.stop();
  await website?.stop();
  for (const websockify of bridges) await websockify.stop();
  for (const display of displays) await display.stop();
}, TIMEOUT_MS);

describe.skipIf(CANNOT_RUN)("two desktops on the real port 6081", () => {
  test.each(["", "jwt_token="])("each token shows the screen of its own pod, as /websockify?%s<token>", async (parameter) => {
    for (const { address, background, display } of pods) {
      const vnc = await VncPage.open(browser, router.url(""), SIZE);
      // The subprotocol that websockify chose.
      expect(await vnc.connect(`/websockify?${parameter}${router.token(address)}`)).toBe("binary");
      await eventually("the picture", async () => difference(await display.picture(), await vnc.canvas()), (text) => text === "");
      expect(colorAt(await vnc.screenshot(`vnc-${background.slice(1)}`), 100, 100)).toBe(background);
      await vnc.disconnect();
      await eventually("no session", () => router.app.counts.sessions, (count) => count === 0);
      expect(router.lines.findLast((line) => line["status"] === 101)).toMatchObject({ target: `${address}:${REAL_PORT}` });
      await vnc.close();
    }
  }, TIMEOUT_MS);
});
