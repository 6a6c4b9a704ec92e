import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KeyError, KeyStore, parseKey } from "../../src/token/keys.ts";
import { mintDesktopToken } from "../../src/token/mint.ts";
import { sampleKeys } from "./sample-keys.ts";

const keys = sampleKeys(2048);
const next = sampleKeys(2048, "b");

let root: string;
let stores: KeyStore[] = [];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "keys-"));
});
afterEach(() => {
  for (const store of stores) store.close();
  stores = [];
  rmSync(root, { recursive: true, force: true });
});

function file(name: string, text: string | Buffer): string {
  writeFileSync(join(root, name), text);
  return join(root, name);
}

/** A store on files in `root`; its events are kept, and `event()` waits for the next one. */
function makeStore(settings: { signing?: string[]; payload?: string; allowWeakRsaKeys?: boolean } = {}) {
  const events: string[] = [];
  let wake = () => {};
  let taken = 0;
  const say = (text: string) => {
    events.push(text);
    wake();
  };
  const store = new KeyStore({
    signingPublicKeys: settings.signing ?? [file("signing.pem", keys.pem.signingPublicKey)],
    payloadPrivateKey: settings.payload ?? file("payload.pem", keys.pem.payloadPrivateKey),
    allowWeakRsaKeys: settings.allowWeakRsaKeys ?? false,
  }, { warn: (message) => say(`warn ${message}`), error: (message, { message: reason }) => say(`${message} (${reason})`), changed: () => say("changed") });
  stores.push(store);
  const event = async (): Promise<string> => {
    if (events.length === taken) await new Promise<void>((resolve) => { wake = resolve; });
    return events[taken++] as string;
  };
  return { store, events, event };
}

function pem(key: KeyObject, type: string): string {
  return key.export({ type, format: "pem" } as { type: "pkcs1"; format: "pem" }).toString();
}

function failure(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return (error as Error).message;
  }
  return "none";
}

describe("parseKey", () => {
  test.each([1024, 2048, 4096])("reads all PEM forms of %d bits", (bits) => {
    const { signingPublic, payloadPrivate } = sampleKeys(bits);
    for (const type of ["spki", "pkcs1"]) expect(parseKey(pem(signingPublic, type), "public", true).equals(signingPublic)).toBe(true);
    for (const type of ["pkcs8", "pkcs1"]) expect(parseKey(pem(payloadPrivate, type), "private", true).equals(payloadPrivate)).toBe(true);
  });

  test("reads them with CRLF, a byte order mark, and text around", () => {
    const { signingPublicKey } = keys.pem;
    for (const text of [signingPublicKey.replaceAll("\n", "\r\n"), `\ufeff${signingPublicKey}`, `Public-Key: (2048 bit)\n${signingPublicKey}\ntail`, signingPublicKey.trim()]) {
      expect(parseKey(Buffer.from(text).toString("latin1"), "public", false).equals(keys.signingPublic)).toBe(true);
    }
  });

  test("reads the private key beside its public one, but no private key where a public one belongs", () => {
    const both = `${keys.pem.payloadPublicKey}${keys.pem.payloadPrivateKey}`;
    expect(parseKey(both, "private", false).equals(keys.payloadPrivate)).toBe(true);
    expect(() => parseKey(both, "public", false)).toThrow("it holds a private key");
  });

  test("refuses weak keys and says how to accept them", () => {
    const message = failure(() => parseKey(sampleKeys(1024).pem.signingPublicKey, "public", false));
    for (const part of ["1024 bits", "2048", "allowWeakRsaKeys", "ROUTE_ALLOW_WEAK_RSA_KEYS"]) expect(message).toContain(part);
  });

  test("refuses keys so small that nothing may accept them", () => {
    const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 512 });
    expect(() => parseKey(pem(publicKey, "spki"), "public", true)).toThrow("512 bits, below 1024 none is accepted");
  });

  test.each<["public" | "private", string, () => string]>([
    ["public", "it holds a private key", () => keys.pem.signingPrivateKey],
    ["public", "it holds a private key", () => pem(keys.signingPrivate, "pkcs1")],
    ["private", `it holds "PUBLIC KEY"`, () => keys.pem.signingPublicKey],
    ["private", `it holds "RSA PUBLIC KEY"`, () => keys.pem.payloadPublicKey],
    ["public", "key of type ec, expected RSA", () => pem(generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey, "spki")],
    ["private", "key of type ed25519, expected RSA", () => pem(generateKeyPairSync("ed25519").privateKey, "pkcs8")],
    ["private", `it holds "EC PRIVATE KEY"`, () => pem(generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey, "sec1")],
    ["public", "it holds a certificate (openssl x509", () => "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
    ["private", "encrypted with a passphrase", () => keys.payloadPrivate.export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "x" }).toString()],
    ["private", "encrypted with a passphrase", () => "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"],
    ["public", "it holds 2 public keys, expected one", () => keys.pem.signingPublicKey + next.pem.signingPublicKey],
    ["public", "it holds no PEM", () => ""],
    ["public", "it holds no PEM", () => keys.signingPublic.export({ type: "spki", format: "der" }).toString("latin1")],
    ["public", "it holds no PEM", () => keys.pem.signingPublicKey.slice(0, 300)],
    ["public", "what stands between BEGIN and END is no key", () => "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"],
    ["private", "what stands between BEGIN and END is no key", () => keys.pem.payloadPrivateKey.replace(/\n.{64}\n/, "\n")],
  ])("refuses as %s key: %s", (kind, message, text) => {
    expect(() => parseKey(text(), kind, false)).toThrow(message);
  });
});

