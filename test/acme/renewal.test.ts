// The parts as the gateway joins them: Renewal asks pebble through AcmeClient, the answers to challenges are served on a real port.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AcmeClient } from "../../src/acme/client.ts";
import { HttpSolver } from "../../src/acme/http-solver.ts";
import { CertificateSet } from "../../src/certificate/certificate-set.ts";
import { Renewal } from "../../src/certificate/renewal.ts";
import { CertificateStore } from "../../src/certificate/store.ts";
import { FakeClock } from "../certificate/fixtures.ts";
import { eventually } from "../support/eventually.ts";
import { HAS_PEBBLE, Pebble } from "../support/pebble.ts";

const NAME = "renewed.example.org";

describe.skipIf(!HAS_PEBBLE)("Renewal with pebble", () => {
  const solver = new HttpSolver();
  const certificates = new CertificateSet();
  const clock = new FakeClock();
  const failures: string[] = [];
  let root: string;
  let server: Bun.Server<undefined>;
  let pebble: Pebble;
  let renewal: Renewal;

  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), "route-acme-renewal-"));
    clock.nowMs = Date.now(); // Pebble's certificates begin today.
    server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: (request) => {
      const answer = solver.challenge(new URL(request.url).pathname.slice("/.well-known/acme-challenge/".length));
      return new Response(answer, { status: answer === null ? 404 : 200 });
    } });
    pebble = await Pebble.start({ httpPort: server.port as number });
    const client = new AcmeClient({ directoryUrl: pebble.directoryUrl, directory: join(root, "resolver"), email: null, caPem: pebble.caPem });
    renewal = new Renewal({
      store: new CertificateStore(join(root, "resolver", "certificates")), certificates, clock, random: () => 0,
      issuer: { issue: (names, signal) => client.order(names, "http-01", solver, signal) },
      events: { issued: () => {}, failed: (_, { message }) => failures.push(message), resumed: () => {}, problem: () => {} },
    });
  });
  afterAll(async () => {
    await renewal.stop();
    await pebble.stop();
    await server.stop(true);
    rmSync(root, { recursive: true });
  });

  const fingerprint = (): string | null => certificates.find(NAME)?.fingerprint ?? null;

  test("gets, keeps through a CA that is down, and renews when it is back", async () => {
    renewal.want([NAME]);
    await renewal.start();
    const first = await eventually("the certificate", fingerprint, (found) => found !== null);

    await pebble.stopCa();
    clock.advance(renewal.states()[0]!.nextMs - clock.nowMs);
    await eventually("the failure", () => failures.length, (count) => count === 1);
    expect(failures[0]).toStartWith("cannot reach the CA at 127.0.0.1:");
    expect(fingerprint()).toBe(first);

    await pebble.startCa();
    expect(renewal.states()[0]?.nextMs).toBe(clock.nowMs + 60_000);
    clock.advance(60_000);
    await eventually("the new certificate", fingerprint, (found) => found !== null && found !== first);
    expect(renewal.states()).toMatchObject([{ name: NAME, failures: 0, error: null, isRunning: false }]);
    expect(certificates.find(NAME)?.issuer).toStartWith("Pebble Intermediate CA");
  });
});
