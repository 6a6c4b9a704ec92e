import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Browser } from "playwright-core";
import { CHROMIUM, launchBrowser } from "../support/browser.ts";
import { eventually } from "../support/eventually.ts";
import { TestRouter } from "../support/router.ts";
import { podAddress, startWebsite, type Website } from "../support/vnc.ts";
import { type Broadcast, startBroadcast } from "../support/vnc-desktop.ts";
import { Tab } from "../support/vnc-tab.ts";

/** Something is not installed. */
const CANNOT_RUN = !CHROMIUM;
const TIMEOUT_MS = 60_000;
const TABS = 4;
const EACH = 50;

let pod: string;
let otherPod: string;
let broadcast: Broadcast;
let otherBroadcast: Broadcast;
let website: Website;
let router: TestRouter;
let browser: Browser;
let tabs: Tab[];
let stranger: Tab;

beforeAll(async () => {
  if (CANNOT_RUN) return;
  [pod, otherPod] = [podAddress(), podAddress()];
  browser = await launchBrowser();
  broadcast = startBroadcast(pod);
  otherBroadcast = startBroadcast(otherPod, broadcast.port);
  website = startWebsite();
  router = await TestRouter.start({ env: { BROADCAST_TCP_PORT: String(broadcast.port), WEBSITE_URL: website.url } });
  tabs = await Promise.all(Array.from({ length: TABS }, () => Tab.open(browser, router.url(""))));
  stranger = await Tab.open(browser, router.url(""));
}, TIMEOUT_MS);

afterAll(async () => {
  await browser?.close();
  await router?.stop();
  await website?.stop();
  await broadcast?.stop();
  await otherBroadcast?.stop();
}, TIMEOUT_MS);

describe.skipIf(CANNOT_RUN)("tabs of one desktop on /broadcast", () => {
  test("connect with the token as jwt_token or as the whole query", async () => {
    const token = router.token(pod);
    for (const [index, tab] of tabs.entries()) await tab.connect(`/broadcast?${index % 2 === 0 ? "jwt_token=" : ""}${token}`);
    await stranger.connect(`/broadcast?jwt_token=${router.token(otherPod)}`);
    expect([broadcast.tabs, otherBroadcast.tabs]).toEqual([TABS, 1]);
    expect(broadcast.seen.slice(0, 2)).toEqual([`GET /broadcast?jwt_token=${token}`, `GET /broadcast?${token}`]);
  }, TIMEOUT_MS);

  test("all hear everything in the same order, and nobody else does", async () => {
    const say = (tab: Tab, name: number) => tab.send(...Array.from({ length: EACH }, (_, index) => `${name}: message ${index} ✓`));
    await Promise.all(tabs.map(say));
    const heard = await Promise.all(tabs.map((tab, index) =>
      eventually(`all messages in tab ${index}`, () => tab.messages(), (messages) => messages.length >= TABS * EACH)));
    for (const messages of heard) expect(messages).toEqual(heard[0]!);
    for (const name of tabs.keys()) {
      const own = heard[0]!.filter((message) => message.startsWith(`${name}:`));
      expect(own).toEqual(Array.from({ length: EACH }, (_, index) => `${name}: message ${index} ✓`));
    }
    // What a stranger hears first is what its own desktop says after all that.
    await stranger.send("alone here");
    await stranger.until("alone here");
    expect(await stranger.messages()).toEqual(["alone here"]);
  }, TIMEOUT_MS);

  test("one that closes leaves the others connected", async () => {
    await tabs[0]!.disconnect(4000, "leaving");
    expect(await tabs[0]!.closed()).toEqual({ code: 4000, reason: "leaving" });
    await eventually("one tab less", () => broadcast.tabs, (count) => count === TABS - 1);
    await tabs[1]!.send("still here");
    await Promise.all(tabs.slice(1).map((tab) => tab.until("still here")));
    expect(await tabs[0]!.text()).not.toContain("still here");
  }, TIMEOUT_MS);

  test("one whose page is closed is gone from the desktop", async () => {
    await tabs[1]!.page.close();
    await eventually("one tab less", () => broadcast.tabs, (count) => count === TABS - 2);
    expect(router.app.counts.sessions).toBe(TABS - 2 + 1);
    expect(tabs.flatMap((tab) => tab.problems)).toEqual([]);
  }, TIMEOUT_MS);

  test("a restart of the router tells the tabs to come back, and they can", async () => {
    await router.stop();
    expect(await tabs[2]!.closed()).toEqual({ code: 1012, reason: "service restart" });
    await eventually("no tab", () => broadcast.tabs, (count) => count === 0);
    router = await TestRouter.start({ env: { BROADCAST_TCP_PORT: String(broadcast.port), WEBSITE_URL: website.url } });
    const back = await Tab.open(browser, router.url(""));
    await back.connect(`/broadcast?jwt_token=${router.token(pod)}`);
    await back.send("back again");
    await back.until("back again");
  }, TIMEOUT_MS);
});
