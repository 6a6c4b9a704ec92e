import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createSecretKey } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rootCertificates } from "node:tls";
import { parseArgs, UsageError } from "../../src/cli/args.ts";
import { command } from "../../src/cli/explain.ts";
import { generateKeys, mintDesktopToken, mintVmToken } from "../../src/token/mint.ts";
import { DnsServer } from "../registry/dns-server.ts";

const keys = generateKeys(2048);
let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "route-explain-"));
  writeFileSync(join(directory, "signing.pem"), keys.signingPublicKey);
  writeFileSync(join(directory, "payload.pem"), keys.payloadPrivateKey);
});

afterAll(() => rmSync(directory, { recursive: true }));

function token(host: string, ttlS = 300): string {
  return mintDesktopToken({ host, signingPrivateKey: keys.signingPrivateKey, payloadPublicKey: keys.payloadPublicKey, ttlS });
}

function explain(...argv: string[]): Promise<{ exitCode: number; text: string }> {
  return explainIn({}, ...argv);
}

async function explainIn(variables: Record<string, string>, ...argv: string[]): Promise<{ exitCode: number; text: string }> {
  let text = "";
  const env = { ...variables, JWT_DESKTOP_SIGNING_PUBLIC_KEY: join(directory, "signing.pem"), JWT_DESKTOP_PAYLOAD_PRIVATE_KEY: join(directory, "payload.pem") };
  const exitCode = await command.run(parseArgs(argv, command.spec), { stdout: (part) => { text += part; }, stderr: () => {}, env });
  return { exitCode, text };
}

