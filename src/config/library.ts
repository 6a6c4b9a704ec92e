// The constructor's argument of WebsocketProxy → Settings. It comes from programs without types as well, so every option is
// looked at, and all mistakes are told at once, in the words of that program: options, not variables or lines of a file.
//
// Invariant: no message repeats the secret. What is not a text is named by its kind only: it may be the secret in another wrapping.

import { suggestion } from "../lib/suggest.ts";
import type { HmacAlgorithm, Settings } from "../settings.ts";
import { loadConsoles } from "./consoles.ts";
import { ConfigError } from "./mistake.ts";
import { Refusal } from "./shape.ts";
import { type ApiUrl, parseApiPath, parseApiUrl } from "./values.ts";

/** Each option, and the variable that says the same to the program; null: it says nothing of the kind. */
const VARIABLES = {
  remoteUrl: "WS_REMOTE_URL", apiPath: null, localDevMode: "LOCAL_DEV_MODE", secretKey: "SECRET_KEY", hostPathPrefix: "HOST_PATH_PREFIX",
  caFile: "ROUTE_CA_FILE", tokenFile: "ROUTE_TOKEN_FILE", algorithms: null, allowWeakSecret: "ROUTE_ALLOW_WEAK_SECRET",
  closeAfterUpgrade: "ROUTE_CLOSE_AFTER_UPGRADE", consolePolicy: "ROUTE_CONSOLE_POLICY", viewer: "ROUTE_VIEWER",
  allowedOrigins: "ROUTE_ALLOWED_ORIGINS", log: null,
} as const;

type Name = keyof typeof VARIABLES;
const NAMES = Object.keys(VARIABLES) as Name[];

const ALGORITHMS: readonly HmacAlgorithm[] = ["HS256", "HS384", "HS512"];

/** What a text option is, where it is more than a file name. */
const TEXTS: Partial<Record<Name, string>> = {
  remoteUrl: "the base of the Kubernetes API such as \"ws://localhost:8001\"",
  apiPath: "a path with {namespace} and {vmi_name} in it",
  secretKey: "the key that tokens are signed with",
};

/**
 * @param strongSecretBytes a shorter secret needs `allowWeakSecret`
 * @throws TypeError with every mistake, one a line
 */
export function readLibraryOptions(options: unknown, strongSecretBytes: number): Settings {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw refused([`expected one object, { remoteUrl, apiPath, localDevMode, secretKey, hostPathPrefix }, found ${Array.isArray(options) ? "a list" : kindOf(options)}`]);
  }
  const reader = new Reader(options as { readonly [name: string]: unknown });
  const values = reader.readAll(strongSecretBytes);
  if (values === null) throw refused(reader.mistakes);
  try {
    const settings = loadConsoles({ env: values.env, apiPath: values.apiPath, logFormat: values.log ?? "pretty" });
    const { vmToken } = settings;
    if (vmToken === null || values.algorithms === undefined) return settings;
    return { ...settings, vmToken: { ...vmToken, algorithms: values.algorithms } };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw refused(error.mistakes.map(({ message }) => inOptions(message)));
  }
}

type Values = {
  readonly env: Record<string, string>;
  readonly apiPath: string;
  readonly algorithms: readonly HmacAlgorithm[] | undefined;
  readonly log: string | undefined;
};

class Reader {
  readonly mistakes: string[] = [];

  constructor(private readonly options: { readonly [name: string]: unknown }) {}

