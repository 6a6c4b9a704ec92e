// The words of the file format: what a path, an address, a token source or a service URL looks like. Each is a shape;
// each refusal quotes the text and says what would have been right.

import { isIP } from "node:net";
import { certificateNameFault } from "../certificate.ts";
import { isCidr } from "../lib/address.ts";
import { excerpt } from "../lib/excerpt.ts";
import { formatDuration, parseDuration } from "../lib/duration.ts";
import { formatSize, parseSize } from "../lib/size.ts";
import { suggestion } from "../lib/suggest.ts";
import type { TokenSource } from "../route.ts";
import type { BalancePolicy, ServerAddress } from "../service.ts";
import { integer, type JsonSchema, type Pass, Refusal, type Shape, word } from "./shape.ts";
import type { ScalarValue } from "./source.ts";

const MOST_PORT = 65535;

export const port: Shape<number> = integer(1, MOST_PORT, "a port number");

/** Milliseconds. `mayBeZero`: 0 has a meaning (mostly "never"). `longestMs`: for what is said to others and no timer here waits for. */
export function duration(options: { readonly mayBeZero?: true; readonly longestMs?: number } = {}): Shape<number> {
  const zero = options.mayBeZero ? ", or 0" : "";
  const expects = `a duration such as 500ms, 30s or 10m${zero}`;
  return word(expects, orZero("^[0-9]+(ms|s|m|h|d)$", options), (text) => {
    const ms = parseDuration(text, options.longestMs);
    if (ms === undefined || (ms === 0 && !options.mayBeZero)) {
      throw new Refusal(`expected ${expects}, found "${excerpt(text)}"${meantDuration(text)}`);
    }
    return ms;
  });
}

/** Bytes. @param options.most with the reason why there is such a bound */
export function size(options: { readonly mayBeZero?: true; readonly most?: { readonly bytes: number; readonly why: string } } = {}): Shape<number> {
  const expects = `a size such as 512B, 16KiB, 8MiB or 8GiB${options.mayBeZero ? ", or 0" : ""}`;
  return word(expects, orZero("^[0-9]+(B|KiB|MiB|GiB|TiB)$", options), (text) => {
    const bytes = parseSize(text);
    if (bytes === undefined || (bytes === 0 && !options.mayBeZero)) {
      throw new Refusal(`expected ${expects}, found "${excerpt(text)}"${meantSize(text)}`);
    }
    if (options.most !== undefined && bytes > options.most.bytes) {
      throw new Refusal(`expected at most ${formatSize(options.most.bytes)}, found "${excerpt(text)}" (${options.most.why})`);
    }
    return bytes;
  });
}

export type ListenAddress = { readonly host: string; readonly port: number };

/** `HOST:PORT`; no host: all addresses; port 0: the kernel chooses. @throws Refusal */
export function parseListenAddress(text: string): ListenAddress {
  const parts = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(text);
  const number = Number(parts?.[3]);
  const host = parts?.[1] ?? parts?.[2] ?? "";
  if (parts === null || (host !== "" && host !== "*" && !isHost(host))) {
    const meant = /^\d{1,5}$/.test(text) && Number(text) <= MOST_PORT ? ` (did you mean ":${text}"?)` : "";
    throw new Refusal(`expected an address to listen on such as ":80" or "127.0.0.1:8080", found "${excerpt(text)}"${meant}`);
  }
  if (number > MOST_PORT) throw new Refusal(`port ${number} is not one from 0 to ${MOST_PORT}`);
  return { host: host === "*" ? "" : host, port: number };
}

export const listenAddress: Shape<ListenAddress> = word(
  "an address to listen on such as \":80\" or \"127.0.0.1:8080\"",
  { type: "string", pattern: ":[0-9]{1,5}$" },
  parseListenAddress,
);

export const cidr: Shape<string> = word("an address or CIDR such as 10.0.0.0/8", { type: "string" }, (text) => {
  if (!isCidr(text)) throw new Refusal(`not an address or CIDR such as 10.0.0.0/8 or fd00::/8: "${text}"`);
  return text;
});

/** `*`, a CIDR, or a DNS suffix. @throws Refusal */
export function parseAllowedTarget(text: string): string {
  if (text === "*" || isCidr(text)) return text;
  const suffix = text.toLowerCase();
  if (text.includes("/") || /^[\d.]+$/.test(text) || !isHost(suffix.replace(/^\./, ""))) {
    const forms = "write \"*\", a CIDR such as 10.0.0.0/8, or a DNS suffix such as .svc.cluster.local";
    throw new Refusal(`not an allowed target: "${text}" (${forms})`);
  }
  return suffix;
}

