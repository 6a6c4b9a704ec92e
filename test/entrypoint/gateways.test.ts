// Gateways over plain HTTP and TLS, as a client and their backends see them: redirects, challenges, and one backend standing in for
// another that cannot be connected to.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { HAS_OPENSSL } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { ask, head } from "../support/http.ts";
import { Pod } from "../support/pod.ts";
import { RawClient } from "../support/raw.ts";
import { TlsGateway } from "../support/tls-front.ts";
import { OP, WsClient } from "../support/ws-client.ts";

const DEAD = { address: "127.0.1.34", port: 1 };

describe.skipIf(!HAS_OPENSSL)("a gateway", () => {
  let gateway: TlsGateway;
  let pod: Pod;
  let one: { address: string; port: number };
  let two: { address: string; port: number };

  beforeEach(() => {
    pod = new Pod("127.0.1.34", ["one", "two"]);
    one = { address: "127.0.1.34", port: pod.port("one") };
    two = { address: "127.0.1.34", port: pod.port("two") };
  });
  afterEach(async () => {
    await gateway.stop();
    pod.stop();
  });

  const start = (redirectPort: number | null): number => {
    gateway = new TlsGateway({ redirectPort });
    return gateway.http.port;
  };

  describe("on the plain address", () => {
    test("sends its clients to https, path and query with them", async () => {
      const port = start(443);
      gateway.register("a.test", [one]);
      const answer = await ask(port, head("GET", "/x//y?z=1&u=http://b", ["Host: a.test:80"]));
      expect([answer.status, answer.one("location")]).toEqual([308, "https://a.test/x//y?z=1&u=http://b"]);
      expect((await ask(port, head("POST", "/", ["Host: A.TEST.", "Content-Length: 0"]))).one("location")).toBe("https://a.test/");
      expect(pod.seen).toEqual([]);
    });

    test("names the port of https when it is not 443", async () => {
      const port = start(8443);
      gateway.certify("own.test");
      expect((await ask(port, head("GET", "/x", ["Host: own.test:8080"]))).one("location")).toBe("https://own.test:8443/x");
    });

    test("makes nobody point at a host that is not ours", async () => {
      const port = start(443);
      gateway.register("a.test", [one]);
      const strange: ReadonlyArray<readonly [target: string, host: string]> = [
        ["/", "evil.example"], ["/", "a.test@evil.example"], ["/", "evil.example/a.test"], ["/", "a.test, evil.example"], ["/", "a.test.evil.example"],
        ["http://evil.example/", "evil.example"], ["/", "a.test%0d%0aLocation:x"], ["/", "//evil.example"], ["/", "a.test:80@evil.example"], ["/", ""],
      ];
      for (const [target, host] of strange) {
        const answer = await ask(port, head("GET", target, [`Host: ${host}`]));
        expect([host, answer.one("location")]).toEqual([host, null]);
        expect([400, 404]).toContain(answer.status);
      }
    });

    test("keeps tricks in the path where they are: behind our own host", async () => {
      const port = start(443);
      gateway.register("a.test", [one]);
      for (const target of ["//evil.example/", "/\\evil.example", "/%0d%0aLocation:%20x", "/@evil.example", "http://evil.example//x"]) {
        const answer = await ask(port, head("GET", target, ["Host: a.test"]));
        expect(answer.one("location") ?? "").toStartWith("https://a.test/");
        expect(answer.all("location").length).toBe(1);
      }
    });

    test("answers a running challenge, which is not redirected; TLS does not", async () => {
      const port = start(443);
      gateway.register("a.test", [one]);
      gateway.certify("a.test");
      gateway.challenges.set("tok_en-1", "tok_en-1.thumbprint");
      const path = "/.well-known/acme-challenge/tok_en-1";
      const answer = await ask(port, head("GET", path, ["Host: a.test"]));
      expect([answer.status, answer.body, answer.one("content-type")]).toEqual([200, "tok_en-1.thumbprint", "text/plain"]);
      expect((await ask(port, head("GET", "/.well-known/acme-challenge/other", ["Host: a.test"]))).status).toBe(308);
      const socket = await gateway.connect("a.test");
      socket.write(head("GET", path, ["Host: a.test"]));
      await eventually("the workload to be asked", () => pod.seen.map(({ target }) => target), (targets) => targets.includes(path));
      socket.destroy();
    });
  });

  describe("with a backend that is down", () => {
    test("answers a GET from the next one, and asks the first one last for a while", async () => {
      const port = start(null);
      gateway.register("a.test", [DEAD, one, two]);
      for (let index = 0; index < 4; index += 1) expect((await ask(port, head("GET", "/", ["Host: a.test"]))).status).toBe(200);
      expect(new Set(pod.seen.map((seen) => seen.port))).toEqual(new Set(["one", "two"]));
      expect(gateway.lines.every(({ target }) => target !== `${DEAD.address}:${DEAD.port}`)).toBe(true);
    });

    test("gives it its turns back when its time is over", async () => {
      const port = start(null);
      gateway.register("a.test", [DEAD, one]);
      await ask(port, head("GET", "/", ["Host: a.test"]));
      const { service } = gateway.routes.match("a.test")!.route;
      if (service.kind !== "gateway") throw new Error("not a gateway");
      const first = (): number | undefined => gateway.routes.targets(service)[0]?.port;
      expect([first(), first()]).toEqual([one.port, one.port]);
      gateway.skewMs = 10_000;
      expect(new Set([first(), first()])).toEqual(new Set([one.port, DEAD.port]));
    });

    test("brings a POST to the next one whole, sized, chunked and large, once", async () => {
      const port = start(null);
      const large = "x".repeat(300_000);
      for (const [index, [lines, body, size]] of ([
        [["Content-Length: 5"], "hello", 5], [["Transfer-Encoding: chunked"], "5\r\nhello\r\n0\r\n\r\n", 5], [[`Content-Length: ${large.length}`], large, large.length],
      ] as const).entries()) {
        gateway.register(`n${index}.test`, [{ ...DEAD, port: 2 + index }, one]);
        pod.seen.length = 0;
        const answer = await ask(port, head("POST", "/", [`Host: n${index}.test`, ...lines]) + body);
        expect(answer.status).toBe(200);
        expect(pod.seen.map((seen) => seen.body.length)).toEqual([size]);
      }
    });

    test("brings a WebSocket to the next one", async () => {
      const port = start(null);
      gateway.register("a.test", [DEAD, one]);
      const client = await WsClient.open(port, "/ws", { headers: { Host: "a.test" } });
      client.send(OP.text, "hello");
      await client.until(() => client.messages.length === 1);
      expect(client.messages[0]?.data.toString()).toBe("hello");
      client.close();
    });

    test("and no other one is a 502 with one line", async () => {
      const port = start(null);
      gateway.register("a.test", [DEAD, { ...DEAD, port: 2 }]);
      expect((await ask(port, head("GET", "/", ["Host: a.test"]))).status).toBe(502);
      expect(gateway.lines.filter(({ message }) => message === "access")).toMatchObject([{ status: 502, service: "service-a.test" }]);
      const refused = await WsClient.try(port, "/ws", { headers: { Host: "a.test" } });
      expect(refused.status).toBe(502);
      refused.close();
    });
  });

  describe("with a backend that breaks", () => {
    test("before it answers does not send a request twice: it may have been acted upon", async () => {
      const port = start(null);
      gateway.register("a.test", [one, two]);
      pod.answer((_seen, connection) => connection.cut());
      for (const method of ["GET", "POST"]) {
        pod.seen.length = 0;
        expect((await ask(port, head(method, "/", ["Host: a.test", "Content-Length: 0"]))).status).toBe(502);
        expect(pod.seen.length).toBe(1);
      }
      expect(gateway.routes.targets(gateway.routes.match("a.test")!.route.service as never).length).toBe(2);
    });

    test("in the middle of its answer is a cut answer, not another one behind it", async () => {
      const port = start(null);
      gateway.register("a.test", [one, two]);
      pod.answer((_seen, connection) => {
        connection.write("HTTP/1.1 200 OK\r\n\r\nhalf");
        connection.flush();
        setTimeout(() => connection.cut(), 50);
      });
      const client = await RawClient.open(port);
      client.write(head("GET", "/", ["Host: a.test"]));
      await client.until(() => client.isClosed);
      expect(client.text).toContain("half");
      expect(client.text).not.toContain("\r\n0\r\n\r\n");
      expect(pod.seen.length).toBe(1);
    });

    test("refuses an upgrade is the client's answer: the next one is not asked", async () => {
      const port = start(null);
      gateway.register("a.test", [one, two]);
      pod.answer((_seen, connection) => connection.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"));
      const client = await WsClient.try(port, "/ws", { headers: { Host: "a.test" } });
      expect(client.status).toBe(403);
      expect(pod.seen.length).toBe(1);
      client.close();
    });
  });

  test("is found by host with port, trailing dot and capitals; others get the table", async () => {
    const port = start(null);
    gateway.register("a.test", [one]);
    for (const host of ["a.test", "A.TEST:8080", "a.test."]) expect((await ask(port, head("GET", "/table", [`Host: ${host}`]))).body).toContain("\"port\":\"one\"");
    expect((await ask(port, head("GET", "/table", ["Host: b.test"]))).body).toBe("the table\n");
    expect((await ask(port, head("GET", "/", ["Host: b.test"]))).status).toBe(404);
  });

  test("that is passed through is nothing that plain HTTP reaches", async () => {
    const port = start(null);
    gateway.register("pass.test", [one], true);
    expect((await ask(port, head("GET", "/", ["Host: pass.test"]))).status).toBe(404);
    expect(pod.accepted).toBe(0);
  });
});
