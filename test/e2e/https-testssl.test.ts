// testssl.sh against an HTTPS front with the program's own local authority: nothing above LOW but what follows from a test CA.

import { describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HAS_OPENSSL } from "../support/certificates.ts";
import { run, untilServed } from "../support/https-client.ts";
import { HttpsRouter } from "../support/https-router.ts";

const TESTSSL = Bun.which("testssl") ?? Bun.which("testssl.sh");

/** What a finding may be about all the same, and why. */
const EXPECTED: Readonly<Record<string, string>> = {
  cert_revocation: "nobody publishes what a test CA has revoked",
  cipher_order: "all ciphers are of one strength: the client knows which is quick on its machine",
  // About the machine that tests: openssl is newer than this testssl knows.
  engine_problem: "a warning about the testing machine's openssl",
  secure_renego: "could not be tested with this openssl; https-tls.test.ts sees that there is no renegotiation",
};

type Finding = { readonly id: string; readonly severity: string; readonly finding: string };

describe.skipIf(!HAS_OPENSSL || TESTSSL === null)("testssl.sh", () => {
  test("finds nothing above LOW in what we decide", async () => {
    const directory = mkdtempSync(join(tmpdir(), "route-testssl-"));
    const router = await HttpsRouter.start({ tls: () => `tls: { localAuthority: "${directory}", names: [desk.test], hsts: 365d }\n` });
    try {
      const caFile = join(directory, "ca.pem");
      await untilServed({ port: router.port, caFile, ca: readFileSync(caFile, "utf8") }, "desk.test");
      const report = join(directory, "report.json");
      // Without the client simulations and the ciphers one by one, which take as long as all the rest; nothing is asked of the network.
      const checks = ["--protocols", "--std", "--fs", "--server-preference", "--server-defaults", "--headers", "--vulnerable"];
      await run([TESTSSL as string, "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--ip", "127.0.0.1", "--add-ca", caFile,
        "--jsonfile", report, ...checks, `https://desk.test:${router.port}/healthz`]);
      const findings = JSON.parse(readFileSync(report, "utf8")) as Finding[];
      const tell = ({ id, severity, finding }: Finding): string => `${severity} ${id}: ${finding}`;
      // It did look.
      const seen = new Map(findings.map(({ id, finding }) => [id, finding]));
      expect([seen.get("TLS1_3"), seen.get("TLS1_2"), seen.get("TLS1"), seen.get("HSTS_time")]).toEqual([
        expect.stringContaining("offered"), "offered", "not offered", expect.stringContaining("365 days"),
      ]);
      expect(findings.length).toBeGreaterThan(60);
      const serious = findings.filter(({ severity }) => !["OK", "INFO", "LOW", "DEBUG"].includes(severity));
      expect(serious.filter(({ id }) => EXPECTED[id.replace(/ <.*/, "")] === undefined).map(tell)).toEqual([]);
    } finally {
      await router.stop();
      rmSync(directory, { recursive: true, force: true });
    }
  }, 120_000);
});
