// A browser tab of a desktop (vnc-tab.js), as the tests drive it.

import type { Browser, Page } from "playwright-core";
import { openPage } from "./browser.ts";
import { eventually } from "./eventually.ts";

export type Closed = { readonly code: number; readonly reason: string };
/** `window.tab` of vnc-tab.js. */
type PageTab = {
  readonly text: string;
  readonly messages: string[];
  readonly closed: Closed | null;
  open(path: string): Promise<void>;
  send(...texts: string[]): void;
  close(code: number, reason: string): void;
  post(path: string, token: string): Promise<{ status: number; text: string }>;
};
type PageWindow = { readonly tab: PageTab };

export class Tab {
  private constructor(readonly page: Page, readonly problems: string[]) {}

  /** @param url of the router */
  static async open(browser: Browser, url: string): Promise<Tab> {
    const problems: string[] = [];
    return new Tab(await openPage(browser, `${url}/tab.html`, { width: 400, height: 300 }, problems), problems);
  }

  /** Resolves when the WebSocket is open, throws when it is refused. */
  connect(path: string): Promise<void> {
    return this.page.evaluate((at) => (globalThis as unknown as PageWindow).tab.open(at), path);
  }

  send(...texts: string[]): Promise<void> {
    return this.page.evaluate((sent) => (globalThis as unknown as PageWindow).tab.send(...sent), texts);
  }

  disconnect(code: number, reason: string): Promise<void> {
    return this.page.evaluate((end) => (globalThis as unknown as PageWindow).tab.close(end.code, end.reason), { code, reason });
  }

  post(path: string, token: string): Promise<{ status: number; text: string }> {
    const request = { path, token };
    return this.page.evaluate((sent) => (globalThis as unknown as PageWindow).tab.post(sent.path, sent.token), request);
  }

  messages(): Promise<string[]> {
    return this.page.evaluate(() => (globalThis as unknown as PageWindow).tab.messages);
  }

  text(): Promise<string> {
    return this.page.evaluate(() => (globalThis as unknown as PageWindow).tab.text);
  }

  /** Everything that came so far, as soon as it holds `part`. */
  async until(part: string | RegExp): Promise<string> {
    const has = (text: string) => (typeof part === "string" ? text.includes(part) : part.test(text));
    return eventually(`${part} in the tab`, () => this.text(), has);
  }

  /** Code and reason, as soon as the WebSocket is closed. */
  async closed(): Promise<Closed> {
    const look = () => this.page.evaluate(() => (globalThis as unknown as PageWindow).tab.closed);
    return (await eventually("the end of the WebSocket", look, (closed) => closed !== null))!;
  }
}
