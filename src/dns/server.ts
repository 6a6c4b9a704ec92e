// The gateway's own DNS server: authoritative for `_acme-challenge.<domain>` and for nothing else, on UDP and TCP of one port, so
// that a DNS-01 challenge needs no DNS provider (the operator delegates that one name to us). answer.ts says what is said;
// here is who is told, and how often.
//
// On a machine with several addresses, name the one that the delegation points to: from a socket that is bound to all of them
// the kernel may answer with another, which resolvers drop.

import type { udp } from "bun";
import { isIP } from "node:net";
import { parseHost } from "../lib/host.ts";
import { plainAddress } from "../lib/address.ts";
import { answer } from "./answer.ts";
import { Challenges } from "./challenges.ts";
import { RateLimit } from "./rate-limit.ts";
import { TcpListener } from "./tcp.ts";
import type { Zone } from "./zone.ts";

/** A CA asks a dozen questions from each of a few places; a dozen domains at once are still far below. */
const UDP_LIMIT = { perSecond: 20, burst: 40, networksLimit: 10_000 };
/** A source address that can be trusted, but not more of our time than this. */
const TCP_LIMIT = { perSecond: 100, burst: 200, networksLimit: 1000 };
/** Port 0: the kernel chooses for UDP, and another program may have the same number for TCP. */
const PORT_ATTEMPTS = 20;

export type DnsServerOptions = {
  /** An address; empty: all of both families. */
  readonly host: string;
  /** 0: one that is free for both. */
  readonly port: number;
  /** `_acme-challenge.<domain>` */
  readonly zone: string;
  /** The host name that the delegation names. */
  readonly nameserver: string;
  /** As long as `nameIssuers` says nothing else. */
  readonly caaIssuers: readonly string[];
  /** The name server's, IP literals; told only when its name lies in the zone. */
  readonly addresses: readonly string[];
  /** Monotonic ms, for rates and deadlines. */
  readonly now?: () => number;
  /** Unix time in ms, for the serial number. */
  readonly clock?: () => number;
};

type Listeners = { readonly udp: udp.Socket<"buffer">; readonly tcp: TcpListener };

export class DnsServer {
  readonly #options: DnsServerOptions;
  readonly #zone: Omit<Zone, "values" | "serial" | "caaIssuers">;
  readonly #challenges: Challenges;
  readonly #udpLimit: RateLimit;
  readonly #tcpLimit: RateLimit;
  #caaIssuers: readonly string[];
  #listeners: Listeners | null = null;

