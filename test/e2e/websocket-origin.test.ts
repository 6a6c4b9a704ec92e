// Cross-site WebSocket hijacking: a browser tells the truth about its Origin, so a foreign one ends at the router.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Pod } from "../support/pod.ts";
import { TestRouter } from "../support/router.ts";
import { WsClient } from "../support/ws-client.ts";

const SHIPPED = readFileSync(join(import.meta.dir, "../../routes.yaml"), "utf8");
const withOrigins = (origins: string): string => SHIPPED.replace("  - path: /websockify\n", `  - path: /websockify\n    origins: ${origins}\n`);

let pod: Pod;
const routers: Record<string, TestRouter> = {};

beforeAll(async () => {
  pod = new Pod();
  const env = { ...pod.env, PYOS_FQDN: "127.0.1.1", PYOS_SERVICE_PORT: String(pod.port("spawner_service_tcp_port")) };
  routers["default"] = await TestRouter.start({ env });
  routers["any"] = await TestRouter.start({ env, config: withOrigins("any") });
  routers["tokenless"] = await TestRouter.start({
    config: `services:\n  live: { url: "http://127.0.1.1:${pod.port("spawner_service_tcp_port")}" }\nroutes:\n  - { path: /live, service: live, websocket: true, origins: [https://good.example] }\n`,
  });
  routers["list"] = await TestRouter.start({ env, config: withOrigins("[https://desk.example, \"http://intranet:8080\"]") });
});
afterAll(async () => {
  for (const router of Object.values(routers)) await router.stop();
  pod.stop();
});

async function status(name: string, host: string, origin: string | null, path = "/websockify"): Promise<number> {
  const router = routers[name] as TestRouter;
  const client = await WsClient.try(router.port, `${path}?jwt_token=${router.token()}`, { headers: { Host: host, Origin: origin } });
  client.close();
  return client.status;
}

describe("the Origin of an upgrade", () => {
  test.each<[string, string, string | null, number]>([
    ["default", "desk.example", "https://desk.example", 101], ["default", "desk.example", "http://desk.example", 101],
    ["default", "desk.example:443", "https://desk.example", 101], ["default", "desk.example", "https://desk.example:443", 101],
    ["default", "DESK.example", "https://desk.EXAMPLE", 101], ["default", "desk.example:8443", "https://desk.example:8443", 101],
    ["default", "[::1]:8443", "http://[::1]:8443", 101], ["default", "desk.example", null, 101],
    ["default", "desk.example", "https://evil.example", 403], ["default", "desk.example", "null", 403], ["default", "desk.example", "", 403],
    ["default", "desk.example", "https://desk.example.evil.example", 403], ["default", "desk.example", "https://desk.example@evil.example", 403],
    ["default", "desk.example", "https://xdesk.example", 403], ["default", "desk.example", "https://desk.example:8443", 403],
    ["default", "desk.example:8443", "https://desk.example", 403], ["default", "desk.example", "desk.example", 403],
    ["default", "desk.example", "https://desk.example/", 403], ["default", "desk.example", "chrome-extension://desk.example", 403],
    ["default", "desk.example", "https://desk.example, https://evil.example", 403], ["default", "desk.example", "file://", 403],
    ["list", "other.example", "https://desk.example", 101], ["list", "x", "HTTPS://DESK.example", 101], ["list", "x", "http://intranet:8080", 101],
    ["list", "x", "http://desk.example", 403], ["list", "x", "http://x", 403], ["list", "x", "null", 403], ["list", "x", null, 101],
    ["any", "x", "https://evil.example", 101], ["any", "x", "null", 101],
  ])("checked by \"%s\": Host %s, Origin %p gets %d", async (name, host, origin, expected) => {
    const accepted = pod.accepted;
    expect(await status(name, host, origin)).toBe(expected);
    if (expected === 403) expect(pod.accepted).toBe(accepted);
  });

  test("is checked on every token route, also where the token is in a header", async () => {
    const router = routers["default"] as TestRouter;
    for (const path of ["/terminals/1", "/broadcast", "/sound", "/microphone", "/gamepad", "/signalling", `/container/${router.token()}/6081/x`]) {
      expect(await status("default", "desk.example", "https://evil.example", path)).toBe(403);
    }
  });

  test("is the control plane's own affair on routes without a token", async () => {
    expect(await status("default", "desk.example", "https://elsewhere.example", "/API/live")).toBe(101);
  });

  test.each([["https://good.example", 101], ["https://evil.example", 403]])("is checked on a route without a token that lists origins: %s gets %d", async (origin, expected) => {
    const accepted = pod.accepted;
    expect(await status("tokenless", "desk.example", origin, "/live")).toBe(expected);
    if (expected === 403) expect(pod.accepted).toBe(accepted);
  });
});
