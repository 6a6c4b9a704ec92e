// Against the real thing: pebble, which refuses half of the nonces (test/support/pebble.ts).

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AcmeClient, type AcmeClientOptions } from "../../src/acme/client.ts";
import { DnsSolver } from "../../src/acme/dns-solver.ts";
import { AcmeError } from "../../src/acme/errors.ts";
import { HttpSolver } from "../../src/acme/http-solver.ts";
import type { ChallengeSolver } from "../../src/acme/solver.ts";
import { HAS_PEBBLE, Pebble } from "../support/pebble.ts";

const HAS_LEGO = Bun.which("lego") !== null;
const CHALLENGES = "/.well-known/acme-challenge/";

const solver = new HttpSolver();
let root: string;
let server: Bun.Server<undefined>;
let pebble: Pebble;
let clients = 0;

beforeAll(async () => {
  if (!HAS_PEBBLE) return;
  root = mkdtempSync(join(tmpdir(), "route-acme-"));
  server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: answerChallenge });
  pebble = await Pebble.start({ httpPort: server.port as number });
});
afterAll(async () => {
  if (!HAS_PEBBLE) return;
  await pebble.stop();
  await server.stop(true);
  rmSync(root, { recursive: true });
});

/** What the :80 entrypoint does; lego's challenges are files. */
function answerChallenge(request: Request): Response {
  const { pathname } = new URL(request.url);
  const file = join(root, "webroot", pathname);
  const answer = solver.challenge(pathname.slice(CHALLENGES.length)) ?? (existsSync(file) ? readFileSync(file, "utf8") : null);
  return answer === null ? new Response("", { status: 404 }) : new Response(answer);
}

/** Each with an account of its own. */
function newClient(options: Partial<AcmeClientOptions> = {}): AcmeClient {
  const directory = join(root, `client${++clients}`);
  return new AcmeClient({ directoryUrl: pebble.directoryUrl, directory, email: "admin@example.org", caPem: pebble.caPem, ...options });
}

