// Registered files: Gateway ↔ YAML text in the shape of Traefik's file provider, as Traefik 2.9 reads it. What is written
// is what the original writes (seed 003), down to its indentation. What is read may be written by other programs:
// reader.ts says what it must be, every mistake with its place.

import type { Gateway } from "../gateway.ts";
import { type ReadGateway, readGateway, type ReadOptions } from "./reader.ts";
import { type Fault, parseTree, treeOf } from "./tree.ts";
import { formatBackend } from "./validate.ts";

export type Mistake = {
  /** Both from 1. */
  readonly line: number;
  readonly column: number;
  readonly message: string;
};

export type Parsed = { readonly gateway: Gateway } | { readonly mistakes: readonly Mistake[] };

/** A file of the registry. Quick for the files that we write; {@link parseCarefully} for all others. */
export function parseGateway(text: string, options: ReadOptions): Parsed {
  const quick = parseQuickly(text, options);
  if (quick !== null) return quick;
  const careful = parseCarefully(text, options);
  return "gateway" in careful ? { gateway: careful.gateway } : careful;
}

/** With places: of the mistakes, or of the host that the file names. */
export function parseCarefully(text: string, options: ReadOptions): { readonly gateway: Gateway; readonly host: Mistake } | { readonly mistakes: readonly Mistake[] } {
  const mistakes: Array<{ offset: number; message: string }> = [];
  const fault: Fault = (offset, message) => void mistakes.push({ offset, message });
  const tree = parseTree(text, fault);
  const read = tree === null ? null : readGateway(tree, options, fault);
  if (read !== null && mistakes.length === 0) return { gateway: read.gateway, host: placed(text, read.hostOffset, "") };
  const inOrder = mistakes.sort((a, b) => a.offset - b.offset);
  return { mistakes: inOrder.map(({ offset, message }) => placed(text, offset, message)) };
}

/**
 * The runtime's parser is eight times as fast as the library that knows places, and sees no duplicate keys. So it may only
 * read what says nothing but the gateway that came out: the text that we would write, whatever its spaces, quotes and comments.
 */
function parseQuickly(text: string, options: ReadOptions): { readonly gateway: Gateway } | null {
  let read: ReadGateway | null = null;
  try {
    read = readGateway(treeOf(Bun.YAML.parse(text)), options, () => {});
  } catch {
    return null; // Not YAML: the other parser says where.
  }
  if (read === null || substance(formatGateway(read.gateway)) !== substance(text)) return null;
  return { gateway: read.gateway };
}

/** What a second copy of a key, or anything else that the parser passed over, would add to. */
function substance(text: string): string {
  return text.replace(/^ *#.*$/gm, "").replace(/[ \n'"]+/g, "").toLowerCase();
}

function placed(text: string, offset: number, message: string): Mistake {
  const before = text.slice(0, offset);
  return { line: before.split("\n").length, column: offset - before.lastIndexOf("\n"), message };
}

/** The text of a gateway's file. */
export function formatGateway(gateway: Gateway): string {
  const { isPassthrough, backends } = gateway;
  const service = scalar(gateway.service);
  const servers = backends.map((backend) => `                    - ${isPassthrough ? "address" : "url"}: ${scalar(formatBackend(backend, isPassthrough))}\n`);
  return `${isPassthrough ? "tcp" : "http"}:
    routers:
        ${scalar(`${gateway.id}-route`)}:
            rule: ${isPassthrough ? "HostSNI" : "Host"}(\`${gateway.fqdn}\`)
            service: ${service}
            tls:${formatTls(gateway)}
    services:
        ${service}:
            loadbalancer:
                servers:
${servers.join("")}`;
}

function formatTls({ isPassthrough, resolver, certificateNames }: Gateway): string {
  // A string, as the original has it.
  if (isPassthrough) return '\n                passthrough: "true"';
  if (resolver === null) return " {}";
  const names = certificateNames.map((name) => `\n                        - ${scalar(name)}`);
  const domains = names.length === 0 ? "" : `\n                domains:\n                    - sans:${names.join("")}`;
  return `\n                certResolver: ${resolver}${domains}`;
}

/** Plain where every YAML reader, of 1.1 and of 1.2, takes it for text; in quotes otherwise. */
function scalar(text: string): string {
  if (/^https?:\/\/[\w.:[\]-]+$/.test(text)) return text;
  if (/^(?:\d+\.){3}\d+:\d+$/.test(text)) return text;
  // Numbers have no letter above F, but for the x and o of 0x and 0o; the words are true, null and their like.
  const isPlain = /^[A-Za-z0-9][\w.-]*$/.test(text) && /[g-z]/i.test(text) && !/^0[xob]/i.test(text);
  return isPlain && !/^(?:true|yes|y|no|n|on|off|null|nan|inf)$/i.test(text) ? text : `'${text.replaceAll("'", "''")}'`;
}
