// The tree of a registered file → Gateway. The shape is that of Traefik's file provider, cut down to what a gateway is:
// one router with one host, and its one service. Keys are read in any letter case, as Traefik reads them; whatever has
// no meaning here is a mistake, because Traefik would do something that we do not.

import type { Backend, CertificateResolver, Gateway } from "../gateway.ts";
import { excerpt } from "../lib/excerpt.ts";
import { suggestion } from "../lib/suggest.ts";
import { quoted } from "./errors.ts";
import { domainRefusal, NO_RULES, type Rules } from "./rules.ts";
import type { Entry, Fault, Tree } from "./tree.ts";
import { domainFault, parseBackend, serviceNameFault } from "./validate.ts";

export type ReadOptions = {
  /** Workload id: the file's name without its extension. */
  readonly id: string;
  /** The gateway's own, lower case; null for none. */
  readonly domain: string | null;
  /** Absent: none. */
  readonly rules?: Rules;
};

/** What a file says, and where it names its domain (for whoever finds out that it is taken). */
export type ReadGateway = { readonly gateway: Gateway; readonly hostOffset: number };

type Certificates = { readonly resolver: CertificateResolver | null; readonly names: readonly string[] };
type Fields<K extends string> = Readonly<Partial<Record<K, Entry>>>;

const RESOLVERS: readonly CertificateResolver[] = ["resolver", "dnsresolver"];

/** null when a mistake was reported. */
export function readGateway(root: Tree, options: ReadOptions, report: Fault): ReadGateway | null {
  let isGood = true;
  const reader = new Reader(options, (offset, message) => {
    isGood = false;
    report(offset, message);
  });
  const read = reader.file(root);
  return isGood ? read : null;
}

class Reader {
  constructor(private readonly options: ReadOptions, private readonly fault: Fault) {}

  file(root: Tree): ReadGateway | null {
    if (isEmpty(root)) {
      this.fault(root.offset, 'the file is empty: "http" or "tcp" is needed');
      return null;
    }
    const configuration = root.kind === "map" ? root.entries.find(({ key }) => key === "services" || key === "routes") : undefined;
    if (configuration !== undefined) {
      this.fault(configuration.keyOffset, `${quoted(configuration.key)} is of a configuration, and this is no registered gateway (route-gateway check FILE checks a configuration)`);
      return null;
    }
    const { http, tcp } = this.#fields(root, root.offset, ["http", "tcp"], []);
    if (http !== undefined && tcp !== undefined) this.fault(tcp.keyOffset, 'only one of "http" and "tcp" can be in a file');
    const section = http ?? tcp;
    if (section === undefined && root.kind === "map") this.fault(root.offset, 'missing key "http" or "tcp"');
    return section === undefined ? null : this.#section(section, section === tcp);
  }

