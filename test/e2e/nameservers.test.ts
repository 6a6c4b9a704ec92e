// NAMESERVER_RESOLVER as the original's nginx takes it: several servers, its parameters, and a server by its name.

import { afterEach, expect, test } from "bun:test";
import { DnsServer } from "../registry/dns-server.ts";
import { Pod } from "../support/pod.ts";
import { TestRouter } from "../support/router.ts";

const HOST = "127.0.1.37";
const opened: Array<{ stop(): void | Promise<void> }> = [];
afterEach(async () => { for (const each of opened.splice(0).reverse()) await each.stop(); });

async function dnsServer(failures: Record<string, "silence"> = {}): Promise<DnsServer> {
  const server = await DnsServer.start({ "pod-1.test": [{ type: "A", data: HOST }] }, failures);
  opened.push(server);
  return server;
}

/** What a request for a desktop that has a name is answered. */
async function statusWith(nameservers: string): Promise<{ readonly status: number; readonly lines: TestRouter["lines"] }> {
  const pod = new Pod(HOST);
  opened.push(pod);
  const front = await TestRouter.start({ env: { ...pod.env, NAMESERVER_RESOLVER: nameservers } });
  opened.push(front);
  const { status } = await fetch(front.url("/filer/x"), { headers: { authorization: `Bearer ${front.token("pod-1.test")}` } });
  return { status, lines: front.lines };
}

test("the next one is asked when one does not answer", async () => {
  const [silent, other] = [await dnsServer({ "pod-1.test": "silence" }), await dnsServer()];
  expect(await statusWith(`${silent.address} ${other.address}`)).toMatchObject({ status: 200 });
  expect(silent.asked).not.toBeEmpty();
});

test("parameters of nginx's resolver are left out, and the log says so", async () => {
  const { status, lines } = await statusWith(`${(await dnsServer()).address} valid=30s ipv6=off`);
  expect(status).toBe(200);
  expect(lines).toContainEqual(expect.objectContaining({ level: "warn", message: "parameters of nginx's resolver have no effect here", nameserver: "valid=30s ipv6=off" }));
});

test("one that has a name is found through the system", async () => {
  const { address } = await dnsServer();
  expect(await statusWith(address.replace("127.0.0.1", "localhost"))).toMatchObject({ status: 200 });
});

test("one whose name nobody knows ends the start", async () => {
  const start = TestRouter.start({ env: { NAMESERVER_RESOLVER: "nowhere.invalid" } });
  await expect(start).rejects.toThrow(/^cannot resolve the nameserver "nowhere.invalid" through the system: /);
}, 15_000);
