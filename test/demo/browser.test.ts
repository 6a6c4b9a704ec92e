import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Browser, Page } from "playwright-core";
import { startDemo, type Demo } from "../../src/demo/demo.ts";
import { CHROMIUM, launchBrowser } from "../support/browser.ts";

/** The page refreshes at half of this life. */
const TOKEN_TTL_S = 8;
const TIMEOUT_MS = 120_000;

let demo: Demo;
let browser: Browser;
let page: Page;
const problems: string[] = [];

beforeAll(async () => {
  if (!CHROMIUM) return;
  demo = await startDemo({ httpListen: "127.0.0.1:0", desktopTokenTtlS: TOKEN_TTL_S });
  browser = await launchBrowser();
  page = await openPage();
}, TIMEOUT_MS);

afterAll(async () => {
  await browser?.close();
  await demo?.stop();
});

async function openPage(): Promise<Page> {
  const opened = await (await browser.newContext({ viewport: { width: 1440, height: 1000 } })).newPage();
  opened.on("pageerror", (error) => problems.push(error.message));
  // Chromium tells of a broken Content-Security-Policy as an error on the console.
  opened.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  await opened.goto(demo.url);
  return opened;
}

/** The canvas as a digest and the number of its colours. */
async function canvas(): Promise<{ digest: string; colors: number }> {
  const pixels = await page.locator("#canvas").evaluate((element) => {
    const context = (element as unknown as { getContext(kind: "2d"): Canvas2d }).getContext("2d");
    return Array.from(new Uint32Array(context.getImageData(0, 0, 640, 400).data.buffer));
  });
  return { digest: String(Bun.hash(new Uint32Array(pixels))), colors: new Set(pixels).size };
}

type Canvas2d = { getImageData(x: number, y: number, width: number, height: number): { data: Uint8ClampedArray } };

const text = (selector: string) => page.locator(selector).textContent();

/** Until `look` finds what `isRight` wants; the test's own timeout ends it. */
async function eventually<T>(look: () => Promise<T>, isRight: (found: T) => boolean): Promise<T> {
  for (;;) {
    const found = await look();
    if (isRight(found)) return found;
    await Bun.sleep(50);
  }
}

