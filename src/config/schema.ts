// The format of routes.yaml, declared once: the validator reads with it, the JSON Schema for editors is generated
// from it, and a test holds docs/CONFIGURATION.md against it. Defaults are those of the shipped file (a test holds
// them together).

import { STRONG_SECRET_BYTES } from "../settings.ts";
import {
  boolean, type Fields, integer, type JsonSchema, list, map, object, oneOf, oneOrMore, optional, path, type ReadBy, required,
  SCHEMA_DEFINITIONS, text, variant, withDefault, wordOrList, wordOrObject,
} from "./shape.ts";
import {
  allowedTarget, apiPath, apiUrl, brokerUrl, certificateName, cidr, cookieName, dnsName, duration, emailAddress, HEADER_NAME, headerValue, host, httpsUrl, ipAddress, isLongEnough, listenAddress, nameservers, origin, policy, port, rate,
  requestPath, routePath, secret, serverUrl, size, statusRange, targetPort, tokenSource, upstreamPath,
} from "./values.ts";

/** The ports of a desktop's services, under the names of the nginx variables that they had. */
export const STANDARD_PORTS = {
  ws_tcp_bridge_tcp_port: 6081,
  xterm_tcp_port: 29781,
  printerfile_service_tcp_port: 29782,
  file_service_tcp_port: 29783,
  broadcast_tcp_port: 29784,
  snapshot_service_tcp_port: 29785,
  spawner_service_tcp_port: 29786,
  signalling_service_tcp_port: 29787,
  sound_service_tcp_port: 29788,
  microphone_service_tcp_port: 29789,
  gamepad_service_tcp_port: 29790,
} as const;

const ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] as const;
const HMAC_ALGORITHMS = ["HS256", "HS384", "HS512"] as const;
/** KubeVirt's, since v1; older clusters have v1alpha3 in its place. The serial console is `/console` instead of `/vnc`. */
const VNC_PATH = "/apis/subresources.kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstances/{vmi_name}/vnc";
const SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";
const DEFAULT_HEADERS = { "X-Frame-Options": "SAMEORIGIN", "X-XSS-Protection": "1; mode=block" };

const entrypoints = object({
  http: withDefault(listenAddress, "${HTTP_LISTEN:-:80}",
    "address of the HTTP listener, HOST:PORT; no host: all addresses; port 0: the kernel chooses"),
  https: withDefault(listenAddress, "${HTTPS_LISTEN:-:443}", "address of the HTTPS listener; there is one when tls or gateway is set"),
  admin: optional(listenAddress, "address of the admin API and of metrics, such as 127.0.0.1:9090; there is one when it or gateway is set"),
});

const FILE = path({ expects: "a file name", minLength: 1 });
const DIRECTORY = path({ expects: "a directory", minLength: 1 });

const acme = object({
  directory: withDefault(httpsUrl, "https://acme-v02.api.letsencrypt.org/directory", "directory URL of the certificate authority (RFC 8555)"),
  email: optional(emailAddress, "the e-mail address that the authority may write to"),
  caFile: optional(FILE, "PEM file with the root that the authority's own server is trusted by; default: the well-known ones"),
  keyType: withDefault(oneOf(["ecdsa-p256", "rsa-2048"]), "ecdsa-p256", "kind of the certificates' keys"),
  storage: optional(DIRECTORY, "directory of accounts, keys and certificates; default: acme below gateway's root, else /var/lib/route-gateway/acme"),
});

/** Far above what anybody says; a year is usual. */
const TEN_YEARS_MS = 3650 * 86_400_000;

