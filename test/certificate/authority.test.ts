import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LocalAuthority } from "../../src/certificate/authority.ts";
import { DAY_MS, START_MS } from "./fixtures.ts";

const CURL = Bun.which("curl");

let root: string;
beforeEach(() => { root = mkdtempSync(join(tmpdir(), "route-authority-")); });
afterEach(() => rmSync(root, { recursive: true, force: true }));

const inMemory = (now?: () => number): Promise<LocalAuthority> => LocalAuthority.open({ directory: null, ...(now === undefined ? {} : { now }) });

describe("LocalAuthority", () => {
  test("signs for any host with a CA that may sign for servers only", async () => {
    const authority = await inMemory();
    const ca = new X509Certificate(authority.certPem);
    for (const name of ["a.example.org", "*.example.org", "localhost", "127.0.0.1", `${"a".repeat(63)}.${"b".repeat(63)}.example.org`]) {
      const { certPem, names } = await authority.certificateFor(name);
      const leaf = new X509Certificate(certPem);
      expect(names).toEqual([name]);
      expect(leaf.checkIssued(ca) && leaf.verify(ca.publicKey)).toBe(true);
      expect(leaf.ca).toBe(false);
    }
    expect(ca.ca).toBe(true);
  });

  test.skipIf(CURL === null)("is trusted by a client that was given its file", async () => {
    const authority = await LocalAuthority.open({ directory: root });
    const { certPem, keyPem } = await authority.certificateFor("a.example.org");
    const server = Bun.serve({ hostname: "127.0.0.1", port: 0, tls: { cert: certPem, key: keyPem }, fetch: () => new Response("here") });
    try {
      const ask = async (host: string): Promise<string> => {
        const child = Bun.spawn([CURL as string, "-sS", "--noproxy", "*", "--cacert", authority.caFile as string, "--resolve", `${host}:${server.port}:127.0.0.1`, `https://${host}:${server.port}/`], { stdout: "pipe", stderr: "ignore" });
        return child.stdout.text();
      };
      expect(await ask("a.example.org")).toBe("here");
      expect(await ask("b.example.org")).toBe("");
    } finally {
      await server.stop(true);
    }
  });

  test("is made once, and keeps its key to itself", async () => {
    const first = await LocalAuthority.open({ directory: join(root, "new") });
    const second = await LocalAuthority.open({ directory: join(root, "new") });
    expect(second.certPem).toBe(first.certPem);
    expect(second.caFile).toBe(join(root, "new", "ca.pem"));
    expect(readFileSync(second.caFile as string, "utf8")).toBe(first.certPem);
    expect(statSync(join(root, "new", "ca-key.pem")).mode & 0o777).toBe(0o600);
  });

  test("is one for all that start at once", async () => {
    const all = await Promise.all(Array.from({ length: 5 }, () => LocalAuthority.open({ directory: root })));
    expect(new Set(all.map(({ certPem }) => certPem)).size).toBe(1);
  });

  test("gives the same certificate until a third of its time is left, then another", async () => {
    let nowMs = START_MS;
    const authority = await inMemory(() => nowMs);
    const first = await authority.certificateFor("A.example.org");
    expect(await authority.certificateFor("a.example.org")).toBe(first);
    expect(authority.find("a.example.org")).toBe(first);
    nowMs += 61 * DAY_MS;
    expect(authority.find("a.example.org")).toBeNull();
    expect((await authority.certificateFor("a.example.org")).notAfterMs).toBe(nowMs + 90 * DAY_MS);
  });

  test("makes one certificate for many who ask at once", async () => {
    const authority = await inMemory();
    const all = await Promise.all(Array.from({ length: 10 }, () => authority.certificateFor("a.example.org")));
    expect(new Set(all).size).toBe(1);
  });

  test("is made anew before its time is over", async () => {
    const old = await LocalAuthority.open({ directory: root, now: () => START_MS });
    const fresh = await LocalAuthority.open({ directory: root, now: () => START_MS + 3300 * DAY_MS });
    expect(fresh.certPem).not.toBe(old.certPem);
    expect((await LocalAuthority.open({ directory: root, now: () => START_MS + 3300 * DAY_MS })).certPem).toBe(fresh.certPem);
  });

  for (const name of ["", "a b", "a\nb", "a,CN=x", "-a", "a..b", "x".repeat(64), "../x", "1.2.3.4.5/8"]) {
    test(`signs nothing for ${JSON.stringify(name.slice(0, 70))}`, async () => {
      await expect((await inMemory()).certificateFor(name)).rejects.toThrow("no certificate can be made for");
    });
  }

  test("does not overwrite files that don't fit, and quotes nothing of them", async () => {
    await LocalAuthority.open({ directory: root });
    writeFileSync(join(root, "ca-key.pem"), "SECRET");
    const error = await LocalAuthority.open({ directory: root }).then(() => null, (thrown: Error) => thrown);
    expect(error?.message).toStartWith(`cannot use the local authority in ${root}/ca.pem`);
    expect(error?.message).not.toContain("SECRET");
    expect(readFileSync(join(root, "ca-key.pem"), "utf8")).toBe("SECRET");
  });

  test("takes a key that was left without its certificate for a crash", async () => {
    await LocalAuthority.open({ directory: root });
    rmSync(join(root, "ca.pem"));
    const authority = await LocalAuthority.open({ directory: root });
    expect((await authority.certificateFor("a.example.org")).names).toEqual(["a.example.org"]);
  });
});
