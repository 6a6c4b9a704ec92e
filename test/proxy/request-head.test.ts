import { describe, expect, test } from "bun:test";
import { CidrSet } from "../../src/lib/address.ts";
import { identifyClient } from "../../src/proxy/client.ts";
import { buildRequestHead, type UpstreamHead } from "../../src/proxy/request-head.ts";

const STRANGER = { address: "203.0.113.9", forwardedFor: "203.0.113.9", isTrustedPeer: false, scheme: "http" } as const;
const TRUSTED = { address: "203.0.113.9", forwardedFor: "203.0.113.9, 10.0.0.1", isTrustedPeer: true, scheme: "http" } as const;

function build(headers: Record<string, string>, parts: Partial<UpstreamHead> = {}, framing = ""): string[] {
  const request = { method: "POST", path: "/x", query: "", host: "desk.example",
    headers: { host: "desk.example", ...headers } };
  const text = buildRequestHead({ request, client: STRANGER, target: "/y?z", host: "up:1", requestId: "id1",
    withoutHeaders: [], forwardsToken: false, ...parts }, framing);
  expect(text.endsWith("\r\n\r\n")).toBe(true);
  return text.slice(0, -4).split("\r\n");
}

const OURS = ["X-Real-IP: 203.0.113.9", "X-Forwarded-For: 203.0.113.9", "X-Forwarded-Host: desk.example",
  "X-Forwarded-Proto: http", "X-Request-Id: id1"];

describe("the head that goes upstream", () => {
  test("has the decided target and Host, ours at the end, and nothing invented", () => {
    expect(build({})).toEqual(["POST /y?z HTTP/1.1", "Host: up:1", ...OURS]);
  });

  test("keeps end-to-end headers as they came", () => {
    expect(build({ "user-agent": "a", accept: "b", origin: "c", "accept-language": "d", cookie: "e",
      range: "f" }).slice(2, -5)).toEqual(
      ["user-agent: a", "accept: b", "origin: c", "accept-language: d", "cookie: e", "range: f"]);
  });

  test("has the framing that it was given, and none of the client's", () => {
    expect(build({ "content-length": "7", "transfer-encoding": "chunked", expect: "100-continue" }, {},
      "Content-Length: 3\r\n")).toEqual(
      ["POST /y?z HTTP/1.1", "Host: up:1", ...OURS, "Content-Length: 3"]);
  });

  const DROPPED = ["connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te",
    "trailer", "transfer-encoding", "upgrade",
    "http2-settings", "x-real-ip", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-prefix",
    "x-forwarded-port", "x-forwarded-user",
    "x-forwarded-server", "forwarded", "x-request-id", "x_real_ip", "x_forwarded_for", "x-forwarded_for",
    "x_forwarded_user", "any_header", "x.real.ip", "x.forwarded.for",
    "x-forwarded.for", "x.forwarded-for", "x.forwarded.user", "x.forwarded.proto", "x.request.id", "x-request.id",
    "x-real.ip", "x.forwarded"];
  test.each(DROPPED)("loses a stranger's %s", (name) => {
    expect(build({ [name]: "evil" })).toEqual(["POST /y?z HTTP/1.1", "Host: up:1", ...OURS]);
  });

  test.each(["x-forwarded_for", "x.forwarded.for", "x.real.ip", "x_real_ip",
    "x.request.id"])("loses %s from a trusted proxy as well: nobody honest spells it so", (name) => {
    expect(build({ [name]: "evil" }, { client: TRUSTED }).join()).not.toContain("evil");
  });

  test("keeps what a trusted proxy says about the client", () => {
    const lines = build({ forwarded: "for=1", "x-forwarded-prefix": "/p", "x-forwarded-proto": "https",
      "x-forwarded-host": "front.example" }, { client: TRUSTED });
    expect(lines).toEqual(["POST /y?z HTTP/1.1", "Host: up:1", "forwarded: for=1", "x-forwarded-prefix: /p",
      "X-Real-IP: 203.0.113.9",
      "X-Forwarded-For: 203.0.113.9, 10.0.0.1", "X-Forwarded-Host: front.example", "X-Forwarded-Proto: https",
      "X-Request-Id: id1"]);
  });

  test("loses what Connection names, but never what we set", () => {
    const lines = build({ connection: "close, X-Real-IP, X-Forwarded-For, x-request-id, Host, X-Foo", "x-foo": "1",
      "x-bar": "2" });
    expect(lines).toEqual(["POST /y?z HTTP/1.1", "Host: up:1", "x-bar: 2", ...OURS]);
  });

  test("loses the headers that carried the token, and a Referer that shows it", () => {
    const lines = build({ authorization: "Bearer s3cret", abcauthorization: "x",
      referer: "http://a/?jwt_token=s3cret" }, { withoutHeaders: ["authorization"] });
    expect(lines.slice(2, -5)).toEqual(["abcauthorization: x"]);
  });

  test("keeps a Referer without a token, and every one where the token is forwarded", () => {
    expect(build({ referer: "http://a/containers/x?y=1.2" })).toContain("referer: http://a/containers/x?y=1.2");
    expect(build({ referer: "http://a/?jwt_token=x" }, { forwardsToken: true })).toContain("referer: http://a/?jwt_token=x");
  });

  test.each(["http://a/container/s3cret/8080/index.html", "http://a/x?b=1&jwt_token=s3cret", "http://a/terminals/7?eyJh.s3.cret",
    "http://a/websockify?aa.bb.cc"])("loses the Referer %s on every route: pages link to all of them", (referer) => {
    expect(build({ referer }).join()).not.toContain("referer");
  });
});