export const allowedTarget: Shape<string> = word(
  "\"*\", a CIDR or a DNS suffix", { type: "string" }, parseAllowedTarget,
);

export type Nameservers = {
  /** `ip[:port]` or `name[:port]`, asked in turn; "system": the system's resolver; none: the first of /etc/resolv.conf. */
  readonly servers: readonly string[] | "system";
  /** Parameters that nginx's `resolver` has, and nothing here. */
  readonly ignored: readonly string[];
};

/** What nginx's `resolver` takes, and `system`. */
export const nameservers: Shape<Nameservers> = word("a nameserver: ip, ip:port, a name or \"system\"; or several with spaces", { type: "string" }, (text) => {
  const words = text.split(/\s+/).filter((part) => part !== "");
  const servers = words.filter((part) => !NGINX_PARAMETER.test(part));
  const ignored = words.filter((part) => NGINX_PARAMETER.test(part));
  if (servers.length === 1 && servers[0] === "system") return { servers: "system", ignored };
  const wrong = servers.find((server) => !isNameserver(server));
  if (wrong === undefined) return { servers, ignored };
  const forms = "10.96.0.10, 10.96.0.10:53, [fd00::10]:53, kube-dns.kube-system.svc.cluster.local or \"system\"";
  throw new Refusal(`expected a nameserver such as ${forms}, found "${excerpt(wrong)}"`);
});

/** https://nginx.org/en/docs/http/ngx_http_core_module.html#resolver */
const NGINX_PARAMETER = /^(?:valid|ipv4|ipv6|status_zone)=/;

function isNameserver(text: string): boolean {
  if (isIP(text) !== 0) return true;
  const [, bracketed, bare = "", port = "53"] = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const isPort = Number(port) >= 1 && Number(port) <= MOST_PORT;
  return isPort && text !== "system" && (bracketed === undefined ? isHost(bare) : isIP(bracketed) === 6);
}

export type ServerUrl = { readonly address: ServerAddress; readonly isSecure: boolean };

