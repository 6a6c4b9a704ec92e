import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { AdminClient } from "../../src/cli/admin-client.ts";
import { parseArgs, UsageError } from "../../src/cli/args.ts";
import { command } from "../../src/cli/gateways.ts";
import { closedPort, DOMAIN, makeRoot, program, TestGateway } from "../support/gateway.ts";

const TOKEN = "the-token-of-the-operator";

let gateway: TestGateway;
let tokenFile: string;

beforeAll(async () => {
  const root = makeRoot();
  tokenFile = join(root, "token");
  writeFileSync(tokenFile, `${TOKEN}\n`);
  gateway = await TestGateway.start({ root, adminTokenFile: tokenFile });
});
afterAll(() => gateway.stop());

/** The command in this process; usage errors are thrown, as main.ts gets them. */
async function gateways(...argv: string[]) {
  const written = { stdout: "", stderr: "" };
  const own = argv.some((word) => word.startsWith("--admin")) ? [] : ["--admin", gateway.adminUrl, "--admin-token", tokenFile];
  const code = await command.run(parseArgs([...argv, ...own], command.spec), {
    stdout: (text) => { written.stdout += text; }, stderr: (text) => { written.stderr += text; }, env: {},
  });
  return { code, ...written };
}

function impatient(port: number | undefined): AdminClient {
  return new AdminClient(parseArgs(["list", "--admin", `127.0.0.1:${port}`], command.spec), { read: 100, change: 200 });
}

function silence(port: number | undefined, seconds: string): string {
  return `cannot reach the admin API at http://127.0.0.1:${port}: no answer within ${seconds} s (is it running? choose another with --admin URL)`;
}

const done = (stdout: string) => ({ code: 0, stdout, stderr: "" });

