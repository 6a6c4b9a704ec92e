// The built-in configuration of `route-gateway consoles` and of WebsocketProxy: consoles.yaml, and around it what the
// original container and its library said in environment variables and constructor arguments.

import text from "../../consoles.yaml" with { type: "text" };
import { hostForUrl } from "../lib/address.ts";
import type { Route } from "../route.ts";
import type { Settings } from "../settings.ts";
import { parseBooleanWord } from "./boolean-word.ts";
import { buildSettings, deepFreeze, type ParseOptions } from "./build.ts";
import type { Environment } from "./interpolate.ts";
import { ConfigError } from "./mistake.ts";
import { nothing } from "./routes.ts";
import { Refusal } from "./shape.ts";
import { type Plain, Source } from "./source.ts";
import { type ApiUrl, parseApiUrl } from "./values.ts";

export const CONSOLES_TEXT = text as unknown as string;
export const CONSOLES_SOURCE = "consoles.yaml (built in)";

/** Beside `kubectl proxy`, as the original documents it. */
const LOCAL_API = "ws://localhost:8001";

export type ConsolesOptions = Omit<ParseOptions, "env" | "readResolvConf"> & {
  /** SECRET_KEY, LOCAL_DEV_MODE, HOST, PORT, HOST_PATH_PREFIX, WS_REMOTE_URL, KUBERNETES_SERVICE_HOST and _PORT, and ours. */
  readonly env: Environment;
  /** In place of KubeVirt's VNC path. */
  readonly apiPath?: string | undefined;
};

/** @throws ConfigError with every mistake */
export function loadConsoles({ env, apiPath, ...options }: ConsolesOptions): Settings {
  const refused = (messages: readonly string[]): ConfigError => {
    return new ConfigError(CONSOLES_SOURCE, messages.map((message) => ({ line: 0, column: 0, message })));
  };
  const mistakes: string[] = [];
  const withDefaults = consolesEnvironment(env, mistakes);
  if (mistakes.length > 0) throw refused(mistakes);
  const source = new Source(CONSOLES_TEXT, { env: withDefaults, allowUnset: options.allowUnset });
  const file = withApiPath(Bun.YAML.parse(CONSOLES_TEXT) as File, apiPath);
  const parsed = buildSettings(source.fromPlain(file, 0), source, CONSOLES_SOURCE, { ...options, env: withDefaults });
  // Places in a file that the user never saw would only mislead.
  if ("mistakes" in parsed) throw refused(parsed.mistakes.map(({ message }) => message));
  return withRefusals(parsed.settings, withDefaults["HOST_PATH_PREFIX"] ?? "");
}

type Section = { readonly [key: string]: Plain };
type File = Section & { readonly services: Section & { readonly kubevirt: Section } };

function withApiPath(file: File, apiPath: string | undefined): File {
  if (apiPath === undefined) return file;
  // What looks like a variable in it is none. (As a text, the replacement would lose one of its dollar signs.)
  const literal = apiPath.replaceAll("${", () => "$${");
  return { ...file, services: { ...file.services, kubevirt: { ...file.services.kubevirt, apiPath: literal } } };
}

function consolesEnvironment(env: Environment, mistakes: string[]): Environment {
  const host = env["HOST"] ?? "";
  const prefix = (env["HOST_PATH_PREFIX"] ?? "").replace(/^\/+|\/+$/g, "");
  if (/[{}*]/.test(prefix)) mistakes.push(`environment variable HOST_PATH_PREFIX: expected the fixed beginning of a path such as ws_proxy, found "${prefix}"`);
  if ((env["SECRET_KEY"] ?? "") === "") mistakes.push("environment variable SECRET_KEY is not set: the key that the tokens are signed with");
  return {
    ...env,
    HOST: hostForUrl(host),
    HOST_PATH_PREFIX: prefix === "" ? "" : `/${prefix}`,
    WS_REMOTE_URL: remoteUrl(env, mistakes),
  };
}

/** Local development is plain ws without credentials; everything else is TLS with them. Neither turns into the other unseen. */
function remoteUrl(env: Environment, mistakes: string[]): string {
  const isLocal = readLocalDevMode(env["LOCAL_DEV_MODE"] ?? "", mistakes);
  const given = env["WS_REMOTE_URL"] ?? "";
  const [host, port] = [env["KUBERNETES_SERVICE_HOST"] ?? "", env["KUBERNETES_SERVICE_PORT"] ?? ""];
  if (given === "" && isLocal) return LOCAL_API;
  if (given === "" && host === "") {
    mistakes.push("neither WS_REMOTE_URL nor KUBERNETES_SERVICE_HOST is set: outside of a cluster, run `kubectl proxy` and set LOCAL_DEV_MODE=true");
    return "";
  }
  if (given === "") {
    const url = `wss://${hostForUrl(host)}:${port === "" ? "443" : port}`;
    readApiUrl(url, "environment variables KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT", mistakes);
    return url;
  }
  const api = readApiUrl(given, "environment variable WS_REMOTE_URL", mistakes);
  if (api !== null && isLocal === api.isSecure) {
    mistakes.push(isLocal
      ? `LOCAL_DEV_MODE is on, which means plain ws without credentials, but the remote URL is "${given}" (write ws://, or turn it off)`
      : `credentials are never sent over plain ws: the remote URL is "${given}" (write wss://, or set LOCAL_DEV_MODE=true)`);
  }
  return given;
}

/** @param from who is to be blamed for it */
function readApiUrl(url: string, from: string, mistakes: string[]): ApiUrl | null {
  try {
    return parseApiUrl(url);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    mistakes.push(`${from}: ${error.message}`);
    return null;
  }
}

function readLocalDevMode(text: string, mistakes: string[]): boolean {
  if (text.trim() === "") return false;
  const read = parseBooleanWord(text);
  if (read === undefined) mistakes.push(`environment variable LOCAL_DEV_MODE: expected true or false, found "${text}"`);
  return read ?? false;
}

/**
 * The original looks at the number of segments first, then at the prefix: `/other/TOKEN/VM` has the wrong prefix, everything
 * else that is not ours is an invalid URL.
 */
function withRefusals(settings: Settings, prefix: string): Settings {
  const console = settings.routes.find(({ service }) => service.kind === "console");
  if (console === undefined || !console.closeAfterUpgrade || prefix === "") return settings;
  const plain = { ...console, tokenSources: [], viewer: false } as const;
  const names = prefix.slice(1).split("/").map((_, index) => `{prefix${index}}`);
  const otherPrefix: Route = { ...plain, name: "wrong prefix", match: { kind: "pattern", path: `/${names.join("/")}/{token}/{vm}` }, service: nothing("wrong path prefix") };
  const elsewhere: Route = { ...plain, name: "invalid url", match: { kind: "prefix", path: "/" }, service: nothing("invalid url") };
  return deepFreeze({ ...settings, routes: [...settings.routes, otherPrefix, elsewhere] });
}
