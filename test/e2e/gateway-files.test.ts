// Files that other programs drop into the registry's directory, as the original's Traefik reads them, while the gateway serves: what a
// TLS client sees of each change, and where an operator sees what is wrong with a file.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "../support/eventually.ts";
import { backendOf, DOMAIN, program, TestGateway } from "../support/gateway.ts";
import { Pod } from "../support/pod.ts";
import { PeerServer } from "../support/tls-peer.ts";
import { OP } from "../support/ws-client.ts";

let gateway: TestGateway;
let first: Pod;
let second: Pod;

beforeEach(async () => {
  first = new Pod("127.0.0.1", ["first"]);
  second = new Pod("127.0.0.1", ["second"]);
  gateway = await TestGateway.start();
});
afterEach(async () => {
  await gateway.stop();
  first.stop();
  second.stop();
});

/** The seed's second example, with names of ours: its service is not called as its workload is. */
function nameFile(id: string, name: string, backend: string, service = `40-${id}`): string {
  return `http:
  routers:
    ${id}-route:
      rule: Host(\`${name}.${DOMAIN}\`)
      service: ${service}
      tls:
        certResolver: dnsresolver
        domains:
        - sans:
          - '*.${DOMAIN}'
  services:
    ${service}:
      loadbalancer:
        servers:
        - url: ${backend}
`;
}

/** The seed's first example. */
function passthroughFile(id: string, fqdn: string, address: string): string {
  return `tcp:
  routers:
    ${id}-route:
      rule: HostSNI(\`${fqdn}\`)
      service: ${id}
      tls:
        passthrough: "true"
  services:
    ${id}:
      loadbalancer:
        servers:
        - address: ${address}
`;
}

function path(name: string): string {
  return join(gateway.directory, name);
}

function put(id: string, text: string): void {
  writeFileSync(path(`${id}.yaml`), text);
}

function putByRename(id: string, text: string): void {
  writeFileSync(path(`.${id}.new`), text);
  renameSync(path(`.${id}.new`), path(`${id}.yaml`));
}

/** Which pod answers; what curl says when nobody does, or the gateway for a name that ended after the handshake. */
async function answers(name: string): Promise<string> {
  const { code, stdout, stderr } = await gateway.tryCurl(`${name}.${DOMAIN}`, "/");
  if (code !== 0) return stderr;
  return stdout.startsWith("{") ? (JSON.parse(stdout) as { port: string }).port : stdout;
}

/** A change is seen within a second; a busy machine may need another one. */
async function untilAnswers(name: string, expected: string | RegExp): Promise<void> {
  await eventually(`${expected} at ${name}`, () => answers(name), (found) => (typeof expected === "string" ? found === expected : expected.test(found)), 3000);
}

const UNKNOWN = /unrecognized name/;

function problems(): Promise<Array<{ file: string; problem: string }>> {
  return gateway.json("/api/registry/problems") as Promise<Array<{ file: string; problem: string }>>;
}

async function untilProblems(count: number): Promise<Array<{ file: string; problem: string }>> {
  return eventually(`${count} problems`, problems, (found) => found.length === count, 3000);
}

async function problemGauge(): Promise<number> {
  return Number(/^route_registry_problems (\d+)$/m.exec(await gateway.metrics())?.[1]);
}

describe("a file in the original's shape", () => {
  test("is served, is in the list, and is metered under its own service's name", async () => {
    put("37-1976-blog", nameFile("37-1976-blog", "blog", backendOf(first)));
    await untilAnswers("blog", "first");
    const [listed] = await gateway.json("/api/gateways") as Array<Record<string, unknown>>;
    expect(listed).toMatchObject({ id: "37-1976-blog", service: "40-37-1976-blog", fqdn: `blog.${DOMAIN}`, certificateResolver: "dnsresolver", certificateNames: [`*.${DOMAIN}`] });
    const { Response } = await gateway.json("/api/gateways/metrics") as { Response: Record<string, number> };
    expect(Object.keys(Response)).toEqual(["40-37-1976-blog"]);
  });

  test("with passthrough hands connections on as they come", async () => {
    const backend = new PeerServer();
    put("37-2039-mail", passthroughFile("37-2039-mail", "mail.example", `127.0.0.1:${backend.port}`));
    await eventually("the gateway", async () => (await gateway.json("/api/gateways") as unknown[]).length, (length) => length === 1);
    const connecting = gateway.connect("mail.example").catch(() => null);
    const peer = await backend.peer();
    await peer.until(() => peer.receivedBytes > 100);
    // A TLS record with a handshake in it, and the name in clear.
    expect(peer.text.startsWith("\u0016\u0003")).toBe(true);
    expect(peer.text).toContain("mail.example");
    backend.stop();
    await connecting;
  });
});

