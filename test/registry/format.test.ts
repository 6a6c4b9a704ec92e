import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Gateway } from "../../src/gateway.ts";
import { formatGateway, parseCarefully, parseGateway } from "../../src/registry/format.ts";
import { workloadIdFault } from "../../src/registry/validate.ts";
import { gateway, NAME_FILE, NAME_GATEWAY, PASSTHROUGH_FILE, PASSTHROUGH_GATEWAY } from "./examples.ts";

const OPTIONS = { id: "37-1976-workloadname", domain: null };

function read(text: string, options: { id: string; domain: string | null } = OPTIONS): Gateway {
  const parsed = parseGateway(text, options);
  if ("mistakes" in parsed) throw new Error(parsed.mistakes.map(({ line, column, message }) => `${line}:${column}: ${message}`).join("\n"));
  return parsed.gateway;
}

function mistakesOf(text: string): string[] {
  const parsed = parseGateway(text, OPTIONS);
  return "mistakes" in parsed ? parsed.mistakes.map(({ line, column, message }) => `${line}:${column}: ${message}`) : [];
}

describe("the original's two examples", () => {
  test("are read", () => {
    expect(read(NAME_FILE)).toEqual(NAME_GATEWAY);
    expect(read(PASSTHROUGH_FILE, { id: "37-2039-testname", domain: null })).toEqual(PASSTHROUGH_GATEWAY);
  });

  test("are what is written for their gateways, byte for byte", () => {
    expect(formatGateway(NAME_GATEWAY)).toBe(NAME_FILE);
    expect(formatGateway(PASSTHROUGH_GATEWAY)).toBe(PASSTHROUGH_FILE);
  });

  test("hold a placeholder for an address, which is a mistake with its place", () => {
    expect(mistakesOf(NAME_FILE.replace("2001:db8::7", "backendip"))).toEqual([
      '15:28: backend "http://[backendip]:9000": "[backendip]" is not an IP address',
    ]);
  });
});

describe("a file that another program wrote", () => {
  test.each<[string, string, string]>([
    ["loadBalancer", "loadbalancer", "loadBalancer"],
    ["keys in capitals", "certResolver", "CERTRESOLVER"],
    ["quotes in the rule", "Host(`workloadname.gent01.dev.grid.tf`)", "'Host(\"WorkloadName.gent01.dev.grid.tf\")'"],
    ["spaces in the rule", "Host(`workloadname.gent01.dev.grid.tf`)", "Host( `workloadname.gent01.dev.grid.tf` )"],
    ["comments", "http:\n", "# by hand\nhttp: # here\n"],
    ["other indentation", "    ", "  "],
    ["other quotes", "'*.gent01.dev.grid.tf'", "\"*.GENT01.dev.grid.tf\""],
    ["CRLF", "\n", "\r\n"],
    ["a byte order mark", "http:\n", "\ufeffhttp:\n"],
    ["passthrough that is off", "certResolver:", "passthrough: \"false\"\n                certResolver:"],
    ["a router that is called after its service", "37-1976-workloadname-route", "40-1976-workloadname-route"],
    ["a slash after the address", ":9000", ":9000/"],
    ["another spelling of the address", "[2001:db8::7]", "[2001:0DB8:0::7]"],
  ])("may have %s", (_what, from, to) => {
    const text = NAME_FILE.replaceAll(from, to);
    expect(text).not.toBe(NAME_FILE);
    expect(read(text)).toEqual(NAME_GATEWAY);
  });

  test.each([["\"true\""], ["true"], ["'True'"]])("may say passthrough: %s", (word) => {
    expect(read(PASSTHROUGH_FILE.replace("\"true\"", word), { id: "37-2039-testname", domain: null })).toEqual(PASSTHROUGH_GATEWAY);
  });

  test("may be in flow style, which is JSON", () => {
    const json = JSON.stringify(Bun.YAML.parse(NAME_FILE));
    expect(read(json)).toEqual(NAME_GATEWAY);
  });

  test("may name its service with digits only", () => {
    const text = NAME_FILE.replaceAll("40-1976-workloadname", "0040");
    expect(read(text)).toEqual({ ...NAME_GATEWAY, service: "0040" });
    expect(read(formatGateway({ ...NAME_GATEWAY, service: "0040" }))).toEqual({ ...NAME_GATEWAY, service: "0040" });
  });

  test("may have main and sans, together the certificate's names", () => {
    const text = NAME_FILE.replace("- sans:", "- main: workloadname.gent01.dev.grid.tf\n                      sans:");
    expect(read(text).certificateNames).toEqual(["workloadname.gent01.dev.grid.tf", "*.gent01.dev.grid.tf"]);
  });

  test("may leave the wildcard of the gateway's domain to the gateway", () => {
    const text = NAME_FILE.replace(/ +domains:\n.*\n.*\n/, "");
    expect(read(text).certificateNames).toEqual([]);
    expect(read(text, { ...OPTIONS, domain: "gent01.dev.grid.tf" }).certificateNames).toEqual(["*.gent01.dev.grid.tf"]);
    expect(read(text, { ...OPTIONS, domain: "dev.grid.tf" }).certificateNames).toEqual([]);
  });

  test("may have a certificate from elsewhere", () => {
    const text = NAME_FILE.replace(/tls:\n(?: {16,}.*\n)+/, "tls: {}\n");
    expect(read(text)).toEqual({ ...NAME_GATEWAY, resolver: null, certificateNames: [] });
    expect(formatGateway(read(text))).toBe(text);
  });
});

