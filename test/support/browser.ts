// The real browser: Debian's Chromium, headless, driven by playwright-core. It talks to nobody but the pages of a test.

import { type Browser, chromium, type Page } from "playwright-core";

/** null: this machine has none, and its tests are skipped. */
export const CHROMIUM = Bun.which("chromium");

const FLAGS = [
  // Root in a container has no user namespaces for the sandbox; the pages are our own.
  "--no-sandbox",
  "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
  "--disable-quic",
];

export async function launchBrowser(): Promise<Browser> {
  return chromium.launch({ executablePath: CHROMIUM!, args: FLAGS });
}

/** A page in a profile of its own, one CSS pixel one screen pixel; `problems` collects its uncaught errors. */
export async function openPage(
  browser: Browser, url: string, size: { width: number; height: number }, problems: string[],
): Promise<Page> {
  const page = await (await browser.newContext({ viewport: size, deviceScaleFactor: 1 })).newPage();
  page.on("pageerror", (error) => problems.push(error.message));
  await page.goto(url);
  return page;
}

/** Keeps a screenshot for people where `ROUTE_SCREENSHOTS` names a directory. */
export async function screenshot(page: Page, name: string): Promise<Buffer> {
  const directory = process.env["ROUTE_SCREENSHOTS"];
  return page.screenshot(directory === undefined ? {} : { path: `${directory}/${name}.png` });
}