  #section(section: Entry, isPassthrough: boolean): ReadGateway | null {
    const { routers, services } = this.#fields(section.value, section.keyOffset, ["routers", "services"], ["routers", "services"]);
    const router = this.#only(routers, "router");
    const service = this.#only(services, "service");
    if (router !== null && !/^.+-route$/s.test(router.key)) {
      this.fault(router.keyOffset, `router ${quoted(router.key)} must be called after its workload: ${quoted(`${router.key}-route`)}`);
    }
    const route = router === null ? null : this.#router(router, isPassthrough, service);
    const backends = service === null ? null : this.#service(service, isPassthrough);
    if (route === null || service === null || backends === null) return null;
    const { fqdn, hostOffset, certificates: { resolver, names: certificateNames } } = route;
    const gateway = { id: this.options.id, service: service.key, fqdn, isPassthrough, backends, resolver, certificateNames };
    return { gateway, hostOffset };
  }

  #router(router: Entry, isPassthrough: boolean, target: Entry | null): { fqdn: string; hostOffset: number; certificates: Certificates } | null {
    const { rule, service, tls } = this.#fields(router.value, router.keyOffset, ["rule", "service", "tls"], ["rule", "service", "tls"]);
    const name = service === undefined ? null : this.#text(service.value);
    if (name !== null && target !== null && name !== target.key) {
      this.fault(service?.value.offset ?? 0, `unknown service ${quoted(name)} (the file has ${quoted(target.key)})`);
    }
    const fqdn = rule === undefined ? null : this.#host(rule.value, isPassthrough ? "HostSNI" : "Host");
    if (tls === undefined) return null;
    const certificates = isPassthrough ? this.#passthrough(tls) : this.#certificates(tls, fqdn);
    return fqdn === null || rule === undefined ? null : { fqdn, hostOffset: rule.value.offset, certificates };
  }

  #host(rule: Tree, matcher: "Host" | "HostSNI"): string | null {
    const text = this.#text(rule);
    if (text === null) return null;
    const parts = /^\s*(\w+)\s*\(\s*(?:`([^`"]*)`|"([^`"]*)")\s*\)\s*$/.exec(text);
    if (parts?.[1]?.toLowerCase() !== matcher.toLowerCase()) {
      this.fault(rule.offset, `expected the rule ${matcher}(\`app.example.org\`), one host and nothing else, found ${quoted(excerpt(text))}`);
      return null;
    }
    const host = parts[2] ?? parts[3] ?? "";
    const wrong = domainFault(host) ?? domainRefusal(host.toLowerCase(), this.options.rules ?? NO_RULES);
    if (wrong !== null) this.fault(rule.offset, wrong);
    return host.toLowerCase();
  }

  #passthrough(tls: Entry): Certificates {
    const { passthrough } = this.#fields(tls.value, tls.keyOffset, ["passthrough"], ["passthrough"]);
    const isOn = passthrough === undefined ? true : this.#boolean(passthrough.value);
    if (isOn === false) this.fault(passthrough?.value.offset ?? 0, 'below "tcp" TLS always passes through: "true" is needed (TLS that ends here stands below "http")');
    return { resolver: null, names: [] };
  }

  #certificates(tls: Entry, fqdn: string | null): Certificates {
    const known = ["certResolver", "domains", "passthrough"] as const;
    const { certResolver, domains, passthrough } = this.#fields(tls.value, tls.keyOffset, known, []);
    if (passthrough !== undefined && this.#boolean(passthrough.value) === true) {
      this.fault(passthrough.keyOffset, 'TLS that passes through stands below "tcp"');
    }
    const resolver = certResolver === undefined ? null : this.#resolver(certResolver.value);
    const written = domains === undefined ? [] : this.#domains(domains, resolver, fqdn);
    if (domains !== undefined && certResolver === undefined) this.fault(domains.keyOffset, '"domains" has no meaning without "certResolver"');
    const { domain } = this.options;
    // One wildcard serves all names directly below the gateway's domain: also those whose file does not say so.
    const isName = domain !== null && fqdn !== null && parentOf(fqdn) === domain;
    return { resolver, names: written.length === 0 && resolver === "dnsresolver" && isName ? [`*.${domain}`] : written };
  }

  #resolver(tree: Tree): CertificateResolver | null {
    const text = this.#text(tree);
    const found = RESOLVERS.find((name) => name === text) ?? null;
    if (text !== null && found === null) this.fault(tree.offset, `expected one of ${RESOLVERS.join(", ")}, found ${quoted(excerpt(text))}${suggestion(text, RESOLVERS)}`);
    return found;
  }

  #domains(domains: Entry, resolver: CertificateResolver | null, fqdn: string | null): string[] {
    const names = this.#list(domains.value).flatMap((item) => {
      const { main, sans } = this.#fields(item, item.offset, ["main", "sans"], []);
      const trees = [...(main === undefined ? [] : [main.value]), ...(sans === undefined ? [] : this.#list(sans.value))];
      return trees.flatMap((tree) => this.#certificateName(tree, resolver, fqdn) ?? []);
    });
    return [...new Set(names)];
  }

  /** Only what is registered is ever asked for: the domain, or the wildcard that it falls under. */
  #certificateName(tree: Tree, resolver: CertificateResolver | null, fqdn: string | null): string | null {
    const text = this.#text(tree)?.toLowerCase() ?? null;
    if (text === null) return null;
    const isWildcard = text.startsWith("*.");
    const wrong = domainFault(isWildcard ? text.slice(2) : text);
    if (wrong !== null) this.fault(tree.offset, wrong);
    else if (isWildcard && resolver === "resolver") this.fault(tree.offset, `the wildcard ${quoted(text)} needs dnsresolver: HTTP challenges prove single names only`);
    else if (fqdn !== null && !covers(text, fqdn)) this.fault(tree.offset, `${quoted(text)} does not cover the host ${quoted(fqdn)}`);
    return text;
  }

  #service(service: Entry, isPassthrough: boolean): readonly Backend[] | null {
    const wrong = serviceNameFault(service.key);
    if (wrong !== null) this.fault(service.keyOffset, wrong);
    const { loadBalancer } = this.#fields(service.value, service.keyOffset, ["loadBalancer"], ["loadBalancer"]);
    if (loadBalancer === undefined) return null;
    const { servers } = this.#fields(loadBalancer.value, loadBalancer.keyOffset, ["servers"], ["servers"]);
    if (servers === undefined) return null;
    const items = this.#list(servers.value);
    if (servers.value.kind === "list" && items.length === 0) this.fault(servers.value.offset, "no servers: at least one is needed");
    return items.flatMap((item) => this.#server(item, isPassthrough));
  }

  #server(item: Tree, isPassthrough: boolean): readonly Backend[] {
    const key = isPassthrough ? "address" : "url";
    const server = this.#fields(item, item.offset, [key], [key])[key];
    const text = server === undefined ? null : this.#text(server.value);
    if (server === undefined || text === null) return [];
    const { values, faults } = parseBackend(text, isPassthrough, this.options.rules);
    for (const fault of faults) this.fault(server.value.offset, fault);
    return values;
  }

  /** The entries of a map by their known names. */
  #fields<K extends string>(tree: Tree, offset: number, known: readonly K[], required: readonly K[]): Fields<K> {
    const fields: Partial<Record<K, Entry>> = {};
    if (tree.kind !== "map") {
      this.fault(tree.offset, `expected a map of keys and values, found ${shown(tree)}`);
      return fields;
    }
    for (const entry of tree.entries) {
      const key = known.find((name) => name.toLowerCase() === entry.key.toLowerCase());
      if (key === undefined) this.fault(entry.keyOffset, `unknown key ${quoted(entry.key)}${suggestion(entry.key, known) || ` (known are ${known.join(", ")})`}`);
      else if (fields[key] === undefined) fields[key] = entry;
      // The same key in the same letters is the parser's to report.
      else if (fields[key].key !== entry.key) this.fault(entry.keyOffset, `duplicate key ${quoted(entry.key)} (upper and lower case are alike)`);
    }
    for (const key of required) if (fields[key] === undefined) this.fault(offset, `missing key "${key}"`);
    return fields;
  }

  #only(section: Entry | undefined, what: string): Entry | null {
    if (section === undefined) return null;
    const { value } = section;
    if (value.kind !== "map") this.fault(value.offset, `expected a ${what} by its name, found ${shown(value)}`);
    else if (value.entries.length === 0) this.fault(value.offset, `no ${what}: one is needed`);
    else if (value.entries.length > 1) this.fault(value.entries[1]?.keyOffset ?? 0, `more than one ${what}: each workload has a file of its own`);
    return value.kind === "map" ? value.entries[0] ?? null : null;
  }

  #list(tree: Tree): readonly Tree[] {
    if (tree.kind === "list") return tree.items;
    this.fault(tree.offset, `expected a list, found ${shown(tree)}`);
    return [];
  }

  #text(tree: Tree): string | null {
    if (tree.kind === "scalar" && tree.value !== null) return tree.text;
    this.fault(tree.offset, `expected text, found ${shown(tree)}`);
    return null;
  }

  /** `"true"` is how the original writes it, and Traefik takes both. */
  #boolean(tree: Tree): boolean | null {
    const word = tree.kind === "scalar" ? tree.text.toLowerCase() : "";
    if (word === "true" || word === "false") return word === "true";
    this.fault(tree.offset, `expected "true" or "false", found ${shown(tree)}`);
    return null;
  }
}

/** RFC 6125 section 6.4.3: a wildcard stands for one label. */
function covers(name: string, fqdn: string): boolean {
  return name === fqdn || name === `*.${parentOf(fqdn)}`;
}

function parentOf(fqdn: string): string {
  return fqdn.slice(fqdn.indexOf(".") + 1);
}

function isEmpty(tree: Tree): boolean {
  return tree.kind === "scalar" && tree.value === null;
}

function shown(tree: Tree): string {
  if (tree.kind !== "scalar") return tree.kind === "map" ? "a map" : "a list";
  return tree.value === null ? "nothing" : quoted(excerpt(tree.text));
}
