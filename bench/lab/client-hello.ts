// The first bytes of a real TLS client, recorded: proxies of whole connections look at nothing else, so the rest of a measured
// connection may be anything, and costs its two ends no cryptography.

import { connect } from "node:tls";

/** A whole ClientHello for this server name, base64. */
export async function recordClientHello(serverName: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const listener = Bun.listen({
    hostname: "127.0.0.1", port: 0,
    socket: { data: (socket, bytes) => { resolve(bytes.toString("base64")); socket.terminate(); } },
  });
  const client = connect({ host: "127.0.0.1", port: listener.port, servername: serverName });
  // Cut off as soon as it has said its first word.
  client.on("error", (error) => reject(error));
  try {
    return await promise;
  } finally {
    client.destroy();
    listener.stop(true);
  }
}
