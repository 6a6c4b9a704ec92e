import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { createSecretKey } from "node:crypto";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KeyError } from "../../src/token/keys.ts";
import { loadSecret, type SecretSettings, SecretStore } from "../../src/token/secret.ts";

const STRONG = "strong-secret-of-32-bytes-and-no";
const NEXT = "another-secret-that-has-32-bytes";

let root: string;
let stores: SecretStore[] = [];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "secret-"));
});
afterEach(() => {
  for (const store of stores) store.close();
  stores = [];
  rmSync(root, { recursive: true, force: true });
});

function file(name: string, content: string | Uint8Array): string {
  writeFileSync(join(root, name), content);
  return join(root, name);
}

const fromText = (text: string, allowWeakSecret = false): SecretSettings => ({ secret: { kind: "text", text }, allowWeakSecret });
const fromFile = (path: string, allowWeakSecret = false): SecretSettings => ({ secret: { kind: "file", path }, allowWeakSecret });

/** The bytes of the key that these settings yield. */
function bytesOf(settings: SecretSettings): Buffer {
  return loadSecret(settings).export();
}

function failure(settings: SecretSettings): string {
  try {
    loadSecret(settings);
  } catch (error) {
    expect(error).toBeInstanceOf(KeyError);
    return (error as Error).message;
  }
  return "none";
}

/** A store whose events are kept; `event()` waits for the next one. */
function makeStore(settings: SecretSettings) {
  const events: string[] = [];
  let wake = (): void => {};
  let taken = 0;
  const say = (text: string): void => {
    events.push(text);
    wake();
  };
  const store = new SecretStore(settings, { warn: (message) => say(`warn ${message}`), error: (message, { message: reason }) => say(`${message} (${reason})`), changed: () => say("changed") });
  stores.push(store);
  const event = async (): Promise<string> => {
    if (events.length === taken) await new Promise<void>((resolve) => { wake = resolve; });
    return events[taken++] as string;
  };
  return { store, events, event, text: () => store.key?.export().toString() };
}

describe("a secret", () => {
  test("in the settings is taken to the last letter, as UTF-8", () => {
    for (const text of [STRONG, ` ${STRONG} `, `${STRONG}\n`, "$a ${B} \"quoted\" 'and' \\ more of it", "é".repeat(16)]) {
      expect(bytesOf(fromText(text))).toEqual(Buffer.from(text));
    }
  });

  test.each([
    ["none", STRONG, STRONG], ["a line feed", `${STRONG}\n`, STRONG], ["a Windows line end", `${STRONG}\r\n`, STRONG], ["two line feeds", `${STRONG}\n\n`, `${STRONG}\n`],
    ["a space", `${STRONG} `, `${STRONG} `], ["a carriage return alone", `${STRONG}\r`, `${STRONG}\r`], ["a line feed in front", `\n${STRONG}`, `\n${STRONG}`],
    ["a line feed inside", `${STRONG}\n${STRONG}\n`, `${STRONG}\n${STRONG}`],
  ])("in a file loses the line feed that an editor put at its end, and nothing else: %s", (_, content, expected) => {
    expect(bytesOf(fromFile(file("secret", content))).toString()).toBe(expected);
  });

  test("in a file may be any bytes", () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, index) => 255 - index));
    expect(bytesOf(fromFile(file("secret", bytes)))).toEqual(bytes);
    expect(bytesOf(fromFile(file("utf8", "é".repeat(16))))).toEqual(Buffer.from("é".repeat(16)));
  });

  test("has 32 bytes or more; letters are not counted", () => {
    expect(bytesOf(fromText("x".repeat(32)))).toHaveLength(32);
    for (const [text, bytes] of [["x".repeat(31), 31], ["é".repeat(15), 30], ["x", 1]] as const) {
      const weak = `it has ${bytes} bytes, expected 32 or more (to accept it, set allowWeakSecret: true in token.vm, or ROUTE_ALLOW_WEAK_SECRET=true)`;
      expect(failure(fromText(text))).toBe(`cannot load console token secret: ${weak}`);
      const path = file("weak", text);
      expect(failure(fromFile(path))).toBe(`cannot load console token secret ${path}: ${weak}`);
      expect(bytesOf(fromText(text, true))).toHaveLength(bytes);
    }
  });

  test("that is empty is none, whatever is allowed", () => {
    for (const allowed of [false, true]) {
      expect(failure(fromText("", allowed))).toBe("cannot load console token secret: it is empty");
      for (const content of ["", "\n", "\r\n"]) {
        const path = file("empty", content);
        expect(failure(fromFile(path, allowed))).toBe(`cannot load console token secret ${path}: it is empty`);
      }
    }
  });

  test("that cannot be read is reported with its file and why", () => {
    const missing = join(root, "missing");
    expect(failure(fromFile(missing))).toStartWith(`cannot load console token secret ${missing}: no such file`);
    expect(failure(fromFile(root))).toBe(`cannot load console token secret ${root}: it is not a file`);
    const large = file("large", "x".repeat(5120));
    expect(failure(fromFile(large))).toBe(`cannot load console token secret ${large}: it has 5120 bytes, more than any secret (4096)`);
    expect(bytesOf(fromFile(file("most", "x".repeat(4096))))).toHaveLength(4096);
  });

  test("stands in no message, warning or cause", () => {
    const telling = "hunter2-hunter2";
    const said: string[] = [];
    const on = { warn: (message: string) => said.push(message), error: (message: string, cause: unknown) => said.push(message, Bun.inspect(cause)), changed: () => {} };
    const path = file("secret", telling);
    for (const settings of [fromText(telling), fromFile(path), fromText(telling, true), fromFile(path, true)]) {
      const store = new SecretStore(settings, on);
      stores.push(store);
      try {
        store.load();
      } catch (error) {
        said.push(Bun.inspect(error), (error as Error).message);
      }
      // Reports in its own words what it could not load.
      store.watch();
      said.push(JSON.stringify(store.key));
    }
    expect(said.length).toBeGreaterThan(8);
    expect(said.filter((text) => text.includes("hunter2"))).toEqual([]);
  });
});

