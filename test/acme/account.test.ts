import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { AccountFile } from "../../src/acme/account.ts";
import { AcmeError } from "../../src/acme/errors.ts";

const CA = "https://ca.example.org/dir";

let root: string;
beforeEach(() => { root = mkdtempSync(join(tmpdir(), "route-account-")); });
afterEach(() => rmSync(root, { recursive: true, force: true }));

async function failure(job: Promise<unknown>): Promise<AcmeError> {
  const error = await job.then(() => null, (thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(AcmeError);
  return error as AcmeError;
}

describe("AccountFile", () => {
  test("makes a key that only its owner can read, and finds it again", async () => {
    const account = await new AccountFile(join(root, "new", "resolver"), CA).open();
    const again = new AccountFile(join(root, "new", "resolver"), CA);
    expect(account.url).toBeNull();
    expect(await again.open()).toEqual(account);
    expect(statSync(again.path).mode & 0o777).toBe(0o600);
  });

  test("keeps what the CA called it", async () => {
    const file = new AccountFile(root, CA);
    const account = { ...(await file.open()), url: "https://ca.example.org/account/7" };
    await file.keep(account);
    expect(await file.open()).toEqual(account);
    expect(statSync(file.path).mode & 0o777).toBe(0o600);
  });

  test("has one account for each CA", async () => {
    const one = await new AccountFile(root, CA).open();
    const other = await new AccountFile(root, "https://ca.example.org/staging").open();
    expect(other.keyPem).not.toBe(one.keyPem);
  });

  test("makes one key when many ask at once, and leaves nothing else behind", async () => {
    const accounts = await Promise.all(Array.from({ length: 20 }, () => new AccountFile(root, CA).open()));
    expect(new Set(accounts.map(({ keyPem }) => keyPem)).size).toBe(1);
    expect(readdirSync(root)).toHaveLength(1);
  });

  for (const content of ["", "{", "null", "[]", `{"key":"SECRET","url":null}`, `{"key":3}`]) {
    test(`does not overwrite a file with ${JSON.stringify(content)}, and quotes nothing of it`, async () => {
      const file = new AccountFile(root, CA);
      writeFileSync(file.path, content);
      const error = await failure(file.open());
      expect(error.code).toBe("storage");
      expect(error.message).toContain(file.path);
      expect(error.message + String((error.cause as Error).message)).not.toContain("SECRET");
      expect(await Bun.file(file.path).text()).toBe(content);
    });
  }

  test("says so when it cannot write", async () => {
    writeFileSync(join(root, "file"), "");
    expect((await failure(new AccountFile(join(root, "file", "below"), CA).open())).code).toBe("storage");
  });

  test("says so when it cannot read", async () => {
    const file = new AccountFile(root, CA);
    mkdirSync(file.path);
    expect((await failure(file.open())).code).toBe("storage");
    expect(dirname(file.path)).toBe(root);
  });
});
