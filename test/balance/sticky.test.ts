import { describe, expect, test } from "bun:test";
import { StickyCookie } from "../../src/balance/sticky.ts";
import { balancer, members } from "./members.ts";

const cookie = new StickyCookie("website", "route_website", "a secret of the operator");
const KEY = "10.1.2.3:8080";

describe("sticky cookie", () => {
  test("what is set leads back", () => {
    const [pair] = cookie.header(KEY, false).split("; ");
    expect(cookie.read(`theme=dark; ${pair}`)).toBe(cookie.idOf(KEY));
  });

  test("the cookie is for the whole host, out of reach of scripts and other sites, and over https only there", () => {
    expect(cookie.header(KEY, false)).toBe(`route_website=${cookie.idOf(KEY)}; Path=/; HttpOnly; SameSite=Lax`);
    expect(cookie.header(KEY, true)).toBe(`route_website=${cookie.idOf(KEY)}; Path=/; HttpOnly; SameSite=Lax; Secure`);
  });

  test("the id is the HMAC of service and server, the same in all replicas", () => {
    const hmac = new Bun.CryptoHasher("sha256", "a secret of the operator").update(`["sticky","website","${KEY}"]`).digest();
    expect(cookie.idOf(KEY)).toBe(Buffer.from(hmac).subarray(0, 18).toString("base64url"));
    expect(new StickyCookie("website", "other_name", "a secret of the operator").idOf(KEY)).toBe(cookie.idOf(KEY));
  });

  test.each([
    ["another secret", new StickyCookie("website", "c", "another secret").idOf(KEY)],
    ["another service", new StickyCookie("filer", "c", "a secret of the operator").idOf(KEY)],
    ["another server", cookie.idOf("10.1.2.3:8081")],
    ["a boundary that was shifted", new StickyCookie("website\",\"10", "c", "a secret of the operator").idOf(".1.2.3:8080")],
    ["this process's secret", new StickyCookie("website", "c", null).idOf(KEY)],
  ])("%s makes another id", (_, id) => {
    expect(id).not.toBe(cookie.idOf(KEY));
  });

  test("without a secret, ids are the same for as long as the process runs, and in no other", async () => {
    const here = new StickyCookie("website", "c", null).idOf(KEY);
    expect(new StickyCookie("website", "c", null).idOf(KEY)).toBe(here);
    const module = JSON.stringify(Bun.fileURLToPath(import.meta.resolve("../../src/balance/sticky.ts")));
    const script = `import { StickyCookie } from ${module}; console.log(new StickyCookie("website", "c", null).idOf("${KEY}"));`;
    const other = await new Response(Bun.spawn([process.execPath, "-e", script]).stdout).text();
    expect(other.trim()).toMatch(/^[\w-]{24}$/);
    expect(other.trim()).not.toBe(here);
  });

  const id = cookie.idOf(KEY);
  test.each([
    ["nothing", ""], ["an empty one", "route_website="], ["another cookie", `route_filer=${id}`], ["a short one", `route_website=${id.slice(1)}`],
    ["a long one", `route_website=${id}A`], ["padding", `route_website=${id.slice(2)}==`], ["quotes", `route_website="${id}"`],
    ["the address", `route_website=${KEY}`], ["characters of plain base64", `route_website=${id.slice(1)}+`], ["a name in capitals", `ROUTE_WEBSITE=${id}`],
  ])("%s is not read", (_, header) => {
    expect(cookie.read(header)).toBeNull();
  });

  test("forged ids lead nowhere: the client takes its turn", () => {
    const list = members(1, 1, 1);
    const of = balancer(list, { policy: { kind: "sticky", cookie: "c", secret: null }, idOf: (key) => cookie.idOf(key) });
    const real = cookie.idOf("b");
    expect([1, 2, 3].map(() => of.choose(real)?.key)).toEqual(["b", "b", "b"]);
    const forged = [...real].map((letter, at) => `${real.slice(0, at)}${letter === "A" ? "B" : "A"}${real.slice(at + 1)}`);
    forged.push(real.toLowerCase(), real.toUpperCase(), new StickyCookie("website", "c", "guess").idOf("b"), "A".repeat(24));
    expect(forged.length).toBe(28);
    // Each of them moves the turn on, as a request without a cookie does.
    expect(forged.map((id) => of.choose(id)?.key)).toEqual(forged.map((_, index) => "abc"[index % 3] as string));
  });

  test("an id has no other spelling", () => {
    const bytes = Buffer.from(id, "base64url");
    expect([bytes.length, bytes.toString("base64url")]).toEqual([18, id]);
  });
});
