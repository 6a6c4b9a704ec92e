import { describe, expect, test } from "bun:test";
import { networkInterfaces } from "node:os";
import { WebsocketProxy, type WebsocketProxyOptions } from "../../src/index.ts";
import { API_PATH, SECRET } from "../support/library-driver.ts";

const GOOD: WebsocketProxyOptions = { remoteUrl: "ws://localhost:8001", apiPath: API_PATH, localDevMode: true, secretKey: SECRET };
const SHORT = "too-short-a-secret";

const HAS_IPV6 = Object.values(networkInterfaces()).some((addresses) => addresses?.some(({ address }) => address === "::1"));

/** What is wrong with the good options after a change; options come from JavaScript as well. */
function refusal(change: Record<string, unknown>): string {
  return thrownBy({ ...GOOD, ...change });
}

function thrownBy(options: unknown): string {
  try {
    return `accepted: ${Bun.inspect(new WebsocketProxy(options as WebsocketProxyOptions))}`;
  } catch (error) {
    expect(error).toBeInstanceOf(TypeError);
    return (error as Error).message.replaceAll("cannot create a WebsocketProxy: ", "");
  }
}

/** Throws what is wrong with them. */
function accept(options: WebsocketProxyOptions): WebsocketProxy {
  return new WebsocketProxy(options);
}

describe("WebsocketProxy", () => {
  test("takes the arguments of the original, with or without a prefix", () => {
    for (const hostPathPrefix of [undefined, null, "", "/ws_proxy", "ws_proxy/", "a/b/c"]) accept({ ...GOOD, hostPathPrefix });
    accept({ ...GOOD, remoteUrl: "wss://10.96.0.1:443", localDevMode: false });
  });

  test("takes all of its own", () => {
    accept({
      ...GOOD, remoteUrl: "wss://kubernetes.default.svc", localDevMode: false, caFile: "/ca.crt", tokenFile: "/token", algorithms: ["HS512", "HS256"],
      allowWeakSecret: false, closeAfterUpgrade: true, consolePolicy: "preserve", viewer: true, allowedOrigins: ["https://lab.example.org", "http://localhost:3000"], log: "json",
    });
    accept({ ...GOOD, secretKey: SHORT, allowWeakSecret: true, allowedOrigins: "same-host", log: "pretty", consolePolicy: "takeover" });
  });

  test("opens nothing, and listens nowhere", async () => {
    const proxy = new WebsocketProxy(GOOD);
    expect([proxy.port, proxy.url]).toEqual([0, ""]);
    await proxy.stopThread();
  });

  test.each([
    [{ apiPath: "/vnc" }, 'apiPath: an apiPath contains {namespace} and {vmi_name}: "/vnc" lacks {namespace} and {vmi_name}'],
    [{ apiPath: "/{namespace}/vnc" }, 'apiPath: an apiPath contains {namespace} and {vmi_name}: "/{namespace}/vnc" lacks {vmi_name}'],
    [{ apiPath: "/{vmi_name}/{vm}/{namespace}" }, 'apiPath: unknown variable {vm} in the apiPath "/{vmi_name}/{vm}/{namespace}" (known are {namespace} and {vmi_name})'],
    [{ apiPath: undefined }, "apiPath: expected a path with {namespace} and {vmi_name} in it, found nothing"],
    [{ remoteUrl: "" }, 'remoteUrl: expected the base of the Kubernetes API such as "ws://localhost:8001", found an empty text'],
    [{ remoteUrl: new URL("ws://localhost") }, 'remoteUrl: expected the base of the Kubernetes API such as "ws://localhost:8001", found an object'],
    [{ remoteUrl: "localhost:8001" }, 'remoteUrl: expected the URL of a Kubernetes API such as wss://10.96.0.1:443 or ws://localhost:8001, found "localhost:8001"'],
    [{ remoteUrl: "ws://localhost:8001/apis" }, 'remoteUrl: the URL of a Kubernetes API ends after the port: "ws://localhost:8001/apis" has "/apis" (paths go into "apiPath")'],
    [{ remoteUrl: "wss://host" }, 'remoteUrl: localDevMode: true means plain ws without credentials, found "wss://host" (write ws://, or localDevMode: false)'],
    [{ localDevMode: false }, 'remoteUrl: credentials are never sent over plain ws, found "ws://localhost:8001" (write wss://, or localDevMode: true)'],
    [{ localDevMode: "false" }, "localDevMode: expected true or false, found a text"],
    [{ localDevMode: undefined }, "localDevMode: expected true or false, found nothing"],
    [{ secretKey: SHORT }, "secretKey: it has 18 bytes, expected 32 or more (write a longer one, or allowWeakSecret: true to accept it)"],
    [{ secretKey: "" }, "secretKey: expected the key that tokens are signed with, found an empty text"],
    [{ secretKey: "", allowWeakSecret: true }, "secretKey: expected the key that tokens are signed with, found an empty text"],
    [{ secretKey: Buffer.from(SECRET) }, "secretKey: expected the key that tokens are signed with, found an object"],
    [{ allowWeakSecret: "yes" }, "allowWeakSecret: expected true or false, found a text"],
    [{ hostPathPrefix: 1 }, 'hostPathPrefix: expected a text such as "/ws_proxy", or null, found a number'],
    [{ hostPathPrefix: "/{token}" }, 'hostPathPrefix: a prefix is the fixed beginning of a path such as /ws_proxy, found "/{token}"'],
    [{ hostPathPrefix: "a b" }, 'hostPathPrefix: no request arrives with this path: "/a b/{token}/{vm}" (did you mean "/a%20b/token/vm"?)'],
    [{ caFile: "" }, "caFile: expected a file name, found an empty text"],
    [{ tokenFile: null }, "tokenFile: expected a file name, found null"],
    [{ algorithms: [] }, "algorithms: expected a list of HS256, HS384, HS512, found an empty list"],
    [{ algorithms: ["none"] }, "algorithms: expected a list of HS256, HS384, HS512, found a list with something else in it"],
    [{ algorithms: "HS256" }, "algorithms: expected a list of HS256, HS384, HS512, found a text"],
    [{ consolePolicy: "preserved" }, 'consolePolicy: expected "takeover" or "preserve", found "preserved" (did you mean "preserve"?)'],
    [{ viewer: 1 }, "viewer: expected true or false, found a number"],
    [{ closeAfterUpgrade: null }, "closeAfterUpgrade: expected true or false, found null"],
    [{ allowedOrigins: [] }, 'allowedOrigins: expected "any", "same-host", or a list of origins such as ["https://host"], found an empty list'],
    [{ allowedOrigins: ["any"] }, 'allowedOrigins: expected "any", "same-host", or a list of origins such as ["https://host"], found a list with something else in it'],
    [{ allowedOrigins: ["https://host/"] }, 'allowedOrigins: expected an origin as browsers send it, found "https://host/" (did you mean "https://host"?)'],
    [{ log: true }, 'log: expected "json" or "pretty", found a boolean'],
    [{ remote_url: "ws://localhost:8001" }, 'unknown option "remote_url" (did you mean "remoteUrl"?)'],
  ])("refuses %j, and says what to write", (change: Record<string, unknown>, message) => {
    expect(refusal(change)).toBe(message);
  });

  test.each([
    ["nothing", undefined], ["null", null], ["a text", "ws://localhost:8001"], ["a list", [GOOD]],
  ])("refuses %s in place of its options", (what, options) => {
    expect(thrownBy(options)).toBe(`expected one object, { remoteUrl, apiPath, localDevMode, secretKey, hostPathPrefix }, found ${what}`);
  });

  test("tells all mistakes at once", () => {
    expect(refusal({ remoteUrl: 1, apiPath: "/", secretKey: null, viwer: true }).split("\n").map((line) => line.split(/[ :]/)[0])).toEqual(["unknown", "remoteUrl", "apiPath", "secretKey"]);
  });

  test("never shows the secret: not in an error, and not on the object", () => {
    for (const change of [{ apiPath: "/" }, { log: 1 }, { allowedOrigins: ["x"] }, { secretKey: SHORT }, { secretKey: { key: SHORT } }, { secretKey: [SHORT] }]) {
      expect(refusal(change)).not.toMatch(/too-short|library-secret/);
    }
    const proxy = new WebsocketProxy(GOOD);
    for (const shown of [Bun.inspect(proxy, { depth: 10 }), JSON.stringify(proxy), String(proxy)]) expect(shown).not.toContain(SECRET);
  });

  test("takes a secret for what it is, whatever stands in it", () => {
    // As a variable's value it must not be read again.
    for (const secretKey of ["${HOST}-and-${PORT:-more}-to-32-bytes", "12345678901234567890123456789012", "\u{1f511}".repeat(8)]) accept({ ...GOOD, secretKey });
  });
});

