import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import type { Browser } from "playwright-core";
import { CHROMIUM, launchBrowser } from "../support/browser.ts";
import { IN_TERMINAL, IN_XEV, Lab, LOGO, NAMESPACE, Relay, SIZE, startLockedScreen, TERMINAL, VM } from "../support/console-screen.ts";
import { ViewerPage } from "../support/console-viewer.ts";
import { MISSING_PROGRAMS } from "../support/display.ts";
import { colorAt, countOf, difference, type Picture } from "../support/display-picture.ts";
import { eventually } from "../support/eventually.ts";
import { startWebsite, VncPage, type Website } from "../support/vnc.ts";

/** Something is not installed; websockify is not needed here. */
const CANNOT_RUN = !CHROMIUM || MISSING_PROGRAMS.some((program) => program !== "websockify");
const TIMEOUT_MS = 60_000;

describe.skipIf(CANNOT_RUN)("the embedded viewer in Chromium", () => {
  let lab: Lab;
  let website: Website;
  let browser: Browser;
  /** A page that decodes PNGs; the viewer's own policy does not let it. */
  let decoder: VncPage;
  let viewer: ViewerPage;

  function address(token = lab.token(), origin = lab.origin): string {
    return `${origin}/ws_proxy/${token}/${VM}`;
  }

  async function openConnected(url = address()): Promise<ViewerPage> {
    const opened = await ViewerPage.open(browser, url);
    await opened.until("connected");
    return opened;
  }

  /** The screen of the X server and the canvas in the browser, when they have become the same. */
  async function untilSame(what: string, page = viewer): Promise<void> {
    const look = async (): Promise<string> => {
      const canvas = await page.canvas();
      return canvas === null ? "no canvas" : difference(await lab.display.picture(), canvas);
    };
    await eventually(what, look, (text) => text === "");
  }

  async function decoded(png: Buffer): Promise<Picture> {
    const { width, height, rgba } = await decoder.page.evaluate<{ width: number; height: number; rgba: string }>(`window.vnc.decode("${png.toString("base64")}")`);
    return { width, height, rgba: new Uint8Array(Buffer.from(rgba, "base64")) };
  }

  beforeAll(async () => {
    if (CANNOT_RUN) return;
    lab = await Lab.start({ HOST_PATH_PREFIX: "ws_proxy", ROUTE_CLOSE_AFTER_UPGRADE: "true", ROUTE_VIEWER: "true" });
    browser = await launchBrowser();
    website = startWebsite();
    decoder = await VncPage.open(browser, website.url, SIZE);
    await lab.draw();
  }, TIMEOUT_MS);

  afterAll(async () => {
    await browser?.close();
    await website?.stop();
    await lab?.stop();
  }, TIMEOUT_MS);

  describe("with a machine", () => {
    beforeEach(async () => { viewer = await openConnected(); }, TIMEOUT_MS);

    afterEach(async () => {
      const { problems } = viewer;
      await viewer.close();
      await eventually("no session", () => lab.app.counts.sessions, (count) => count === 0);
      expect(problems).toEqual([]);
    }, TIMEOUT_MS);

    test("shows the machine's screen, scaled to fit the window, and its name", async () => {
      await untilSame("the first picture");
      const page = await decoded(await viewer.screenshot("console-viewer"));
      const [x, y] = await viewer.at(IN_TERMINAL);
      expect(colorAt(page, Math.round(x), Math.round(y))).toBe(TERMINAL);
      expect(countOf(page, LOGO)).toBeGreaterThan(1000);
      const box = await viewer.page.locator("#screen canvas").boundingBox();
      expect(box?.width).toBe(800);
      expect(await viewer.page.title()).toBe(`${VM} – console`);
      expect(await viewer.page.getByRole("heading", { level: 1 }).textContent()).toBe(VM);
    }, TIMEOUT_MS);

    test("one to one, a screenshot is the machine's screen, pixel for pixel", async () => {
      await viewer.button("Fit").click();
      await viewer.page.setViewportSize({ width: 900, height: 640 });
      await untilSame("a still picture");
      const [x, y] = await viewer.at([0, 0]);
      const png = await viewer.page.screenshot({ clip: { x, y, ...SIZE } });
      expect(difference(await lab.display.picture(), await decoded(png))).toBe("");
    }, TIMEOUT_MS);

    test("the token is nowhere to be seen, and no request goes elsewhere", async () => {
      const token = new URL(viewer.requests[0]!).pathname.split("/")[2]!;
      expect(token).toStartWith("eyJ");
      expect(viewer.page.url()).toBe(`${lab.origin}/ws_proxy/_viewer/#${VM}`);
      expect(await viewer.remembered()).not.toContain(token);
      expect(viewer.written.join("\n")).not.toContain(token);
      const hosts = viewer.requests.filter((url) => !url.startsWith("data:")).map((url) => new URL(url).host);
      expect(hosts.length).toBeGreaterThanOrEqual(4);
      expect(new Set(hosts)).toEqual(new Set([new URL(lab.origin).host]));
    }, TIMEOUT_MS);

    test("a reload shows the screen again", async () => {
      await viewer.page.reload();
      await viewer.until("connected");
      await untilSame("the picture after the reload");
      expect(viewer.page.url()).toBe(`${lab.origin}/ws_proxy/_viewer/#${VM}`);
    }, TIMEOUT_MS);

    test("typed keys arrive without a click on the screen before", async () => {
      await viewer.page.mouse.move(...await viewer.at(IN_TERMINAL));
      await viewer.page.keyboard.type("echo 'typed in the viewer' > viewer-typed\n");
      expect(await lab.typed("viewer-typed")).toBe("typed in the viewer\n");
    }, TIMEOUT_MS);

    test("the button Ctrl+Alt+Del sends these keys", async () => {
      await lab.display.run("xdotool", "mousemove", ...IN_XEV.map(String));
      const from = (await lab.display.output("xev")).length;
      await viewer.button("Ctrl+Alt+Del").click();
      // The pointer of the viewer is on its bar, and the machine's where it was.
      const keys = async (): Promise<string[]> => [...(await lab.display.output("xev")).slice(from).matchAll(/(KeyPress|KeyRelease)[^]*?keysym 0x[0-9a-f]+, (\w+)/g)].map(([, kind, key]) => `${kind} ${key}`);
      const seen = await eventually("six keys", keys, (found) => found.length >= 6);
      expect(seen).toEqual([
        "KeyPress Control_L", "KeyPress Alt_L", "KeyPress Delete", "KeyRelease Delete", "KeyRelease Alt_L", "KeyRelease Control_L",
      ]);
    }, TIMEOUT_MS);

    test("the clipboard panel sends a text to the machine", async () => {
      await viewer.button("Clipboard").click();
      await viewer.page.getByLabel("Clipboard", { exact: true }).and(viewer.page.locator("textarea")).fill("from the panel: naïve ✓ 漢字");
      await viewer.button("Send to the machine").click();
      await eventually("the X clipboard", () => lab.display.clipboard().catch(() => ""), (text) => text === "from the panel: naïve ✓ 漢字");
      await viewer.page.keyboard.press("Escape");
      expect(await viewer.page.locator("#clipboard").isVisible()).toBe(false);
    }, TIMEOUT_MS);

    test("the clipboard panel shows what is copied on the machine", async () => {
      await viewer.button("Clipboard").click();
      // -quiet keeps it in the foreground, where it can be ended.
      lab.display.open("xclip", ["xclip", "-quiet", "-selection", "clipboard", "-in"], Buffer.from("copied on the machine: ✓"));
      await eventually("the text", () => viewer.page.locator("textarea").inputValue(), (text) => text === "copied on the machine: ✓");
    }, TIMEOUT_MS);

    test("view only keeps keys from the machine, and takes the buttons that send some", async () => {
      await viewer.button("View only").click();
      expect(await viewer.button("Ctrl+Alt+Del").isDisabled()).toBe(true);
      await viewer.page.mouse.click(...await viewer.at(IN_TERMINAL));
      await viewer.page.keyboard.type("echo never > never-typed\n");
      await viewer.button("View only").click();
      await viewer.page.mouse.click(...await viewer.at(IN_TERMINAL));
      await viewer.page.keyboard.type("echo now > typed-again\n");
      expect(await lab.typed("typed-again")).toBe("now\n");
      expect(await lab.display.output("never-typed").catch(() => "absent")).toBe("absent");
    }, TIMEOUT_MS);

    test("the bar hides, and Ctrl+Alt+Shift brings the keyboard back to it without a key that stays down", async () => {
      await viewer.page.keyboard.press("Tab");
      await viewer.button("Hide").click();
      await viewer.screenshot("console-viewer-hidden-bar");
      expect(await viewer.page.locator("#bar").isVisible()).toBe(false);
      for (const key of ["Control", "Alt", "Shift"]) await viewer.page.keyboard.down(key);
      expect(await viewer.page.locator("#bar").isVisible()).toBe(false);
      for (const key of ["Control", "Alt", "Shift"]) await viewer.page.keyboard.up(key);
      expect(await viewer.page.evaluate("document.activeElement.id")).toBe("hide");
      await viewer.page.mouse.move(...await viewer.at(IN_TERMINAL));
      await viewer.page.locator("#screen canvas").focus();
      await viewer.page.keyboard.type("echo plain > after-the-keys\n");
      expect(await lab.typed("after-the-keys")).toBe("plain\n");
    }, TIMEOUT_MS);

    test("every button can be reached by the Tab key, in order, and shows that it has the keyboard", async () => {
      await viewer.page.locator("#ctrl-alt-del").focus();
      const seen: string[] = [];
      for (let count = 0; count < 7; count += 1) {
        seen.push(await viewer.page.evaluate<string>("document.activeElement.id"));
        expect(await viewer.page.evaluate<string>("getComputedStyle(document.activeElement).outlineStyle")).toBe("solid");
        await viewer.page.keyboard.press("Tab");
      }
      expect(seen).toEqual(["ctrl-alt-del", "clipboard-open", "view-only", "scale", "fullscreen", "reconnect", "hide"]);
      expect(await viewer.page.evaluate<string>("document.activeElement.tagName")).toBe("CANVAS");
    }, TIMEOUT_MS);

    test("the button for full screen fills it, and its state follows when it is left by other means", async () => {
      const isPressed = () => viewer.button("Full screen").getAttribute("aria-pressed");
      await viewer.button("Full screen").click();
      await eventually("full screen", () => viewer.page.evaluate("document.fullscreenElement !== null"), (isFull) => isFull === true);
      await eventually("the pressed button", isPressed, (pressed) => pressed === "true");
      await viewer.page.evaluate("document.exitFullscreen()");
      await eventually("the released button", isPressed, (pressed) => pressed === "false");
    }, TIMEOUT_MS);

    test("reconnect makes a new connection", async () => {
      const before = lab.api.seen.length;
      await viewer.button("Reconnect").click();
      await eventually("a second handshake", () => lab.api.seen.length, (count) => count === before + 1);
      await viewer.until("connected");
      await untilSame("the picture of the new connection");
    }, TIMEOUT_MS);

    test("a viewer that another one takes over says so and stays away", async () => {
      const second = await openConnected();
      expect(await viewer.untilNotice(/./)).toBe("The console was closed | The machine was stopped, or its console was opened by somebody else.");
      await untilSame("the picture of the second", second);
      await second.close();
    }, TIMEOUT_MS);
  });

  test("no request says where the page was opened, on the wire", async () => {
    const wire = await Relay.open({ host: "127.0.0.1", port: lab.app.port });
    const opened = await openConnected(address(lab.token(), `http://127.0.0.1:${wire.port}`));
    await opened.page.reload();
    await opened.until("connected");
    await opened.close();
    const said = wire.said.join("\n");
    const lines = said.match(/^(?:GET|HEAD|POST) .* HTTP\/1\.1/gm)?.map((line) => line.replace(/eyJ[^/]+/, "TOKEN")) ?? [];
    const own = `/ws_proxy/TOKEN/${VM}`;
    for (const path of [own, "/ws_proxy/_viewer/", "/ws_proxy/_viewer/style.css", "/ws_proxy/_viewer/client.js"]) expect(lines).toContain(`GET ${path} HTTP/1.1`);
    // The page and its two WebSockets; nothing else needs the token.
    expect(lines.filter((line) => line.includes("TOKEN"))).toEqual([`GET ${own} HTTP/1.1`, `GET ${own} HTTP/1.1`, `GET ${own} HTTP/1.1`]);
    expect(said).not.toMatch(/^referer:/im);
    wire.stop();
  }, TIMEOUT_MS);

  test("the policy is in force: a script that got into the page does not run", async () => {
    const opened = await openConnected();
    await opened.page.evaluate(`{ const script = document.createElement("script"); script.textContent = "window.ran = true"; document.body.append(script); }`);
    expect(await opened.page.evaluate("window.ran")).toBeUndefined();
    await eventually("a complaint", () => opened.problems.join("\n"), (text) => text.includes("Content Security Policy"));
    await opened.close();
  }, TIMEOUT_MS);

  test("a bad token gets the page of a 401, and no viewer", async () => {
    const page = await (await browser.newContext()).newPage();
    const answer = await page.goto(address(`${lab.token().slice(0, -8)}AAAAAAAA`));
    expect(answer?.status()).toBe(401);
    expect(await page.getByRole("heading").textContent()).toBe("401 unauthorized");
    expect(await page.locator("script").count()).toBe(0);
    await page.context().close();
  }, TIMEOUT_MS);

  test("a machine that the token does not list gets the page of a 403", async () => {
    const page = await (await browser.newContext()).newPage();
    expect((await page.goto(address(lab.token(["kali"]))))?.status()).toBe(403);
    await page.context().close();
  }, TIMEOUT_MS);

  test("opened without a console, the page asks for the link", async () => {
    const opened = await ViewerPage.open(browser, `${lab.origin}/ws_proxy/_viewer/#${VM}`);
    expect(await opened.untilNotice(/./)).toBe("No console is open here | Open the console's link again.");
    expect(await opened.page.getByRole("button", { name: "Reconnect" }).and(opened.page.locator(":enabled")).count()).toBe(0);
    expect(opened.problems).toEqual([]);
    await opened.close();
  }, TIMEOUT_MS);

  test("a machine that is not running is named so, not tried again, and shown when it was started", async () => {
    lab.switchOff();
    const opened = await ViewerPage.open(browser, address());
    expect(await opened.untilNotice(/./)).toBe("The machine is not running | Start it, then connect again.");
    await opened.screenshot("console-viewer-not-running");
    lab.switchOn();
    await opened.button("Reconnect").first().click();
    await opened.until("connected");
    await opened.close();
  }, TIMEOUT_MS);

  test("a link that ended meanwhile is found out, although the browser hides why the handshake failed", async () => {
    const plain = await Lab.start({ ROUTE_VIEWER: "true" });
    const [short, good] = [`${plain.origin}/${plain.token([VM], 2)}/${VM}`, `${plain.origin}/${plain.token()}/${VM}`];
    const [ending, opened] = [await openConnected(short), await ViewerPage.open(browser, good)];
    await eventually("the end of the token", async () => (await fetch(short, { headers: { accept: "text/html" } })).status, (status) => status === 401);
    await ending.button("Reconnect").first().click();
    expect(await ending.untilNotice(/./)).toStartWith("The link is no longer good | ");
    // A good link to a machine that does not run: the page's address is fine, so it is tried again.
    plain.switchOff();
    await opened.button("Reconnect").first().click();
    await opened.untilNotice(/Cannot reach the console .*Connecting again in 1 s \(try 1\)/);
    plain.switchOn();
    await opened.until("connected");
    await Promise.all([ending.close(), opened.close()]);
    await plain.stop();
  }, TIMEOUT_MS);

  test("a gateway that restarts is waited for, and the screen comes back", async () => {
    const opened = await openConnected();
    // With time for the close frame: with none, the connection is cut at once.
    const stopped = lab.app.stop(1000);
    expect(await opened.untilNotice(/try/)).toMatch(/^The gateway is restarting \| Connecting again in 1 s \(try 1\)\.$/);
    await stopped;
    await lab.restart();
    await opened.until("connected");
    await untilSame("the picture after the restart", opened);
    expect(await opened.notice()).toBe("");
    await opened.close();
  }, TIMEOUT_MS);

  test("a machine with a password asks for it, says when it is wrong, and opens with the right one", async () => {
    const locked = await startLockedScreen();
    lab.api.addVm({ namespace: NAMESPACE, name: VM, vnc: { host: "127.0.0.1", port: locked.relay.port } });
    const opened = await ViewerPage.open(browser, address());
    const password = opened.page.getByLabel("Password");
    await password.fill("wrong");
    await opened.screenshot("console-viewer-password");
    expect(await opened.page.getByLabel("User name").isVisible()).toBe(false);
    await opened.button("Connect").click();
    await opened.untilNotice(/^The machine let nobody in \| Authentication fail/);
    await opened.button("Reconnect").first().click();
    await opened.button("Cancel").click();
    await opened.untilNotice(/^Disconnected \| The machine asks for a password/);
    await opened.button("Reconnect").first().click();
    await password.fill("password");
    await password.press("Enter");
    await opened.until("connected");
    // Kept while the page is open: a new connection does not ask again.
    const before = lab.api.seen.length;
    await opened.button("Reconnect").click();
    await eventually("another handshake", () => lab.api.seen.length, (count) => count === before + 1);
    await opened.until("connected");
    await opened.close();
    lab.switchOn();
    await locked.stop();
  }, TIMEOUT_MS);

  test("looks right on a wide and a narrow window, light and dark", async () => {
    for (const colorScheme of ["light", "dark"] as const) {
      for (const viewport of [{ width: 1280, height: 800 }, { width: 390, height: 700 }]) {
        const opened = await ViewerPage.open(browser, address(), { viewport, colorScheme });
        await opened.until("connected");
        await untilSame("the picture", opened);
        await opened.screenshot(`console-viewer-${colorScheme}-${viewport.width}`);
        const overflow = await opened.page.evaluate<number>("document.documentElement.scrollWidth - innerWidth");
        expect(overflow).toBeLessThanOrEqual(0);
        // No button is cut, whatever the width.
        for (const button of await opened.page.locator("#bar button").all()) {
          const box = (await button.boundingBox())!;
          expect(box.x >= 0 && box.x + box.width <= viewport.width).toBe(true);
        }
        await opened.button("Clipboard").click();
        await opened.screenshot(`console-viewer-${colorScheme}-${viewport.width}-clipboard`);
        await opened.close();
      }
    }
  }, TIMEOUT_MS);
});