describe("explain", () => {
  test("says which route wins and over which", async () => {
    const { exitCode, text } = await explain("/API/manager/image/x");
    expect(exitCode).toBe(0);
    expect(text).toContain('/API/manager/image (prefix match of "/API/manager/image"), before "/API", "/": the longest prefix wins');
    expect(text).toContain("target    pyos:8000");
  });

  test.each([
    ["/filer/a", "header abcauthorization"], ["/websockify", "parameter jwt_token"], ["/terminals/7", "parameter jwt_token"],
  ])("puts a token given by flag where %s looks first: %s", async (path, place) => {
    const { exitCode, text } = await explain(path, "--token", token("10.1.2.3"));
    expect(text).toContain(`found in ${place}`);
    expect(text).toContain("desktop at 10.1.2.3");
    expect(exitCode).toBe(0);
  });

  test("shows the request as it would be sent, without the token", async () => {
    const secret = token("10.1.2.3");
    const { text } = await explain(`/websockify?jwt_token=${secret}`, "--header", "Upgrade: websocket", "--header", "X-Forwarded-For: 1.2.3.4", "--client", "203.0.113.7");
    expect(text).toContain("upgrade   WebSocket, bridged");
    expect(text).toContain("sends     GET / HTTP/1.1");
    expect(text).toContain("X-Forwarded-For: 203.0.113.7");
    expect(text).not.toContain(secret);
  });

  test("masks a token that the route forwards", async () => {
    const secret = token("10.1.2.3");
    const { text } = await explain(`/broadcast?jwt_token=${secret}`);
    expect(text).toContain("GET /broadcast?jwt_token=[token] HTTP/1.1");
    expect(text).not.toContain(secret);
  });

  test.each([
    ["no token", () => ["/filer"], "401 unauthorized: no token; looked in header abcauthorization, header authorization"],
    ["a malformed token", () => ["/filer", "--token", "x"], "401 unauthorized: malformed token"],
    ["an expired token", () => ["/filer", "--token", token("10.1.2.3", -1)], "401 unauthorized: "],
    ["a target that is this machine", () => ["/filer", "--token", token("127.0.0.1")], "403 forbidden: target refused: 127.0.0.1"],
    ["the cloud's metadata", () => ["/filer", "--token", token("169.254.169.254")], "403 forbidden: target refused: 169.254.169.254"],
    ["a port that paths may not name", () => [`/container/${token("10.1.2.3")}/22`], "403 forbidden: port refused"],
    ["an ambiguous path", () => ["/filer/..%2fspawner"], "400 bad request: ambiguous path"],
    ["a method that is not offered", () => ["/filer", "--method", "TRACE"], "405 method not allowed"],
    ["a foreign origin", () => ["/websockify", "--header", "Upgrade: websocket", "--header", "Origin: https://evil.example"], "403 forbidden: origin refused"],
  ])("says why %s is refused", async (_what, argv, answer) => {
    const { exitCode, text } = await explain(...argv());
    expect(text).toContain(`answer    ${answer}`);
    expect(exitCode).toBe(1);
  });

  test("lifts the guard where it is told to", async () => {
    const { exitCode, text } = await explain("/filer", "--token", token("127.0.1.9"), "--allow-targets", "127.0.1.0/24");
    expect(text).toContain("target    127.0.1.9:29783");
    expect(exitCode).toBe(0);
  });

  test("names all addresses of a desktop, in the order in which they are tried", async () => {
    const dns = await DnsServer.start({ "two.pod": [{ type: "A", data: "10.1.2.3" }, { type: "A", data: "10.1.2.4" }, { type: "AAAA", data: "fd00::5" }] });
    const { exitCode, text } = await explainIn({ NAMESERVER_RESOLVER: dns.address }, "/filer", "--token", token("two.pod"));
    dns.stop();
    expect(text).toContain("target    10.1.2.3:29783 (two.pod:29783), else 10.1.2.4:29783, else [fd00::5]:29783\n");
    expect(exitCode).toBe(0);
  });

  test("puts a token given by flag into the path where the pattern has it, and does not show it", async () => {
    const secret = token("10.1.2.3");
    const { exitCode, text } = await explain("/container/TOKEN/6081/a/b", "--token", secret);
    expect(text).toContain("request   GET /container/[token]/6081/a/b");
    expect(text).toContain("found in the path");
    expect(text).toContain("target    10.1.2.3:6081");
    expect(text).toContain("sends     GET /a/b HTTP/1.1");
    expect(text).not.toContain(secret);
    expect(exitCode).toBe(0);
  });

  test("judges allowedClients by the client that trusted proxies name, as serve does", async () => {
    const file = join(directory, "clients.yaml");
    writeFileSync(file, `trustedProxies: [10.0.0.0/8]
services:
  a: { url: "http://127.0.0.1:1" }
routes:
  - { path: /, service: a, allowedClients: [192.0.2.0/24] }
`);
    const from = (client: string, hop: string) => explain("/", "--config", file, "--client", client, "--header", `X-Forwarded-For: ${hop}`);
    expect(await from("10.0.0.1", "192.0.2.7")).toMatchObject({ exitCode: 0, text: expect.stringContaining("X-Real-IP: 192.0.2.7") });
    expect(await from("10.0.0.1", "203.0.113.7")).toMatchObject({ exitCode: 1, text: expect.stringContaining("403 forbidden: client 203.0.113.7") });
    // A stranger's X-Forwarded-For means nothing; an IPv4 address in IPv6 form is the same client.
    expect(await from("203.0.113.7", "192.0.2.7")).toMatchObject({ exitCode: 1, text: expect.stringContaining("403 forbidden: client 203.0.113.7") });
    expect((await from("::ffff:192.0.2.9", "")).exitCode).toBe(0);
  });

  test("says that a route without a token refuses an origin which it does not list", async () => {
    const file = join(directory, "origins.yaml");
    writeFileSync(file, "services:\n  a: { url: \"http://127.0.0.1:1\" }\nroutes:\n  - { path: /, service: a, websocket: true, origins: [https://good.example] }\n");
    const from = (origin: string) => explain("/", "--config", file, "--header", "Upgrade: websocket", "--header", `Origin: ${origin}`);
    expect(await from("https://evil.example")).toMatchObject({ exitCode: 1, text: expect.stringContaining("403 forbidden: origin refused") });
    expect((await from("https://good.example")).exitCode).toBe(0);
  });

  test("shows the lines that ask the upstream for a WebSocket", async () => {
    const { text } = await explain("/websockify", "--token", token("10.1.2.3"), "--header", "Upgrade: websocket", "--header", "Sec-WebSocket-Protocol: binary, base64");
    const lines = text.split("\n").map((line) => line.trim());
    expect(lines).toEqual(expect.arrayContaining(["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: binary, base64"]));
    expect((await explain("/websockify", "--token", token("10.1.2.3"))).text).not.toContain("Upgrade");
  });

  test("takes a path of two slashes for a path", async () => {
    const { exitCode, text } = await explain("//evil/x");
    expect(text).toContain("request   GET //evil/x\n");
    expect(text).toContain("GET //evil/x HTTP/1.1");
    expect(text).toContain("X-Forwarded-Host: localhost\n");
    expect(exitCode).toBe(0);
  });

  test("knows methods in lower case", async () => {
    expect((await explain("/", "--method", "patch")).text).toContain("request   PATCH /\n");
  });

  test.each([
    [["http://["]], [["mailto:a@b"]], [["/x", "--header", "nocolon"]], [["/x", "--header", "foo bar: x"]], [["/x", "--header", "a: x\r\nb: y"]],
    [["/x", "--header", ": x"]], [["/x", "--method", "FOO"]], [["/x", "--method", "A B"]], [["/x", "--method", ""]], [["/x", "--client", "zzz"]],
    [["/x", "--client", "10.0.0.0/8"]], [["/filer", "--token", ""]], [["/container/t/6081/", "--token", "a/b"]], [["/container/t/6081/", "--token", ".."]],
  ])("calls %j wrong usage", async (argv) => {
    await expect(explain(...argv)).rejects.toThrow(UsageError);
  });
});