describe("where it listens", () => {
  test.each([
    [["localhost:5001", 0], 'cannot listen: expected a host such as "127.0.0.1", "0.0.0.0" or "", found "localhost:5001"'],
    [[undefined, 0], 'cannot listen: expected a host such as "127.0.0.1", "0.0.0.0" or "", found nothing'],
    [["127.0.0.1", "5001"], "cannot listen: expected a port from 0 (the kernel chooses) to 65535, found a text"],
    [["127.0.0.1", 65536], "cannot listen: expected a port from 0 (the kernel chooses) to 65535, found 65536"],
    [["127.0.0.1", Number.NaN], "cannot listen: expected a port from 0 (the kernel chooses) to 65535, found NaN"],
  ] as const)("is refused when it is %p", async (place, message) => {
    const proxy = new WebsocketProxy(GOOD);
    for (const how of ["run", "runInThread"] as const) {
      expect(await proxy[how](...place as unknown as [string, number]).catch((error: unknown) => error)).toEqual(new TypeError(message));
    }
  });

  test.each([["127.0.0.1", "127.0.0.1"], ["0.0.0.0", "127.0.0.1"], ["", "localhost"]])("%p is reached at %s, with the prefix", reach);
  test.skipIf(!HAS_IPV6).each([["::1", "[::1]"], ["[::1]", "[::1]"]])("%p is reached at %s", reach);

  async function reach(host: string, shown: string): Promise<void> {
    const proxy = new WebsocketProxy({ ...GOOD, hostPathPrefix: "ws_proxy/vm/" });
    const running = proxy.run(host, 0);
    await Bun.sleep(0);
    expect(proxy.url).toBe(`ws://${shown}:${proxy.port}/ws_proxy/vm`);
    await proxy.stopThread();
    await running;
  }
});
