// The ordered table: (path) → route. Pure, compiled once per configuration. The most specific rule wins, whatever the
// file's order: an exact path, then a pattern (more literal segments first), then the longest prefix. Paths are compared
// byte for byte as they came; nothing is decoded here, so what was matched is what is forwarded.

import type { Route } from "../route.ts";
import { plainPath } from "./plain-path.ts";

export type Match = {
  readonly route: Route;
  /** What the pattern's `{token}`, `{port}`, `{vm}` and `{name*}` took; null when the pattern has none. */
  readonly pathToken: string | null;
  readonly pathPort: string | null;
  readonly pathVm: string | null;
  readonly rest: string | null;
};

type Segment = { readonly kind: "literal"; readonly text: string } | { readonly kind: "one" | "rest"; readonly name: string };
type Pattern = { readonly route: Route; readonly segments: readonly Segment[]; /** What every path of the pattern starts with. */ readonly start: string };

export class Router {
  readonly #exact = new Map<string, Match>();
  readonly #patterns: readonly Pattern[];
  readonly #prefixes = new Map<string, Match>();
  /** Slashes in the longest prefix: what lies deeper in a path cannot decide. */
  readonly #prefixDepth: number;
  /** By first segment, `/a`: the only rule for what begins with it and a slash, a prefix. */
  readonly #whole = new Map<string, Match>();

  constructor(readonly routes: readonly Route[]) {
    const patterns: Pattern[] = [];
    let depth = 0;
    for (const route of routes) {
      const match = { route, pathToken: null, pathPort: null, pathVm: null, rest: null };
      if (route.match.kind === "exact") this.#exact.set(route.match.path, match);
      else if (route.match.kind === "pattern") patterns.push({ route, segments: parsePattern(route.match.path), start: (route.match.path.split("{")[0] ?? "").replace(/\/$/, "") });
      else this.#prefixes.set(route.match.path, match);
      if (route.match.kind === "prefix") depth = Math.max(depth, route.match.path.split("/").length);
    }
    this.#patterns = patterns.sort((a, b) => literals(b) - literals(a) || b.segments.length - a.segments.length);
    this.#prefixDepth = depth;
    this.#findWhole();
  }

  /** What a server behind us may take a path for that is not written plainly; null: it has no other spelling, or one of no other route. */
  otherwise(path: string, match: Match | null): Match | null {
    const plain = plainPath(path);
    const other = plain === path ? null : this.match(plain);
    return other?.route === match?.route ? null : other;
  }

  match(path: string): Match | null {
    const slash = path.indexOf("/", 1);
    const whole = slash < 0 ? undefined : this.#whole.get(path.slice(0, slash));
    return whole ?? this.#exact.get(path) ?? this.#matchPattern(path) ?? this.#matchPrefix(path);
  }

  #findWhole(): void {
    // Such a pattern may take any first segment.
    if (this.#patterns.some(({ segments }) => segments[0]?.kind !== "literal")) return;
    const count = new Map<string, number>();
    for (const { match } of this.routes) {
      const first = firstSegment(match.path);
      count.set(first, (count.get(first) ?? 0) + 1);
    }
    for (const [path, match] of this.#prefixes) {
      const first = firstSegment(path);
      // `/` is the first segment of `//a` only.
      if (count.get(first) === 1 && path !== "/" && (path === first || path === `${first}/`)) this.#whole.set(first, match);
    }
  }

  #matchPattern(path: string): Match | null {
    if (this.#patterns.length === 0) return null;
    for (const pattern of this.#patterns) {
      const match = path.startsWith(pattern.start) ? matchSegments(pattern, path) : null;
      if (match !== null) return match;
    }
    return null;
  }

  #matchPrefix(path: string): Match | null {
    let end = path.length;
    if (this.#prefixDepth > 0) {
      // Skip to the deepest slash that a prefix can end at, then walk back from there.
      let slash = 0;
      for (let depth = 0; depth < this.#prefixDepth && slash >= 0; depth += 1) slash = path.indexOf("/", slash + 1);
      if (slash >= 0) end = slash;
    }
    let match = this.#prefixes.get(end === path.length ? path : path.slice(0, end));
    while (match === undefined && end > 0) {
      end = path.lastIndexOf("/", end - 1);
      match = this.#prefixes.get(path.slice(0, end + 1)) ?? (end > 0 ? this.#prefixes.get(path.slice(0, end)) : undefined);
      if (end <= 0) break;
    }
    return match ?? null;
  }
}

/** `/container/{token}/{port}/{path*}` as segments. Braces must fill a whole segment; `*` only in the last one. */
export function parsePattern(path: string): Segment[] {
  return path.slice(1).split("/").map((text): Segment => {
    const name = /^\{([a-z][a-zA-Z0-9]*)(\*?)\}$/.exec(text);
    if (name === null) return { kind: "literal", text };
    return { kind: name[2] === "*" ? "rest" : "one", name: name[1] ?? "" };
  });
}

/** `/a/b` → `/a`. */
function firstSegment(path: string): string {
  const slash = path.indexOf("/", 1);
  return slash < 0 ? path : path.slice(0, slash);
}

function literals(pattern: Pattern): number {
  return pattern.segments.filter((segment) => segment.kind === "literal").length;
}

function matchSegments(pattern: Pattern, path: string): Match | null {
  let at = 1;
  let pathToken: string | null = null;
  let pathPort: string | null = null;
  let pathVm: string | null = null;
  for (const segment of pattern.segments) {
    if (segment.kind === "rest") return { route: pattern.route, pathToken, pathPort, pathVm, rest: path.slice(at) };
    if (at > path.length) return null;
    const slash = path.indexOf("/", at);
    const end = slash < 0 ? path.length : slash;
    if (segment.kind === "literal") {
      if (end - at !== segment.text.length || !path.startsWith(segment.text, at)) return null;
    } else {
      if (end === at) return null;
      const text = path.slice(at, end);
      if (segment.name === "token") pathToken = text;
      else if (segment.name === "port") pathPort = text;
      else if (segment.name === "vm") pathVm = text;
    }
    at = end + 1;
  }
  return at > path.length ? { route: pattern.route, pathToken, pathPort, pathVm, rest: null } : null;
}