const SERVER_URL = /^(https?):\/\/(?:\[([0-9a-fA-F:.]+)\]|([^:/?#@[\]]+))(?::(\d+))?(\/.*|[?#].*)?$/i;

/** `http://host[:port]`, `https://host[:port]` or `unix:/path`; nothing behind it. @throws Refusal */
function parseServerUrl(text: string): ServerUrl {
  const path = /^unix:(?:\/\/)?(\/[^\0]+)$/.exec(text)?.[1];
  if (path !== undefined) return { address: { kind: "unix", path }, isSecure: false };
  if (text.includes("@")) throw new Refusal(`the URL of an upstream holds no user and no password (none would be sent)`);
  const parts = SERVER_URL.exec(text);
  const isSecure = parts?.[1]?.toLowerCase() === "https";
  const host = parts?.[2] ?? parts?.[3] ?? "";
  const number = Number(parts?.[4] ?? (isSecure ? 443 : 80));
  if (parts === null || !isHost(host)) {
    throw new Refusal(`expected a URL such as http://host:8000, https://host or unix:/run/app.sock, found "${excerpt(text)}"${meantServerUrl(text)}`);
  }
  if (number < 1 || number > MOST_PORT) throw new Refusal(`port ${excerpt(parts[4] ?? "")} is not one from 1 to ${MOST_PORT}`);
  const rest = parts[5] ?? "";
  if (rest !== "" && rest !== "/") {
    const hint = "(paths are changed by \"upstreamPath\")";
    throw new Refusal(`an upstream URL ends after the port: "${text}" has "${rest}" ${hint}`);
  }
  return { address: { kind: "tcp", host: host.toLowerCase(), port: number }, isSecure };
}

/** `localhost:3000` is said everywhere else. */
function meantServerUrl(text: string): string {
  const [, , address = "", name = address, , rest = ""] = SERVER_URL.exec(`http://${text}`) ?? [];
  return isHost(name) && rest === "" ? ` (did you mean "http://${text}"?)` : "";
}

export const serverUrl: Shape<ServerUrl> = word("a URL such as http://host:8000", { type: "string", pattern: "^(https?://|unix:/)" }, parseServerUrl, (text): ServerUrl => {
  const { host, port, isSecure } = addressAsWritten(text);
  return { address: { kind: "tcp", host, port }, isSecure };
});

/** Of a URL with a variable in it that is not set. */
function addressAsWritten(text: string): { readonly host: string; readonly port: number; readonly isSecure: boolean } {
  const [, scheme = "", host = text, port] = /^(?:(\w+):\/\/)?(?:.*@)?(.*?)(?::(\d{1,5}))?\/?$/s.exec(text) ?? [];
  const isSecure = /^(https|wss)$/i.test(scheme);
  return { host, port: Number(port ?? (isSecure ? 443 : 80)), isSecure };
}

const POLICIES = ["round-robin", "least-connections", "random-two", "sticky", "hash:client"] as const;

/** What a service's requests are shared out by; the sticky cookie stands elsewhere. */
export type PolicyWord = Exclude<BalancePolicy, { kind: "sticky" }> | { readonly kind: "sticky" };

export const policy: Shape<PolicyWord> = word(
  `one of ${POLICIES.join(", ")}, hash:header:NAME, hash:cookie:NAME`,
  { type: "string", pattern: "^(round-robin|least-connections|random-two|sticky|hash:(client|header:[A-Za-z0-9-]+|cookie:[A-Za-z0-9_-]+))$" },
  (text): PolicyWord => {
    if (text === "round-robin" || text === "least-connections" || text === "random-two" || text === "sticky") return { kind: text };
    if (text === "hash:client") return { kind: "hash", by: { kind: "client" } };
    const [, kind, name = ""] = /^hash:(header|cookie):([A-Za-z0-9_-]+)$/.exec(text) ?? [];
    // Header names with an underscore are dropped before anybody sees them.
    if (kind === "header" && !name.includes("_")) return { kind: "hash", by: { kind, name: name.toLowerCase() } };
    if (kind === "cookie") return { kind: "hash", by: { kind, name } };
    throw new Refusal(`expected one of ${POLICIES.join(", ")}, hash:header:NAME, hash:cookie:NAME, found "${excerpt(text)}"${suggestion(text.replaceAll("_", "-").replace(/^least-conn$/, "least-connections"), POLICIES)}`);
  },
);

/** One status, or a range of them: `200`, `200-399`. */
export const statusRange: Shape<readonly [number, number]> = word("a status such as 200, or a range such as 200-399", {
  anyOf: [{ type: "integer", minimum: 100, maximum: 599 }, { type: "string", pattern: "^[1-5][0-9]{2}-[1-5][0-9]{2}$" }],
}, (text): readonly [number, number] => {
  const [, from, to] = /^([1-5]\d\d)(?:-([1-5]\d\d))?$/.exec(text) ?? [];
  if (from === undefined || Number(to ?? from) < Number(from)) throw new Refusal(`expected a status such as 200, or a range such as 200-399, found "${excerpt(text)}"`);
  return [Number(from), Number(to ?? from)];
});

/** `N/s`, or `N/s burst M`; the burst is twice the rate unless it is given. */
export const rate: Shape<{ readonly perSecond: number; readonly burst: number }> = word("a rate such as 50/s or 50/s burst 200", {
  type: "string", pattern: "^[0-9]+/s( burst [0-9]+)?$",
}, (text) => {
  const [, perSecond, burst] = /^(\d{1,6})\/s(?: burst (\d{1,7}))?$/.exec(text) ?? [];
  const read = { perSecond: Number(perSecond ?? 0), burst: Number(burst ?? Number(perSecond) * 2) };
  if (read.perSecond < 1 || read.burst < 1) throw new Refusal(`expected a rate such as 50/s or 50/s burst 200, found "${excerpt(text)}"`);
  return read;
});

export const cookieName: Shape<string> = word("the name of a cookie", { type: "string", pattern: "^[A-Za-z0-9_-]+$" }, (text) => {
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(text)) throw new Refusal(`expected the name of a cookie (letters, digits, - and _), found "${excerpt(text)}"`);
  return text;
});

/** A path and query that is sent as it stands here. */
export const requestPath: Shape<string> = word("a path such as /healthz", { type: "string", pattern: "^/" }, (text) => {
  if (!/^\/[\x21-\x7e]*$/.test(text) || text.includes("#")) throw new Refusal(`expected a path such as /healthz, found "${excerpt(text)}"`);
  return text;
});

export type ApiUrl = { readonly host: string; readonly port: number; readonly isSecure: boolean };

/** `wss://host[:port]` of a Kubernetes API, or `ws://` beside `kubectl proxy`. @throws Refusal */
export function parseApiUrl(text: string): ApiUrl {
  // A bare IPv6 address as KUBERNETES_SERVICE_HOST has it, followed by a port, is understood as well.
  const parts = /^(wss?|https?):\/\/(?:\[([0-9a-fA-F:.]+)\]|([^/?#@[\]]+?))(?::(\d{1,5}))?(\/.*|[?#].*)?$/i.exec(text);
  const [, scheme = "", bracketed, bare, port, rest = ""] = parts ?? [];
  const isSecure = /^(wss|https)$/i.test(scheme);
  const host = bracketed ?? bare ?? "";
  const number = Number(port ?? (isSecure ? 443 : 80));
  if (text.includes("@")) throw new Refusal("the URL of a Kubernetes API holds no user and no password (wss:// sends the token of \"tokenFile\")");
  if (parts === null || !isHost(host)) {
    throw new Refusal(`expected the URL of a Kubernetes API such as wss://10.96.0.1:443 or ws://localhost:8001, found "${excerpt(text)}"`);
  }
  if (number < 1 || number > MOST_PORT) throw new Refusal(`port ${number} is not one from 1 to ${MOST_PORT}`);
  if (rest !== "" && rest !== "/") throw new Refusal(`the URL of a Kubernetes API ends after the port: "${text}" has "${rest}" (paths go into "apiPath")`);
  return { host: host.toLowerCase(), port: number, isSecure };
}

export const apiUrl: Shape<ApiUrl> = word("the URL of a Kubernetes API such as wss://host:443", { type: "string", pattern: "^(wss?|https?)://" }, parseApiUrl, addressAsWritten);

/** A path with `{namespace}` and `{vmi_name}` in it. @throws Refusal */
export function parseApiPath(text: string): string {
  const missing = ["{namespace}", "{vmi_name}"].filter((name) => !text.includes(name));
  if (missing.length > 0) throw new Refusal(`an apiPath contains {namespace} and {vmi_name}: "${text}" lacks ${missing.join(" and ")}`);
  const fixed = text.replaceAll("{namespace}", "name").replaceAll("{vmi_name}", "name");
  const other = /\{[^}]*\}|[{}]/.exec(fixed)?.[0];
  if (other !== undefined) throw new Refusal(`unknown variable ${other} in the apiPath "${text}" (known are {namespace} and {vmi_name})`);
  // Dot segments would take names away again.
  if (!/^\/[A-Za-z0-9._~/-]*$/.test(fixed) || /\/\.{1,2}(?:\/|$)/.test(fixed)) throw new Refusal(`expected a path such as /apis/.../{namespace}/.../{vmi_name}/vnc, found "${text}"`);
  return text;
}

export const apiPath: Shape<string> = word("a path with {namespace} and {vmi_name}", { type: "string", pattern: "^/" }, parseApiPath);

/** Text that no message repeats. @param leastBytes a shorter one is a mistake */
export function secret(leastBytes = 1): Shape<string> {
  return {
    expects: "a secret",
    schema: { type: "string", minLength: 1 },
    read: (value, pass) => {
      const [variable] = value.kind === "scalar" ? value.variables ?? [] : [];
      if (value.kind !== "scalar" || typeof value.value !== "string" || value.value === "") {
        const wanted = "expected a secret: a text that is not empty (in quotes if it looks like a number)";
        pass.mistake(value.offset, variable === undefined ? wanted : `environment variable ${variable} is set but empty`);
        return undefined;
      }
      return isLongEnough(value, leastBytes, pass) ? value.value : undefined;
    },
  };
}

/** Reports one that is not. @param remedy what else could be done about it */
export function isLongEnough({ value, problem, offset, variables: [variable] = [] }: ScalarValue, leastBytes: number, pass: Pass, remedy = ""): boolean {
  const bytes = Buffer.byteLength(String(value));
  // A variable that is not set stands there as written, and has been reported where that is a mistake.
  if (problem !== undefined || bytes >= leastBytes) return true;
  pass.mistake(offset, `${variable === undefined ? "" : `environment variable ${variable}: `}expected a secret of ${leastBytes} bytes or more, found one of ${bytes}${remedy}`);
  return false;
}

export const ipAddress: Shape<string> = word("an IP address", { type: "string" }, (text) => {
  if (isIP(text) === 0 || text.includes("%")) throw new Refusal(`expected an IP address, found "${excerpt(text)}"`);
  return text.toLowerCase();
});

const DNS_NAME = "^([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\\.)+[A-Za-z0-9-]{2,63}$";

/** A domain name as certificates have it, without a trailing dot. */
export const dnsName: Shape<string> = word("a domain name such as desk.example.org", { type: "string", pattern: DNS_NAME }, parseDnsName);

function parseDnsName(text: string): string {
  if (text.length > 253 || !new RegExp(DNS_NAME).test(text) || isIP(text) !== 0) {
    throw new Refusal(`expected a domain name such as desk.example.org, found "${excerpt(text)}"`);
  }
  return text.toLowerCase();
}

/** A domain name that a certificate can be had for. */
export const certificateName: Shape<string> = word(dnsName.expects, { type: "string", pattern: DNS_NAME.replaceAll("_", "") }, (text) => {
  const name = parseDnsName(text);
  const fault = certificateNameFault(name);
  if (fault !== null) throw new Refusal(fault);
  return name;
});

/** One, as RFC 8555 section 7.3 puts it into a mailto URL: what stands around it is not for us to judge. */
export const emailAddress: Shape<string> = word("an e-mail address such as admin@example.org", { type: "string", pattern: "^[^@\\s]+@[^@\\s]+$" }, (text) => {
  const bare = text.replace(/^mailto:/i, "");
  if (!/^[^@\s,;?:]+@[^@\s,;?]+$/.test(bare)) throw new Refusal(`expected an e-mail address such as admin@example.org, found "${excerpt(text)}"`);
  if (bare !== text) throw new Refusal(`expected an e-mail address, found "${excerpt(text)}" (did you mean "${bare}"?)`);
  return text;
}, (text) => text);

export const httpsUrl: Shape<string> = word("an https URL", { type: "string", pattern: "^https://" }, (text) => {
  if (!/^https:\/\/[^\s@]+$/i.test(text) || URL.parse(text) === null) throw new Refusal(`expected an https URL such as https://ca.example/directory, found "${excerpt(text)}"`);
  return text;
});

/** The password in it is not repeated. */
export const brokerUrl: Shape<string> = word("a broker such as unix:///var/run/redis.sock or tcp://host:6379", { type: "string", pattern: "^(unix|tcp)://" }, (text) => {
  const isUnix = /^unix:\/\/\/[^\s]+$/.test(text);
  const isTcp = /^tcp:\/\/(?:[^\s/@]*@)?(?:\[[0-9a-fA-F:.]+\]|[^\s/:@[\]]+)(?::\d{1,5})?\/?$/.test(text);
  if (!isUnix && !isTcp) throw new Refusal("expected a broker such as unix:///var/run/redis.sock or tcp://:password@host:6379");
  return text;
});

export const host: Shape<string> = word("a host name or IP address", { type: "string" }, (text) => {
  const bare = text.replace(/^\[(.*)\]$/, "$1");
  if (!isHost(bare)) throw new Refusal(`expected a host name or IP address, found "${excerpt(text)}"`);
  return bare.toLowerCase();
}, (text) => text);

/** A port number, `path` (the route's `{port}`), or a name of `ports`. */
export const targetPort: Shape<number | string> = word(
  "a port number, a name of \"ports\", or \"path\"",
  { anyOf: [{ type: "integer", minimum: 1, maximum: MOST_PORT }, { type: "string" }] },
  (text) => {
    if (!/^-?[\d.]+$/.test(text)) return text;
    const number = Number(text);
    if (!Number.isInteger(number) || number < 1 || number > MOST_PORT) {
      throw new Refusal(`expected a port number from 1 to ${MOST_PORT}, found "${excerpt(text)}"`);
    }
    return number;
  },
);

const SOURCE_FORMS = ["header:NAME", "parameter:NAME", "query", "path"];

export const tokenSource: Shape<TokenSource> = word(
  `a token source (${SOURCE_FORMS.join(", ")})`,
  { type: "string", pattern: "^(header:[A-Za-z0-9-]+|parameter:[A-Za-z0-9._~-]+|query|path)$" },
  (text): TokenSource => {
    if (text === "query" || text === "path") return { kind: text };
    const parts = /^(header|parameter):([A-Za-z0-9._~-]+)$/.exec(text);
    const [, kind, name = ""] = parts ?? [];
    // Header names with an underscore or a dot are dropped before any route sees them.
    if (kind === "header" && /^[A-Za-z0-9-]+$/.test(name)) return { kind: "header", name: name.toLowerCase() };
    if (kind === "parameter") return { kind: "parameter", name };
    const known = ["header", "parameter", "query", "path"];
    const meant = suggestion(text.split(":")[0] ?? "", known.filter((word) => word !== text.split(":")[0]));
    throw new Refusal(`expected a token source (${SOURCE_FORMS.join(", ")}), found "${excerpt(text)}"${meant}`);
  },
);

const ORIGIN = { type: "string", pattern: "^https?://" };

/** `https://host[:port]`, as browsers write it in `Origin`. */
export const origin: Shape<string> = word("an origin such as https://host", ORIGIN, (text) => {
  const url = /^https?:\/\/[^/?#@]+/i.test(text) ? URL.parse(text) : null;
  if (url === null) throw new Refusal(`expected an origin such as https://desktop.example.org, found "${excerpt(text)}"`);
  if (url.origin !== text) {
    throw new Refusal(`expected an origin as browsers send it, found "${excerpt(text)}" (did you mean "${url.origin}"?)`);
  }
  return text;
});

/** A route's path: starts with a slash, no query, in the form in which requests arrive. The route checks the braces. */
export const routePath: Shape<string> = word("a path such as /filer", { type: "string", pattern: "^/" }, (text) => {
  if (!text.startsWith("/")) throw new Refusal(`a path starts with a slash: "${text}" (did you mean "/${text}"?)`);
  if (/[?#]/.test(text)) throw new Refusal(`a path has no query and no fragment: "${text}"`);
  // Requests come normalised (dot segments, backslashes, spaces, other alphabets): a path in another form never
  // matches.
  const arrives = new URL(`http://h${text.replace(/[{}*]/g, "")}`).pathname;
  if (arrives !== text.replace(/[{}*]/g, "")) {
    throw new Refusal(`no request arrives with this path: "${text}" (did you mean "${arrives}"?)`);
  }
  return text;
});

export type UpstreamPath = "unchanged" | "strip" | "rest" | { readonly replace: string };

/** `unchanged`, `strip`, `rest`, or a path that replaces the client's. */
export const upstreamPath: Shape<UpstreamPath> = word(
  "unchanged, strip, rest, or a path such as /",
  { type: "string", pattern: "^(unchanged|strip|rest|/.*)$" },
  (text): UpstreamPath => {
    if (text === "unchanged" || text === "strip" || text === "rest") return text;
    if (/^\/[\x21-\x7e]*$/.test(text) && !/[?#\\]/.test(text)) return { replace: text };
    const hint = suggestion(text, ["unchanged", "strip", "rest"]);
    throw new Refusal(`expected unchanged, strip, rest, or a path such as /, found "${excerpt(text)}"${hint}`);
  },
);

export const HEADER_NAME = { pattern: /^[A-Za-z0-9-]+$/, expects: "a header name" };

export const headerValue: Shape<string> = word("a header value", { type: "string" }, (text) => {
  if (!/^[\x20-\x7e]*$/.test(text)) throw new Refusal(`a header value is printable ASCII: ${JSON.stringify(text)}`);
  return text.trim();
});

/** A host name (underscores as container networks allow them) or an IP literal. */
export function isHost(text: string): boolean {
  if (isIP(text) !== 0) return !text.includes("%");
  if (text.length > 253 || /^[\d.]+$/.test(text)) return false;
  const isLabel = (label: string): boolean => /^[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/.test(label);
  return text.replace(/\.$/, "").split(".").every(isLabel);
}

function orZero(pattern: string, { mayBeZero }: { readonly mayBeZero?: true }): JsonSchema {
  return mayBeZero ? { anyOf: [{ type: "string", pattern }, { const: 0 }] } : { type: "string", pattern };
}

function meantDuration(text: string): string {
  if (/^[1-9]\d*$/.test(text)) return ` (did you mean "${text}s"?)`;
  const parts = /^(\d{1,9})\s*(ms|msecs?|s|secs?|seconds?|m|mins?|minutes?|h|hours?|hrs?|d|days?)$/i.exec(text);
  if (parts === null) return "";
  const unit = (parts[2] ?? "").toLowerCase();
  const ms = parseDuration(`${Number(parts[1])}${unit.startsWith("ms") ? "ms" : unit.charAt(0)}`);
  return ms === undefined ? "" : ` (did you mean "${formatDuration(ms)}"?)`;
}

function meantSize(text: string): string {
  if (/^[1-9]\d*$/.test(text)) return ` (did you mean "${text}B"?)`;
  const parts = /^(\d{1,9})\s*(b|[kmgt]i?b?)$/i.exec(text);
  if (parts === null) return "";
  const unit = (parts[2] ?? "").charAt(0).toUpperCase();
  return ` (did you mean "${Number(parts[1])}${unit === "B" ? "B" : `${unit}iB`}"?)`;
}
