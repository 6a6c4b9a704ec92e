import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Browser } from "playwright-core";
import { CHROMIUM, launchBrowser } from "../support/browser.ts";
import { Display, MISSING_PROGRAMS, startWebsockify, type Websockify } from "../support/display.ts";
import { colorAt, countOf, difference } from "../support/display-picture.ts";
import { eventually } from "../support/eventually.ts";
import { TestRouter } from "../support/router.ts";
import { podAddress, startWebsite, VncPage, type Website } from "../support/vnc.ts";

/** Something is not installed. */
const CANNOT_RUN = !CHROMIUM || MISSING_PROGRAMS.length > 0;
const SIZE = { width: 800, height: 600 };
const [BACKGROUND, LOGO, PAPER, TERMINAL] = ["#204060", "#c02020", "#ffe0a0", "#004020"] as const;
/** In the middle of the terminal, of the button window, and of neither. */
const [IN_TERMINAL, IN_XEV, IN_NOTHING] = [[200, 420], [500, 450], [30, 30]] as const;
const TIMEOUT_MS = 60_000;

let display: Display;
let pod: string;
let websockify: Websockify;
let website: Website;
let router: TestRouter;
let browser: Browser;
let vnc: VncPage;

/** Something to see: a logo on paper, a terminal with a shell, and a window that tells of the buttons pressed in it. */
async function draw(): Promise<void> {
  await display.run("xsetroot", "-solid", BACKGROUND);
  display.open("xlogo", ["xlogo", "-geometry", "160x160+560+40", "-fg", LOGO, "-bg", PAPER]);
  display.open("xterm", ["xterm", "-geometry", "50x12+20+300", "-fg", "#ffffff", "-bg", TERMINAL, "-e", "/bin/sh"]);
  display.open("xev", ["xev", "-geometry", "200x200+400+350", "-event", "button"]);
  await Promise.all([display.shown("class", "XTerm"), display.shown("class", "XLogo"), display.shown("name", "Event Tester")]);
}

/** The screen of the X server and the canvas in the browser, when they have become the same. */
async function untilSame(what: string, page = vnc): Promise<void> {
  await eventually(what, async () => difference(await display.picture(), await page.canvas()), (text) => text === "");
}

async function typedInto(file: string): Promise<string> {
  return eventually(`the file ${file}`, () => display.output(file).catch(() => ""), (text) => text.endsWith("\n"));
}

beforeAll(async () => {
  if (CANNOT_RUN) return;
  pod = podAddress();
  display = await Display.start(SIZE);
  browser = await launchBrowser();
  website = startWebsite();
  websockify = await startWebsockify(display, pod);
  router = await TestRouter.start({ env: { WS_TCP_BRIDGE_TCP_PORT: String(websockify.port), WEBSITE_URL: website.url } });
  await draw();
  vnc = await VncPage.open(browser, router.url(""), SIZE);
  await vnc.connect(`/websockify?jwt_token=${router.token(pod)}`);
}, TIMEOUT_MS);

afterAll(async () => {
  await browser?.close();
  await router?.stop();
  await website?.stop();
  await websockify?.stop();
  await display?.stop();
}, TIMEOUT_MS);