  /** null when there are mistakes. */
  readAll(strongSecretBytes: number): Values | null {
    this.#refuseUnknown();
    const env: Record<string, string> = {};
    const set = (name: Name, value: string | boolean | undefined): void => {
      if (value !== undefined && VARIABLES[name] !== null) env[VARIABLES[name]] = String(value);
    };
    set("remoteUrl", this.#remoteUrl());
    const apiPath = this.#apiPath();
    set("localDevMode", this.#boolean("localDevMode", true));
    set("secretKey", this.#secret(strongSecretBytes));
    set("hostPathPrefix", this.#prefix());
    for (const name of ["caFile", "tokenFile"] as const) set(name, this.#text(name, false));
    for (const name of ["allowWeakSecret", "closeAfterUpgrade", "viewer"] as const) set(name, this.#boolean(name, false));
    set("consolePolicy", this.#word("consolePolicy", ["takeover", "preserve"]));
    set("allowedOrigins", this.#origins());
    const rest = { algorithms: this.#algorithms(), log: this.#word("log", ["json", "pretty"]) };
    return this.mistakes.length > 0 || apiPath === undefined ? null : { env, apiPath, ...rest };
  }

  #refuseUnknown(): void {
    for (const name of Object.keys(this.options)) {
      if ((NAMES as readonly string[]).includes(name)) continue;
      this.mistakes.push(`unknown option "${name}"${suggestion(name.replaceAll("_", ""), NAMES)}`);
    }
  }

  /** Plain ws without credentials, or TLS with them: neither turns into the other unseen. */
  #remoteUrl(): string | undefined {
    const url = this.#text("remoteUrl", true);
    const api = url === undefined ? undefined : this.#parsed("remoteUrl", () => parseApiUrl(url));
    if (url === undefined || api === undefined) return undefined;
    const mistake = mismatch(api, url, this.options["localDevMode"]);
    if (mistake !== null) this.mistakes.push(mistake);
    return url;
  }

  #apiPath(): string | undefined {
    const path = this.#text("apiPath", true);
    return path === undefined ? undefined : this.#parsed("apiPath", () => parseApiPath(path));
  }

  #secret(strongBytes: number): string | undefined {
    const secret = this.#text("secretKey", true);
    const bytes = Buffer.byteLength(secret ?? "");
    if (secret !== undefined && bytes < strongBytes && this.options["allowWeakSecret"] !== true) {
      this.mistakes.push(`secretKey: it has ${bytes} bytes, expected ${strongBytes} or more (write a longer one, or allowWeakSecret: true to accept it)`);
    }
    return secret;
  }

  #prefix(): string | undefined {
    const prefix = this.options["hostPathPrefix"];
    if (prefix === undefined || prefix === null || prefix === "") return undefined;
    if (typeof prefix !== "string") return this.#mistaken("hostPathPrefix", "a text such as \"/ws_proxy\", or null", prefix);
    // In a route's path these would have a meaning, or none at all.
    if (/[{}*?#]/.test(prefix)) {
      this.mistakes.push(`hostPathPrefix: a prefix is the fixed beginning of a path such as /ws_proxy, found "${prefix}"`);
    }
    return prefix;
  }

  #origins(): string | undefined {
    const origins = this.options["allowedOrigins"];
    if (origins === undefined || origins === "any" || origins === "same-host") return origins;
    const isList = Array.isArray(origins) && origins.length > 0 && origins.every((origin) => /^https?:\/\/[^,]+$/.test(String(origin)));
    return isList ? origins.join(",") : this.#mistaken("allowedOrigins", "\"any\", \"same-host\", or a list of origins such as [\"https://host\"]", origins);
  }

  #algorithms(): readonly HmacAlgorithm[] | undefined {
    const names = this.options["algorithms"];
    if (names === undefined) return undefined;
    const isList = Array.isArray(names) && names.length > 0 && names.every((name) => ALGORITHMS.includes(name as HmacAlgorithm));
    return isList ? [...names as HmacAlgorithm[]] : this.#mistaken("algorithms", `a list of ${ALGORITHMS.join(", ")}`, names);
  }

  #text(name: Name, isRequired: boolean): string | undefined {
    const value = this.options[name];
    if (value === undefined && !isRequired) return undefined;
    if (typeof value === "string" && value !== "") return value;
    return this.#mistaken(name, TEXTS[name] ?? "a file name", value);
  }

  #boolean(name: Name, isRequired: boolean): boolean | undefined {
    const value = this.options[name];
    if (typeof value === "boolean" || (value === undefined && !isRequired)) return value;
    return this.#mistaken(name, "true or false", value);
  }

  #word(name: Name, words: readonly string[]): string | undefined {
    const value = this.options[name];
    if (value === undefined || words.includes(value as string)) return value as string | undefined;
    const expected = words.map((word) => `"${word}"`).join(" or ");
    if (typeof value !== "string") return this.#mistaken(name, expected, value);
    this.mistakes.push(`${name}: expected ${expected}, found "${value}"${suggestion(value, words)}`);
    return undefined;
  }

  #parsed<T>(name: Name, parse: () => T): T | undefined {
    try {
      return parse();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.mistakes.push(`${name}: ${error.message}`);
      return undefined;
    }
  }

  #mistaken(name: Name, expected: string, value: unknown): undefined {
    this.mistakes.push(`${name}: expected ${expected}, found ${kindOf(value)}`);
  }
}

function mismatch(api: ApiUrl, url: string, localDevMode: unknown): string | null {
  if (localDevMode === true && api.isSecure) {
    return `remoteUrl: localDevMode: true means plain ws without credentials, found "${url}" (write ws://, or localDevMode: false)`;
  }
  if (localDevMode !== false || api.isSecure) return null;
  return `remoteUrl: credentials are never sent over plain ws, found "${url}" (write wss://, or localDevMode: true)`;
}

/** For messages that must not say what it is. */
export function kindOf(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (value === "") return "an empty text";
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list with something else in it";
  return typeof value === "object" ? "an object" : typeof value === "string" ? "a text" : `a ${typeof value}`;
}

/** What is left for the configuration to find wrong is named by its variable there. */
function inOptions(message: string): string {
  const [, variable, rest = ""] = /^environment variable (\w+): (.*)$/s.exec(message) ?? [];
  const name = NAMES.find((name) => VARIABLES[name] === variable);
  return variable === undefined || name === undefined ? message : `${name}: ${rest}`;
}

function refused(mistakes: readonly string[]): TypeError {
  return new TypeError(mistakes.map((mistake) => `cannot create a WebsocketProxy: ${mistake}`).join("\n"));
}