const tls = object({
  certificates: withDefault(list(object({
    certFile: required(FILE, "PEM file with the certificate and its chain; followed while it is renewed"),
    keyFile: required(FILE, "PEM file with its key"),
  })), [], "certificates from files"),
  names: withDefault(list(certificateName), [], "names that certificates are obtained for, from acme or the local authority"),
  default: optional(dnsName, "whose certificate a client gets that asks for an unknown name, or for none; without it such a client is refused"),
  acme: optional(acme, "certificates from an authority such as Let's Encrypt"),
  localAuthority: optional(DIRECTORY, "directory of a certificate authority of our own, for trying things out"),
  redirect: withDefault(boolean(), true, "plain requests for hosts with a certificate go to https"),
  hsts: withDefault(duration({ mayBeZero: true, longestMs: TEN_YEARS_MS }), 0, "Strict-Transport-Security for so long; 0: not sent"),
});

const gateway = object({
  root: withDefault(DIRECTORY, "/var/cache/modules/gateway", "the registry is the directory proxy below it, certificates are beside it"),
  domain: optional(dnsName, "what named proxies are put below"),
  publicAddresses: withDefault(list(ipAddress), [], "our own addresses: what registered domains must resolve to (without one they are registered wherever they point), and what no backend may be"),
  checkDomains: withDefault(boolean(), true, "a registered domain must resolve to one of publicAddresses; false: it is registered wherever it points"),
  allowLoopbackBackends: withDefault(boolean(), false, "backends may be on this machine, for trying things out"),
  broker: optional(brokerUrl, "Redis with zbus calls: unix:///path or tcp://[:password@]host:port"),
  dns: optional(listenAddress, "address where DNS-01 challenges are answered, such as :53"),
  challengeProgram: optional(FILE, "a program that publishes DNS-01 challenges: present|cleanup FQDN VALUE, timeout"),
});

const admin = object({
  tokenFile: optional(FILE, "file with the bearer token; needed when the admin address is not loopback"),
});

const tokenCache = object({
  ttl: withDefault(duration(), "600s", "how long a resolved token is used, at most until its exp"),
  entries: withDefault(integer(1, 10_000_000), 50_000, "most tokens held; the least recently used goes first"),
  bytes: withDefault(size(), "64MiB", "most memory held"),
  failureTtl: withDefault(duration({ mayBeZero: true }), "1s", "how long a refused token is remembered; 0: not at all"),
});

const desktopToken = object({
  signingPublicKeys: required(list(FILE, { minItems: 1 }),
    "PEM files with the RSA public keys that verify tokens (SPKI or PKCS#1); several while keys are rotated"),
  payloadPrivateKey: required(FILE,
    "PEM file with the RSA private key that opens the token's hash (PKCS#1 or PKCS#8)"),
  algorithms: withDefault(list(oneOf(ALGORITHMS), { minItems: 1 }), ["RS256"],
    "signature algorithms that are accepted"),
  allowWeakRsaKeys: withDefault(boolean(), "${ROUTE_ALLOW_WEAK_RSA_KEYS:-false}",
    "accept RSA keys below 2048 bits, with a warning"),
  requireExp: withDefault(boolean(), true, "refuse a token without exp"),
  requireKeysAtStart: withDefault(boolean(), "${ROUTE_REQUIRE_KEYS_AT_START:-true}",
    "refuse to start without usable keys; false: answer 503 until they can be read"),
  cache: withDefault(tokenCache, {}, "the cache of resolved tokens"),
});

const vmTokenFields = object({
  secret: optional(secret(), "the key that tokens are signed with, shared with whoever makes them; rather a variable than the key itself"),
  secretFile: optional(FILE, "the file that holds it; followed while it is rotated"),
  algorithms: withDefault(list(oneOf(HMAC_ALGORITHMS), { minItems: 1 }), ["HS256"], "signature algorithms that are accepted"),
  allowWeakSecret: withDefault(boolean(), "${ROUTE_ALLOW_WEAK_SECRET:-false}", "accept a secret below 32 bytes, with a warning"),
});

/** How short a secret may be, its neighbour decides. */
const vmToken: typeof vmTokenFields = {
  ...vmTokenFields,
  read: (value, pass) => {
    const read = vmTokenFields.read(value, pass);
    const secret = value.kind === "map" ? value.entries.find(({ key }) => key === "secret")?.value : undefined;
    if (read?.secret === undefined || read.allowWeakSecret || secret?.kind !== "scalar") return read;
    isLongEnough(secret, STRONG_SECRET_BYTES, pass, " (to accept it, set allowWeakSecret: true in token.vm, or ROUTE_ALLOW_WEAK_SECRET=true)");
    return read;
  },
};