/** `▸` stands before the place of the mistake. */
/** What may lie in the directory by mistake; messages show no more than its beginning. */
const KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDXamOsZ3JlYXQ\n-----END PRIVATE KEY-----\n";

describe("a mistake is reported with its place", () => {
  const T = (from: string, to: string): string => NAME_FILE.replace(from, to);
  const P = (from: string, to: string): string => PASSTHROUGH_FILE.replace(from, to);
  test.each<[string, string, string]>([
    ["an empty file", "▸", 'the file is empty: "http" or "tcp" is needed'],
    ["a file with comments only", "▸# nothing\n", 'the file is empty: "http" or "tcp" is needed'],
    ["no section", "▸{}\n", 'missing key "http" or "tcp"'],
    ["a list", "▸- a\n", "expected a map of keys and values, found a list"],
    ["another section", `▸udp: {}\n${NAME_FILE}`, 'unknown key "udp" (known are http, tcp)'],
    ["both sections", `${NAME_FILE}▸tcp: {}\n`, 'only one of "http" and "tcp" can be in a file'],
    ["middlewares", T("    services:", "    ▸middlewares: {}\n    services:"), 'unknown key "middlewares" (known are routers, services)'],
    ["entry points", T("            rule:", "            ▸entryPoints: [web]\n            rule:"), 'unknown key "entryPoints" (known are rule, service, tls)'],
    ["a mistyped key", T("certResolver", "▸certResolvr"), 'unknown key "certResolvr" (did you mean "certResolver"?)'],
    ["a health check", T("                servers", "                ▸healthCheck: {}\n                servers"), 'unknown key "healthCheck" (known are servers)'],
    ["a weight", T(":9000", ":9000\n                      ▸weight: 3"), 'unknown key "weight" (known are url)'],
    ["a duplicate key", T("            service:", "            rule: x\n            ▸rule: x\n            service:").replace("            rule: x\n", ""), 'duplicate key "rule"'],
    ["a duplicate key in other letters", T("            service:", "            ▸Rule: x\n            service:"), 'duplicate key "Rule" (upper and lower case are alike)'],
    ["no rule", T("            rule: Host(`workloadname.gent01.dev.grid.tf`)\n", "").replace("37-1976-workloadname-route", "▸37-1976-workloadname-route"), 'missing key "rule"'],
    ["no tls", T("            tls:\n                certResolver: dnsresolver\n                domains:\n                    - sans:\n                        - '*.gent01.dev.grid.tf'\n", "").replace("37-1976-workloadname-route", "▸37-1976-workloadname-route"), 'missing key "tls"'],
    ["no services", NAME_FILE.slice(0, NAME_FILE.indexOf("    services:")).replace("http:", "▸http:"), 'missing key "services"'],
    ["two routers", T("    services:", "        ▸b-route: {}\n    services:"), "more than one router: each workload has a file of its own"],
    ["no router", "http:\n    routers: ▸{}\n    services: { a: { loadbalancer: { servers: [{ url: 'http://1.2.3.4' }] } } }\n", "no router: one is needed"],
    ["a router without a name of its kind", T("37-1976-workloadname-route", "▸web"), 'router "web" must be called after its workload: "web-route"'],
    ["a service that is not there", T("service: 40", "service: ▸41"), 'unknown service "41-1976-workloadname" (the file has "40-1976-workloadname")'],
    ["a service of another provider", T("service: 40-1976-workloadname", "service: ▸api@internal"), 'unknown service "api@internal" (the file has "40-1976-workloadname")'],
    ["another matcher", T("Host(`workloadname.gent01.dev.grid.tf`)", "▸PathPrefix(`/`)"), 'expected the rule Host(`app.example.org`), one host and nothing else, found "PathPrefix(`/`)"'],
    ["two hosts", T("Host(`workloadname.gent01.dev.grid.tf`)", "▸Host(`a.example.org`, `b.example.org`)"), 'expected the rule Host(`app.example.org`), one host and nothing else, found "Host(`a.example.org`…"'],
    ["a path besides", T("Host(`workloadname.gent01.dev.grid.tf`)", "▸Host(`a.b.tf`) && Path(`/`)"), 'expected the rule Host(`app.example.org`), one host and nothing else, found "Host(`a.b.tf`) && Pa…"'],
    ["the other kind's matcher", T("Host(", "▸HostSNI("), 'expected the rule Host(`app.example.org`), one host and nothing else, found "HostSNI(`workloadnam…"'],
    ["every host", P("HostSNI(`remote.omar.grid.tf`)", "▸HostSNI(`*`)"), '"*" is not a domain such as app.example.org'],
    ["a host that is none", T("workloadname.gent01.dev.grid.tf`", "localhost`").replace("rule: ", "rule: ▸").replace(/- '.*'/, "- localhost.tf").replace("- localhost.tf", "- 'localhost.tf'"), '"localhost" is not a domain such as app.example.org'],
    ["another resolver", T("dnsresolver", "▸dnsresolvr"), 'expected one of resolver, dnsresolver, found "dnsresolvr" (did you mean "dnsresolver"?)'],
    ["a wildcard by HTTP", T("dnsresolver", "resolver").replace("'*.", "▸'*."), 'the wildcard "*.gent01.dev.grid.tf" needs dnsresolver: HTTP challenges prove single names only'],
    ["a certificate for others", T("'*.gent01.dev.grid.tf'", "▸bank.example"), '"bank.example" does not cover the host "workloadname.gent01.dev.grid.tf"'],
    ["a wildcard two levels up", T("'*.gent01.dev.grid.tf'", "▸'*.dev.grid.tf'"), '"*.dev.grid.tf" does not cover the host "workloadname.gent01.dev.grid.tf"'],
    ["domains without a resolver", T("                certResolver: dnsresolver\n", "").replace("domains:", "▸domains:"), '"domains" has no meaning without "certResolver"'],
    ["passthrough in http", T("certResolver:", "▸passthrough: true\n                certResolver:"), 'TLS that passes through stands below "tcp"'],
    ["passthrough that is neither", T("certResolver:", "passthrough: ▸1\n                certResolver:"), 'expected "true" or "false", found "1"'],
    ["tcp without passthrough", P("\"true\"", "▸\"false\""), 'below "tcp" TLS always passes through: "true" is needed (TLS that ends here stands below "http")'],
    ["tcp with a certificate", P("passthrough:", "▸certResolver: resolver\n                passthrough:"), 'unknown key "certResolver" (known are passthrough)'],
    ["tcp with empty tls", P("tls:\n                passthrough: \"true\"", "▸tls: {}"), 'missing key "passthrough"'],
    ["nothing for tls", P("tls:\n                passthrough: \"true\"", "tls:▸"), "expected a map of keys and values, found nothing"],
    ["a url in tcp", P("address:", "▸url:"), 'unknown key "url" (known are address)'],
    ["no servers", T("servers:\n                    - url: http://[2001:db8::7]:9000", "servers: ▸[]"), "no servers: at least one is needed"],
    ["a server that is no list", T("servers:\n                    - url: http://[2001:db8::7]:9000", "servers: ▸http://1.2.3.4"), 'expected a list, found "http://1.2.3.4"'],
    ["https to a backend", T("http://[", "▸https://["), 'backend "https://[2001:db8::7]:9000": TLS ends at the gateway, so a backend is http://ip:port, not https://'],
    ["a host name for a backend", P("137.184.106.152", "▸backend.local"), 'backend "backend.local:443": "backend.local" is a host name, and an IP address is needed'],
    ["a list for a text", T("service: 40-1976-workloadname", "service: ▸[a]"), "expected text, found a list"],
    ["an alias", T("service: 40-1976-workloadname", "service: &a 40-1976-workloadname").replace("40-1976-workloadname:", "40-1976-workloadname:").replace("http://[2001:db8::7]:9000", "▸*a"), 'aliases such as "*a" are not read'],
    ["a key that is no text", `? ▸[a]\n: b\n${NAME_FILE}`, "a key must be text"],
    ["a key in place of a file", `▸${KEY}`, 'expected a map of keys and values, found "-----BEGIN PRIVATE K…"'],
    ["a key in place of a text", T("service: 40-1976-workloadname", `service: |▸MIIEvQIBADANBgkqhkiG9w0BAQ`), "not valid YAML: block scalar header includes extra characters: |MIIEvQIBADANBgkqhki…"],
    ["broken YAML", T("tls:", "tls: }").replace("}", "▸}"), "not valid YAML: unexpected flow-map-end token in YAML stream: \"}\""],
    ["a second document", `${NAME_FILE}▸---\n${NAME_FILE}`, 'a second document begins here ("---"): one file holds one'],
    ["an unprintable service", T("    services:\n        40-1976-workloadname", "    services:\n        ▸\"a\\e[1m\"").replace("service: 40-1976-workloadname", "service: \"a\\e[1m\""), 'service "a\\u001b[1m" holds characters that cannot be printed'],
  ])("%s", (_what, marked, message) => {
    const before = marked.slice(0, marked.indexOf("▸"));
    const place = `${before.split("\n").length}:${before.length - before.lastIndexOf("\n")}`;
    expect(mistakesOf(marked.replace("▸", ""))).toContain(`${place}: ${message}`);
  });

  test("and all of them at once, in the order of the file", () => {
    const text = NAME_FILE.replace("rule:", "rul:").replace("dnsresolver", "dns").replace("9000", "0");
    expect(mistakesOf(text).map((mistake) => mistake.split(":")[0])).toEqual(["3", "4", "7", "15"]);
  });

  test("and a few lines of nested aliases stay a few lines", () => {
    const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\n${"bcdefgh".split("").map((key, i) => `${key}: &${key} [${Array(9).fill(`*${"abcdefg"[i]}`).join(",")}]`).join("\n")}\n`;
    const startedMs = performance.now();
    expect(mistakesOf(bomb).length).toBeGreaterThan(7);
    expect(performance.now() - startedMs).toBeLessThan(1000);
  });
});

const label = fc.stringMatching(/^[a-z0-9_-]{1,12}$/);
const fqdn = fc.tuple(label, label, fc.stringMatching(/^[a-z]{2,6}$/)).map((labels) => labels.join("."));
const address = fc.oneof(fc.ipV4().filter((ip) => /^([1-9]|[1-9]\d|1\d\d|2[01]\d|22[0-3])\./.test(ip)), fc.integer({ min: 0, max: 0xffff }).map((n) => `2001:db8::${(n + 1).toString(16)}`));
const id = fc.oneof(fc.string({ minLength: 1, maxLength: 40 }), fc.string({ minLength: 1, maxLength: 20, unit: "grapheme" }), fc.constantFrom("1", "0x1f", "true", "null", "~", "1e3", "2001-01-01", "y", "a: b", "- a", "#", "'", "\"", " a ", "%", "@", "`", "[a]", "{}", "&a", "*a", "!a", "1_0", ".inf", "-")).filter((text) => workloadIdFault(text) === null);
const anyGateway = fc.record({ id, service: id, fqdn, isPassthrough: fc.boolean(), backends: fc.array(fc.record({ address, port: fc.integer({ min: 1, max: 65_535 }) }), { minLength: 1, maxLength: 4 }), resolver: fc.constantFrom("resolver" as const, "dnsresolver" as const, null), isWildcard: fc.boolean() })
  .map(({ isWildcard, ...gateway }): Gateway => {
    if (gateway.isPassthrough) return { ...gateway, resolver: null, certificateNames: [] };
    const wildcard = `*.${gateway.fqdn.slice(gateway.fqdn.indexOf(".") + 1)}`;
    return { ...gateway, certificateNames: gateway.resolver === "dnsresolver" && isWildcard ? [wildcard] : [] };
  });

describe("any gateway", () => {
  test("is read back as it was written, by both parsers", () => {
    fc.assert(fc.property(anyGateway, (gateway) => {
      const text = formatGateway(gateway);
      const options = { id: gateway.id, domain: null };
      expect(read(text, options)).toEqual(gateway);
      expect(parseCarefully(text, options)).toMatchObject({ gateway });
    }), { numRuns: 300, seed: 1 });
  });

  test("is written so that a second YAML reader finds the same texts", () => {
    fc.assert(fc.property(anyGateway, (gateway) => {
      const plain = Bun.YAML.parse(formatGateway(gateway)) as Record<string, { routers: Record<string, { service: unknown }> }>;
      const [[name, router] = ["", { service: null }]] = Object.entries(plain[gateway.isPassthrough ? "tcp" : "http"]?.routers ?? {});
      expect(name).toBe(`${gateway.id}-route`);
      expect(router.service).toBe(gateway.service);
    }), { numRuns: 300, seed: 2 });
  });
});

describe("any change of a file", () => {
  const pieces = fc.constantFrom("", " ", "\n", "    ", "-", ":", "'", "\"", "#", "http:", "rule: x\n", "            ", "{", "}", "[", "]", "&a", "*a", "!!int ", "\t", "\r", "0", "true", "|", ">", "~", "---\n", "<<: ", "? ", "\0", "\u2028", "é");
  const changed = fc.record({ file: fc.constantFrom(NAME_FILE, PASSTHROUGH_FILE), edits: fc.array(fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true }), cut: fc.nat(12), insert: pieces }), { minLength: 1, maxLength: 3 }) })
    .map(({ file, edits }) => edits.reduce<string>((text, { at, cut, insert }) => {
      const start = Math.floor(at * text.length);
      return text.slice(0, start) + insert + text.slice(start + cut);
    }, file));

  test("means the same to the quick parser as to the careful one, or is a mistake with a place", () => {
    fc.assert(fc.property(changed, (text) => {
      const [quick, careful] = [parseGateway(text, OPTIONS), parseCarefully(text, OPTIONS)];
      expect("gateway" in quick ? quick : { mistakes: quick.mistakes }).toEqual("gateway" in careful ? { gateway: careful.gateway } : careful);
      for (const { line, column, message } of "mistakes" in careful ? careful.mistakes : []) {
        expect(line).toBeGreaterThan(0);
        expect(column).toBeGreaterThan(0);
        expect(column).toBeLessThanOrEqual((text.split("\n")[line - 1] ?? "").length + 1);
        expect(message).not.toBe("");
      }
    }), { numRuns: 1500, seed: 3 });
  });

  test("to any text at all throws nothing", () => {
    fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 200 }), (text) => {
      expect(parseGateway(text, OPTIONS)).toHaveProperty("mistakes");
    }), { numRuns: 500, seed: 4 });
  });
});

test("a repeated key is found even where the runtime's parser passes over it", () => {
  const text = formatGateway(gateway("web"));
  const repeated = text.replace("            service: web\n", "            service: api\n            service: web\n");
  expect(Bun.YAML.parse(repeated)).toEqual(Bun.YAML.parse(text));
  expect(parseGateway(repeated, { id: "web", domain: null })).toEqual({ mistakes: [
    { line: 5, column: 22, message: 'unknown service "api" (the file has "web")' },
    { line: 6, column: 13, message: 'duplicate key "service"' },
  ] });
});
