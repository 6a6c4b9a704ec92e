// Who may ask, and how often: lists of clients, and requests a second of an address and of a token.

import { afterEach, describe, expect, test } from "bun:test";
import { ask, head } from "../support/http.ts";
import { Pod, POD_PORTS } from "../support/pod.ts";
import { type RouterOptions, TestRouter } from "../support/router.ts";

const opened: Array<{ stop(): void | Promise<void> }> = [];
afterEach(async () => { for (const each of opened.splice(0)) await each.stop(); });

async function router(options: RouterOptions): Promise<TestRouter> {
  const started = await TestRouter.start(options);
  opened.push(started);
  return started;
}

const table = (top: string, route: string): string => `${top}\nservices:\n  s: { text: served }\nroutes:\n  - { path: /, service: s${route} }\n  - { path: /free, service: s }\n`;
/** As a trusted proxy says it. */
const from = (client: string): readonly string[] => [`X-Forwarded-For: ${client}`];
const TRUSTED = "trustedProxies: [127.0.0.1]";

describe("lists of clients", () => {
  test.each([
    ["allowedClients: [10.0.0.0/8]", { "10.1.2.3": 200, "192.0.2.1": 403 }],
    ["deniedClients: [192.0.2.0/24, \"2001:db8::/32\"]", {
      "10.1.2.3": 200, "192.0.2.1": 403, "2001:db8::1": 403, "2001:db9::1": 200,
      "10.1.2.3:99": 200, "192.0.2.1:1234": 403, "[2001:db8::1]": 403, "[2001:db8::1]:99": 403, "::FFFF:192.0.2.1": 403, "::ffff:c000:201": 403,
    }],
    ["allowedClients: [10.0.0.0/8], deniedClients: [10.6.6.6]", { "10.1.2.3": 200, "10.6.6.6": 403, "192.0.2.1": 403 }],
  ])("%s", async (keys, expected) => {
    const front = await router({ config: table(TRUSTED, `, ${keys}`) });
    const found: Record<string, number> = {};
    for (const client of Object.keys(expected)) found[client] = (await ask(front.port, head("GET", "/x", from(client)))).status;
    expect(found).toEqual(expected);
    for (const client of Object.keys(expected)) expect((await ask(front.port, head("GET", "/free", from(client)))).status).toBe(200);
  });
});

test("the log has one spelling of each client", async () => {
  const front = await router({ config: table(TRUSTED, "") });
  for (const client of ["192.0.2.1:1234", "::FFFF:192.0.2.1", "[2001:DB8:0::1]:99"]) await ask(front.port, head("GET", "/x", from(client)));
  expect(front.lines.filter(({ message }) => message === "access").map(({ client }) => client)).toEqual(["192.0.2.1", "192.0.2.1", "2001:db8::1"]);
});

describe("a place that some may not go to", () => {
  const TABLE = `services:
  s: { text: served }
routes:
  - { path: /, service: s }
  - { path: /secret, service: s, deniedClients: [127.0.0.0/8] }
  - { path: /open, service: s }
`;

  test.each(["/secret", "/secret/", "/secret/x", "//secret", "/%73ecret", "/%53ecret/../secret", "/secret%2fx", "/secret%2Fx", "/secret;x=1", "/secret;x=1/y", "///%73%65%63%72%65%74//x", "/open/..//secret"])(
    "is not reached by %s, which a server behind us may read as its name", async (path) => {
      const front = await router({ config: TABLE });
      expect((await ask(front.port, head("GET", path))).status).toBe(403);
      expect(front.lines.find(({ status }) => status === 403)).toMatchObject({ route: expect.any(String) });
    });

  test.each(["//open", "/open%2fx", "/%6fpen", "/x//y", "/secrets", "/x/secret", "/x%2fsecret", "/a;secret", "/%2573ecret", "/Secret"])("keeps nobody from %s", async (path) => {
    const front = await router({ config: TABLE });
    expect((await ask(front.port, head("GET", path))).status).toBe(200);
  });
});

describe("requests a second", () => {
  test("of one address are bounded, with a Retry-After, and another one's are its own", async () => {
    const front = await router({ config: table(`limits: { requestsPerAddress: 1/s burst 3 }\n${TRUSTED}`, "") });
    const statuses: number[] = [];
    for (let index = 0; index < 5; index += 1) statuses.push((await ask(front.port, head("GET", "/", from("192.0.2.1")))).status);
    expect(statuses.slice(0, 3)).toEqual([200, 200, 200]);
    const refused = await ask(front.port, head("GET", "/", from("192.0.2.1")));
    expect([refused.status, refused.one("retry-after"), refused.body]).toEqual([429, "1", "too many requests\n"]);
    expect((await ask(front.port, head("GET", "/", from("192.0.2.2")))).status).toBe(200);
    expect(front.lines.find(({ status }) => status === 429)).toMatchObject({ client: "192.0.2.1", reason: "over the request rate of one address" });
  });

  test("of an IPv6 network count as one address's", async () => {
    const front = await router({ config: table(`limits: { requestsPerAddress: 1/s burst 2 }\n${TRUSTED}`, "") });
    const statuses: number[] = [];
    for (const end of ["1", "2", "3", "ffff:1"]) statuses.push((await ask(front.port, head("GET", "/", from(`2001:db8:1:2::${end}`)))).status);
    expect(statuses.slice(0, 2)).toEqual([200, 200]);
    expect(statuses).toContain(429);
    expect((await ask(front.port, head("GET", "/", from("2001:db8:1:3::1")))).status).toBe(200);
  });

  test("with one token are bounded wherever they come from; tokens that are none count for nobody", async () => {
    const pod = new Pod("127.0.1.1", POD_PORTS);
    opened.push(pod);
    const front = await router({
      env: pod.env,
      config: "limits: { requestsPerToken: 1/s burst 2 }\ntoken:\n  desktop: { signingPublicKeys: [\"${JWT_DESKTOP_SIGNING_PUBLIC_KEY}\"], payloadPrivateKey: \"${JWT_DESKTOP_PAYLOAD_PRIVATE_KEY}\" }\n"
        + "services:\n  filer: { target: desktop, port: file_service_tcp_port }\nroutes:\n  - { path: /filer, service: filer, token: [header:Authorization] }\n",
    });
    const [one, other] = [front.token(), front.token()];
    const of = async (token: string): Promise<number> => (await ask(front.port, head("GET", "/filer", [`Authorization: Bearer ${token}`]))).status;
    const statuses: number[] = [];
    for (let index = 0; index < 4; index += 1) statuses.push(await of(one));
    expect([statuses.slice(0, 2), statuses.includes(429)]).toEqual([[200, 200], true]);
    expect(await of(other)).toBe(200);
    expect(await of("not.a.token")).toBe(401);
  });

  test("go on being counted when something else of the configuration changes", async () => {
    const front = await router({ config: table(`limits: { requestsPerAddress: 1/s burst 1 }\n${TRUSTED}`, "") });
    expect((await ask(front.port, head("GET", "/", from("192.0.2.1")))).status).toBe(200);
    await front.reload((text) => `${text}\ndrainTimeout: 7s\n`);
    expect((await ask(front.port, head("GET", "/", from("192.0.2.1")))).status).toBe(429);
  });
});