const token = object({
  desktop: optional(desktopToken, "the desktop token; needed when a route asks for one"),
  vm: optional(vmToken, "the console token; needed when a route asks for one (identity: vm)"),
});

const targets = object({
  allowedTargets: withDefault(list(allowedTarget), ["*", "${ROUTE_ALLOWED_TARGETS:-}"],
    "where a token may lead: \"*\" (all but loopback, link-local, multicast), CIDRs (also of those), DNS suffixes"),
  allowedPorts: optional(list(port), "ports that a path may name ({port}); default: all values of ports"),
});

const dns = object({
  nameserver: withDefault(nameservers, "${NAMESERVER_RESOLVER:-}",
    "DNS servers for targets, ip[:port] or name[:port] with spaces between; empty: the first of /etc/resolv.conf; \"system\": the system's resolver"),
  timeout: withDefault(duration(), "5s", "longest wait for one answer"),
});

/** Bounds that every service with an upstream has. */
const serviceLimits = {
  maxConnections: withDefault(integer(0, 1_000_000), 0, "requests and sessions under way at a time, of a desktop for each desktop; 0: no bound"),
  queue: withDefault(integer(0, 1_000_000), 100, "how many more may wait for a place; others get 503 at once"),
  queueTimeout: withDefault(duration(), "5s", "longest wait for a place; then 503 with Retry-After"),
};

const trust = object({
  caFile: optional(FILE, "PEM file with the CA that the certificates of https servers must come from; default: the well-known ones"),
  serverName: optional(host, "the name or IP address that is asked for and that the certificates must be for; default: the server's own"),
  insecureSkipVerify: withDefault(boolean(), false, "any certificate will do: whoever is between us and the server can read everything"),
});

/** Below it, whoever has one cookie could try out secrets until its signature comes out. */
const STICKY_SECRET_BYTES = 16;

const sticky = object({
  cookie: optional(cookieName, "name of the cookie; default: route_ and the service's name"),
  secret: optional(secret(STICKY_SECRET_BYTES), "what cookies are signed with, 16 bytes or more; the same in all replicas. Default: one that each start makes anew"),
});

const ejection = object({
  failures: withDefault(integer(0, 1000), 5, "so many failures (refused, cut, timed out, chosen statuses) within the window, and a server is left alone; 0: never"),
  window: withDefault(duration(), "10s", "the window"),
  time: withDefault(duration(), "10s", "how long it is left alone the first time; doubled each time in a row"),
  longest: withDefault(duration(), "5m", "the longest such time"),
  statuses: withDefault(list(integer(400, 599, "a status")), [], "answers that count as failures"),
});

const health = object({
  path: required(requestPath, "what each server is asked for"),
  host: optional(host, "the Host header; default: the server's own"),
  interval: withDefault(duration(), "10s", "time between two questions"),
  timeout: withDefault(duration(), "2s", "longest wait for an answer"),
  healthy: withDefault(integer(1, 100), 2, "so many good answers in a row bring a server back"),
  unhealthy: withDefault(integer(1, 100), 3, "so many bad ones in a row take it out"),
  statuses: withDefault(list(statusRange, { minItems: 1 }), ["200-399"], "good answers"),
});

/** What services with servers of their own have in common. */
const serverFields = {
  resolveAll: withDefault(boolean(), false, "each address that a server's name resolves to is a server; looked up again at the TTL of the record"),
  policy: withDefault(policy, "round-robin",
    "which server a request goes to: round-robin, least-connections, random-two, sticky, hash:client, hash:header:NAME, hash:cookie:NAME"),
  sticky: withDefault(sticky, {}, "the cookie of \"policy: sticky\""),
  tls: withDefault(trust, {}, "how https servers are checked"),
  ejection: withDefault(ejection, {}, "passive health: servers that fail are left alone for a while, though never the last one"),
  health: optional(health, "active health: servers are asked"),
  retries: withDefault(integer(0, 10), 2, "how many other servers a request is tried at, where that is safe"),
  retryBudget: withDefault(integer(0, 100), 20, "what retries may add to the load, in percent"),
  ...serviceLimits,
};

