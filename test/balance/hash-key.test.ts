import { expect, test } from "bun:test";
import { hashKey } from "../../src/balance/hash-key.ts";

const headers = { "x-user": "alice", "x-empty": "", cookie: "theme=dark; session=abc; none=" };

test("a request's key is its client's address, a header, or a cookie", () => {
  expect(hashKey({ kind: "client" }, headers, "2001:db8::1")).toBe("2001:db8::1");
  expect(hashKey({ kind: "header", name: "x-user" }, headers, "")).toBe("alice");
  expect(hashKey({ kind: "cookie", name: "session" }, headers, "")).toBe("abc");
});

test("what is missing or empty is no key: those requests don't all belong to one server", () => {
  expect(hashKey({ kind: "client" }, headers, "")).toBeNull();
  expect(hashKey({ kind: "header", name: "x-other" }, headers, "1.2.3.4")).toBeNull();
  expect(hashKey({ kind: "header", name: "x-empty" }, headers, "1.2.3.4")).toBeNull();
  expect(hashKey({ kind: "cookie", name: "none" }, headers, "1.2.3.4")).toBeNull();
  expect(hashKey({ kind: "cookie", name: "session" }, {}, "1.2.3.4")).toBeNull();
});
