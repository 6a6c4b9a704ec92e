// The embedded console viewer in the real browser: a page that is opened at a console's address, everything that it asks for
// and complains of, and what a person would look at and press.

import type { Browser, BrowserContextOptions, Locator, Page } from "playwright-core";
import { screenshot } from "./browser.ts";
import { type Picture } from "./display-picture.ts";
import { eventually } from "./eventually.ts";

type Packed = { readonly width: number; readonly height: number; readonly rgba: string };

export class ViewerPage {
  /** Uncaught errors, and errors in the browser's console: a violated content security policy is one. */
  readonly problems: string[] = [];
  /** Everything that is written to the browser's console. */
  readonly written: string[] = [];
  /** Addresses of all requests, WebSockets included. */
  readonly requests: string[] = [];

  private constructor(readonly page: Page) {
    page.on("pageerror", (error) => this.problems.push(error.message));
    page.on("console", (message) => {
      this.written.push(message.text());
      if (message.type() === "error") this.problems.push(message.text());
    });
    page.on("request", (request) => this.requests.push(request.url()));
    page.on("websocket", (socket) => this.requests.push(socket.url()));
  }

  static async open(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<ViewerPage> {
    const viewer = new ViewerPage(await (await browser.newContext({ viewport: { width: 800, height: 600 }, deviceScaleFactor: 1, ...options })).newPage());
    await viewer.page.goto(url);
    return viewer;
  }

  button(name: string): Locator {
    return this.page.getByRole("button", { name, exact: true });
  }

  /** connecting, connected, disconnected: as soon as it is so. */
  async until(state: string): Promise<void> {
    await eventually(`the state ${state}`, () => this.page.locator("#state").textContent(), (text) => text === state);
  }

  /** What stands in the place of the screen. */
  async notice(): Promise<string> {
    return (await this.page.locator("#notice:visible p, #notice:visible h2").allTextContents()).join(" | ").trim();
  }

  async untilNotice(wanted: RegExp): Promise<string> {
    return eventually(`a notice ${wanted}`, () => this.notice(), (text) => wanted.test(text));
  }

  /** What is in noVNC's canvas; null: there is none. */
  async canvas(): Promise<Picture | null> {
    const packed = await this.page.evaluate<Packed | null>(`(() => {
      const canvas = document.querySelector("#screen canvas");
      if (canvas === null || canvas.width === 0) return null;
      const { width, height, data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      let text = "";
      for (let at = 0; at < data.length; at += 0x8000) text += String.fromCharCode(...data.subarray(at, at + 0x8000));
      return { width, height, rgba: btoa(text) };
    })()`);
    return packed === null ? null : { width: packed.width, height: packed.height, rgba: new Uint8Array(Buffer.from(packed.rgba, "base64")) };
  }

  /** Where the machine's pixel is in the page. */
  async at([x, y]: readonly [number, number]): Promise<[number, number]> {
    const box = (await this.page.locator("#screen canvas").boundingBox())!;
    const width = await this.page.locator("#screen canvas").evaluate((canvas) => (canvas as unknown as { width: number }).width);
    const scale = box.width / width;
    return [box.x + x * scale, box.y + y * scale];
  }

  /** The page as a person sees it, as a PNG. */
  screenshot(name: string): Promise<Buffer> {
    return screenshot(this.page, name);
  }

  /** Text that the page shows or keeps, by any way that another script or a person could look at. */
  async remembered(): Promise<string> {
    return this.page.evaluate<string>(`JSON.stringify([
      location.href, document.referrer, document.title, document.documentElement.outerHTML, { ...localStorage }, { ...sessionStorage }, document.cookie,
    ])`);
  }

  async close(): Promise<void> {
    await this.page.context().close();
  }
}