const WEIGHTED_SERVER = object({
  url: required(serverUrl, "http://host[:port], https://host[:port] or unix:/path"),
  weight: withDefault(integer(1, 1000), 1, "its share of the requests"),
});

const SERVICE_VARIANTS = {
  url: { url: required(serverUrl, "a fixed upstream, http://host[:port], https://host[:port] or unix:/path"), ...serverFields },
  servers: {
    servers: required(list(wordOrObject(serverUrl, WEIGHTED_SERVER), { minItems: 1 }), "fixed upstreams that share the requests: URLs, or maps with url and weight"),
    ...serverFields,
  },
  host: {
    host: required(host, "a fixed upstream's host name or address (IPv6 with or without brackets)"),
    port: withDefault(port, 80, "the fixed upstream's port"),
    ...serverFields,
  },
  target: {
    target: required(oneOf(["desktop"]), "the host comes out of the request's desktop token"),
    port: required(targetPort, "a port number, a name of ports, or path (the route's {port})"),
    ...serviceLimits,
  },
  kubernetes: {
    kubernetes: required(apiUrl, "consoles of virtual machines at this Kubernetes API: wss://host[:port], or ws:// beside kubectl proxy (no credentials)"),
    apiPath: withDefault(apiPath, VNC_PATH, "path at the API, with {namespace} and {vmi_name}"),
    caFile: withDefault(FILE, `${SERVICE_ACCOUNT}/ca.crt`,
      "PEM file with the CA that the API's certificate must come from; read for each connection"),
    tokenFile: withDefault(FILE, `${SERVICE_ACCOUNT}/token`,
      "file with the service account's token; read for each connection"),
    consolePolicy: withDefault(oneOf(["takeover", "preserve"]), "takeover",
      "a second viewer of one machine takes the first one's place, or is refused"),
  },
  text: { text: required(text(), "answered by this process: 200 with this text") },
  directory: {
    directory: required(path({ expects: "a directory" }),
      "answered by this process: files below this directory; empty: 404 to everything"),
    fallback: optional(text({ expects: "a file name", minLength: 1 }), "the file that is served for paths which name none (single-page sites), such as index.html; default: 404"),
  },
} as const satisfies Record<string, Fields>;

const NOT_BY_HOST = "no route is chosen by host name: names are registered at a gateway, docs/GATEWAY.md";

