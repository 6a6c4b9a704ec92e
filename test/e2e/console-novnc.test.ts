import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Browser } from "playwright-core";
import { CHROMIUM, launchBrowser } from "../support/browser.ts";
import { BACKGROUND, IN_NOTHING, IN_TERMINAL, IN_XEV, Lab, LOGO, NAMESPACE, SIZE, TERMINAL, VM } from "../support/console-screen.ts";
import { MISSING_PROGRAMS } from "../support/display.ts";
import { colorAt, countOf, difference } from "../support/display-picture.ts";
import { eventually } from "../support/eventually.ts";
import { startWebsite, VncPage, type Website } from "../support/vnc.ts";

/** Something is not installed; websockify is not needed here. */
const CANNOT_RUN = !CHROMIUM || MISSING_PROGRAMS.some((program) => program !== "websockify");
const TIMEOUT_MS = 60_000;

let lab: Lab;
let website: Website;
let browser: Browser;
let vnc: VncPage;

function address(token = lab.token()): string {
  return `ws://127.0.0.1:${lab.app.port}/ws_proxy/${token}/${VM}`;
}

/** The screen of the X server and the canvas in the browser, when they have become the same. */
async function untilSame(what: string, page = vnc): Promise<void> {
  await eventually(what, async () => difference(await lab.display.picture(), await page.canvas()), (text) => text === "");
}

/** The close frame that a page got last. */
async function closed(page: VncPage): Promise<unknown> {
  const events = await eventually("the end", () => page.events(), (seen) => seen.some(({ type }) => type === "close"));
  return events.findLast(({ type }) => type === "close");
}

beforeAll(async () => {
  if (CANNOT_RUN) return;
  lab = await Lab.start({ HOST_PATH_PREFIX: "ws_proxy", ROUTE_CLOSE_AFTER_UPGRADE: "true" });
  browser = await launchBrowser();
  website = startWebsite();
  await lab.draw();
  // As in the lab, the page with noVNC comes from another host than the console.
  vnc = await VncPage.open(browser, website.url, SIZE);
}, TIMEOUT_MS);

afterAll(async () => {
  await browser?.close();
  await website?.stop();
  await lab?.stop();
}, TIMEOUT_MS);

describe.skipIf(CANNOT_RUN)("noVNC in Chromium → route-gateway consoles → the Kubernetes API → Xvnc", () => {
  test("a client that offers binary is answered binary, and KubeVirt is offered its own protocol", async () => {
    expect(await vnc.connect(address())).toBe("binary");
    const [seen, ...more] = lab.api.seen;
    expect(more).toEqual([]);
    expect(seen).toMatchObject({
      path: `/apis/subresources.kubevirt.io/v1/namespaces/${NAMESPACE}/virtualmachineinstances/${VM}/vnc`, query: "",
      headers: { "sec-websocket-protocol": "plain.kubevirt.io" },
    });
  }, TIMEOUT_MS);

  test("a screenshot of the page shows the machine's screen, pixel for pixel", async () => {
    await untilSame("the first picture");
    const page = await vnc.screenshot("console-novnc");
    expect(colorAt(page, ...IN_NOTHING)).toBe(BACKGROUND);
    expect(colorAt(page, ...IN_TERMINAL)).toBe(TERMINAL);
    expect(countOf(page, LOGO)).toBeGreaterThan(1000);
    expect(difference(await lab.display.picture(), page)).toBe("");
  }, TIMEOUT_MS);

  test("the pointer arrives", async () => {
    await vnc.page.mouse.move(123, 45);
    await eventually("the pointer", () => lab.display.pointer(), ({ x, y }) => x === 123 && y === 45);
    await vnc.page.mouse.click(...IN_XEV, { button: "right" });
    const press = /ButtonPress[^]*?root:\((\d+,\d+)\)[^]*?button (\d)/;
    const pressed = await eventually("a button", async () => press.exec(await lab.display.output("xev")), (found) => found !== null);
    expect(pressed?.slice(1)).toEqual([IN_XEV.join(","), "3"]);
  }, TIMEOUT_MS);

  test("typing arrives", async () => {
    await vnc.page.mouse.click(...IN_TERMINAL);
    await vnc.page.keyboard.type("echo 'Hello, World: ~!@#$%^&*()' > typed\n");
    expect(await lab.typed("typed")).toBe("Hello, World: ~!@#$%^&*()\n");
  }, TIMEOUT_MS);

  test("a second viewer takes the first one's place, which hears of it by a close frame", async () => {
    const second = await VncPage.open(browser, website.url, SIZE);
    await second.connect(address());
    await untilSame("the same picture", second);
    expect(await closed(vnc)).toMatchObject({ code: 1000, reason: "" });
    await eventually("one session", () => lab.app.counts.sessions, (count) => count === 1);
    await second.disconnect();
    await eventually("no session", () => lab.app.counts.sessions, (count) => count === 0);
    await eventually("no viewer at the API", () => lab.api.open, (count) => count === 0);
    await second.close();
  }, TIMEOUT_MS);

  test("the same page connects again", async () => {
    await vnc.connect(address());
    await lab.display.run("xsetroot", "-solid", "#602040");
    await untilSame("the changed picture");
    expect(colorAt(await vnc.canvas(), ...IN_NOTHING)).toBe("#602040");
  }, TIMEOUT_MS);

  test("a service account token that was rotated meanwhile does not end the session, and the next one uses it", async () => {
    const before = lab.api.seen.at(-1)?.bearer;
    const rotated = lab.api.rotateToken();
    await lab.display.run("xsetroot", "-solid", BACKGROUND);
    await untilSame("the picture after that");
    await vnc.disconnect();
    await vnc.connect(address());
    await untilSame("the picture of the next session");
    expect(lab.api.seen.at(-1)?.bearer).toBe(rotated);
    expect(before).not.toBe(rotated);
  }, TIMEOUT_MS);

  test.each([
    ["a forged token", () => address(`${lab.token().slice(0, -8)}AAAAAAAA`), "invalid token"],
    ["a token for other machines", () => address(lab.token(["kali"])), "invalid token"],
    ["another prefix", () => address().replace("ws_proxy", "other"), "wrong path prefix"],
  ])("%s shows nothing and brings the reason, without a word to the API", async (_, url, reason) => {
    const stranger = await VncPage.open(browser, website.url, SIZE);
    const asked = lab.api.seen.length;
    expect(await stranger.connect(url()).catch((error: Error) => error.message)).toContain("disconnected");
    expect(await closed(stranger)).toMatchObject({ code: 1000, reason });
    expect(lab.api.seen.length).toBe(asked);
    await stranger.close();
  }, TIMEOUT_MS);

  test("nothing went wrong in the page, and the log has no token", async () => {
    expect(vnc.problems).toEqual([]);
    expect(lab.log.text).toContain(VM);
    expect(lab.log.text).not.toContain("eyJ");
    for (const { bearer } of lab.api.seen) expect(lab.log.text).not.toContain(bearer as string);
  }, TIMEOUT_MS);
});
