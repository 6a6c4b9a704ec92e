import { beforeEach, describe, expect, test } from "bun:test";
import { decode, encode } from "@msgpack/msgpack";
import fc from "fast-check";
import { ProtocolError } from "../../src/zbus/arguments.ts";
import { actionOf, findCall } from "../../src/zbus/calls.ts";
import type { Request } from "../../src/zbus/message.ts";
import { KeptCalls } from "./handlers.ts";

const LIST = ["http://10.0.0.1"];

let handlers: KeptCalls;
beforeEach(() => {
  handlers = new KeptCalls();
});

function request(method: string, args: readonly unknown[], object = { name: "gateway", version: "0.0.1" }): Request {
  return { id: "1", replyTo: "list", object, method, inputs: args.map((arg) => encode(arg)) };
}

async function run(method: string, ...args: unknown[]): Promise<unknown> {
  const data = await findCall(request(method, args), handlers, () => []).run();
  return data === null ? null : decode(data);
}

function refusal(wanted: Request): string {
  try {
    findCall(wanted, handlers, () => []);
  } catch (error) {
    expect(error).toBeInstanceOf(ProtocolError);
    return (error as Error).message;
  }
  throw new Error("it was accepted");
}

describe("a call", () => {
  test("takes what Go leaves out, or packs as nil, for the type's zero value", async () => {
    await run("SetNamedProxy", "id", "web", null, false);
    await run("SetNamedProxy", "id", { Name: "web" });
    await run("SetFQDNProxy", "id", { FQDN: "a.test", Backends: null, Network: null });
    expect(handlers.calls).toEqual([["setNamedProxy", "id", "web", [], false], ["setNamedProxy", "id", "web", [], false], ["setFQDNProxy", "id", "a.test", [], false]]);
  });

  test("ignores keys of the map that it does not know", async () => {
    expect(await run("SetNamedProxy", "id", { Name: "web", Backends: LIST, TLSPassthrough: false, Weight: 3 })).toBe("web.gent01.dev.grid.tf");
  });

  test.each([["net1"], [""], [{}], [0], [false]])("refuses the network %p as its own failure", async (network) => {
    expect(await run("SetFQDNProxy", "id", { FQDN: "a.test", Backends: LIST, Network: network }).catch(String)).toContain("Network must be nil");
    expect(handlers.calls).toEqual([]);
  });

  test.each([
    ["SetNamedProxy", [], "SetNamedProxy takes 4 arguments (wlID, prefix, backends, tlsPassthrough) or 2 (wlID, {Name, Backends, TLSPassthrough}), not 0"],
    ["SetNamedProxy", ["id", "web", LIST], "not 3"],
    ["SetFQDNProxy", ["id", "a.test", LIST, false, null], "SetFQDNProxy takes 4 arguments (wlID, fqdn, backends, tlsPassthrough) or 2 (wlID, {FQDN, Backends, TLSPassthrough}), not 5"],
    ["SetNamedProxy", [1, "web", LIST, false], "SetNamedProxy: argument 1 (wlID) must be a string, not a number"],
    ["SetNamedProxy", ["id", null, LIST, false], "argument 2 (prefix) must be a string, not nil"],
    ["SetFQDNProxy", ["id", LIST, LIST, false], "argument 2 (fqdn) must be a string, not an array"],
    ["SetNamedProxy", ["id", "web", "http://10.0.0.1", false], "argument 3 (backends) must be an array of strings, not a string"],
    ["SetNamedProxy", ["id", "web", [1], false], "argument 3 (backends) must be an array of strings"],
    ["SetNamedProxy", ["id", "web", LIST, "false"], "argument 4 (tlsPassthrough) must be a boolean, not a string"],
    ["SetNamedProxy", ["id", "web"], "argument 2 (configuration) must be a map, not a string"],
    ["SetNamedProxy", ["id", { FQDN: "a.test", Backends: LIST }], "SetNamedProxy: Name must be a string, not nil"],
    ["SetFQDNProxy", ["id", { Name: "web", Backends: LIST }], "SetFQDNProxy: FQDN must be a string, not nil"],
    ["SetFQDNProxy", ["id", { FQDN: "a.test", Backends: {} }], "Backends must be an array of strings, not a map"],
    ["SetFQDNProxy", ["id", { FQDN: "a.test", TLSPassthrough: 1 }], "TLSPassthrough must be a boolean, not a number"],
    ["DeleteNamedProxy", [], "DeleteNamedProxy takes 1 argument (wlID), not 0"],
    ["DeleteNamedProxy", [new Uint8Array(2)], "argument 1 (wlID) must be a string, not a binary"],
    ["Metrics", ["x"], "Metrics takes no arguments, not 1"],
    ["toString", [], 'unknown method "toString" (there are SetNamedProxy, SetFQDNProxy, DeleteNamedProxy, Metrics)'],
  ])("%s%j is a protocol error", (method, args, reason) => {
    expect(refusal(request(method, args))).toContain(reason);
    expect(handlers.calls).toEqual([]);
  });

  test("whose argument is no msgpack is a protocol error", () => {
    expect(refusal({ ...request("DeleteNamedProxy", []), inputs: [Uint8Array.of(0xc1)] })).toStartWith("DeleteNamedProxy: argument 1 (wlID) is not msgpack");
  });

  test.each([
    [{ name: "gateway", version: "0.0.2" }, "Metrics", 'unknown object "gateway@0.0.2" (there are gateway@0.0.1, manager@0.0.1)'],
    [{ name: "zbus", version: "1.0" }, "Metrics", 'unknown method "Metrics" of zbus@1.0 (there is Status)'],
    [{ name: "gateway", version: "0.0.1" }, "Status", 'unknown method "Status"'],
  ])("to %j of %s is a protocol error", (object, method, reason) => {
    expect(refusal(request(method, [], object))).toContain(reason);
  });

  test("has the method's name in the log, bounded, and none of its arguments", () => {
    expect(actionOf(request("DeleteNamedProxy", ["secret"]))).toBe("gateway@0.0.1.DeleteNamedProxy");
    expect(actionOf(request("x".repeat(500), [])).length).toBe(200);
  });

  test("with any arguments is done or refused by name", () => {
    const methods = fc.constantFrom("SetNamedProxy", "SetFQDNProxy", "DeleteNamedProxy", "Metrics", "Status");
    const argument = fc.oneof(fc.string(), fc.array(fc.string(), { maxLength: 3 }), fc.boolean(), fc.integer(), fc.constant(null),
      fc.record({ Name: fc.string(), FQDN: fc.string(), Backends: fc.array(fc.string()), TLSPassthrough: fc.boolean() }, { requiredKeys: [], noNullPrototype: true }));
    fc.assert(fc.property(methods, fc.array(argument, { maxLength: 5 }), (method, args) => {
      try {
        findCall(request(method, args), handlers, () => []);
      } catch (error) {
        expect(error).toBeInstanceOf(ProtocolError);
      }
    }), { numRuns: 1000 });
  });
});
