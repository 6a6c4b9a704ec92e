// Services behind TLS, and services that are several addresses of one name.

import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DnsServer, type Records } from "../registry/dns-server.ts";
import { CertificateAuthority, HAS_OPENSSL, type ServerIdentity } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { ask, head } from "../support/http.ts";
import { TestRouter } from "../support/router.ts";
import { WsClient } from "../support/ws-client.ts";

const closing: Array<() => unknown> = [];
afterEach(async () => { for (const close of closing.splice(0).toReversed()) await close(); });

async function router(config: string, env: Record<string, string> = {}): Promise<TestRouter> {
  const started = await TestRouter.start({ config, env });
  closing.push(() => started.stop());
  return started;
}

function authority(): { of: CertificateAuthority; caFile: string } {
  const of = new CertificateAuthority();
  const directory = mkdtempSync(join(tmpdir(), "route-upstream-ca-"));
  const caFile = join(directory, "ca.pem");
  writeFileSync(caFile, of.pem);
  closing.push(() => { of.remove(); rmSync(directory, { recursive: true }); });
  return { of, caFile };
}

/** Answers with what it saw, and echoes. */
function serve(identity: ServerIdentity | null, hostname = "127.0.0.1", port = 0): { port: number; requests(): number } {
  let requests = 0;
  const server = Bun.serve({
    hostname, port, ...(identity === null ? {} : { tls: identity }),
    fetch(request, own) {
      requests += 1;
      if (own.upgrade(request)) return undefined;
      if (new URL(request.url).pathname === "/moved") return new Response(null, { status: 302, headers: { location: `https://localhost:${own.port}/there` } });
      return Response.json({ host: request.headers.get("host"), proto: request.headers.get("x-forwarded-proto"), at: hostname });
    },
    websocket: { message(ws, message) { ws.send(message); } },
  });
  closing.push(() => server.stop(true));
  return { port: server.port as number, requests: () => requests };
}

const table = (service: string, top = ""): string => `${top}\nservices:\n  s: ${service}\nroutes:\n  - { path: /, service: s, websocket: true }\n`;

