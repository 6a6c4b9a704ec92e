import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createDomainCheck, type DomainCheck } from "../../src/registry/domain-check.ts";
import { DnsServer } from "./dns-server.ts";

const OWN = ["185.69.166.1", "2A10:B600:0::1"];

let server: DnsServer;
let check: DomainCheck;
beforeAll(async () => {
  server = await DnsServer.start({
    "four.example.org": [{ type: "A", data: "185.69.166.1" }],
    "six.example.org": [{ type: "AAAA", data: "2a10:b600::1" }],
    "several.example.org": [{ type: "A", data: "203.0.113.9" }, { type: "A", data: "185.69.166.1" }],
    "alias.example.org": [{ type: "CNAME", data: "second.example.net" }],
    "second.example.net": [{ type: "CNAME", data: "four.example.org" }],
    "elsewhere.example.org": [{ type: "A", data: "203.0.113.9" }, { type: "AAAA", data: "2001:db8::9" }],
    "empty.example.org": [],
    "half.example.org": [{ type: "A", data: "185.69.166.1" }],
    "half-wrong.example.org": [{ type: "A", data: "203.0.113.9" }],
  }, {
    "AAAA half.example.org": "SERVFAIL", "AAAA half-wrong.example.org": "SERVFAIL", "broken.example.org": "SERVFAIL",
    "closed.example.org": "REFUSED", "silent.example.org": "silence",
  });
  check = createDomainCheck({ publicAddresses: OWN, servers: [server.address], deadlineMs: 5000 });
});
afterAll(() => server.stop());

describe("a domain points at this gateway", () => {
  test.each([["four"], ["six"], ["several"], ["alias"], ["half"]])("through any address, and any number of aliases: %s", async (name) => {
    expect(await check(`${name}.example.org`)).toBeNull();
  });

  test("when both A and AAAA were asked for, and no search list", async () => {
    server.asked.length = 0;
    await check("six.example.org");
    expect(server.asked.toSorted()).toEqual(["A six.example.org", "AAAA six.example.org"]);
  });
});

describe("a domain is refused", () => {
  test.each([
    ["elsewhere", /^"elsewhere\.example\.org" resolves to (203\.0\.113\.9, 2001:db8::9|2001:db8::9, 203\.0\.113\.9) and should resolve to 185\.69\.166\.1 or 2a10:b600::1$/],
    ["half-wrong", /^"half-wrong\.example\.org" resolves to 203\.0\.113\.9 and should resolve to/],
    ["absent", /^"absent\.example\.org" has no address and should resolve to 185\.69\.166\.1 or 2a10:b600::1$/],
    ["empty", /^"empty\.example\.org" has no address and should/],
    ["broken", /^cannot resolve "broken\.example\.org": the DNS server failed \(it should resolve to 185/],
    ["closed", /^cannot resolve "closed\.example\.org": the DNS server refused/],
  ])("with what was found and what should be: %s", async (name, message) => {
    expect(await check(`${name}.example.org`)).toMatch(message);
  });

  test("when nothing answers before the deadline", async () => {
    const hasty = createDomainCheck({ publicAddresses: OWN, servers: [server.address], deadlineMs: 300 });
    const startedMs = performance.now();
    expect(await hasty("silent.example.org")).toMatch(/^cannot resolve "silent\.example\.org": no answer (in time|within 300 ms)/);
    expect(performance.now() - startedMs).toBeLessThan(3000);
  });

  test("when nobody is at the server's address", async () => {
    const gone = await DnsServer.start({});
    const { address } = gone;
    gone.stop();
    const lost = createDomainCheck({ publicAddresses: OWN, servers: [address], deadlineMs: 1000 });
    expect(await lost("four.example.org")).toMatch(/^cannot resolve "four\.example\.org": no (DNS server answers|answer)/);
  });
});
