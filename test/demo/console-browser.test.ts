import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Browser, Page } from "playwright-core";
import { startDemo, type Demo } from "../../src/demo/demo.ts";
import { CONSOLE_HEIGHT, CONSOLE_WIDTH } from "../../src/demo/vm/console-screen.ts";
import { MACHINES } from "../../src/demo/vm/machines.ts";
import { CHROMIUM, launchBrowser, openPage, screenshot } from "../support/browser.ts";
import { eventually } from "../support/eventually.ts";
import { readConsole } from "./console-text.ts";

const TIMEOUT_MS = 60_000;
const UBUNTU = MACHINES.find(({ name }) => name === "ubuntu")!.look!;

let demo: Demo;
let browser: Browser;
/** Alice's, with her desktop. */
let page: Page;
const problems: string[] = [];

beforeAll(async () => {
  if (!CHROMIUM) return;
  demo = await startDemo({ httpListen: "127.0.0.1:0", podDelayMs: 0 });
  browser = await launchBrowser();
  page = await logIn("alice");
}, TIMEOUT_MS);

afterAll(async () => {
  await browser?.close();
  await demo?.stop();
});

async function logIn(user: string): Promise<Page> {
  const opened = await openPage(browser, demo.url, { width: 1440, height: 1000 }, problems);
  await opened.click(`[data-user='${user}']`);
  await opened.waitForSelector(".machine[data-vm='ubuntu']");
  return opened;
}

/** The tab that a click on the machine's link opens. */
async function openConsole(vm: string, from = page): Promise<Page> {
  const [tab] = await Promise.all([from.context().waitForEvent("page"), from.click(`[data-vm='${vm}'] a`)]);
  tab.on("pageerror", (error) => problems.push(error.message));
  await tab.waitForLoadState();
  return tab;
}

type Canvas = {
  readonly width: number;
  readonly height: number;
  getContext(kind: "2d"): { getImageData(x: number, y: number, width: number, height: number): { readonly data: Uint8ClampedArray } };
};
/** As far as these tests look into it. */
type ConsoleWindow = { readonly document: { readonly referrer: string; querySelector(selector: string): Canvas | null }; readonly opener: unknown };

/** noVNC's canvas has the machine's own pixels, whatever size it is shown in; null before it is connected. */
async function pixels(tab: Page): Promise<Uint32Array | null> {
  const rgba = await tab.evaluate(([width, height]) => {
    const canvas = (globalThis as unknown as ConsoleWindow).document.querySelector("canvas");
    if (canvas === null || canvas.width !== width || canvas.height !== height) return null;
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let text = "";
    for (let at = 0; at < data.length; at += 0x8000) text += String.fromCharCode(...data.subarray(at, at + 0x8000));
    return btoa(text);
  }, [CONSOLE_WIDTH, CONSOLE_HEIGHT]);
  return rgba === null ? null : new Uint32Array(new Uint8Array(Buffer.from(rgba, "base64")).buffer);
}

const rgba = ([red, green, blue]: readonly [number, number, number]) => (red | (green << 8) | (blue << 16) | (255 << 24)) >>> 0;

async function screenText(tab: Page): Promise<string> {
  const all = await pixels(tab);
  if (all === null) return "";
  return readConsole((x, y) => all[y * CONSOLE_WIDTH + x] !== rgba(UBUNTU.back)).join("\n").trimEnd();
}

