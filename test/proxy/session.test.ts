// The end of a session whose client is slow, which takes too long for a test with real sockets: Bun cuts a session about
// four seconds after close(), whatever still waits.

import { describe, expect, test } from "bun:test";
import type { ServerWebSocket } from "bun";
import { Session, type SessionEnd } from "../../src/proxy/session.ts";
import type { UpstreamWebSocket } from "../../src/upstream/websocket.ts";

const SETTINGS = { pingIntervalMs: 1000, missedPongs: 2, messageLimitBytes: 1000 };

/** Both legs as lists of what was asked of them; `buffered` is what waits for the client. */
function legs(): { said: string[]; client: { buffered: number }; ends: SessionEnd[]; session: Session; ws: ServerWebSocket<Session> } {
  const said: string[] = [];
  const ends: SessionEnd[] = [];
  const client = { buffered: 0 };
  const note = (text: string) => (): number => said.push(text);
  const ws = {
    close: (code: number) => said.push(`client close ${code}`), terminate: note("client cut"), ping: note("client ping"),
    pause: note("client paused"), resume: note("client resumed"), getBufferedAmount: () => client.buffered,
    sendText: () => (client.buffered > 0 ? -1 : 1), sendBinary: () => (client.buffered > 0 ? -1 : 1),
  } as unknown as ServerWebSocket<Session>;
  const upstream = {
    attach: () => {}, end: note("upstream end"), sendClose: (code: number) => said.push(`upstream close ${code}`), sendPing: note("upstream ping"),
    showedLife: () => false, pause: note("upstream paused"), resume: note("upstream resumed"), send: () => 0, sendPong: () => {},
  } as unknown as UpstreamWebSocket;
  const session = new Session(upstream, false, 0, (_session, end) => ends.push(end));
  session.opened(ws);
  return { said, client, ends, session, ws };
}

describe("a session whose upstream takes its leave while much waits for the client", () => {
  test("closes the client only when it has taken everything", () => {
    const { said, client, ends, session, ws } = legs();
    client.buffered = 1000;
    session.close(4000, "bye");
    expect(said).toEqual(["upstream close 4000", "upstream end"]);
    client.buffered = 10;
    session.clientDrained(ws);
    expect(ends).toEqual([]);
    client.buffered = 0;
    session.clientDrained(ws);
    expect(said.at(-1)).toBe("client close 4000");
    expect(ends).toMatchObject([{ code: 4000 }]);
  });

  test("cuts a client that takes nothing for two beats", () => {
    const { said, client, ends, session, ws } = legs();
    client.buffered = 1000;
    session.gone(null);
    for (let i = 0; i < 2; i += 1) session.beat(SETTINGS, performance.now());
    session.clientDrained(ws);
    for (let i = 0; i < 2; i += 1) session.beat(SETTINGS, performance.now());
    expect(ends).toEqual([]);
    session.beat(SETTINGS, performance.now());
    expect(said.at(-1)).toBe("client cut");
    expect(ends.length).toBe(1);
  });

  test("cuts a client that takes nothing after its upstream fell silent", () => {
    const { said, client, ends, session, ws } = legs();
    for (let i = 0; i < 3; i += 1) { session.clientAlive(); client.buffered = i === 2 ? 1000 : 0; session.beat(SETTINGS, performance.now()); }
    expect(said.slice(-2)).toEqual(["upstream close 1001", "upstream end"]);
    for (let i = 0; i < 3; i += 1) session.beat(SETTINGS, performance.now());
    expect(said.at(-1)).toBe("client cut");
    expect(ends.length).toBe(1);
    session.clientDrained(ws);
    expect(ends.length).toBe(1);
  });

  test("hands on nothing that comes after the upstream's close frame", () => {
    const { said, client, session } = legs();
    client.buffered = 1000;
    session.close(1000, "");
    const before = session.bytesOut;
    session.message(Buffer.from("late"), true);
    session.close(4001, "again");
    session.ping(Buffer.alloc(0));
    expect(session.bytesOut).toBe(before);
    expect(said).toEqual(["upstream close 1000", "upstream end"]);
  });

  test("ends when the client leaves instead, and when the program stops", () => {
    const left = legs();
    left.client.buffered = 1000;
    left.session.gone(null);
    left.session.clientClosed(1006, "");
    expect(left.ends.length).toBe(1);
    const stopped = legs();
    stopped.client.buffered = 1000;
    stopped.session.gone(null);
    stopped.session.shut(1012, "service restart");
    expect(stopped.said.at(-1)).toBe("client close 1012");
    expect(stopped.ends.length).toBe(1);
  });
});
