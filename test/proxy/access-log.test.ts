import { describe, expect, test } from "bun:test";
import { Log } from "../../src/lib/log.ts";
import { type AccessEntry, AccessLog } from "../../src/proxy/access-log.ts";
import { MemorySink } from "../support/router.ts";

const ENTRY: AccessEntry = {
  requestId: "id1", client: "203.0.113.9", method: "GET", path: "/filer/x", route: "/filer", service: "filer",
    target: "10.0.0.1:29783", status: 200,
  bytesIn: 3, bytesOut: 5, durationMs: 1.26, upstreamMs: 0.74, tokenHash: "0123abcd", cacheStatus: null, closeCode: null, reason: null,
};

function write(entry: Partial<AccessEntry>, format: "json" | "pretty" = "json"): string {
  const sink = new MemorySink();
  const log = new Log(format, sink);
  new AccessLog(log, format, () => Date.UTC(2026, 0, 2, 3, 4, 5, 6)).write({ ...ENTRY, ...entry });
  log.close();
  return sink.text;
}

describe("an access line", () => {
  test("is one JSON object with every field", () => {
    expect(JSON.parse(write({}))).toEqual({
      time: "2026-01-02T03:04:05.006Z", level: "info", message: "access", request_id: "id1", client: "203.0.113.9",
        method: "GET", path: "/filer/x", route: "/filer",
      service: "filer", target: "10.0.0.1:29783", status: 200, bytes_in: 3, bytes_out: 5, duration_ms: 1.3,
        upstream_ms: 0.7, token: "0123abcd",
    });
  });

  test("has null for what there was not, and the reason of a refusal", () => {
    expect(JSON.parse(write({ route: null, service: null, target: null, tokenHash: null, upstreamMs: null,
      reason: "no route" }))).toMatchObject(
      { route: null, service: null, target: null, token: null, upstream_ms: null, reason: "no route" });
  });

  test("has the code that closed a session", () => {
    expect(JSON.parse(write({ status: 101, closeCode: 1009, reason: "client: too much" }))).toMatchObject({ status: 101, close_code: 1009, reason: "client: too much" });
    expect(write({ status: 101, closeCode: 1009 }, "pretty")).toEndWith(" id=id1 close=1009\n");
  });

  const EVIL = "/a\r\n\x1b[2J\"\\\u2028{\"level\":\"error\"}";
  test.each(["json", "pretty"] as const)("stays one line with CR, LF, ESC and quotes in it (%s)", (format) => {
    const text = write({ path: EVIL, reason: EVIL }, format);
    expect(text.split("\n")).toHaveLength(2);
    expect(text.slice(0, -1)).not.toMatch(/[\r\n\x1b]/);
    if (format === "json") expect(JSON.parse(text)).toMatchObject({ path: EVIL, reason: EVIL });
  });

  test("for people says the same in words", () => {
    expect(write({ reason: "no token" }, "pretty")).toBe(
      "2026-01-02T03:04:05.006Z 200 GET /filer/x → 10.0.0.1:29783 1.3ms in=3 out=5 client=203.0.113.9 route=/filer id=id1 reason=no token\n");
  });
});
