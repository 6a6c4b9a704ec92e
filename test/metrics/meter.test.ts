import { describe, expect, test } from "bun:test";
import type { Labels } from "../../src/metrics/labels.ts";
import { Meter } from "../../src/metrics/meter.ts";

const GET: Labels = { code: "200", method: "GET", protocol: "http" };
const TCP: Labels = { code: "0", method: "", protocol: "tcp" };

/** What a scrape would show, as `protocol code method in out`. */
function shown(meter: Meter, service: string): string[] {
  return meter.read().filter((reading) => reading.service === service)
    .map(({ labels, bytesIn, bytesOut }) => `${labels.protocol} ${labels.code} ${labels.method} ${bytesIn} ${bytesOut}`);
}

function scrape(meter: Meter): void {
  meter.scraped(meter.read());
}

describe("meter", () => {
  test("counts each combination of labels by itself and sums them by service", () => {
    const meter = new Meter();
    meter.moved("a", GET, 1, 10);
    meter.moved("a", GET, 2, 20);
    meter.moved("a", { ...GET, code: "404" }, 4, 40);
    meter.moved("a", { ...GET, method: "POST" }, 8, 80);
    meter.moved("a", { ...GET, protocol: "websocket" }, 16, 160);
    meter.moved("b", TCP, 32, 320);
    expect(shown(meter, "a").sort()).toEqual(["http 200 GET 3 30", "http 200 POST 8 80", "http 404 GET 4 40", "websocket 200 GET 16 160"]);
    expect(meter.totals()).toEqual({ Request: { a: 31, b: 32 }, Response: { a: 310, b: 320 } });
  });

  test("counts into the same series by call and by counter", () => {
    const meter = new Meter();
    const counter = meter.counter("a", GET);
    counter.in(5);
    meter.moved("a", GET, 1, 1);
    counter.out(7);
    expect(shown(meter, "a")).toEqual(["http 200 GET 6 8"]);
  });

  test("shows a service that was only opened with nothing", () => {
    const meter = new Meter();
    meter.counter("a", TCP);
    expect(meter.totals()).toEqual({ Request: { a: 0 }, Response: { a: 0 } });
  });

  test("stays exact for a petabyte and a byte", () => {
    const meter = new Meter();
    meter.moved("a", GET, 2 ** 50, 2 ** 50);
    meter.moved("a", GET, 1, 0);
    expect(meter.totals().Request).toEqual({ a: 1_125_899_906_842_625 });
  });

  test.each(["__proto__", "constructor", "toString", ""])("takes %p for a service's name like any other", (service) => {
    const meter = new Meter();
    meter.moved(service, GET, 1, 2);
    expect(Object.entries(meter.totals().Request)).toEqual([[service, 1]]);
    expect(Object.entries(meter.totals().Response)).toEqual([[service, 2]]);
  });
});

describe("meter's bounds", () => {
  test.each([
    ["BREW", "200", "http 200 OTHER 1 1"],
    ["get", "200", "http 200 OTHER 1 1"],
    ["GET", "299", "http 2xx GET 1 1"],
    ["GET", "599", "http 5xx GET 1 1"],
    ["GET", "999", "http OTHER GET 1 1"],
    ["GET", "20", "http OTHER GET 1 1"],
    ["GET", '200",service="b', "http OTHER GET 1 1"],
    ["PROPFIND", "207", "http 207 PROPFIND 1 1"],
    ["GET", "499", "http 499 GET 1 1"],
  ])("counts %s with %s as %s", (method, code, expected) => {
    const meter = new Meter();
    meter.moved("a", { method, code, protocol: "http" }, 1, 1);
    expect(shown(meter, "a")).toEqual([expected]);
  });

  test("does not let one service make ever more series, and loses no byte of it", () => {
    const meter = new Meter();
    const methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];
    for (const method of methods) for (let code = 100; code < 700; code += 1) meter.moved("a", { method, code: String(code), protocol: "http" }, 1, 2);
    meter.moved("b", { method: "PATCH", code: "418", protocol: "http" }, 1, 2);
    expect(shown(meter, "a").length).toBeLessThan(110);
    expect(meter.totals()).toEqual({ Request: { a: 4200, b: 1 }, Response: { a: 8400, b: 2 } });
    expect(shown(meter, "b")).toEqual(["http 418 PATCH 1 2"]);
  });

  test("gives up the oldest deleted services where nobody scrapes", () => {
    const meter = new Meter();
    for (let i = 0; i < 10_005; i += 1) {
      meter.moved(`w${i}`, GET, 1, 1);
      meter.forget(`w${i}`);
    }
    const { Request } = meter.totals();
    expect(Object.keys(Request).length).toBe(10_000);
    expect(Request["w4"]).toBeUndefined();
    expect(Request["w5"]).toBe(1);
  });
});

describe("meter and deleted services", () => {
  test("keeps a deleted service's series until it was scraped once", () => {
    const meter = new Meter();
    meter.moved("a", GET, 1, 2);
    meter.moved("b", GET, 3, 4);
    meter.forget("a");
    expect(meter.totals().Request).toEqual({ a: 1, b: 3 });
    scrape(meter);
    expect(meter.totals().Request).toEqual({ b: 3 });
    scrape(meter);
    expect(meter.totals().Request).toEqual({ b: 3 });
  });

  test("does not drop what has moved since the scrape looked", () => {
    const meter = new Meter();
    meter.moved("a", GET, 1, 2);
    meter.forget("a");
    const readings = meter.read();
    meter.moved("a", GET, 10, 0);
    meter.scraped(readings);
    expect(shown(meter, "a")).toEqual(["http 200 GET 11 2"]);
    scrape(meter);
    expect(shown(meter, "a")).toEqual([]);
  });

  test("shows what a connection moves after its service was deleted and scraped, once", () => {
    const meter = new Meter();
    const tunnel = meter.counter("a", TCP);
    tunnel.in(1);
    meter.forget("a");
    scrape(meter);
    tunnel.in(10);
    tunnel.out(20);
    expect(shown(meter, "a")).toEqual(["tcp 0  10 20"]);
    scrape(meter);
    expect(shown(meter, "a")).toEqual([]);
  });

  test("forgets the services that are not registered any more", () => {
    const meter = new Meter();
    for (const service of ["a", "b", "static"]) meter.moved(service, GET, 1, 1);
    meter.follow(["a", "b"]);
    meter.follow(["b", "c"]);
    scrape(meter);
    expect(Object.keys(meter.totals().Request)).toEqual(["b", "static"]);
  });

  test("goes on counting for a service that is registered again before it was scraped", () => {
    const meter = new Meter();
    meter.follow(["a"]);
    meter.moved("a", GET, 1, 1);
    meter.follow([]);
    meter.follow(["a"]);
    scrape(meter);
    meter.moved("a", GET, 1, 1);
    scrape(meter);
    expect(meter.totals().Request).toEqual({ a: 2 });
  });
});