describe.skipIf(CANNOT_RUN)("noVNC in Chromium → route-gateway → websockify → Xvnc", () => {
  test("the canvas is the remote screen, pixel for pixel", async () => {
    await untilSame("the first picture");
    const canvas = await vnc.canvas();
    expect([canvas.width, canvas.height]).toEqual([SIZE.width, SIZE.height]);
    expect(colorAt(canvas, ...IN_NOTHING)).toBe(BACKGROUND);
    expect(colorAt(canvas, ...IN_TERMINAL)).toBe(TERMINAL);
    expect(colorAt(canvas, 720, 120)).toBe(PAPER);
    expect(countOf(canvas, LOGO)).toBeGreaterThan(2000);
    expect(await vnc.events()).toContainEqual({ type: "desktopname", name: "route test" });
  }, TIMEOUT_MS);

  test("a screenshot of the page shows the remote screen", async () => {
    await untilSame("a still picture");
    const page = await vnc.screenshot("vnc");
    expect(colorAt(page, ...IN_NOTHING)).toBe(BACKGROUND);
    expect(colorAt(page, ...IN_TERMINAL)).toBe(TERMINAL);
    expect(countOf(page, LOGO)).toBeGreaterThan(2000);
    expect(difference(await display.picture(), page)).toBe("");
  }, TIMEOUT_MS);

  test("what is drawn later arrives as well", async () => {
    await display.run("xsetroot", "-solid", "#602040");
    const shown = await eventually("another background", () => vnc.canvas(), (now) => colorAt(now, ...IN_NOTHING) === "#602040");
    expect(countOf(shown, BACKGROUND)).toBe(0);
    await display.run("xsetroot", "-solid", BACKGROUND);
    await untilSame("the first background again");
  }, TIMEOUT_MS);

  test("the pointer moves and clicks on the remote screen", async () => {
    await vnc.page.mouse.move(123, 234);
    await eventually("the pointer", () => display.pointer(), ({ x, y }) => x === 123 && y === 234);
    await vnc.page.mouse.click(...IN_XEV);
    await vnc.page.mouse.click(...IN_XEV, { button: "right" });
    await vnc.page.mouse.wheel(0, 100);
    const press = /ButtonPress[^]*?root:\((\d+,\d+)\)[^]*?button (\d)/g;
    const buttons = () => display.output("xev").then((text) => [...text.matchAll(press)]);
    const pressed = await eventually("three buttons", buttons, (found) => found.length >= 3);
    expect(pressed.map(([, at, button]) => `${button} at ${at}`)).toEqual(["1 at 500,450", "3 at 500,450", "5 at 500,450"]);
  }, TIMEOUT_MS);

  test("keys arrive in a program on the remote screen", async () => {
    const { keyboard, mouse } = vnc.page;
    await mouse.click(...IN_TERMINAL);
    await keyboard.type("printf '%s\\n' 'Hello, World: 0-9 ~!@#$%^&*()_+{}|:\"<>?' > typed\n");
    expect(await typedInto("typed")).toBe("Hello, World: 0-9 ~!@#$%^&*()_+{}|:\"<>?\n");
    await keyboard.type("echo wrong");
    for (let count = 0; count < 5; count += 1) await keyboard.press("Backspace");
    await keyboard.type("right > corrected");
    await keyboard.press("Enter");
    expect(await typedInto("corrected")).toBe("right\n");
  }, TIMEOUT_MS);

  test("a key with a modifier arrives", async () => {
    const { keyboard, mouse } = vnc.page;
    await mouse.click(...IN_TERMINAL);
    await keyboard.type("echo > sleeps; sleep 1000; echo $? > slept\n");
    await typedInto("sleeps");
    // The shell goes on only when its child got SIGINT: 128 + 2.
    await keyboard.press("Control+c");
    await keyboard.type("echo $? > status\n");
    expect(await typedInto("status")).toBe("130\n");
  }, TIMEOUT_MS);

  test("the clipboard crosses from the browser to the desktop", async () => {
    for (const pasted of ["from the browser: naïve ✓ 漢字", "a second one"]) {
      await vnc.paste(pasted);
      await eventually("the X clipboard", () => display.clipboard().catch(() => ""), (text) => text === pasted);
    }
  }, TIMEOUT_MS);

  test("the clipboard crosses from the desktop to the browser", async () => {
    const text = `from the desktop: naïve ✓ 漢字 ${"x".repeat(5000)}`;
    // -quiet keeps it in the foreground, where it can be ended.
    display.open("xclip", ["xclip", "-quiet", "-selection", "clipboard", "-in"], Buffer.from(text));
    const events = await eventually("a clipboard event", () => vnc.events(), (seen) => seen.some(({ type }) => type === "clipboard"));
    expect(events.find(({ type }) => type === "clipboard")).toEqual({ type: "clipboard", text });
  }, TIMEOUT_MS);

  test("the remote screen follows the size of the browser's window", async () => {
    await vnc.follow(true);
    await vnc.page.setViewportSize({ width: 1000, height: 700 });
    await eventually("the new size", () => display.size(), ({ width, height }) => width === 1000 && height === 700);
    expect((await display.run("xrandr")).toString()).toContain("current 1000 x 700");
    await display.run("xdotool", "search", "--class", "XLogo", "windowmove", "820", "520");
    await untilSame("a picture of the new size");
    const shown = await vnc.screenshot("vnc-resized");
    expect([shown.width, shown.height]).toEqual([1000, 700]);
    expect(colorAt(shown, 830, 600)).toBe(PAPER);
    expect(difference(await display.picture(), shown)).toBe("");
  }, TIMEOUT_MS);

  test("the browser follows when the remote screen changes its own size", async () => {
    await vnc.follow(false);
    await display.run("xrandr", "--size", "640x480");
    const canvas = await eventually("the new size", () => vnc.canvas(), ({ width, height }) => width === 640 && height === 480);
    expect([canvas.width, canvas.height]).toEqual([640, 480]);
    await untilSame("a picture of the new size");
  }, TIMEOUT_MS);

  test("two browsers share one screen, and one leaves without the other", async () => {
    const second = await VncPage.open(browser, router.url(""), { width: 640, height: 480 });
    await second.connect(`/websockify?${router.token(pod)}`);
    await untilSame("the same picture", second);
    expect(router.app.counts.sessions).toBe(2);
    await second.disconnect();
    await eventually("one session less", () => router.app.counts.sessions, (count) => count === 1);
    await second.close();
    await display.run("xsetroot", "-solid", "#333333");
    await untilSame("the picture after that");
    expect(second.problems).toEqual([]);
  }, TIMEOUT_MS);

  test("a browser without a good token sees no screen", async () => {
    const stranger = await VncPage.open(browser, router.url(""), SIZE);
    const forged = `${router.token(pod).slice(0, -8)}AAAAAAAA`;
    const attempt = await stranger.connect(`/websockify?jwt_token=${forged}`).catch((error: Error) => error.message);
    expect(attempt).toContain("disconnected");
    expect(await stranger.events()).toContainEqual({ type: "close", code: 1006, reason: "", wasClean: false });
    await stranger.close();
  }, TIMEOUT_MS);

  test("the end of the desktop ends the session, and the log tells of it without the token", async () => {
    display.server.kill("SIGTERM");
    const ended = await eventually("the end", () => vnc.events(), (events) => events.some(({ type }) => type === "disconnect"));
    // `wasClean` is not looked at: websockify itself resets the connection when the browser was just sending.
    expect(ended.find(({ type }) => type === "close")).toMatchObject({ code: 1000, reason: "Target closed" });
    expect(ended).toContainEqual({ type: "disconnect", clean: true });
    expect(vnc.problems).toEqual([]);
    await eventually("no session", () => router.app.counts.sessions, (count) => count === 0);
    const sessions = router.lines.filter((line) => line["status"] === 101);
    expect(sessions.length).toBe(2);
    const target = `${pod}:${websockify.port}`;
    for (const line of sessions) expect(line).toMatchObject({ service: "vnc", path: "/websockify", target });
    expect(router.log.text).not.toContain("eyJ");
  }, TIMEOUT_MS);
});