const route = object({
  path: required(oneOrMore(routePath), "the path, or a list of paths that share everything else"),
  match: optional(oneOf(["exact", "prefix", "pattern"]),
    "how the path is compared; default: pattern when it has braces, else prefix"),
  name: optional(text({ expects: "a name", minLength: 1 }), "shown in logs; default: the path"),
  token: withDefault(list(tokenSource), [],
    "where the token is looked for, in order; the first one present counts; empty: none is asked for"),
  identity: withDefault(oneOf(["desktop", "vm"]), "desktop",
    "which kind of token: desktop, or vm (a console token, in the path unless \"token\" says otherwise)"),
  service: required(text({ expects: "the name of a service", minLength: 1 }), "the name of a service"),
  upstreamPath: withDefault(upstreamPath, "unchanged",
    "unchanged; a path (replaces path and query); strip (the prefix is removed); rest (what {name*} took)"),
  host: withDefault(oneOf(["client", "upstream"], `whose Host header goes upstream; ${NOT_BY_HOST}`), "upstream",
    "whose Host header goes upstream: the client's or the upstream's own"),
  websocket: withDefault(boolean(), false, "WebSocket upgrades are bridged; consoles always are"),
  forwardToken: withDefault(boolean(), false, "the token stays in the request that goes upstream"),
  bodyLimit: withDefault(size({ mayBeZero: true }), "1MiB", "largest request body; 0: none allowed"),
  readTimeout: withDefault(duration(), "60s", "longest wait for the response head, and between two reads of the body"),
  idleTimeout: withDefault(duration({ mayBeZero: true }), 0,
    "a bridged session without data for this long is closed; 0: never"),
  buffering: withDefault(boolean(), true, "short bodies are collected and sent whole; false: bytes are passed on as they come"),
  cache: withDefault(boolean(), false, "answers that HTTP allows it for are kept and shared between clients (RFC 9111)"),
  compress: withDefault(boolean(), true, "text is compressed for clients that ask for it"),
  allowedClients: withDefault(list(cidr), [], "CIDRs of the clients that may use the route; empty: everyone"),
  deniedClients: withDefault(list(cidr), [], "CIDRs of clients that may not, whatever allowedClients says"),
  origins: optional(wordOrList(oneOf(["same-host", "any"]), list(origin, { minItems: 1 })),
    "Origin of WebSocket upgrades: same-host, any, or a list; default: same-host on routes with a token, else any"),
  compressText: withDefault(boolean(), false, "text frames towards the client may be compressed"),
  viewer: withDefault(boolean(), false, "a browser that opens a console's address as a page gets the embedded noVNC"),
  closeAfterUpgrade: withDefault(boolean(), false,
    "a refused WebSocket is opened and closed with the reason, which a browser's script can read, instead of answered with a status"),
}, Object.fromEntries(["hosts", "hostname", "hostnames", "domain", "domains", "serverName", "server_name"].map((key) => [key, NOT_BY_HOST])));

/** Measured (test/e2e/http-refusals.test.ts): above 64 KiB of head or 198 lines, Bun answers 431 itself. What is between is for the rest of a head. */
const HEAD = { bytes: 60 * 1024, lines: 190, why: "larger heads are refused before any limit of ours is asked" };

const limits = object({
  requestTarget: withDefault(size({ most: HEAD }), "16KiB", "longest path and query; at most 60KiB"),
  headers: withDefault(size({ most: HEAD }), "32KiB", "all header names and values of a request; at most 60KiB"),
  headerCount: withDefault(integer(1, HEAD.lines, "a whole number", HEAD.why), 100, "most headers of a request"),
  responseBuffer: withDefault(size({ mayBeZero: true }), "1MiB",
    "a response body up to this size is sent with its Content-Length; larger ones are streamed"),
  responseBufferTotal: withDefault(size({ mayBeZero: true }), "32MiB", "all such bodies in flight"),
  connections: withDefault(integer(0, 1_000_000), 0, "most client connections; 0: no bound"),
  connectionsPerAddress: withDefault(integer(0, 1_000_000), 0, "most connections of one client address (an IPv6 /64 counts as one); 0: no bound"),
  requestsPerAddress: optional(rate, "requests a second of one client address; above it 429"),
  requestsPerToken: optional(rate, "requests a second with one token; above it 429"),
  minimumRate: withDefault(size({ mayBeZero: true }), 0, "bytes a second that a client must send or take at least, over ten seconds; 0: any"),
});

const cache = object({
  memory: withDefault(size(), "64MiB", "what is kept in memory"),
  objectLimit: withDefault(size(), "4MiB", "the largest body that is kept"),
  directory: optional(DIRECTORY, "where more is kept on disk; default: nowhere"),
  disk: withDefault(size(), "1GiB", "what is kept there"),
});

const compression = object({
  encodings: withDefault(list(oneOf(["zstd", "gzip", "br"]), { minItems: 1 }), ["zstd", "gzip", "br"], "what is offered, the preferred one first"),
  minimum: withDefault(size(), "2048B", "bodies below this size are sent as they are"),
  level: withDefault(integer(1, 9), 5, "how hard gzip tries"),
});

