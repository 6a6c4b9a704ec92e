import { describe, expect, test } from "bun:test";
import { hint } from "../../src/entrypoint/listen.ts";

const MAIN = new URL("../../src/main.ts", import.meta.url).pathname;

describe("an address that cannot be listened on", () => {
  test.each([
    ["EADDRNOTAVAIL", "192.0.2.77", "no such address on this machine"],
    ["ENOENT", "nosuch.invalid", "cannot resolve the name"],
    ["EINVAL", "nosuch.invalid", "cannot resolve the name"],
    ["EAGAIN", "nosuch.invalid", "cannot resolve the name"],
    ["EINVAL", "fe80::1", "as it came"],
    ["EADDRINUSE", "127.0.0.1", "the address is in use (another server? choose one with --http HOST:PORT)"],
    [undefined, "127.0.0.1", "as it came"],
  ])("is explained: %s of %s", (code, host, words) => {
    expect(hint(code, new Error("as it came"), host)).toBe(words);
  });

  test("is said when serve starts", async () => {
    const keysLater = { ROUTE_REQUIRE_KEYS_AT_START: "false", JWT_DESKTOP_SIGNING_PUBLIC_KEY: "none.pem", JWT_DESKTOP_PAYLOAD_PRIVATE_KEY: "none.pem" };
    // 192.0.2.0/24 is kept for documentation (RFC 5737): no machine has an address of it.
    const serve = Bun.spawn([process.execPath, MAIN, "serve", "--http", "192.0.2.77:0"], { env: keysLater, stdout: "ignore", stderr: "pipe" });
    expect(await serve.stderr.text()).toBe("route-gateway: cannot listen on 192.0.2.77:0: no such address on this machine\n");
    expect(await serve.exited).toBe(1);
  });
});
