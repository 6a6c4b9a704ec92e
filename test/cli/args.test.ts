import { describe, expect, test } from "bun:test";
import { type ArgumentSpec, findCommand, parseArgs, renderCommands, renderHelp, UsageError } from "../../src/cli/args.ts";

const SPEC: ArgumentSpec = {
  positionals: [{ name: "URL", help: "what to explain" }, { name: "OTHER", help: "more", optional: true }],
  flags: [
    { name: "config", value: "FILE", help: "configuration file" },
    { name: "method", value: "M", help: "request method", default: "GET" },
    { name: "header", value: "'K: V'", repeat: true, help: "request header" },
    { name: "json", help: "as JSON" },
  ],
  environment: [["NODE_NAME", "name of the node"]],
  examples: ["route-gateway explain /filer"],
};

describe("arguments", () => {
  test("are flags with their values, switches and positionals in any order", () => {
    const args = parseArgs(["--config", "a.yaml", "/x", "--json", "--header=K: V=1", "--header", "L: W"], SPEC);
    expect(args.get("config")).toBe("a.yaml");
    expect(args.get("URL")).toBe("/x");
    expect(args.get("OTHER")).toBeUndefined();
    expect(args.has("json")).toBe(true);
    expect(args.all("header")).toEqual(["K: V=1", "L: W"]);
  });

  test("have their defaults when they are absent", () => {
    const args = parseArgs(["/x"], SPEC);
    expect(args.get("method")).toBe("GET");
    expect(args.all("method")).toEqual(["GET"]);
    expect(args.has("json")).toBe(false);
    expect(args.all("header")).toEqual([]);
  });

  test("after -- are positionals even with dashes, and so is a lone dash", () => {
    expect(parseArgs(["--", "--json"], SPEC).get("URL")).toBe("--json");
    expect(parseArgs(["-"], SPEC).get("URL")).toBe("-");
  });

  test("may have a value that is empty, or starts with a dash after the equals sign", () => {
    expect(parseArgs(["/x", "--config="], SPEC).get("config")).toBe("");
    expect(parseArgs(["/x", "--config=--json"], SPEC).get("config")).toBe("--json");
  });

  test.each([
    [["/x", "--confg", "a"], "unknown flag --confg (did you mean --config?)"],
    [["/x", "--confg=a"], "unknown flag --confg (did you mean --config?)"],
    [["/x", "--nothing-like-it"], "unknown flag --nothing-like-it"],
    [["/x", "-j"], "unknown flag -j"],
    [["/x", "--config"], "flag --config needs a value: --config FILE"],
    [["/x", "--config", "--json"], "flag --config needs a value: --config FILE"],
    [["/x", "--config", "a", "--config", "b"], "flag --config is given twice"],
    [["/x", "--json=yes"], "flag --json takes no value"],
    [[], "missing argument URL: what to explain"],
    [["/x", "/y", "/z"], "unexpected argument \"/z\""],
  ])("%j are refused", (argv, message) => {
    expect(() => parseArgs(argv, SPEC)).toThrow(new UsageError(message));
  });

  test("with --help are not checked further", () => {
    expect(parseArgs(["--help"], SPEC).help).toBe(true);
    expect(parseArgs(["-h", "--nonsense"], SPEC).help).toBe(true);
  });

  test("that the spec does not have are a bug of the asker", () => {
    expect(() => parseArgs(["/x"], SPEC).get("cnfig")).toThrow("the spec has no argument \"cnfig\"");
  });

  test("that are required but optional in the grammar are asked for by name", () => {
    expect(() => parseArgs(["/x"], SPEC).require("config")).toThrow(new UsageError("missing --config"));
  });
});

describe("a command", () => {
  const commands = [{ name: "serve", summary: "route requests" }, { name: "routes", summary: "print the table" }];

  test("is found by its name", () => {
    expect(findCommand(commands, "routes").summary).toBe("print the table");
  });

  test.each([["rotues", "unknown command rotues (did you mean routes?)"], ["fly", "unknown command fly"]])("%s is refused", (name, message) => {
    expect(() => findCommand(commands, name)).toThrow(new UsageError(message));
  });

  test("is listed with its summary", () => {
    expect(renderCommands("route-gateway", commands)).toContain("  serve   route requests\n  routes  print the table\n");
  });

  test("has a help text with its usage, flags, environment and examples", () => {
    expect(renderHelp("route-gateway", { name: "explain", summary: "Says where a request goes.", spec: SPEC })).toBe(`Says where a request goes.

usage: route-gateway explain [flags] URL [OTHER]

arguments:
  URL    what to explain
  OTHER  more

flags:
  --config FILE        configuration file
  --method M           request method (default GET)
  --header 'K: V' ...  request header
  --json               as JSON
  --help               print this text

environment:
  NODE_NAME  name of the node

examples:
  route-gateway explain /filer
`);
  });
});