describe("a change of a file", () => {
  test("by a rewrite and by a rename over it takes effect, and its end as well", async () => {
    put("a", nameFile("a", "app", backendOf(first)));
    await untilAnswers("app", "first");
    put("a", nameFile("a", "app", backendOf(second)));
    await untilAnswers("app", "second");
    putByRename("a", nameFile("a", "app", backendOf(first)));
    await untilAnswers("app", "first");
    putByRename("a", nameFile("a", "other", backendOf(first)));
    await untilAnswers("other", "first");
    expect(await answers("app")).toMatch(UNKNOWN);
    unlinkSync(path("a.yaml"));
    await untilAnswers("other", UNKNOWN);
  });

  test("by a swapped link takes effect, as in a mounted ConfigMap", async () => {
    for (const [version, pod] of [["..1", first], ["..2", second]] as const) {
      mkdirSync(path(version));
      writeFileSync(join(path(version), "a.yaml"), nameFile("a", "app", backendOf(pod)));
    }
    symlinkSync("..1", path("..data"));
    symlinkSync("..data/a.yaml", path("a.yaml"));
    await untilAnswers("app", "first");
    symlinkSync("..2", path("..new"));
    renameSync(path("..new"), path("..data"));
    await untilAnswers("app", "second");
  });

  test("disturbs no connection of another service", async () => {
    await gateway.set("still", "still", [backendOf(first)]);
    const session = await gateway.webSocket(`still.${DOMAIN}`);
    for (let round = 0; round < 20; round += 1) {
      putByRename("a", nameFile("a", `app${round % 3}`, backendOf(second)));
      put("b", round % 2 === 0 ? "http: [" : nameFile("b", "b", backendOf(second)));
      session.send(OP.text, `round ${round}`);
      await session.until(() => session.messages.length === round + 1);
    }
    await untilAnswers("app1", "second");
    session.send(OP.text, "and on");
    await session.until(() => session.messages.length === 21);
    session.close();
  });
});

describe("a broken file", () => {
  test("is seen in the API, the log and the metrics, while its last good version is served; and no more when it is whole again", async () => {
    put("a", nameFile("a", "app", backendOf(first)));
    put("b", nameFile("b", "bystander", backendOf(second)));
    await untilAnswers("app", "first");
    expect(await problemGauge()).toBe(0);
    put("a", nameFile("a", "app", backendOf(second)).replace("dnsresolver", "dns"));
    const [problem] = await untilProblems(1);
    expect(problem?.file).toBe("a.yaml");
    expect(problem?.problem).toMatch(/^7:\d+: .*found "dns" \(did you mean "dnsresolver"\?\) \(its last good version stays in use\)$/);
    expect(gateway.events("registry file cannot be used")).toMatchObject([{ level: "error", file: "a.yaml", reason: problem?.problem }]);
    expect(await problemGauge()).toBe(1);
    expect([await answers("app"), await answers("bystander")]).toEqual(["first", "second"]);
    const checked = await program(["check", gateway.directory]);
    expect([checked.code, checked.stderr]).toEqual([1, expect.stringContaining('found "dns" (did you mean "dnsresolver"?)')]);
    put("a", nameFile("a", "app", backendOf(second)));
    await untilAnswers("app", "second");
    expect([await problems(), await problemGauge()]).toEqual([[], 0]);
    expect(gateway.events("registry file can be used again")).toMatchObject([{ file: "a.yaml" }]);
  });

  test("that is removed is said to be gone, and not to be usable", async () => {
    put("torn", "http: [");
    await untilProblems(1);
    unlinkSync(join(gateway.directory, "torn.yaml"));
    await gateway.logged("registry file that could not be used is gone", ({ file }) => file === "torn.yaml");
    expect(gateway.events("registry file can be used again").filter(({ file }) => file === "torn.yaml")).toEqual([]);
  });

  test("that never was whole is not served, and keeps nobody else from it", async () => {
    put("a", "http:\n  routers: {");
    put("b", nameFile("b", "bystander", backendOf(second)));
    await untilAnswers("bystander", "second");
    expect((await untilProblems(1))[0]?.problem).toMatch(/^2:\d+: not valid YAML/);
    expect((await gateway.json("/api/gateways") as unknown[]).length).toBe(1);
  });

  test("is a problem from the start on, and the start goes on", async () => {
    await gateway.app.stop(0);
    put("a", "nonsense");
    put("b", nameFile("b", "bystander", backendOf(second)));
    gateway = await TestGateway.start({ root: gateway.root });
    await untilAnswers("bystander", "second");
    expect((await problems()).map(({ file }) => file)).toEqual(["a.yaml"]);
  });
});

