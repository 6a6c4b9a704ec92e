// The address of the message broker, as `--broker` gives it: unix:///var/run/redis.sock, tcp://host:port; a password as
// tcp://:password@host:port, tcp://password@host:port (the original's way) or with a user, tcp://user:password@host:port.

export type Broker = {
  readonly at: { readonly unix: string } | { readonly hostname: string; readonly port: number };
  /** null: Redis' default user. */
  readonly user: string | null;
  readonly password: string | null;
  /** For the log: without the password. */
  readonly name: string;
};

const DEFAULT_PORT = 6379;

/** @throws Error without the password in it */
export function parseBroker(url: string): Broker {
  const match = /^(?<scheme>[a-z+]+):\/\/(?:(?<login>[^/]*)@)?(?<rest>.*)$/i.exec(url);
  if (match?.groups === undefined) throw refused("it is no URL");
  const { scheme = "", login, rest = "" } = match.groups;
  const credentials = readLogin(login);
  switch (scheme.toLowerCase()) {
    case "unix":
      if (!rest.startsWith("/")) throw refused("the path of its socket must be absolute");
      return { at: { unix: decoded(rest) }, ...credentials, name: `unix://${rest}` };
    case "tcp": return { at: hostAndPort(rest), ...credentials, name: `tcp://${rest}` };
    default: throw refused(`unknown scheme "${scheme}"`);
  }
}

function readLogin(login: string | undefined): { user: string | null; password: string | null } {
  if (login === undefined || login === "") return { user: null, password: null };
  const colon = login.indexOf(":");
  if (colon < 0) return { user: null, password: decoded(login) };
  const password = decoded(login.slice(colon + 1));
  if (password === "") throw refused("it has a user and no password");
  return { user: colon === 0 ? null : decoded(login.slice(0, colon)), password };
}

function hostAndPort(text: string): { hostname: string; port: number } {
  const match = /^(?:\[(?<six>[0-9a-f:.]+)\]|(?<host>[a-z0-9._-]+))(?::(?<port>\d{1,5}))?\/?$/i.exec(text);
  const hostname = match?.groups?.six ?? match?.groups?.host;
  const port = Number(match?.groups?.port ?? DEFAULT_PORT);
  if (hostname === undefined) throw refused("it must end with host:port");
  if (port < 1 || port > 65535) throw refused(`there is no port ${port}`);
  return { hostname, port };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // A lone "%": what else than a URIError is there to say about it.
    throw refused("a % in it must be followed by two hexadecimal digits");
  }
}

function refused(reason: string): Error {
  return new Error(`cannot use the broker's address: ${reason} (expected unix:///path or tcp://[:password@]host:port)`);
}
