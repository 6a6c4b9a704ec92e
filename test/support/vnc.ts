// The VNC client of the tests: the real noVNC from npm in a page of the real browser. The page and noVNC's modules come from
// a stand-in website, which the router serves as its `website`: the browser talks to nobody but the router.

import { dirname, join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { openPage, screenshot } from "./browser.ts";
import type { Picture } from "./display-picture.ts";

const NOVNC = join(dirname(Bun.resolveSync("@novnc/novnc", import.meta.dir)), "..");
const PAGE = `<!doctype html><meta charset="utf-8"><title>remote screen</title><link rel="icon" href="data:,">
<style>html, body { margin: 0; height: 100%; overflow: hidden; } #screen { width: 100vw; height: 100vh; }</style>
<div id="screen"></div><script type="module" src="/vnc-page.js"></script>`;

/** No screen: for the sockets beside it. */
const TAB = `<!doctype html><meta charset="utf-8"><title>tab</title><link rel="icon" href="data:,">
<script src="/vnc-tab.js"></script>`;

export type Website = { readonly url: string; stop(): Promise<void> };

export function startWebsite(): Website {
  const server = Bun.serve({
    hostname: "127.0.0.1", port: 0, development: false,
    routes: {
      "/vnc.html": () => new Response(PAGE, { headers: { "content-type": "text/html" } }),
      "/vnc-page.js": () => new Response(Bun.file(join(import.meta.dir, "vnc-page.js"))),
      "/tab.html": () => new Response(TAB, { headers: { "content-type": "text/html" } }),
      "/vnc-tab.js": () => new Response(Bun.file(join(import.meta.dir, "vnc-tab.js"))),
      "/novnc/*": (request) => new Response(Bun.file(join(NOVNC, new URL(request.url).pathname.slice("/novnc/".length)))),
    },
    fetch: () => new Response("no such page\n", { status: 404 }),
  });
  return { url: `http://127.0.0.1:${server.port}`, stop: () => server.stop(true) };
}

/** What the page saw, oldest first. */
export type VncEvent =
  | { readonly type: "close"; readonly code: number; readonly reason: string; readonly wasClean: boolean }
  | { readonly type: "disconnect"; readonly clean: boolean }
  | { readonly type: "clipboard"; readonly text: string }
  | { readonly type: "desktopname"; readonly name: string }
  | { readonly type: "bell" };

type Packed = { readonly width: number; readonly height: number; readonly rgba: string };
/** `window.vnc` of vnc-page.js. */
type PageVnc = {
  readonly events: VncEvent[];
  connect(path: string): Promise<string>;
  disconnect(): void;
  paste(text: string): void;
  follow(isFollowing: boolean): void;
  picture(): Packed;
  decode(png: string): Promise<Packed>;
};
type PageWindow = { readonly vnc: PageVnc };

export class VncPage {
  /** Uncaught errors of the page. */
  readonly problems: string[] = [];
  page!: Page;

  /** @param url of the router, or of something before it */
  static async open(browser: Browser, url: string, size: { width: number; height: number }): Promise<VncPage> {
    const opened = new VncPage();
    opened.page = await openPage(browser, `${url}/vnc.html`, size, opened.problems);
    await opened.page.waitForFunction("window.vnc !== undefined");
    return opened;
  }

  /** @returns the subprotocol of the WebSocket, when the remote screen is there */
  connect(path: string): Promise<string> {
    return this.page.evaluate((at) => (globalThis as unknown as PageWindow).vnc.connect(at), path);
  }

  disconnect(): Promise<void> {
    return this.page.evaluate(() => (globalThis as unknown as PageWindow).vnc.disconnect());
  }

  paste(text: string): Promise<void> {
    return this.page.evaluate((pasted) => (globalThis as unknown as PageWindow).vnc.paste(pasted), text);
  }

  follow(isFollowing: boolean): Promise<void> {
    return this.page.evaluate((follows) => (globalThis as unknown as PageWindow).vnc.follow(follows), isFollowing);
  }

  events(): Promise<VncEvent[]> {
    return this.page.evaluate(() => (globalThis as unknown as PageWindow).vnc.events);
  }

  /** What is in noVNC's canvas. */
  async canvas(): Promise<Picture> {
    return unpacked(await this.page.evaluate(() => (globalThis as unknown as PageWindow).vnc.picture()));
  }

  /** What a person sees. */
  async screenshot(name: string): Promise<Picture> {
    const png = (await screenshot(this.page, name)).toString("base64");
    return unpacked(await this.page.evaluate((text) => (globalThis as unknown as PageWindow).vnc.decode(text), png));
  }

  async close(): Promise<void> {
    await this.page.context().close();
  }
}

function unpacked({ width, height, rgba }: Packed): Picture {
  return { width, height, rgba: new Uint8Array(Buffer.from(rgba, "base64")) };
}

let addresses = 0;

/** A pod address that no other test process uses at the same time, most likely; ports on it are the kernel's choice anyway. */
export function podAddress(): string {
  addresses += 1;
  return `127.0.1.${20 + ((process.pid * 11 + addresses) % 230)}`;
}
