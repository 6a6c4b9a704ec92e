// `route-gateway healthcheck`: asks a running router whether it answers, for container engines that have no other program to
// ask with. One line of output; exit code 0 for an answer of 200, 1 for anything else.

import { loadSettings } from "../config/load.ts";
import { type ListenAddress, parseListenAddress } from "../config/values.ts";
import { hostForUrl } from "../lib/address.ts";
import { parseDuration } from "../lib/duration.ts";
import { type Arguments, UsageError } from "./args.ts";
import type { Command, Io } from "./command.ts";

/** What consoles.yaml has where no PORT is set. */
const CONSOLES_PORT = 5001;

export const command: Command = {
  name: "healthcheck",
  summary: "ask a running router whether it answers (for containers)",
  spec: {
    flags: [
      { name: "url", value: "URL", help: "what to ask (default: /healthz on the address of HTTP_LISTEN, or on port 80)" },
      { name: "config", value: "FILE", help: "ask what `route-gateway serve --config FILE` serves: /healthz on the address that the file says" },
      { name: "consoles", help: "ask what `route-gateway consoles` serves: /healthz on the address of HOST and PORT, or on port 5001" },
      { name: "timeout", value: "TIME", help: "how long to wait for the answer", default: "2s" },
    ],
    environment: [
      ["HTTP_LISTEN", "HOST:PORT that the router listens on (without --url)"],
      ["HOST, PORT", "what `route-gateway consoles` listens on (with --consoles), 0.0.0.0 and 5001 by default"],
    ],
    examples: ["route-gateway healthcheck", "route-gateway healthcheck --config /etc/route-gateway/routes.yaml", "route-gateway healthcheck --consoles", "route-gateway healthcheck --url http://127.0.0.1:8080/healthz --timeout 500ms"],
  },
  async run(args, io) {
    if (args.has("consoles") && args.has("url")) throw new UsageError("--consoles has an address of its own: leave --url out");
    if (args.has("config") && (args.has("consoles") || args.has("url"))) throw new UsageError("--config has an address of its own: leave --consoles and --url out");
    const url = args.get("url") ?? await ownUrl(args, io);
    if (!URL.canParse(url) || !/^https?:/.test(url)) throw new UsageError(`not a URL: "${url.replace(/^.*@/s, "...@")}" (use http://HOST:PORT/healthz)`);
    const timeoutMs = parseDuration(args.require("timeout"));
    if (timeoutMs === undefined || timeoutMs === 0) {
      throw new UsageError(`not a time: "${args.get("timeout")}" (use 500ms, 2s)`);
    }
    return ask(url, timeoutMs, io);
  },
};

/** @throws ConfigError with every mistake of the file; Error naming the variables */
async function ownUrl(args: Arguments, io: Io): Promise<string> {
  if (args.has("consoles")) return consolesHealthUrl(io.env);
  const file = args.get("config");
  return file === undefined ? healthUrl(io.env.HTTP_LISTEN) : urlOf((await loadSettings({ file, env: io.env })).http);
}

/**
 * Where a router with this HTTP_LISTEN is reached from its own machine: "all addresses" is reached over loopback.
 * @throws Error naming the variable
 */
export function healthUrl(listen: string | undefined): string {
  return urlOf(listenAddress("HTTP_LISTEN", listen === undefined || listen === "" ? ":80" : listen));
}

/**
 * The same for `route-gateway consoles`.
 * @throws Error naming the variables
 */
function consolesHealthUrl({ HOST: host = "", PORT: port = "" }: Io["env"]): string {
  return urlOf(listenAddress("HOST or PORT", `${host === "" ? "" : hostForUrl(host)}:${port === "" ? CONSOLES_PORT : port}`));
}

function urlOf({ host, port }: ListenAddress): string {
  const reached = host === "" || host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
  return `http://${hostForUrl(reached)}:${port}/healthz`;
}

function listenAddress(variable: string, text: string): ListenAddress {
  try {
    return parseListenAddress(text);
  } catch (error) {
    throw new Error(`environment variable ${variable}: ${(error as Error).message}`, { cause: error });
  }
}

async function ask(url: string, timeoutMs: number, io: Io): Promise<number> {
  const shown = withoutUserinfo(url);
  try {
    // A redirect is no answer, and a proxy of the environment is not the way to the own machine.
    const response = await fetch(url, { signal: AbortSignal.timeout(timeoutMs), redirect: "manual", proxy: false });
    if (response.status === 200) {
      io.stdout(`healthy: ${shown}\n`);
      return 0;
    }
    io.stderr(`unhealthy: ${shown} answered ${response.status}\n`);
  } catch (error) {
    io.stderr(`unhealthy: ${shown}: ${reason(error, timeoutMs)}\n`);
  }
  return 1;
}

/** For output: it ends in the log of a container engine, where a password has no place. */
function withoutUserinfo(text: string): string {
  const url = new URL(text);
  if (url.username === "" && url.password === "") return text;
  url.username = "";
  url.password = "";
  return url.href;
}

function reason(error: unknown, timeoutMs: number): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === "TimeoutError") return `no answer within ${timeoutMs} ms`;
  const code = "code" in error ? String(error.code) : "";
  return /ConnectionRefused|ECONNREFUSED/.test(code) ? "connection refused" : error.message;
}