describe("explain of a console", () => {
  const SECRET = "strong-secret-of-32-bytes-and-no";
  const ACCOUNT = "the-token-of-the-service-account";
  const UPGRADE = ["--header", "Upgrade: websocket"];

  function vmToken(vms: readonly string[] = ["ubuntu", "kali"], ttlS = 300, secret = SECRET): string {
    return mintVmToken({ user: 7, lab: 1, labInstance: 12, namespace: "lab-12", vms, secret: createSecretKey(Buffer.from(secret)), ttlS });
  }

  /** Consoles below /vnc, with the viewer, and without it below /plain and /late (whose credentials are missing). */
  async function explainConsole(...argv: string[]): Promise<{ exitCode: number; text: string }> {
    const at = (name: string): string => join(directory, name);
    writeFileSync(at("ca.crt"), rootCertificates[0] ?? "");
    writeFileSync(at("account"), `${ACCOUNT}\n`);
    writeFileSync(at("consoles.yaml"), `token: { vm: { secret: ${SECRET} } }
services:
  vnc: { kubernetes: "wss://api.example:6443", caFile: ${at("ca.crt")}, tokenFile: ${at("account")}, consolePolicy: preserve }
  plain: { kubernetes: "ws://[::1]:8001" }
  late: { kubernetes: "wss://api.example", caFile: ${at("absent.crt")}, tokenFile: ${at("account")} }
routes:
  - { path: "/vnc/{token}/{vm}", identity: vm, service: vnc, viewer: true }
  - { path: "/plain/{token}/{vm}", identity: vm, service: plain, closeAfterUpgrade: true }
  - { path: "/late/{token}/{vm}", identity: vm, service: late }
`);
    return explain(...argv, "--config", at("consoles.yaml"));
  }

  test("says what is asked of the Kubernetes API, without either token", async () => {
    const token = vmToken();
    const { exitCode, text } = await explainConsole(`/vnc/${token}/ubuntu`, ...UPGRADE, "--header", "Cookie: a=b");
    expect(exitCode).toBe(0);
    for (const line of [
      "request   GET /vnc/[token]/ubuntu", "route     /vnc/{token}/{vm} (pattern match of \"/vnc/{token}/{vm}\")", "upgrade   WebSocket, bridged", "token     found in the path",
      "target    wss://api.example:6443, virtual machine \"ubuntu\" in namespace \"lab-12\"",
      "sends     GET /apis/subresources.kubevirt.io/v1/namespaces/lab-12/virtualmachineinstances/ubuntu/vnc?preserveSession=true HTTP/1.1",
    ]) expect(text.split("\n")).toContain(line);
    expect(text).toMatch(/identity {2}virtual machines of lab-12: "ubuntu", "kali", token [0-9a-f]{8}, expires in (300|299) s\n/);
    expect(text.split("\n").map((line) => line.trim())).toEqual(expect.arrayContaining([
      "Host: api.example:6443", "Authorization: Bearer [service account token]", "Upgrade: websocket", "Sec-WebSocket-Protocol: plain.kubevirt.io",
    ]));
    for (const secret of [token, ACCOUNT, SECRET, "a=b"]) expect(text).not.toContain(secret);
  });

  test("shows no credentials where none are sent", async () => {
    const { exitCode, text } = await explainConsole(`/plain/${vmToken()}/kali`, ...UPGRADE);
    expect(exitCode).toBe(0);
    expect(text).toContain("target    ws://[::1]:8001, virtual machine \"kali\"");
    expect(text).toContain("service   plain, consoles at [::1]:8001/apis/");
    expect(text).toContain("Host: [::1]:8001");
    expect(text).not.toContain("Authorization");
  });

  test("puts a token given by flag into the path, and does not show it", async () => {
    const token = vmToken();
    const { exitCode, text } = await explainConsole("/vnc/TOKEN/ubuntu", "--token", token, ...UPGRADE);
    expect([exitCode, text.includes("virtual machine \"ubuntu\""), text.includes(token)]).toEqual([0, true, false]);
  });

  test("says that a page gets the viewer, with the token that a console needs", async () => {
    const page = ["--header", "Accept: text/html,*/*"];
    expect(await explainConsole(`/vnc/${vmToken()}/ubuntu`, ...page)).toMatchObject({ exitCode: 0, text: expect.stringContaining("answer    200, the embedded viewer\n") });
    expect(await explainConsole(`/vnc/${vmToken()}/debian`, ...page)).toMatchObject({ exitCode: 1, text: expect.stringContaining("answer    403 forbidden: ") });
    expect(await explainConsole("/vnc/bad/ubuntu", ...page)).toMatchObject({ exitCode: 1, text: expect.stringContaining("answer    401 unauthorized: malformed token") });
    expect((await explainConsole("/vnc/_viewer/client.js")).text).toMatch(/route {5}\/vnc\/_viewer\/\{file\*\}[^]*answer {4}/);
  });

  test("says that anything else without an upgrade is 426, before it looks at the token, as serve does", async () => {
    const hint = "answer    426 upgrade required: a console is a WebSocket (add --header 'Upgrade: websocket')\n";
    for (const path of [`/vnc/${vmToken()}/ubuntu`, "/vnc/bad/ubuntu"]) expect(await explainConsole(path)).toMatchObject({ exitCode: 1, text: expect.stringContaining(hint) });
    // This route has no viewer for anyone.
    expect((await explainConsole(`/plain/${vmToken()}/ubuntu`, "--header", "Accept: text/html")).text).toContain(hint);
  });

  test.each<[string, () => string[], string]>([
    ["a machine that the token does not list", () => [`/vnc/${vmToken()}/debian`], "403 forbidden: the token does not list the virtual machine \"debian\""],
    ["a machine of a token that lists none", () => [`/vnc/${vmToken([])}/ubuntu`], "403 forbidden: the token does not list the virtual machine \"ubuntu\""],
    ["a name that is none, although it is listed", () => [`/vnc/${vmToken(["UBUNTU"])}/UBUNTU`], "403 forbidden: not a name of a virtual machine"],
    ["a name that would be another path", () => [`/vnc/${vmToken(["..%2fx"])}/..%2fx`], "400 bad request: ambiguous path"],
    ["a malformed token", () => ["/vnc/bad/ubuntu"], "401 unauthorized: malformed token"],
    ["an expired token", () => [`/vnc/${vmToken(["ubuntu"], -1)}/ubuntu`], "401 unauthorized: token has expired"],
    ["a token of somebody else", () => [`/vnc/${vmToken(["ubuntu"], 300, "another-secret-that-has-32-bytes")}/ubuntu`], "401 unauthorized: bad signature"],
    ["a desktop's token", () => [`/vnc/${token("10.1.2.3")}/ubuntu`], "401 unauthorized: token algorithm is not HS256"],
    ["a foreign origin", () => [`/vnc/${vmToken()}/ubuntu`, "--header", "Origin: https://evil.example"], "403 forbidden: origin refused"],
    ["a path of another length", () => [`/vnc/${vmToken()}/ubuntu/more`], "404 not found: no route matches the path"],
  ])("says why %s is refused", async (_what, argv, answer) => {
    const { exitCode, text } = await explainConsole(...argv(), ...UPGRADE);
    expect(text).toContain(`answer    ${answer}`);
    expect(exitCode).toBe(1);
  });

  test("names the file of the service account that is missing", async () => {
    const { exitCode, text } = await explainConsole(`/late/${vmToken()}/ubuntu`, ...UPGRADE);
    expect(text).toContain(`answer    503 service unavailable: cannot load service account CA ${join(directory, "absent.crt")}: no such file`);
    expect([exitCode, text.includes(ACCOUNT)]).toEqual([1, false]);
  });

  test("knows the built-in table of consoles and its variables, and says which close frame takes a refusal's place", async () => {
    let text = "";
    const run = (path: string, env: Record<string, string> = {}): Promise<number> => {
      text = "";
      const variables = { SECRET_KEY: SECRET, LOCAL_DEV_MODE: "true", HOST_PATH_PREFIX: "ws_proxy", ...env };
      return command.run(parseArgs(["--consoles", path, ...UPGRADE], command.spec), { stdout: (part) => { text += part; }, stderr: () => {}, env: variables });
    };
    expect(await run(`/ws_proxy/${vmToken()}/ubuntu`)).toBe(0);
    expect(text).toContain("target    ws://localhost:8001, virtual machine \"ubuntu\"");
    expect(await run(`/ws_proxy/${vmToken()}/debian`, { ROUTE_CLOSE_AFTER_UPGRADE: "true" })).toBe(1);
    expect(text).toMatch(/answer {4}101.*1000.*invalid token/);
    await expect(explain("--consoles", "--config", join(directory, "consoles.yaml"), "/x")).rejects.toThrow(UsageError);
  });
});