describe("gateways", () => {
  test("sets a name and a domain, lists them as a table, and deletes them", async () => {
    expect(await gateways("list")).toEqual(done("ID  DOMAIN  TLS  BACKENDS\n"));
    expect(await gateways("set-name", "37-1", "Blog", "--backend", "http://10.0.0.1:9000", "--backend", "http://[2001:db8::1]")).toEqual(done(`blog.${DOMAIN}\n`));
    expect(await gateways("set-fqdn", "37-22", "Mail.example.org", "--backend", "https://10.0.0.2", "--passthrough")).toEqual(done("mail.example.org\n"));
    expect(await gateways("list")).toEqual(done([
      "ID     DOMAIN            TLS          BACKENDS",
      `37-1   blog.${DOMAIN}      terminated   http://10.0.0.1:9000 http://[2001:db8::1]:80`,
      "37-22  mail.example.org  passthrough  10.0.0.2:443",
      "",
    ].join("\n")));
    expect(await gateways("delete", "37-1")).toEqual(done("deleted 37-1\n"));
    expect(await gateways("delete", "37-22")).toEqual(done("deleted 37-22\n"));
    expect(await gateways("delete", "37-22")).toEqual(done("37-22 was not registered\n"));
    expect((await gateways("list")).stdout.split("\n").length).toBe(2);
  });

  test("prints what the API answers with --json", async () => {
    const set = await gateways("set-name", "json", "json", "--backend", "http://10.0.0.1", "--json");
    const entry = { id: "json", fqdn: `json.${DOMAIN}`, service: "json", tlsPassthrough: false, backends: ["http://10.0.0.1:80"], certificateResolver: "dnsresolver", certificateNames: [`*.${DOMAIN}`] };
    expect(JSON.parse(set.stdout)).toEqual(entry);
    expect(JSON.parse((await gateways("list", "--json")).stdout)).toEqual([entry]);
    expect(JSON.parse((await gateways("metrics", "--json")).stdout)).toEqual({ Request: {}, Response: {} });
    await gateways("delete", "json");
  });

  test("takes a workload id with any characters that a file name may have", async () => {
    const id = "a b%2F?#ü";
    expect((await gateways("set-name", id, "odd", "--backend", "http://10.0.0.1")).code).toBe(0);
    expect((await gateways("list")).stdout).toContain(id);
    expect(await gateways("delete", id)).toEqual(done(`deleted ${id}\n`));
  });

  test("shows bytes by service", async () => {
    expect(await gateways("metrics")).toEqual(done("SERVICE  REQUEST BYTES  RESPONSE BYTES\n"));
    await gateways("set-name", "counted", "counted", "--backend", `http://127.0.0.1:${closedPort()}`);
    const refusal = await gateway.curl(`counted.${DOMAIN}`, "/", "-d", "12345");
    expect((await gateways("metrics")).stdout).toBe(`SERVICE  REQUEST BYTES  RESPONSE BYTES\ncounted  5              ${refusal.length}\n`);
    await gateways("delete", "counted");
  });

  test("says on stderr why a registration was refused, and ends with 1", async () => {
    const refused = await gateways("set-name", "x", "no.label", "--backend", "10.0.0.1", "--backend", "http://host");
    expect([refused.code, refused.stdout]).toEqual([1, ""]);
    expect(refused.stderr).toBe('name "no.label" is not one of letters, digits, "_" and "-" (and at least one of them); backend "10.0.0.1": a backend is http://ip:port, the http:// is missing; backend "http://host": "host" is a host name, and an IP address is needed\n');
  });

  test.each<[string, string[], string]>([
    ["an unknown action", ["lst"], 'unknown action "lst" (did you mean "list"?): there are list, set-name, set-fqdn, delete, metrics'],
    ["an action like none", ["frobnicate"], 'unknown action "frobnicate": there are list, set-name, set-fqdn, delete, metrics'],
    ["neither id nor name", ["set-name"], "missing arguments ID and NAME: the workload id, and a name below the gateway's domain"],
    ["neither id nor domain", ["set-fqdn", "--backend", "http://10.0.0.1"], "missing arguments ID and NAME: the workload id, and a domain"],
    ["neither name nor backend", ["set-name", "x"], "missing argument NAME: a name below the gateway's domain"],
    ["no id", ["delete"], "missing argument ID: the workload id"],
    ["no name", ["set-name", "x", "--backend", "http://10.0.0.1"], "missing argument NAME: a name below the gateway's domain"],
    ["no domain", ["set-fqdn", "x", "--backend", "http://10.0.0.1"], "missing argument NAME: a domain"],
    ["no backend", ["set-fqdn", "x", "a.example"], "at least one --backend is needed"],
    ["a backend without use", ["delete", "x", "--backend", "http://10.0.0.1"], "--backend and --passthrough are for set-name and set-fqdn, not for delete"],
    ["passthrough without use", ["list", "--passthrough"], "--backend and --passthrough are for set-name and set-fqdn, not for list"],
    ["an id too many", ["list", "x"], 'unexpected argument "x"'],
    ["a name too many", ["delete", "x", "y"], 'unexpected argument "y"'],
    ["an address that is none", ["list", "--admin", "ftp://127.0.0.1"], '--admin: not a URL: "ftp://127.0.0.1" (such as http://127.0.0.1:9090)'],
    ["a token file that is not there", ["list", "--admin-token", "/nowhere/token"], "--admin-token: cannot read /nowhere/token: no such file"],
  ])("refuses wrong usage: %s", async (_what, argv, message) => {
    const refused = gateways(...argv);
    await expect(refused).rejects.toThrow(UsageError);
    await expect(refused).rejects.toThrow(message);
  });

  test("finds the gateway by URL, with or without http:// and a slash", async () => {
    const { host } = new URL(gateway.adminUrl);
    for (const admin of [host, `http://${host}`, `http://${host}/`]) expect((await gateways("list", "--admin", admin, "--admin-token", tokenFile)).code).toBe(0);
  });

  test("says what to do when nobody is there, somebody else is, or a token is needed", async () => {
    const port = closedPort();
    const absent = await gateways("list", "--admin", `127.0.0.1:${port}`);
    expect([absent.code, absent.stderr]).toEqual([1, `cannot reach the admin API at http://127.0.0.1:${port}: ECONNREFUSED (is it running? choose another with --admin URL)\n`]);
    const other = await gateways("list", "--admin", `http://127.0.0.1:${gateway.httpPort}`);
    expect([other.code, other.stderr]).toEqual([1, `http://127.0.0.1:${gateway.httpPort} is not an admin API, what it answers (404) is somebody else's: it is at "entrypoints.admin", 127.0.0.1:9090 by default (choose another with --admin URL)\n`]);
    const nameless = await gateways("list", "--admin", gateway.adminUrl);
    expect([nameless.code, nameless.stderr]).toEqual([1, "the admin API needs its token (Authorization: Bearer ...): give it with --admin-token FILE\n"]);
    writeFileSync(join(gateway.root, "wrong"), "another-token-of-some-length");
    const wrong = await gateways("list", "--admin", gateway.adminUrl, "--admin-token", join(gateway.root, "wrong"));
    expect([wrong.code, wrong.stderr]).toEqual([1, "not the admin token: give it with --admin-token FILE\n"]);
  });

  test("does not wait for ever for one that takes the connection and never answers, or not to the end", async () => {
    for (const answer of ["", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[1"]) {
      const mute = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { open: (socket) => void socket.write(answer), data: () => {} } });
      await expect(impatient(mute.port).call("GET", "/api/gateways")).rejects.toThrow(silence(mute.port, "0.1"));
      mute.stop(true);
    }
  });

  test("waits longer for a change, though not for ever", async () => {
    const slow = Bun.serve({
      hostname: "127.0.0.1", port: 0,
      fetch: ({ method }) => (method === "GET" ? new Response("", { headers: { "x-route-gateway": "admin" } }) : new Promise<Response>(() => {})),
    });
    await expect(impatient(slow.port).call("DELETE", "/api/gateways/a")).rejects.toThrow(silence(slow.port, "0.2"));
    await slow.stop(true);
  });

  test("goes by no proxy of the environment, which would get the token", async () => {
    const seen: string[] = [];
    const proxy = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: (request) => { seen.push(request.url); return new Response("[]"); } });
    const url = `http://127.0.0.1:${proxy.port}`;
    const listed = await program(["gateways", "list", "--admin", gateway.adminUrl, "--admin-token", tokenFile], { HTTP_PROXY: url, http_proxy: url, ALL_PROXY: url });
    expect([listed, seen]).toEqual([done("ID  DOMAIN  TLS  BACKENDS\n"), []]);
    await proxy.stop(true);
  });

  test("as a process ends with 2 at wrong usage, and with 1 at a refusal", async () => {
    const usage = await program(["gateways", "lst"]);
    expect([usage.code, usage.stdout, usage.stderr.split("\n")[0]]).toEqual([2, "", 'route-gateway: unknown action "lst" (did you mean "list"?): there are list, set-name, set-fqdn, delete, metrics']);
    expect((await program(["gateways", "list", "--admin", `127.0.0.1:${closedPort()}`])).code).toBe(1);
  });
});