  /** @throws Error when a name or an address is none */
  constructor(options: DnsServerOptions) {
    this.#options = options;
    this.#zone = {
      name: domainName("zone", options.zone), nameserver: domainName("name server", options.nameserver),
      addresses: options.addresses.map(ipAddress),
    };
    this.#caaIssuers = caaIssuers(options.caaIssuers);
    const { now = () => performance.now(), clock = Date.now } = options;
    this.#challenges = new Challenges(clock);
    this.#udpLimit = new RateLimit({ ...UDP_LIMIT, now });
    this.#tcpLimit = new RateLimit({ ...TCP_LIMIT, now });
  }

  /** @throws Error that names the address and says what to do */
  async start(): Promise<{ port: number }> {
    const { host, port } = this.#options;
    try {
      this.#listeners = host === "" ? await this.#listenOnAll() : await this.#listenOn(host);
    } catch (error) {
      throw new Error(`cannot listen on ${host === "" ? "*" : host}:${port} for DNS: ${hint(error, host)}`, { cause: error });
    }
    return { port: this.#listeners.tcp.port };
  }

  /**
   * Answers with `value` from now on, also when it was there.
   * @throws Error when the value cannot be a TXT string, or there are 100 others
   */
  present(value: string): void {
    this.#challenges.present(value);
  }

  /** Takes one present() back. */
  cleanup(value: string): void {
    this.#challenges.cleanup(value);
  }

  /**
   * What the CA is called in CAA records, in place of what was said before; none: no such record.
   * @throws Error when one of them is no domain name
   */
  nameIssuers(names: readonly string[]): void {
    this.#caaIssuers = caaIssuers(names);
  }

  stop(): void {
    this.#listeners?.udp.close();
    this.#listeners?.tcp.stop();
    this.#listeners = null;
  }

  async #listenOnAll(): Promise<Listeners> {
    try {
      return await this.#listenOn("::");
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // Anything else is a machine without IPv6.
      if (code === "EADDRINUSE" || code === "EACCES") throw error;
      return await this.#listenOn("0.0.0.0");
    }
  }

  async #listenOn(host: string): Promise<Listeners> {
    for (let attempt = 1; ; attempt += 1) {
      const udp = await Bun.udpSocket({ hostname: host, port: this.#options.port, socket: this.#udpHandler() });
      try {
        return { udp, tcp: new TcpListener({ host, port: udp.port, answer: (message, client) => this.#answerTcp(message, client), now: this.#options.now }) };
      } catch (error) {
        udp.close();
        const isTaken = (error as NodeJS.ErrnoException).code === "EADDRINUSE";
        if (!isTaken || this.#options.port !== 0 || attempt === PORT_ATTEMPTS) throw error;
      }
    }
  }

  #udpHandler(): udp.SocketHandler<"buffer"> {
    return {
      data: (socket, message, port, address) => {
        const reply = this.#answerUdp(message, plainAddress(address));
        if (reply !== null) send(socket, reply, port, address);
      },
      // Bun 1.4.5 reports every client that has gone (ICMP unreachable) as an error of the socket, which lives on; without a handler
      // it would be an uncaught one.
      error: () => {},
    };
  }

  #answerUdp(message: Buffer, client: string): Buffer | null {
    const verdict = this.#udpLimit.take(client);
    if (verdict === "drop") return null;
    return answer(message, this.#state(), verdict === "answer" ? "udp" : "udp-limited");
  }

  #answerTcp(message: Buffer, client: string): Buffer | null {
    return this.#tcpLimit.take(client) === "answer" ? answer(message, this.#state(), "tcp") : null;
  }

  #state(): Zone {
    return { ...this.#zone, caaIssuers: this.#caaIssuers, values: this.#challenges.values, serial: this.#challenges.serial };
  }
}

/** One datagram, or none: the client asks again when it is lost. False from `send`, a full socket buffer, is such a loss. */
function send(socket: udp.Socket<"buffer">, reply: Buffer, port: number, address: string): void {
  try {
    socket.send(reply, port, address);
  } catch {
    // Perhaps the kernel reports here that an earlier client has gone (ICMP unreachable): then this datagram was not sent, and the
    // next try goes out. Without it, whoever leaves at once takes somebody else's answer along.
    sendAgain(socket, reply, port, address);
  }
}

function sendAgain(socket: udp.Socket<"buffer">, reply: Buffer, port: number, address: string): void {
  try {
    socket.send(reply, port, address);
  } catch {
    // Port 0, a broadcast address, no route: a source that was forged, nobody waits there.
  }
}

function caaIssuers(names: readonly string[]): readonly string[] {
  return names.map((name) => domainName("CAA issuer", name));
}

function domainName(what: string, text: string): string {
  const host = parseHost(text);
  if (host === null || host.kind !== "name") throw new Error(`cannot serve DNS: the ${what} is not a domain name: ${JSON.stringify(text)}`);
  return host.host;
}

function ipAddress(text: string): string {
  if (isIP(text) === 0 || text.includes("%")) throw new Error(`cannot serve DNS: not an IP address: ${JSON.stringify(text)}`);
  return text;
}

function hint(error: unknown, host: string): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "EADDRINUSE") return "the address is in use (another DNS server, such as systemd-resolved or dnsmasq? name one address instead of all of them, or stop it)";
  if (code === "EACCES" || code === "EPERM") return "not permitted (ports below 1024 need CAP_NET_BIND_SERVICE or root)";
  if (code === "EADDRNOTAVAIL") return "no such address on this machine";
  if (isIP(host) === 0 && host !== "") return "not an address of this machine";
  return message;
}