async function failure(order: Promise<unknown>): Promise<AcmeError> {
  const error = await order.then(() => null, (thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(AcmeError);
  return error as AcmeError;
}

/** Presents through `solver`, with something done before. */
function withBefore(before: (signal: AbortSignal) => unknown, cleaned: string[] = []): ChallengeSolver {
  return {
    async present(identifier, token, keyAuthorization, signal) {
      await before(signal);
      await solver.present(identifier, token, keyAuthorization);
    },
    async cleanup(identifier, token) {
      cleaned.push(identifier);
      await solver.cleanup(identifier, token);
    },
  };
}

describe.skipIf(!HAS_PEBBLE)("AcmeClient with pebble", () => {
  test("gets a certificate by http-01 that its CA has signed, with a P-256 key that fits", async () => {
    const { certPem, keyPem } = await newClient().order(["one.example.org"], "http-01", solver);
    const leaf = new X509Certificate(certPem);
    const issuer = new X509Certificate(certPem.slice(certPem.indexOf("-----END CERTIFICATE-----") + 25));
    expect(leaf.subjectAltName).toBe("DNS:one.example.org");
    expect(leaf.checkIssued(issuer)).toBe(true);
    expect(issuer.checkIssued(new X509Certificate(await pebble.issuerPem()))).toBe(true);
    expect(leaf.checkPrivateKey(createPrivateKey(keyPem))).toBe(true);
    expect(createPrivateKey(keyPem).asymmetricKeyDetails).toEqual({ namedCurve: "prime256v1" });
  });

  test("leaves no challenge behind", async () => {
    const tokens: string[] = [];
    const watching: ChallengeSolver = {
      present: (identifier, token, key) => (tokens.push(token), solver.present(identifier, token, key)),
      cleanup: (identifier, token) => solver.cleanup(identifier, token),
    };
    await newClient().order(["two.example.org"], "http-01", watching);
    expect(tokens).toHaveLength(1);
    expect(solver.challenge(tokens[0] as string)).toBeNull();
  });

  test("gets several names in one certificate, and a name that is too long for a common name", async () => {
    const long = `${"a".repeat(60)}.${"b".repeat(60)}.example.org`;
    const { certPem } = await newClient().order(["three.example.org", long], "http-01", solver);
    expect(new X509Certificate(certPem).subjectAltName).toBe(`DNS:three.example.org, DNS:${long}`);
  });

  test("makes an RSA key where that is asked for", async () => {
    const { keyPem } = await newClient({ keyType: "rsa" }).order(["rsa.example.org"], "http-01", solver);
    expect(createPrivateKey(keyPem).asymmetricKeyType).toBe("rsa");
    expect(createPrivateKey(keyPem).asymmetricKeyDetails?.modulusLength).toBe(2048);
  });

  test("gets a wildcard by dns-01", async () => {
    const fqdn = "_acme-challenge.gent.example.org.";
    const zone = new DnsSolver({ present: (value) => pebble.setTxt(fqdn, value), cleanup: () => pebble.clearTxt(fqdn) });
    const { certPem } = await newClient().order(["*.gent.example.org"], "dns-01", zone);
    expect(new X509Certificate(certPem).subjectAltName).toBe("DNS:*.gent.example.org");
  });

  test("keeps its account, and its key to itself", async () => {
    const client = newClient();
    await client.order(["four.example.org"], "http-01", solver);
    const before = readFileSync(client.accountFile, "utf8");
    await client.order(["five.example.org"], "http-01", solver);
    expect(readFileSync(client.accountFile, "utf8")).toBe(before);
    expect(JSON.parse(before).url).toStartWith("https://127.0.0.1:");
    expect(statSync(client.accountFile).mode & 0o777).toBe(0o600);
  });

  test("registers a new account when the old one's file is lost", async () => {
    const client = newClient();
    await client.order(["six.example.org"], "http-01", solver);
    const before = JSON.parse(readFileSync(client.accountFile, "utf8"));
    rmSync(client.accountFile);
    await client.order(["seven.example.org"], "http-01", solver);
    expect(JSON.parse(readFileSync(client.accountFile, "utf8")).url).not.toBe(before.url);
  });

  test("registers again at a CA that has forgotten the account", async () => {
    const client = newClient();
    await client.order(["eight.example.org"], "http-01", solver);
    const before = JSON.parse(readFileSync(client.accountFile, "utf8"));
    await pebble.stopCa();
    await pebble.startCa();
    await client.order(["nine.example.org"], "http-01", solver);
    const after = JSON.parse(readFileSync(client.accountFile, "utf8"));
    expect(after.key).toBe(before.key);
    expect(after.url).not.toBe(before.url);
  });

  test("tells why the CA refuses, and for which name: a wrong answer to the challenge", async () => {
    const wrong: ChallengeSolver = { present: (name, token) => solver.present(name, token, "wrong"), cleanup: (name, token) => solver.cleanup(name, token) };
    const error = await failure(newClient().order(["wrong.example.org"], "http-01", wrong));
    expect(error).toMatchObject({ code: "refused", problemType: "urn:ietf:params:acme:error:unauthorized", identifier: "wrong.example.org" });
    expect(error.message).toContain("wrong.example.org");
  });

  test("tells why the CA refuses: a name that it issues nothing for", async () => {
    const error = await failure(newClient().order(["blocked.example.org"], "http-01", solver));
    expect(error).toMatchObject({ code: "refused", problemType: "urn:ietf:params:acme:error:rejectedIdentifier" });
  });

  test("asks for no wildcard by http-01", async () => {
    const error = await failure(newClient().order(["*.example.org"], "http-01", solver));
    expect(error).toMatchObject({ code: "refused", identifier: "example.org" });
  });

  test("does not trust a CA of a root that it was not told", async () => {
    const error = await failure(newClient({ caPem: null }).order(["root.example.org"], "http-01", solver));
    expect(error.code).toBe("unreachable");
    expect(error.message).toMatch(/certificate/i);
  });

  test("takes its answer away when the CA dies in the middle of an order", async () => {
    const cleaned: string[] = [];
    const error = await failure(newClient().order(["dies.example.org"], "http-01", withBefore(() => pebble.stopCa(), cleaned)));
    await pebble.startCa();
    expect(error.code).toBe("unreachable");
    expect(cleaned).toEqual(["dies.example.org"]);
  });

  test("stops when it is told to, and cleans up", async () => {
    const stop = new AbortController();
    const cleaned: string[] = [];
    const error = await failure(newClient().order(["stop.example.org"], "http-01", withBefore(() => stop.abort(), cleaned), stop.signal));
    expect(error.code).toBe("stopped");
    expect(cleaned).toEqual(["stop.example.org"]);
  });

  test("tells what a solver fails of", async () => {
    const error = await failure(newClient().order(["solver.example.org"], "http-01", withBefore(() => { throw new Error("no such zone"); })));
    expect(error).toMatchObject({ code: "challenge", message: "cannot answer the challenge for solver.example.org: no such zone" });
  });

  test("does not fail an order for what cannot be cleaned up, but tells it", async () => {
    const told: string[] = [];
    const leaving: ChallengeSolver = { present: (name, token, key) => solver.present(name, token, key), cleanup: () => Promise.reject(new Error("still there")) };
    const client = newClient({ cleanupFailed: (name, error) => told.push(`${name}: ${error.message}`) });
    await client.order(["cleanup.example.org"], "http-01", leaving);
    expect(told).toEqual(["cleanup.example.org: still there"]);
  });

  test.skipIf(!HAS_LEGO)("is asked here of a CA that lego, too, gets a certificate from", async () => {
    mkdirSync(join(root, "webroot"));
    const child = Bun.spawn(["lego", "--accept-tos", "--server", pebble.directoryUrl, "--email", "lego@example.org", "--domains", "lego.example.org",
      "--path", join(root, "lego"), "--http", "--http.webroot", join(root, "webroot"), "run"], {
      env: { LEGO_CA_CERTIFICATES: pebble.caFile }, stdin: "ignore", stdout: "ignore", stderr: "pipe" });
    const [complaint, code] = await Promise.all([child.stderr.text(), child.exited]);
    expect(code === 0 ? "" : complaint).toBe("");
    expect(new X509Certificate(readFileSync(join(root, "lego", "certificates", "lego.example.org.crt"))).subjectAltName).toBe("DNS:lego.example.org");
  }, 30_000);
});