describe("a secret store", () => {
  test("has no key before load, and has it afterwards without a word", () => {
    for (const settings of [fromText(STRONG), fromFile(file("secret", STRONG))]) {
      const { store, events } = makeStore(settings);
      expect(store.key).toBeNull();
      store.load();
      expect([store.key?.equals(createSecretKey(Buffer.from(STRONG))), events]).toEqual([true, []]);
    }
  });

  test("warns once about weak keys, however often they change", async () => {
    const path = file("secret", "weak");
    const { store, events, event, text } = makeStore(fromFile(path, true));
    store.load();
    store.load();
    expect(await event()).toBe("warn weak secret accepted: it has 4 bytes, below 32 (allowWeakSecret is set)");
    store.watch();
    for (const next of ["weaker", STRONG, "weakest"]) {
      writeFileSync(path, next);
      expect(await event()).toBe("changed");
      expect(text()).toBe(next);
    }
    expect(events).toHaveLength(4);
  });

  test("does not follow what stands in the settings", () => {
    const { store, events, text } = makeStore(fromText(STRONG));
    store.load();
    store.watch();
    store.close();
    expect([events, text()]).toEqual([[], STRONG]);
  });

  test("takes the new content of a file that is rewritten, or renamed over", async () => {
    const path = file("secret", STRONG);
    const { store, event, text } = makeStore(fromFile(path));
    store.load();
    store.watch();
    writeFileSync(path, `${NEXT}\n`);
    expect(await event()).toBe("changed");
    expect(text()).toBe(NEXT);
    renameSync(file("new", STRONG), path);
    expect(await event()).toBe("changed");
    expect(text()).toBe(STRONG);
  });

  test("follows a secret that Kubernetes swaps, again and again", async () => {
    const publish = (version: number, content: string): void => {
      mkdirSync(join(root, `..v${version}`));
      writeFileSync(join(root, `..v${version}`, "key"), content);
      symlinkSync(`..v${version}`, join(root, "..tmp"));
      renameSync(join(root, "..tmp"), join(root, "..data"));
    };
    publish(1, STRONG);
    symlinkSync("..data/key", join(root, "key"));
    const { store, event, text } = makeStore(fromFile(join(root, "key")));
    store.load();
    store.watch();
    for (const [version, content] of [[2, NEXT], [3, STRONG], [4, NEXT]] as const) {
      publish(version, content);
      expect(await event()).toBe("changed");
      expect(text()).toBe(content);
    }
  });

  test("keeps the last good key when its file breaks, says so once, and takes the repaired one", async () => {
    const path = file("secret", STRONG);
    const { store, event, events, text } = makeStore(fromFile(path));
    store.load();
    store.watch();
    writeFileSync(path, "a-few-bytes-1");
    expect(await event()).toStartWith(`key refused, the old one stays (cannot load console token secret ${path}: it has 13 bytes`);
    writeFileSync(path, "a-few-bytes-2");
    // Looks at the same broken content once more, and says nothing new about it.
    store.watch();
    expect([text(), events.length]).toEqual([STRONG, 1]);
    rmSync(path);
    expect(await event()).toStartWith(`key refused, the old one stays (cannot load console token secret ${path}: no such file`);
    expect(text()).toBe(STRONG);
    writeFileSync(path, NEXT);
    expect(await event()).toBe("changed");
    expect([text(), events.length]).toEqual([NEXT, 3]);
  });

  test("does not call it a change when the same secret is written again", async () => {
    const path = file("secret", STRONG);
    const { store, event, events } = makeStore(fromFile(path));
    store.load();
    store.watch();
    writeFileSync(path, `${STRONG}\n`);
    store.watch();
    expect(events).toEqual([]);
    writeFileSync(path, NEXT);
    expect(await event()).toBe("changed");
    expect(events).toHaveLength(1);
  });

  test("finds a secret that was missing at the start, and what changed between load and watch", async () => {
    const late = join(root, "late");
    const first = makeStore(fromFile(late));
    expect(() => first.store.load()).toThrow(late);
    expect(first.store.key).toBeNull();
    first.store.watch();
    expect(await first.event()).toContain("no such file");
    writeFileSync(late, STRONG);
    expect(await first.event()).toBe("changed");
    const second = makeStore(fromFile(late));
    second.store.load();
    writeFileSync(late, NEXT);
    second.store.watch();
    expect([second.events, second.text()]).toEqual([["changed"], NEXT]);
  });

  test("hears of nothing any more after close", async () => {
    const path = file("secret", STRONG);
    const [closed, open] = [makeStore(fromFile(path)), makeStore(fromFile(path))];
    for (const { store } of [closed, open]) {
      store.load();
      store.watch();
    }
    closed.store.close();
    closed.store.close();
    writeFileSync(path, NEXT);
    expect(await open.event()).toBe("changed");
    expect([closed.events, closed.text()]).toEqual([[], STRONG]);
  });
});
