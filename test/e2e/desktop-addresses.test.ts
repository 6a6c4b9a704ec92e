// A desktop whose name has several addresses: all are tried before its client hears that there is nobody.

import { afterEach, describe, expect, test } from "bun:test";
import { DnsServer, type Records } from "../registry/dns-server.ts";
import { eventually } from "../support/eventually.ts";
import { Pod } from "../support/pod.ts";
import { TestRouter } from "../support/router.ts";
import { WsClient } from "../support/ws-client.ts";

/** Nobody listens at the first two. */
const CLOSED = "127.0.1.34";
const LATE = "127.0.1.35";
const OPEN = "127.0.1.36";
const NAME = "two.pod";

const opened: Array<{ stop(): void | Promise<void> }> = [];
afterEach(async () => { for (const each of opened.splice(0).toReversed()) await each.stop(); });

type Desktop = { readonly front: TestRouter; readonly pod: Pod; readonly dns: DnsServer };

/** A pod at OPEN, and a router that knows its name by these addresses. */
async function desktop(addresses: Records[string], env: Record<string, string> = {}): Promise<Desktop> {
  const pod = new Pod(OPEN);
  const dns = await DnsServer.start({ [NAME]: addresses });
  const front = await TestRouter.start({ env: { ...pod.env, NAMESERVER_RESOLVER: dns.address, ROUTE_DIAL_TIMEOUT: "10s", ...env } });
  opened.push(pod, dns, front);
  return { front, pod, dns };
}

const filer = ({ front }: Desktop, init: RequestInit = {}): Promise<Response> => fetch(front.url("/filer/x"), { ...init, headers: { authorization: `Bearer ${front.token(NAME)}` } });
const a = (data: string) => ({ type: "A", data }) as const;

describe("a desktop with two addresses", () => {
  test.each<[string, RequestInit]>([["GET", {}], ["POST", { method: "POST", body: "x" }]])("answers at the second when the first is closed: %s", async (_method, init) => {
    const there = await desktop([a(CLOSED), a(OPEN)]);
    for (let asked = 0; asked < 2; asked += 1) expect((await filer(there, init)).status).toBe(200);
    expect(there.pod.seen.map(({ body, headers }) => [body.toString(), headers["host"]])).toEqual(Array.from({ length: 2 }, () => [init.method === undefined ? "" : "x", [`${NAME}:${there.pod.port("file_service_tcp_port")}`]]));
    expect(there.front.lines.at(-1)).toMatchObject({ status: 200, target: `${OPEN}:${there.pod.port("file_service_tcp_port")}` });
    // The answer of the name server is kept.
    expect(there.dns.asked).toEqual([`A ${NAME}`, `AAAA ${NAME}`]);
  });

  test("is found when it is not waited for, too", async () => {
    const there = await desktop([a(CLOSED), a(OPEN)], { ROUTE_DIAL_TIMEOUT: "0ms" });
    expect((await filer(there)).status).toBe(200);
  });

  test("opens a WebSocket at the second", async () => {
    const { front, pod } = await desktop([a(CLOSED), a(OPEN)]);
    const client = await WsClient.open(front.port, `/terminals/1?jwt_token=${front.token(NAME)}`);
    expect(client.status).toBe(101);
    expect(pod.seen).toHaveLength(1);
    client.close();
  });

  test("is waited for at both", async () => {
    const there = await desktop([a(CLOSED), a(LATE)]);
    const asked = filer(there);
    await eventually("it is under way", () => there.front.app.counts.running, (running) => running === 1);
    const listener = Bun.listen({
      hostname: LATE, port: there.pod.port("file_service_tcp_port"),
      socket: { data: (socket) => void socket.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello") },
    });
    opened.push({ stop: () => listener.stop(true) });
    expect(await (await asked).text()).toBe("hello");
  });

  test("that are both closed is not there: 502, and the log has the reason", async () => {
    const there = await desktop([a(CLOSED), a(LATE)], { ROUTE_DIAL_TIMEOUT: "300ms" });
    expect((await filer(there)).status).toBe(502);
    expect(there.front.lines.at(-1)).toMatchObject({ status: 502, reason: expect.stringContaining("ECONNREFUSED") });
  });

  test.each([[[a(OPEN), a("169.254.169.254")]], [[a(OPEN), { type: "AAAA", data: "fe80::1" } as const]]])("one of which is denied is refused, and not dialled: %j", async (addresses) => {
    const there = await desktop(addresses);
    expect((await filer(there)).status).toBe(403);
    expect(there.pod.accepted).toBe(0);
  });
});