describe("who the client is", () => {
  const trusted = new CidrSet(["10.0.0.0/8"]);
  const CASES: ReadonlyArray<readonly [name: string, peer: string, chain: string | undefined, address: string,
    forwardedFor: string]> = [
    ["a stranger is who it is, whatever it says", "203.0.113.9", "1.1.1.1", "203.0.113.9", "203.0.113.9"],
    ["an IPv4 peer of a dual-stack listener has one spelling", "::ffff:203.0.113.9", undefined, "203.0.113.9",
      "203.0.113.9"],
    ["a trusted proxy's last hop is the client", "10.0.0.1", "1.1.1.1, 2.2.2.2", "2.2.2.2",
      "1.1.1.1, 2.2.2.2, 10.0.0.1"],
    ["trusted hops are walked over", "10.0.0.1", "1.1.1.1, 10.0.0.2", "1.1.1.1", "1.1.1.1, 10.0.0.2, 10.0.0.1"],
    ["an unreadable hop ends the walk", "10.0.0.1", "1.1.1.1, evil, 10.0.0.2", "10.0.0.2",
      "1.1.1.1, evil, 10.0.0.2, 10.0.0.1"],
    ["a trusted proxy without a chain is the client itself", "10.0.0.1", undefined, "10.0.0.1", "10.0.0.1"],
    ["a hop may have a port", "10.0.0.1", "9.9.9.9:1234, 10.0.0.2:80", "9.9.9.9", "9.9.9.9:1234, 10.0.0.2:80, 10.0.0.1"],
    ["and brackets, with a port or without", "10.0.0.1", "[2001:db8::1]:99", "2001:db8::1", "[2001:db8::1]:99, 10.0.0.1"],
    ["which are no spelling of IPv4", "10.0.0.1", "[9.9.9.9]:99", "10.0.0.1", "[9.9.9.9]:99, 10.0.0.1"],
    ["a port is a number", "10.0.0.1", "9.9.9.9:http", "10.0.0.1", "9.9.9.9:http, 10.0.0.1"],
    ["a hop has one spelling", "10.0.0.1", "[2001:DB8:0:0::0001]", "2001:db8::1", "[2001:DB8:0:0::0001], 10.0.0.1"],
    ["also one of IPv4 in IPv6", "10.0.0.1", "::FFFF:9.9.9.9, ::ffff:a00:2", "9.9.9.9", "::FFFF:9.9.9.9, ::ffff:a00:2, 10.0.0.1"],
    ["an interface of the proxy is nobody", "10.0.0.1", "fe80::1%eth0", "10.0.0.1", "fe80::1%eth0, 10.0.0.1"],
    ["empty hops are nobody", "10.0.0.1", " , ,1.1.1.1,", "1.1.1.1", "1.1.1.1, 10.0.0.1"],
  ];
  test.each(CASES)("%s", (_name, peer, chain, address, forwardedFor) => {
    expect(identifyClient(peer, chain, trusted)).toMatchObject({ address, forwardedFor });
  });
});