describe.skipIf(!CHROMIUM)("demo page in Chromium", () => {
  test("says what is wrong with a login", async () => {
    await page.fill("#login-password", "wrong");
    await page.click("#login-submit");
    await page.waitForSelector("#notice:not([hidden])");
    expect(await text("#notice-text")).toBe("unknown user or wrong password");
    expect(await page.locator("[data-step='1']").getAttribute("class")).toBe("failed");
    // The browser itself reports the 401; it is the only one of this file that is meant to happen.
    expect(problems.splice(0)).toHaveLength(1);
  }, TIMEOUT_MS);

  test("plays the workflow from login to the connected desktop, step by step", async () => {
    await page.fill("#login-user", "alice");
    await page.fill("#login-password", "alice");
    await page.click("#login-submit");
    await page.waitForSelector("[data-step='3'].done");
    const second = await text("[data-step='2'] ul");
    expect(second).toContain("alice's pod: I'm ready");
    expect(second).toContain("desktop token received");
    expect(await text("[data-step='3'] ul")).toMatch(/connected to 127\.0\.1\.\d+:6081/);
    expect(await page.locator("[data-step='1'].done, [data-step='2'].done").count()).toBe(2);
  }, TIMEOUT_MS);

  test("draws the remote screen, and goes on drawing", async () => {
    const first = await eventually(canvas, ({ colors }) => colors > 100);
    const later = await eventually(canvas, ({ digest }) => digest !== first.digest);
    expect(later.colors).toBeGreaterThan(100);
  }, TIMEOUT_MS);

  test("the pointer draws on the remote screen", async () => {
    const box = (await page.locator("#canvas").boundingBox())!;
    const at = (x: number, y: number) => [box.x + (x / 640) * box.width, box.y + (y / 400) * box.height] as const;
    await page.mouse.move(...at(380, 30));
    await page.mouse.down();
    await page.mouse.move(...at(600, 30), { steps: 10 });
    await page.mouse.up();
    await page.mouse.move(...at(300, 390));
    const inkAt = () => page.locator("#canvas").evaluate((element) => {
      const context = (element as unknown as { getContext(kind: "2d"): Canvas2d }).getContext("2d");
      return [...context.getImageData(500, 30, 1, 1).data];
    });
    expect(await eventually(inkAt, ([red]) => red === 255)).toEqual([255, 209, 128, 255]);
  }, TIMEOUT_MS);

  test("the terminal answers what is typed", async () => {
    await page.click("#terminal");
    await page.keyboard.type("echo from the browser\r");
    const shown = await eventually(() => text("#terminal"), (all) => all!.includes("\nfrom the browser\n"));
    expect(shown).toContain("alice@demo:~$ echo from the browser\n");
  }, TIMEOUT_MS);

  test("uploads 1 GiB with progress, a pause in between, and the same hash on both ends", async () => {
    await page.click("[data-sample='1024']");
    const bar = page.locator("#upload-progress");
    const progress = () => bar.evaluate((element) => (element as unknown as { value: number }).value);
    await eventually(progress, (part) => part > 0.05);
    await page.click("#upload-pause");
    const paused = await eventually(() => text("#upload-detail"), (detail) => detail!.startsWith("paused at"));
    expect(paused).toMatch(/^paused at [\d.]+ (MiB|GiB)$/);
    const part = await progress();
    expect(part).toBeLessThan(1);
    await page.click("#upload-pause");
    await page.waitForSelector("#upload-verdict:not([hidden])", { timeout: TIMEOUT_MS });
    expect(await text("#upload-verdict")).toBe("SHA-256 is the same on both ends");
    expect(await text("#hash-local")).toMatch(/^[0-9a-f]{64}$/);
    expect(await text("#upload-percent")).toBe("100 %");
  }, TIMEOUT_MS);

  test("uploads a file that was chosen", async () => {
    const buffer = Buffer.from("a small file\n".repeat(1000));
    await page.setInputFiles("#file", { name: "small file & co.txt", mimeType: "text/plain", buffer });
    const sha256 = new Bun.CryptoHasher("sha256").update(buffer).digest("hex");
    await eventually(() => text("#hash-remote"), (hash) => hash === sha256);
    await page.waitForSelector("#upload-verdict:not(.bad):not([hidden])");
  }, TIMEOUT_MS);

  test("refreshes the token before it ends, by itself and when asked", async () => {
    const refreshes = async () => Number(await text("#token-refreshes"));
    const before = await refreshes();
    await eventually(refreshes, (count) => count > before);
    expect(Number(await text("#token-left"))).toBeGreaterThan(TOKEN_TTL_S / 2 - 1);
    const old = await text("#claims");
    await page.click("#refresh-token");
    await eventually(() => text("#claims"), (claims) => claims !== old);
    await page.click("#do-printer");
    await eventually(() => text("#extra-output"), (shown) => shown!.includes("welcome.txt"));
  }, TIMEOUT_MS);

  test("a second tab joins by itself and the two talk", async () => {
    const [second] = await Promise.all([page.context().waitForEvent("page"), page.click("#second-tab")]);
    await second.waitForSelector("body[data-state='desktop']");
    await eventually(() => text("#tab-count"), (count) => count === "2 tabs");
    await second.fill("#broadcast-text", "<b>hello</b> first tab");
    await second.press("#broadcast-text", "Enter");
    await eventually(() => text("#messages"), (shown) => shown!.includes("<b>hello</b> first tab"));
    await second.close();
    await eventually(() => text("#tab-count"), (count) => count === "1 tab");
  }, TIMEOUT_MS);

  test("shows the snapshot and what the pod sees", async () => {
    await page.click("#do-snapshot");
    await page.waitForSelector("#extra-output img");
    await page.click("#do-request");
    const seen = await eventually(() => text("#extra-output"), (shown) => shown!.includes("GET /spawner/request"));
    expect(seen).toContain("x-forwarded-for: 127.0.0.1");
    expect(seen).not.toContain("eyJ");
  }, TIMEOUT_MS);

  test("bob has a desktop of his own", async () => {
    const bobs = await openPage();
    await bobs.click("[data-user='bob']");
    await bobs.waitForSelector("[data-step='3'].done");
    expect(await bobs.locator("#screen-status").textContent()).not.toBe(await text("#screen-status"));
    await bobs.context().close();
  }, TIMEOUT_MS);

  test("says so when the desktop is gone, and brings it back", async () => {
    const stop = await page.evaluate(async () => {
      const { userToken } = JSON.parse(sessionStorage.getItem("route-gateway-demo")!);
      const headers = { Authorization: `Bearer ${userToken}` };
      return (await fetch("/API/composer/stopdesktop", { method: "POST", headers })).status;
    });
    expect(stop).toBe(200);
    await page.waitForSelector("#screen-overlay:not([hidden])");
    expect(await text("#screen-overlay-text")).toContain("It may have been stopped");
    await page.click("#reconnect");
    await page.waitForSelector("[data-step='3'].done");
    // Sockets and requests to a desktop that is gone are errors to the browser, too.
    for (const problem of problems.splice(0)) expect(problem).toMatch(/WebSocket connection|50[24]|404|401/);
  }, TIMEOUT_MS);

  test("comes back after a reload, and ends at Stop desktop", async () => {
    await page.reload();
    await page.waitForSelector("[data-step='3'].done");
    await page.click("#stop-desktop");
    await page.waitForSelector("body[data-state='login']");
    await page.reload();
    expect(await page.locator("body").getAttribute("data-state")).toBe("login");
  }, TIMEOUT_MS);

  test("raised no error on the console", () => {
    expect(problems).toEqual([]);
  });
});