describe("KeyStore", () => {
  test("has the keys of all files after load, in order", () => {
    const { store, events } = makeStore({ signing: [file("b.pem", next.pem.signingPublicKey), file("a.pem", keys.pem.signingPublicKey)] });
    expect([store.signing.length, store.payload]).toEqual([0, null]);
    store.load();
    expect(store.signing.map((key) => key.equals(next.signingPublic))).toEqual([true, false]);
    expect(store.payload?.equals(keys.payloadPrivate)).toBe(true);
    expect(events).toEqual([]);
  });

  test("names all files that it cannot load at once", () => {
    const [one, two, three] = ["1.pem", "2.pem", "3.pem"].map((name) => join(root, "absent", name)) as [string, string, string];
    const reasons = [`signing public key ${one}`, `signing public key ${two}`, `payload private key ${three}`].map((what) => `cannot load ${what}: no such file`);
    expect(failure(() => makeStore({ signing: [one, two], payload: three }).store.load())).toBe(reasons.join("; "));
  });

  test("names the file that it cannot load, and why", () => {
    const missing = join(root, "missing.pem");
    expect(failure(() => makeStore({ signing: [missing] }).store.load())).toStartWith(`cannot load signing public key ${missing}: no such file`);
    expect(() => makeStore({ payload: missing }).store.load()).toThrow(KeyError);
    expect(failure(() => makeStore({ payload: root }).store.load())).toBe(`cannot load payload private key ${root}: it is not a file`);
    const large = file("large.pem", "x".repeat(100_000));
    expect(failure(() => makeStore({ payload: large }).store.load())).toContain("it has 100000 bytes, more than any key");
    const weak = file("weak.pem", sampleKeys(1024).pem.signingPublicKey);
    expect(failure(() => makeStore({ signing: [weak] }).store.load())).toStartWith(`cannot load signing public key ${weak}: the RSA key has 1024 bits`);
  });

  test("uses what it could load although another file failed", () => {
    const { store } = makeStore({ signing: [join(root, "missing.pem"), file("a.pem", keys.pem.signingPublicKey)] });
    for (const _ of [1, 2]) expect(() => store.load()).toThrow("missing.pem");
    expect([store.signing.length, store.payload !== null]).toEqual([1, true]);
  });

  test("warns once about each weak key", () => {
    const weak = sampleKeys(1024);
    const signing = file("weak.pem", weak.pem.signingPublicKey);
    const { store, events } = makeStore({ signing: [signing], allowWeakRsaKeys: true });
    store.load();
    store.load();
    writeFileSync(signing, sampleKeys(1024, "b").pem.signingPublicKey);
    store.load();
    expect(events).toEqual([`warn weak RSA key accepted: ${signing} has 1024 bits, below 2048 (allowWeakRsaKeys is set)`]);
  });

  test("takes the new content of a file that is rewritten, or renamed over", async () => {
    const { store, event } = makeStore();
    store.load();
    store.watch();
    writeFileSync(join(root, "signing.pem"), next.pem.signingPublicKey);
    expect(await event()).toBe("changed");
    expect(store.signing[0]?.equals(next.signingPublic)).toBe(true);
    renameSync(file("new", next.pem.payloadPrivateKey), join(root, "payload.pem"));
    expect(await event()).toBe("changed");
    expect(store.payload?.equals(next.payloadPrivate)).toBe(true);
  });

  test("follows a secret that Kubernetes swaps, again and again", async () => {
    const publish = (version: number, set: typeof keys) => {
      mkdirSync(join(root, `..v${version}`));
      writeFileSync(join(root, `..v${version}`, "signing.pem"), set.pem.signingPublicKey);
      writeFileSync(join(root, `..v${version}`, "payload.pem"), set.pem.payloadPrivateKey);
      symlinkSync(`..v${version}`, join(root, "..tmp"));
      renameSync(join(root, "..tmp"), join(root, "..data"));
    };
    publish(1, keys);
    for (const name of ["signing.pem", "payload.pem"]) symlinkSync(`..data/${name}`, join(root, name));
    const { store, event } = makeStore({ signing: [join(root, "signing.pem")], payload: join(root, "payload.pem") });
    store.load();
    store.watch();
    for (const [version, set] of [[2, next], [3, keys], [4, next]] as const) {
      publish(version, set);
      expect(await event()).toBe("changed");
      expect([store.signing[0]?.equals(set.signingPublic), store.payload?.equals(set.payloadPrivate)]).toEqual([true, true]);
    }
  });

  test("keeps the last good key when a file breaks, says so once, and takes the repaired one", async () => {
    const { store, event, events } = makeStore();
    store.load();
    store.watch();
    const before = store.version;
    writeFileSync(join(root, "payload.pem"), "rubbish");
    expect(await event()).toStartWith(`key refused, the old one stays (cannot load payload private key ${join(root, "payload.pem")}: it holds no PEM`);
    expect([store.payload?.equals(keys.payloadPrivate), store.version]).toEqual([true, before]);
    writeFileSync(join(root, "payload.pem"), next.pem.payloadPrivateKey);
    expect(await event()).toBe("changed");
    expect([store.payload?.equals(next.payloadPrivate), store.version, events.length]).toEqual([true, before + 1, 2]);
  });

  test("keeps the last good key when a file goes away or is swapped for a weak one", async () => {
    const { store, event } = makeStore();
    store.load();
    store.watch();
    rmSync(join(root, "signing.pem"));
    expect(await event()).toContain("no such file");
    writeFileSync(join(root, "signing.pem"), sampleKeys(1024).pem.signingPublicKey);
    expect(await event()).toContain("1024 bits");
    expect(store.signing[0]?.equals(keys.signingPublic)).toBe(true);
  });

  test("does not call it a change when a file is written again with the same key", async () => {
    const { store, event } = makeStore();
    store.load();
    store.watch();
    writeFileSync(join(root, "signing.pem"), pem(keys.signingPublic, "pkcs1"));
    writeFileSync(join(root, "payload.pem"), next.pem.payloadPrivateKey);
    expect(await event()).toBe("changed");
    expect(store.version).toBe(3);
  });

  test("finds keys that were missing at the start", async () => {
    const late = join(root, "late.pem");
    const { store, event } = makeStore({ signing: [late] });
    expect(() => store.load()).toThrow("late.pem");
    store.watch();
    writeFileSync(late, keys.pem.signingPublicKey);
    expect(await event()).toBe("changed");
    expect(store.signing.length).toBe(1);
  });

  test("catches what changed between load and watch", () => {
    const { store, events } = makeStore();
    store.load();
    writeFileSync(join(root, "signing.pem"), next.pem.signingPublicKey);
    store.watch();
    expect([events, store.signing[0]?.equals(next.signingPublic)]).toEqual([["changed"], true]);
  });
});