const upstream = object({
  connectTimeout: withDefault(duration(), "5s", "longest wait for a connection"),
  writeTimeout: withDefault(duration(), "60s", "longest wait without progress while a request is written"),
  idleConnectionsPerTarget: withDefault(integer(0, 65_535), 64, "connections kept open to one address"),
  idleConnections: withDefault(integer(0, 1_000_000), 1024, "connections kept open in all"),
  idleTimeout: withDefault(duration(), "60s", "how long an unused connection is kept"),
  dialTimeout: withDefault(duration({ mayBeZero: true }), "${ROUTE_DIAL_TIMEOUT:-5s}",
    "how long a desktop that does not listen yet, or whose name is not known yet, is dialled again before the client sees 502; 0: not at all"),
});

const websocket = object({
  pingInterval: withDefault(duration(), "30s", "time between two pings, to both ends"),
  missedPongs: withDefault(integer(1, 100), 2, "a peer that missed this many in a row is closed"),
  messageLimit: withDefault(size(), "64MiB", "largest message; close 1009 above it"),
});

const headers = object({
  response: withDefault(map(HEADER_NAME, headerValue), DEFAULT_HEADERS,
    "set on every response, in place of what the upstream sent"),
});

const log = object({
  format: withDefault(oneOf(["json", "pretty"]), "${ROUTE_LOG_FORMAT:-json}",
    "one JSON object a line, or lines for people"),
});

const PORT_NAME = { pattern: /^[a-z][a-z0-9_]*$/, expects: "a port name (lower case letters, digits, underscores)" };
const SERVICE_NAME = { pattern: /^[a-z][a-z0-9_-]*$/, expects: "a service name (lower case letters, digits, dashes)" };

/** The whole file. */
export const fileShape = object({
  entrypoints: withDefault(entrypoints, {}, "addresses that are bound"),
  tls: optional(tls, "TLS: certificates, and what follows from having them"),
  gateway: optional(gateway, "services that are registered at run time"),
  admin: withDefault(admin, {}, "the admin API"),
  token: withDefault(token, {}, "what a token is and how it is checked"),
  targets: withDefault(targets, {}, "the guard: where a token may lead"),
  dns: withDefault(dns, {}, "how targets are resolved"),
  ports: withDefault(map(PORT_NAME, port), STANDARD_PORTS,
    "named ports; the variable of the name in capitals wins; standard ones that are not listed keep their number"),
  services: required(map(SERVICE_NAME, variant(SERVICE_VARIANTS)), "named destinations"),
  routes: required(list(route), "the endpoint table; the most specific route wins, whatever the order"),
  limits: withDefault(limits, {}, "bounds of one request"),
  cache: withDefault(cache, {}, "the HTTP cache of routes with cache: true"),
  compression: withDefault(compression, {}, "compression of answers"),
  upstream: withDefault(upstream, {}, "connections to upstreams"),
  websocket: withDefault(websocket, {}, "bridged WebSocket sessions"),
  headers: withDefault(headers, {}, "headers that are set"),
  trustedProxies: withDefault(list(cidr), "${ROUTE_TRUSTED_PROXIES:-}",
    "CIDRs of proxies in front of this one, whose X-Forwarded headers are believed"),
  proxyProtocol: withDefault(list(cidr), [], "CIDRs of proxies whose connections begin with a PROXY protocol header (v1 or v2), which is then required"),
  drainTimeout: withDefault(duration({ mayBeZero: true }), "30s", "how long running requests may take after SIGTERM"),
  log: withDefault(log, {}, "the log on standard output"),
});

export type ConfigFile = ReadBy<typeof fileShape>;
export type RouteEntry = ConfigFile["routes"][number];
export type ServiceEntry = ConfigFile["services"][string];

/** The format as JSON Schema, for editors. */
export function jsonSchema(): JsonSchema {
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "route-gateway configuration",
    ...fileShape.schema,
    $defs: SCHEMA_DEFINITIONS,
  };
}
