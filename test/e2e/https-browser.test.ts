// A browser at an HTTPS front: the real noVNC by wss to a real Xvnc through websockify, and the embedded viewer by wss to the
// same screen through a KubeVirt API. Chromium trusts the front's key and no other; what a person would have to trust is the
// authority, which curl and openssl do in https-certificates.test.ts.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import type { Browser } from "playwright-core";
import { CHROMIUM } from "../support/browser.ts";
import { HAS_OPENSSL } from "../support/certificates.ts";
import { Relay } from "../support/console-screen.ts";
import { ViewerPage } from "../support/console-viewer.ts";
import { Display, MISSING_PROGRAMS, startWebsockify, type Websockify } from "../support/display.ts";
import { difference } from "../support/display-picture.ts";
import { eventually } from "../support/eventually.ts";
import { launchTrusting } from "../support/https-browser.ts";
import { curl } from "../support/https-client.ts";
import { HttpsRouter, SHIPPED } from "../support/https-router.ts";
import { CONSOLE_SECRET, consoleToken, KubernetesApi, NAMESPACE } from "../support/kubernetes.ts";
import { podAddress, startWebsite, VncPage, type Website } from "../support/vnc.ts";

/** Something is not installed. */
const CANNOT_RUN = !CHROMIUM || !HAS_OPENSSL || MISSING_PROGRAMS.length > 0;
const SIZE = { width: 640, height: 400 };
const TIMEOUT_MS = 60_000;
const VM = "ubuntu";

let display: Display;
let screen: Relay;
let api: KubernetesApi;
let websockify: Websockify;
let website: Website;
let router: HttpsRouter;
let browser: Browser;
let pod: string;

/** The shipped table, and consoles below /vnc. */
function table(): string {
  return SHIPPED.replace("\nservices:\n", "\nservices:\n  consoles: { kubernetes: \"${API}\" }\n").replace("\nroutes:\n",
    "\nroutes:\n  - { path: \"/vnc/{token}/{vm}\", identity: vm, service: consoles, viewer: true }\n").replace("\ntoken:\n", "\ntoken:\n  vm: { secret: \"${SECRET_KEY}\" }\n");
}

beforeAll(async () => {
  if (CANNOT_RUN) return;
  pod = podAddress();
  display = await Display.start(SIZE);
  await display.run("xsetroot", "-solid", "#204060");
  display.open("xlogo", ["xlogo", "-geometry", "160x160+300+40", "-fg", "#c02020", "-bg", "#ffe0a0"]);
  await display.shown("class", "XLogo");
  screen = await Relay.open({ path: display.socketPath });
  api = await KubernetesApi.start({ tls: false });
  api.addVm({ namespace: NAMESPACE, name: VM, vnc: { host: "127.0.0.1", port: screen.port } });
  website = startWebsite();
  websockify = await startWebsockify(display, pod);
  router = await HttpsRouter.start({
    table: table(), tls: (files) => files.section(["desk"], "hsts: 1d"),
    env: { WS_TCP_BRIDGE_TCP_PORT: String(websockify.port), WEBSITE_URL: website.url, API: api.url, SECRET_KEY: CONSOLE_SECRET },
  });
  browser = await launchTrusting(readFileSync(router.files.file("desk.crt"), "utf8"), "desk.test");
}, TIMEOUT_MS);

afterAll(async () => {
  await browser?.close();
  await router?.stop();
  await website?.stop();
  await websockify?.stop();
  await api?.stop();
  screen?.stop();
  await display?.stop();
}, TIMEOUT_MS);

const origin = (): string => `https://desk.test:${router.port}`;

describe.skipIf(CANNOT_RUN)("Chromium at an HTTPS front", () => {
  test("shows the remote screen by noVNC over wss, pixel for pixel", async () => {
    const vnc = await VncPage.open(browser, origin(), SIZE);
    expect(await vnc.page.evaluate<boolean>("window.isSecureContext")).toBe(true);
    expect(await vnc.connect(`/websockify?jwt_token=${router.keys.token(pod)}`)).toBe("binary");
    await eventually("the same picture", async () => difference(await display.picture(), await vnc.canvas()), (text) => text === "");
    expect(await vnc.page.evaluate<string>("location.protocol + ' ' + performance.getEntriesByType('navigation')[0].nextHopProtocol")).toBe("https: h2");
    expect(router.app.counts.sessions).toBe(1);
    await vnc.disconnect();
    await vnc.close();
    expect(vnc.problems).toEqual([]);
    await eventually("no session", () => router.app.counts.sessions, (count) => count === 0);
    expect(router.events("access").findLast(({ status }) => status === 101)).toMatchObject({ service: "vnc", path: "/websockify", target: `${pod}:${websockify.port}`, client: "127.0.0.1" });
    expect(router.log.text).not.toContain("eyJ");
  }, TIMEOUT_MS);

  test("shows a machine's screen in the embedded viewer, whose policy lets it speak wss to its own host", async () => {
    const viewer = await ViewerPage.open(browser, `${origin()}/vnc/${consoleToken({ vms: [VM] })}/${VM}`);
    await viewer.until("connected");
    await eventually("the same picture", async () => {
      const canvas = await viewer.canvas();
      return canvas === null ? "no canvas" : difference(await display.picture(), canvas);
    }, (text) => text === "");
    expect(viewer.requests.filter((url) => url.startsWith("wss:")).length).toBe(1);
    expect(viewer.requests.filter((url) => !/^(?:https|wss):\/\/desk\.test:|^(?:data|blob):/.test(url))).toEqual([]);
    expect(viewer.problems).toEqual([]);
    await viewer.close();
  }, TIMEOUT_MS);

  test("comes from http to https by itself", async () => {
    const page = await (await browser.newContext()).newPage();
    await page.goto(`http://desk.test:${router.httpPort}/vnc.html`);
    expect(page.url()).toBe(`${origin()}/vnc.html`);
    await page.context().close();
  }, TIMEOUT_MS);

  test("is refused by its own rules when the key is another one", async () => {
    router.files.put("other", "desk.test");
    const stranger = await launchTrusting(readFileSync(router.files.file("other.crt"), "utf8"), "desk.test");
    const page = await (await stranger.newContext()).newPage();
    expect(await page.goto(`${origin()}/vnc.html`).then(() => "shown", (error: Error) => error.message)).toContain("ERR_CERT_AUTHORITY_INVALID");
    await stranger.close();
    // And whoever trusts the authority takes it.
    expect((await curl(router, "desk.test", "/healthz")).stdout).toBe("OK\n");
  }, TIMEOUT_MS);
});