const openssl = Bun.which("openssl");

describe.skipIf(openssl === null)("keys of openssl", () => {
  function run(...args: string[]): void {
    const { exitCode, stderr } = Bun.spawnSync([openssl as string, ...args], { cwd: root });
    if (exitCode !== 0) throw new Error(`openssl ${args.join(" ")}: ${stderr}`);
  }

  test.each([1024, 2048])("made with the platform's documented commands at %d bits work", (bits) => {
    for (const traditional of [[], ["-traditional"]]) {
      for (const name of ["signing", "payload"]) run("genrsa", ...traditional, "-out", `${name}.key`, String(bits));
      run("rsa", "-in", "signing.key", "-outform", "PEM", "-pubout", "-out", "signing.spki");
      run("rsa", "-in", "payload.key", "-outform", "PEM", "-pubout", "-out", "payload.spki");
      run("rsa", "-pubin", "-in", "payload.spki", "-RSAPublicKey_out", "-out", "payload.pub");
      run("rsa", "-pubin", "-in", "signing.spki", "-RSAPublicKey_out", "-out", "signing.pub");
      const read = (name: string) => readFileSync(join(root, name), "latin1");
      expect(read("signing.key")).toStartWith(traditional.length > 0 ? "-----BEGIN RSA PRIVATE" : "-----BEGIN PRIVATE");
      const { store } = makeStore({ signing: [join(root, "signing.spki"), join(root, "signing.pub")], payload: join(root, "payload.key"), allowWeakRsaKeys: true });
      store.load();
      expect(store.signing[0]?.equals(store.signing[1] as KeyObject)).toBe(true);
      const token = mintDesktopToken({ host: "10.0.0.7", signingPrivateKey: read("signing.key"), payloadPublicKey: read("payload.pub"), ttlS: 60 });
      expect(token.split(".")).toHaveLength(3);
    }
  });

  test("made for PSS only, or locked with a passphrase, are refused", () => {
    run("genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "pss.key");
    expect(() => makeStore({ payload: join(root, "pss.key") }).store.load()).toThrow(/expected|no key/);
    run("genrsa", "-aes256", "-passout", "pass:x", "-out", "locked.key", "2048");
    expect(() => makeStore({ payload: join(root, "locked.key") }).store.load()).toThrow("encrypted with a passphrase");
  });
});
