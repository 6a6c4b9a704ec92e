// A connection to a target: plain TCP, TLS, or a Unix socket. The invariant: whoever gets a TLS connection from here may write
// to it, because its certificate was found good. Bun opens a TLS socket before the handshake, and would send what is written
// then to whoever answers.
// Bun keeps one TLS context for equal settings by itself, for as long as it is in use: a connection with a CA file of 145
// certificates costs 0.1 ms more than one with a single certificate (measured), so nothing is kept here. Sessions are not
// resumed: connections are kept instead.

import { isIP } from "node:net";
import { checkServerIdentity } from "node:tls";
import type { Socket, SocketHandler } from "bun";
import { hasFreeDescriptor, TooManyFilesError } from "../lib/descriptors.ts";
import type { TargetTls } from "../target.ts";
import type { Dial } from "./dial.ts";
import { ConnectError } from "./exchange.ts";

export type ConnectAddress = {
  readonly address: string;
  readonly port: number;
  /** Absent and null: plain. */
  readonly tls?: TargetTls | null;
  /** A Unix socket in place of address and port; absent and null: there is none. */
  readonly socketPath?: string | null;
};

/**
 * Connections of equal keys serve each other's requests; over TLS only where they were checked by the same rules.
 * @field trust tells sets of rules apart; "" or absent: there is one
 */
export type PooledAddress = ConnectAddress & { readonly key: string; readonly trust?: string };

/** RFC 7301 section 3.1, as it goes over the wire: HTTP/1.1 is all that is spoken to upstreams. */
const ALPN = Buffer.from("\x08http/1.1", "latin1");

/**
 * Connects, once.
 * @param data what `handlers` find at their socket. Of one that `dial` was not settled with they hear the end at most, and nothing before a good certificate
 * @param dial is settled with the connection, with TooManyFilesError when we have no descriptor for it, or with ConnectError: the system's or the TLS library's own error with its
 *   `code` is the cause (ECONNREFUSED, ENOENT, ENOTFOUND, UNABLE_TO_VERIFY_LEAF_SIGNATURE, ERR_TLS_CERT_ALTNAME_INVALID)
 */
export function connect<S>(to: ConnectAddress, data: S, handlers: SocketHandler<S>, dial: Dial<S>): void {
  const opened = (socket: Socket<S>): void => { if (!dial.settle(null, socket)) socket.terminate(); };
  const failed = (error: Error): void => { dial.settle(new ConnectError("cannot connect", { cause: inWords(error) })); };
  const { tls, socketPath } = to;
  // Bun.connect throws some of its errors at once: a CA that is no certificate, for one.
  Promise.try((): Promise<unknown> => {
    const options = tls
      ? { data, tls: tlsSettings(to, tls), socket: secured(to, tls, handlers, dial, opened, failed) }
      : { data, socket: { ...handlers, open: opened } };
    if (socketPath) return Bun.connect<S>({ unix: socketPath, ...options });
    return Bun.connect<S>({ hostname: to.address, port: to.port, ...options });
  }).catch((error: Error) => dial.settle(connectFailure(error)));
}

/** What a failure to connect says, and of whom: of us, when we have no descriptor for it. */
export function connectFailure(error: Error): ConnectError | TooManyFilesError {
  return hasFreeDescriptor() ? new ConnectError("cannot connect", { cause: inWords(error) }) : new TooManyFilesError("cannot connect: too many open files");
}

/** Handlers that let nothing through before the handshake's end. */
function secured<S>(to: ConnectAddress, tls: TargetTls, handlers: SocketHandler<S>, dial: Dial<S>,
  opened: (socket: Socket<S>) => void, failed: (error: Error) => void): SocketHandler<S> {
  let isTrusted = false;
  return {
    ...handlers,
    open: (socket) => dial.hold(socket),
    handshake: (socket, isAccepted, problem) => {
      const refusal = refusalOf(socket, to, tls, isAccepted, problem);
      if (refusal !== null) return failed(refusal);
      isTrusted = true;
      opened(socket);
    },
    error: (socket, error) => isTrusted ? handlers.error?.(socket, error) : failed(error),
    close: (socket, error) => isTrusted ? handlers.close?.(socket, error) : failed(error ?? new Error("closed during the TLS handshake")),
  };
}

/** Of an answer that is no TLS at all, the TLS library says that it has the wrong version. */
function inWords(error: Error): Error {
  if (!error.message.includes("WRONG_VERSION_NUMBER")) return error;
  return Object.assign(new Error("what answers does not speak TLS (is it plain HTTP?)"), { code: (error as NodeJS.ErrnoException).code });
}

function tlsSettings(to: ConnectAddress, { ca, serverName, skipsVerify }: TargetTls): Bun.TLSOptions {
  return {
    ...(ca === null ? {} : { ca }),
    // RFC 6066 section 3: literal addresses are not permitted as a server name. Bun sends what it is given, and nothing for "".
    serverName: isIP(serverName) === 0 ? serverName : "",
    rejectUnauthorized: !skipsVerify && !isElsewhere(to, serverName),
    ALPNProtocols: ALPN,
  };
}

/** A server known by another address than the one that is dialled: Bun, which is given no name then, would check for the latter. */
function isElsewhere({ address, socketPath }: ConnectAddress, serverName: string): boolean {
  return isIP(serverName) !== 0 && (Boolean(socketPath) || serverName !== address);
}

/** Why nothing may be written to this connection; null: it is good. */
function refusalOf<S>(socket: Socket<S>, to: ConnectAddress, { serverName, skipsVerify }: TargetTls, isAccepted: boolean, problem: Error | null): Error | null {
  const refusal = problem ?? new Error("TLS handshake failed");
  if (!skipsVerify && !isElsewhere(to, serverName)) return isAccepted && socket.authorized ? null : refusal;
  const certificate = socket.getPeerCertificate();
  // The handshake broke: there is nobody to be lenient with. This is EPROTO (whoever answers does not speak TLS) or ECONNRESET.
  if (!certificate?.raw) return refusal;
  if (skipsVerify) return null;
  // Not `isAccepted`: told not to reject, Bun accepts every chain whose certificate has the right name. What is wrong with the
  // chain is told before what is wrong with the name.
  if (!socket.authorized && (problem as NodeJS.ErrnoException | null)?.code !== "ERR_TLS_CERT_ALTNAME_INVALID") return refusal;
  return checkServerIdentity(serverName, certificate) ?? null;
}
