import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Browser } from "playwright-core";
import { CHROMIUM, launchBrowser } from "../support/browser.ts";
import { eventually } from "../support/eventually.ts";
import { TestRouter } from "../support/router.ts";
import { podAddress, startWebsite, type Website } from "../support/vnc.ts";
import { type Service, startTerminals } from "../support/vnc-desktop.ts";
import { Tab } from "../support/vnc-tab.ts";

/** Something is not installed. */
const CANNOT_RUN = !CHROMIUM;
const TIMEOUT_MS = 60_000;

let pod: string;
let terminals: Service;
let website: Website;
let router: TestRouter;
let browser: Browser;
let tab: Tab;
let token: string;
let pid: string;

beforeAll(async () => {
  if (CANNOT_RUN) return;
  pod = podAddress();
  browser = await launchBrowser();
  terminals = startTerminals(pod);
  website = startWebsite();
  router = await TestRouter.start({ env: { XTERM_TCP_PORT: String(terminals.port), WEBSITE_URL: website.url } });
  token = router.token(pod);
  tab = await Tab.open(browser, router.url(""));
}, TIMEOUT_MS);

afterAll(async () => {
  await browser?.close();
  await router?.stop();
  await website?.stop();
  await terminals?.stop();
}, TIMEOUT_MS);

describe.skipIf(CANNOT_RUN)("a terminal in Chromium → route-gateway → a shell on a pseudo-terminal", () => {
  test("POST /terminals makes one, and the WebSocket at /terminals/<pid>?<token> is its screen", async () => {
    const made = await tab.post("/terminals?cols=80&rows=24", token);
    expect(made).toEqual({ status: 200, text: expect.stringMatching(/^\d+$/) });
    pid = made.text;
    await tab.connect(`/terminals/${pid}?${token}`);
    await tab.until("$ ");
    // Path and query as the browser sent them: the service looks at the token as well.
    expect(terminals.seen.at(-1)).toBe(`GET /terminals/${pid}?${token}`);
  }, TIMEOUT_MS);

  test("what is typed, one key a message, is run, and its output comes back", async () => {
    await tab.send(..."echo typed: $((40 + 2)) ✓\r");
    expect(await tab.until("\ntyped: 42 ✓\r\n")).toContain("$ echo typed: $((40 + 2)) ✓\r\n");
  }, TIMEOUT_MS);

  test("the shell hears the size, and a new one from /terminals/<pid>/size", async () => {
    await tab.send("echo size $(stty size)\r");
    await tab.until("\nsize 24 80\r\n");
    expect(await tab.post(`/terminals/${pid}/size?cols=132&rows=40`, token)).toEqual({ status: 200, text: "resized\n" });
    await tab.send("echo size $(stty size)\r");
    await tab.until("\nsize 40 132\r\n");
  }, TIMEOUT_MS);

  test("a long output arrives whole and in order", async () => {
    await tab.send("seq 1 60000; echo that was all | tr a-z A-Z\r");
    const text = await tab.until("THAT WAS ALL\r\n");
    const numbers = Array.from({ length: 60_000 }, (_, index) => `${index + 1}\r\n`).join("");
    expect(text.includes(numbers)).toBe(true);
  }, TIMEOUT_MS);

  test("control characters arrive: Ctrl-C ends what runs", async () => {
    // One process from the word to its end: a signal between two of them would end the first and leave the second running.
    await tab.send("sh -c 'echo begun $((40 + 2)); exec sleep 1000'\r");
    await tab.until("\nbegun 42\r\n");
    await tab.send("\u0003");
    await tab.send("echo status $?\r");
    await tab.until("\nstatus 130\r\n");
  }, TIMEOUT_MS);

  test("the end of the shell ends the WebSocket with the service's code and reason", async () => {
    await tab.send("exit\r");
    expect(await tab.closed()).toEqual({ code: 1000, reason: "shell ended" });
  }, TIMEOUT_MS);

  test("neither a bad token nor a terminal that is not there opens one", async () => {
    const stranger = await Tab.open(browser, router.url(""));
    const attempt = (path: string) => stranger.connect(path).then(() => "open", () => "refused");
    const before = terminals.seen.length;
    expect(await attempt(`/terminals/${pid}?${token.slice(0, -4)}AAAA`)).toBe("refused");
    expect(await attempt(`/terminals/${pid}`)).toBe("refused");
    expect(terminals.seen).toHaveLength(before);
    expect(await attempt(`/terminals/1?${token}`)).toBe("refused");
    expect(terminals.seen).toHaveLength(before + 1);
    const logged = (status: number) => router.lines.filter((line) => line["status"] === status).length;
    await eventually("the refusals in the log", () => logged(404), (count) => count === 1);
    expect(logged(401)).toBe(2);
    expect(router.log.text).not.toContain(token);
    expect([...tab.problems, ...stranger.problems]).toEqual([]);
  }, TIMEOUT_MS);
});