describe.skipIf(!CHROMIUM)("consoles of the demo in Chromium", () => {
  let ubuntu: Page;

  test("lists the machines, with whose they are and which of them run", async () => {
    await page.locator("#machines").scrollIntoViewIfNeeded();
    await screenshot(page, "demo-machines");
    const machines = await page.locator(".machine").allInnerTexts();
    expect(machines.map((text) => text.split("\n").map((line) => line.trim()).filter(Boolean).slice(1))).toEqual([
      ["ubuntu", "running", "yours · a text console to type into", "Open console"],
      ["kali", "running", "bob's · the same in blue", "Open console"],
      ["backup", "stopped", "yours · switched off", "Open console"],
    ]);
    for (const link of await page.locator(".machine a").all()) {
      expect(await link.getAttribute("rel")).toBe("noopener noreferrer");
      expect(await link.getAttribute("target")).toBe("_blank");
    }
  }, TIMEOUT_MS);

  test("the real noVNC shows the machine's screen, pixel for pixel", async () => {
    ubuntu = await openConsole("ubuntu");
    await eventually("the prompt", () => screenText(ubuntu), (text) => text.endsWith("root@ubuntu:~#"));
    const all = (await pixels(ubuntu))!;
    // The square with the machine's letter: its edge, and a leg of the U.
    const at = (x: number, y: number) => all[y * CONSOLE_WIDTH + x];
    expect([at(25, 17), at(70, 62), at(37, 30)]).toEqual([rgba(UBUNTU.accent), rgba(UBUNTU.accent), rgba(UBUNTU.bar)]);
    expect([at(5, 5), at(5, 590)]).toEqual([rgba(UBUNTU.bar), rgba(UBUNTU.back)]);
    const known = await ubuntu.evaluate(() => {
      const { opener, document: { referrer } } = globalThis as unknown as ConsoleWindow;
      return { opener, referrer };
    });
    expect(known).toEqual({ opener: null, referrer: "" });
  }, TIMEOUT_MS);

  test("the screen moves by itself", async () => {
    const before = await pixels(ubuntu);
    await eventually("another picture", () => pixels(ubuntu), (now) => now!.some((pixel, index) => pixel !== before![index]));
  }, TIMEOUT_MS);

  test("what is typed reaches the machine, and its answer the screen", async () => {
    await ubuntu.click("canvas");
    await ubuntu.keyboard.type("help\n");
    await eventually("the answer to help", () => screenText(ubuntu), (text) => text.includes("help  date  info  echo TEXT"));
    await ubuntu.keyboard.type("echo Upper & lower, {braces} ~ and | all\n");
    await eventually("the echo", () => screenText(ubuntu), (text) => text.includes("\nUpper & lower, {braces} ~ and | all\nroot@ubuntu"));
    await screenshot(ubuntu, "demo-console");
  }, TIMEOUT_MS);

  test("a second console of the machine takes the first one's place", async () => {
    const second = await openConsole("ubuntu");
    await eventually("the second screen", () => screenText(second), (text) => text.includes("Upper & lower"));
    await eventually("the first one's end", () => ubuntu.innerText("body"), (text) => text.includes("opened by somebody else"));
    await second.close();
  }, TIMEOUT_MS);

  test("a stopped machine's console says that it is not running", async () => {
    const backup = await openConsole("backup");
    await eventually("the reason", () => backup.innerText("body"), (text) => text.includes("not running"));
    await screenshot(backup, "demo-console-stopped");
    await backup.close();
  }, TIMEOUT_MS);

  test("a machine of somebody else is forbidden, and one's own is not", async () => {
    const refused = await openConsole("kali");
    expect(await refused.innerText("h1")).toBe("403 forbidden");
    const bobs = await logIn("bob");
    const kali = await openConsole("kali", bobs);
    await eventually("bob's screen", () => pixels(kali), (all) => all !== null && all[17 * CONSOLE_WIDTH + 25] === rgba([96, 172, 255]));
    expect(await (await openConsole("ubuntu", bobs)).innerText("h1")).toBe("403 forbidden");
    await bobs.context().close();
  }, TIMEOUT_MS);

  test("no link is left when the user logs out", async () => {
    await page.click("#log-out");
    await page.waitForSelector("body[data-state='login']");
    expect(await page.locator(".machine").count()).toBe(0);
    expect(await page.content()).not.toContain("/consoles/eyJ");
  }, TIMEOUT_MS);

  test("raised no error on its pages", () => {
    expect(problems).toEqual([]);
  });
});