describe.skipIf(!HAS_OPENSSL)("an https server", () => {
  test("is reached when its certificate is good, over HTTP and WebSocket; redirects to itself stay on our side", async () => {
    const { of, caFile } = authority();
    const origin = serve(of.sign({ names: ["DNS:localhost"] }));
    const front = await router(table(`{ url: "https://localhost:${origin.port}", tls: { caFile: "${caFile}" } }`));
    expect(await (await fetch(front.url("/"))).json()).toMatchObject({ host: `localhost:${origin.port}`, proto: "http" });
    const client = await WsClient.open(front.port, "/");
    client.close();
    expect((await fetch(front.url("/moved"), { redirect: "manual" })).headers.get("location")).toBe("/there");
    const big = await fetch(front.url("/"), { method: "POST", body: new Uint8Array(1_000_000) });
    expect(big.status).toBe(200);
  });

  test.each([
    ["of another authority", "DNS:localhost", false, "{}"], ["for another name", "DNS:other.test", true, "{}"], ["for another name than the one that is asked for", "DNS:localhost", true, "{ serverName: other.test }"],
  ])("with a certificate %s gets not a byte of the request: 502, and the log says why", async (_what, name, isKnown, tls) => {
    const { of, caFile } = authority();
    const origin = serve(of.sign({ names: [name] }));
    const keys = [isKnown ? `caFile: "${caFile}"` : "", tls.replace(/^\{ ?| ?\}$/g, "")].filter((key) => key !== "").join(", ");
    const front = await router(table(`{ url: "https://localhost:${origin.port}", tls: { ${keys} } }`));
    const answer = await ask(front.port, head("GET", "/"));
    expect([answer.status, answer.body]).toEqual([502, "bad gateway\n"]);
    expect(origin.requests()).toBe(0);
    const [line] = front.lines.filter(({ message }) => message === "access");
    expect(line?.["reason"]).toMatch(/^cannot connect: .*(certificate|altname|UNABLE_TO_VERIFY)/i);
  });

  test.each([
    ["DNS:localhost", "127.0.0.1", "localhost"], ["DNS:upstream", "localhost", "upstream"], ["IP:10.0.0.1", "127.0.0.1", "10.0.0.1"],
    ["IP:127.0.0.1", "localhost", "127.0.0.1"], ["IP:fd00:0:0::1", "127.0.0.1", "\"[fd00::1]\""],
  ])("with a certificate for %s is reached at %s by the serverName %s, and by another one it is not", async (name, dialled, serverName) => {
    const { of, caFile } = authority();
    const origin = serve(of.sign({ names: [name] }));
    const front = await router(table(`{ url: "https://${dialled}:${origin.port}", tls: { caFile: "${caFile}", serverName: ${serverName} } }`));
    expect((await fetch(front.url("/"))).status).toBe(200);
    await front.reload((text) => text.replace(`serverName: ${serverName}`, "serverName: 10.0.0.2"));
    expect((await fetch(front.url("/"))).status).toBe(502);
    expect(origin.requests()).toBe(1);
  });

  test("of any kind will do where the service says so", async () => {
    const { of } = authority();
    const origin = serve(of.sign({ names: ["DNS:other.test"] }));
    const front = await router(table(`{ url: "https://127.0.0.1:${origin.port}", tls: { insecureSkipVerify: true } }`));
    expect((await fetch(front.url("/"))).status).toBe(200);
  });

  test("that was reached without a look at its certificate is not, on the old connection either, once the service asks for one", async () => {
    const { of } = authority();
    const origin = serve(of.sign({ names: ["DNS:localhost"] }));
    const front = await router(table(`{ url: "https://localhost:${origin.port}", tls: { insecureSkipVerify: true } }`));
    expect((await fetch(front.url("/"))).status).toBe(200);
    await front.reload((text) => text.replace("insecureSkipVerify: true", "insecureSkipVerify: false"));
    expect((await fetch(front.url("/"))).status).toBe(502);
    expect(origin.requests()).toBe(1);
  });

  test("that does not speak TLS is a 502, and a CA file that is not there stops the start", async () => {
    const origin = serve(null);
    const front = await router(table(`{ url: "https://127.0.0.1:${origin.port}" }`));
    expect((await fetch(front.url("/"))).status).toBe(502);
    await expect(router(table("{ url: \"https://127.0.0.1:1\", tls: { caFile: /nowhere/ca.pem } }"))).rejects.toThrow("cannot read the CA of service \"s\", /nowhere/ca.pem: no such file");
  });
});

describe("a name with several addresses", () => {
  test("is several servers, which follow the name", async () => {
    const records: Record<string, Records[string]> = { "api.test": [{ type: "A", data: "127.0.1.41", ttl: 1 }] };
    const dns = await DnsServer.start(records);
    closing.push(() => dns.stop());
    const first = serve(null, "127.0.1.41");
    serve(null, "127.0.1.42", first.port);
    const front = await router(table(`{ url: "http://api.test:${first.port}", resolveAll: true }`), { NAMESERVER_RESOLVER: dns.address });
    const servers = (): string[] => front.app.services[0]?.servers.map(({ server }) => server) ?? [];
    await eventually("one server", servers, (found) => found.join() === `127.0.1.41:${first.port}`);
    records["api.test"] = ["127.0.1.42", "127.0.1.41"].map((data) => ({ type: "A", data, ttl: 1 }));
    await eventually("two servers", servers, (found) => found.length === 2);
    const seen = new Set<string>();
    for (let index = 0; index < 4; index += 1) {
      const { at, host } = await (await fetch(front.url("/"))).json() as { at: string; host: string };
      expect(host).toBe(`api.test:${first.port}`);
      seen.add(at);
    }
    expect(seen).toEqual(new Set(["127.0.1.41", "127.0.1.42"]));
    // A name that is gone for a while leaves the servers that were known.
    delete records["api.test"];
    await eventually("it was said", () => front.lines.filter(({ message }) => message === "cannot resolve the name of a service's servers").length, (count) => count === 1);
    expect(servers().length).toBe(2);
  });
});