describe("a directory that vanishes", () => {
  test("is a problem, what was served is served on, and changes count again when it is back", async () => {
    put("a", nameFile("a", "app", backendOf(first)));
    await untilAnswers("app", "first");
    renameSync(gateway.directory, `${gateway.directory}.away`);
    expect((await untilProblems(1))[0]).toMatchObject({ file: gateway.directory, problem: expect.stringContaining("the last good state stays in use") });
    expect(await answers("app")).toBe("first");
    const refused = await gateway.admin("PUT", "/api/gateways/b", { name: "b", backends: [backendOf(second)] });
    expect([refused.status, await refused.json()]).toMatchObject([500, { error: expect.stringContaining('cannot write the file of workload "b"') }]);
    renameSync(`${gateway.directory}.away`, gateway.directory);
    put("a", nameFile("a", "app", backendOf(second)));
    await untilAnswers("app", "second");
    expect(await problems()).toEqual([]);
  });
});

describe("two workloads that claim one domain", () => {
  test("are a problem that names both; the first keeps it, and the second has it when the first goes", async () => {
    put("one", nameFile("one", "app", backendOf(first)));
    await untilAnswers("app", "first");
    put("two", nameFile("two", "app", backendOf(second)));
    expect(await untilProblems(1)).toEqual([
      { file: "two.yaml", problem: `domain "app.${DOMAIN}" is already registered by workload "one", so workload "two" cannot have it (one.yaml)` },
    ]);
    expect(await answers("app")).toBe("first");
    unlinkSync(path("one.yaml"));
    await untilAnswers("app", "second");
    expect(await problems()).toEqual([]);
  });

  test("by file and by call are told apart in the same way", async () => {
    put("one", nameFile("one", "app", backendOf(first)));
    await untilAnswers("app", "first");
    const refused = await gateway.admin("PUT", "/api/gateways/two", { name: "app", backends: [backendOf(second)] });
    expect([refused.status, await refused.json()]).toMatchObject([409, { error: `domain "app.${DOMAIN}" is already registered by workload "one", so workload "two" cannot have it` }]);
    await gateway.delete("one");
    expect(existsSync(path("one.yaml"))).toBe(false);
    await gateway.set("two", "app", [backendOf(second)]);
    expect(await answers("app")).toBe("second");
  });
});

test("files are held to the rules that calls are held to: loopback and the gateway's own addresses are no backends", async () => {
  await gateway.stop();
  gateway = await TestGateway.start({ allowLoopbackBackends: false, publicAddresses: ["192.0.2.7"] });
  put("here", nameFile("here", "here", backendOf(first)));
  put("own", passthroughFile("own", "own.example", "192.0.2.7:443"));
  expect((await untilProblems(2)).toSorted((a, b) => (a.file < b.file ? -1 : 1))).toEqual([
    { file: "here.yaml", problem: `15:16: backend "${backendOf(first)}": 127.0.0.1 is a loopback address, this gateway itself` },
    { file: "own.yaml", problem: '12:20: backend "192.0.2.7:443": 192.0.2.7 is this gateway\'s own address' },
  ]);
  expect(await gateway.json("/api/gateways")).toEqual([]);
});

test("a directory with nothing in it but other files is an empty registry", async () => {
  mkdirSync(path("..data"));
  writeFileSync(path("README"), "not for us");
  writeFileSync(path(".hidden.yaml"), "http: [");
  put("a", nameFile("a", "app", backendOf(first)));
  await untilAnswers("app", "first");
  expect([await problems(), (await gateway.json("/api/gateways") as unknown[]).length]).toEqual([[], 1]);
  rmSync(path("..data"), { recursive: true });
});
