import { describe, expect, test } from "bun:test";
import { AdminServer } from "../../src/admin/server.ts";
import { RawClient } from "../support/raw.ts";
import { TestAdmin } from "./admin-client.ts";

const TOKEN = "a-token-of-the-operator";

async function refusal(host: string, token: string | null): Promise<string> {
  try {
    const admin = await TestAdmin.start({ token }, host);
    await admin.stop();
    return "";
  } catch (error) {
    return (error as Error).message;
  }
}

describe("admin listener", () => {
  test.each(["", "0.0.0.0", "::", "10.0.0.1", "127.example.org", "1270.0.0.1", "localhost.example.org"])("does not open on %j without a token, and says what to do", async (host) => {
    expect(await refusal(host, null)).toBe(`cannot open the admin API on ${host || "*"}:0: it could be called from elsewhere, and there is no token (set admin.tokenFile, or listen on 127.0.0.1)`);
  });

  test.each(["127.0.0.1", "127.0.0.2", "localhost"])("opens on %s without one", async (host) => {
    expect(await refusal(host, null)).toBe("");
  });

  test.each([
    ["", "the token has 0 characters, and at least 16 are needed"],
    ["short", "the token has 5 characters, and at least 16 are needed"],
    [`${TOKEN}\n`, "the token holds characters that no Authorization header can carry"],
    [`${TOKEN} ${TOKEN}`, "the token holds characters that no Authorization header can carry"],
  ])("does not open with the token %j", async (token, message) => {
    expect(await refusal("0.0.0.0", token)).toContain(message);
    expect(await refusal("127.0.0.1", token)).not.toContain(token || "never");
  });

  test.each(["127.0.0.1", "0.0.0.0", ""])("is found at its URL when it listens on %j, on a port that the kernel chose", async (host) => {
    const admin = await TestAdmin.start({ token: TOKEN }, host);
    expect(admin.server.port).toBeGreaterThan(0);
    expect((await admin.ask("GET", "/healthz", { headers: { authorization: `Bearer ${TOKEN}` } })).status).toBe(200);
    await admin.stop();
  });

  test("says so when its address is in use", async () => {
    const admin = await TestAdmin.start();
    const { port } = admin.server;
    expect(() => new AdminServer({ host: "127.0.0.1", port }, admin.options)).toThrow(`cannot listen on 127.0.0.1:${port} for the admin API: the address is in use`);
    await admin.stop();
  });

  test("cuts what is open when it stops, and its port is free again", async () => {
    const admin = await TestAdmin.start();
    const { port } = admin.server;
    const idle = await RawClient.open(port);
    idle.write("GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n");
    await idle.until(() => idle.status === 200);
    await admin.stop();
    await idle.until(() => idle.isClosed);
    const again = new AdminServer({ host: "127.0.0.1", port }, admin.options);
    await again.stop();
  });
});
