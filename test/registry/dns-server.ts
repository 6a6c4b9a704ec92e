// A DNS server with the records that a test gives it, on a socket of its own. It answers as a recursive server does: with
// a CNAME comes what it leads to.

import packet from "dns-packet";

export type Records = Readonly<Record<string, ReadonlyArray<{ readonly type: "A" | "AAAA" | "CNAME"; readonly data: string; /** s; 60 unless told */ readonly ttl?: number }>>>;
/** Of names that fail: with a code, or by silence. */
export type Failures = Readonly<Record<string, "SERVFAIL" | "REFUSED" | "silence">>;

export class DnsServer {
  readonly asked: string[] = [];

  private constructor(private readonly socket: { readonly port: number; close(): void }) {}

  static async start(records: Records, failures: Failures = {}): Promise<DnsServer> {
    let server: DnsServer | null = null;
    const socket = await Bun.udpSocket({
      hostname: "127.0.0.1",
      socket: {
        data(socket, data, port, address) {
          const query = packet.decode(data);
          const question = query.questions?.[0];
          if (question === undefined) return;
          server?.asked.push(`${question.type} ${question.name}`);
          const reply = answer(query, question, records, failures);
          if (reply !== null) socket.send(reply, port, address);
        },
      },
    });
    server = new DnsServer(socket);
    return server;
  }

  get address(): string {
    return `127.0.0.1:${this.socket.port}`;
  }

  stop(): void {
    this.socket.close();
  }
}

const CODES = { NOERROR: 0, SERVFAIL: 2, NXDOMAIN: 3, REFUSED: 5 } as const;

function answer(query: packet.Packet, question: packet.Question, records: Records, failures: Failures): Buffer | null {
  const name = question.name.toLowerCase();
  const failure = failures[`${question.type} ${name}`] ?? failures[name];
  if (failure === "silence") return null;
  const code = failure ?? (records[name] === undefined ? "NXDOMAIN" : "NOERROR");
  const answers = failure === undefined ? follow(name, question.type, records) : [];
  return packet.encode({ type: "response", id: query.id ?? 0, flags: packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE | CODES[code], questions: [question], answers });
}

function follow(name: string, type: string, records: Records): packet.StringAnswer[] {
  return (records[name] ?? []).flatMap((record) => {
    const answer: packet.StringAnswer = { name, type: record.type, ttl: record.ttl ?? 60, data: record.data };
    if (record.type === "CNAME") return [answer, ...follow(record.data, type, records)];
    return record.type === type ? [answer] : [];
  });
}
