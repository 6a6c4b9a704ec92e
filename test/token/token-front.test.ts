import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { createSecretKey } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DesktopTokenSettings, VmTokenSettings } from "../../src/settings.ts";
import { KeyError } from "../../src/token/keys.ts";
import { mintDesktopToken, mintVmToken } from "../../src/token/mint.ts";
import { TokenFront, type TokenSettings } from "../../src/token/token-front.ts";
import { eventually } from "../support/eventually.ts";
import { sampleKeys } from "./sample-keys.ts";

const SECRET = "strong-secret-of-32-bytes-and-no";
const NEXT = "another-secret-that-has-32-bytes";
const keys = sampleKeys(2048);

let root: string;
let events: string[];
const fronts: TokenFront[] = [];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "front-"));
  events = [];
  writeFileSync(join(root, "signing.pem"), keys.pem.signingPublicKey);
  writeFileSync(join(root, "payload.pem"), keys.pem.payloadPrivateKey);
  writeFileSync(join(root, "console.key"), SECRET);
});
afterEach(() => {
  for (const front of fronts.splice(0)) front.close();
  rmSync(root, { recursive: true, force: true });
});

function desktop(more: Partial<DesktopTokenSettings> = {}): DesktopTokenSettings {
  return {
    signingPublicKeys: [join(root, "signing.pem")], payloadPrivateKey: join(root, "payload.pem"), algorithms: ["RS256"], allowWeakRsaKeys: false, requireExp: true,
    requireKeysAtStart: true, cache: { ttlMs: 60_000, entries: 10, bytes: 100_000, failureTtlMs: 1000 }, ...more,
  };
}

function vm(more: Partial<VmTokenSettings> = {}): VmTokenSettings {
  return { secret: { kind: "file", path: join(root, "console.key") }, algorithms: ["HS256"], allowWeakSecret: false, ...more };
}

function open(settings: TokenSettings): TokenFront {
  const front = TokenFront.open(settings, {
    warn: (message) => events.push(`warn ${message}`), error: (message) => events.push(`error ${message}`), changed: () => events.push("changed"),
  });
  fronts.push(front);
  return front;
}

const desktopToken = (): string => mintDesktopToken({ host: "10.0.0.7", signingPrivateKey: keys.signingPrivate, payloadPublicKey: keys.payloadPublic, ttlS: 60 });
const vmToken = (text = SECRET): string => {
  return mintVmToken({ user: 7, lab: 1, labInstance: 12, namespace: "lab-12", vms: ["ubuntu"], secret: createSecretKey(Buffer.from(text)), ttlS: 60 });
};

describe("the token front", () => {
  test("asks the right kind of token to prove the right kind of identity", async () => {
    const front = open({ desktopToken: desktop(), vmToken: vm() });
    expect(await front.identify("desktop", desktopToken())).toMatchObject({ kind: "desktop", host: "10.0.0.7" });
    expect(front.identify("vm", vmToken())).toMatchObject({ kind: "vm", namespace: "lab-12", vms: ["ubuntu"] });
  });

  test("takes no token of one kind for the other", () => {
    const front = open({ desktopToken: desktop(), vmToken: vm() });
    expect(() => front.identify("desktop", vmToken())).toThrow(expect.objectContaining({ code: "unauthorized", message: "token algorithm is not RS256" }));
    expect(() => front.identify("vm", desktopToken())).toThrow(expect.objectContaining({ code: "unauthorized", message: "token algorithm is not HS256" }));
  });

  test("without settings for a kind answers 503 to it, and serves the other", async () => {
    const unavailable = (kind: string) => expect.objectContaining({ code: "unavailable", message: `no settings for ${kind} tokens` });
    const [onlyVm, onlyDesktop] = [open({ desktopToken: null, vmToken: vm() }), open({ desktopToken: desktop(), vmToken: null })];
    expect(() => onlyVm.identify("desktop", desktopToken())).toThrow(unavailable("desktop"));
    expect(onlyVm.identify("vm", vmToken())).toMatchObject({ kind: "vm" });
    expect(() => onlyDesktop.identify("vm", vmToken())).toThrow(unavailable("vm"));
    expect((await onlyDesktop.identify("desktop", desktopToken())).kind).toBe("desktop");
    for (const kind of ["desktop", "vm"] as const) expect(() => TokenFront.empty().identify(kind, vmToken())).toThrow(unavailable(kind));
  });

  test("does not open without its secret, nor without the keys that it needs at the start", () => {
    rmSync(join(root, "console.key"));
    expect(() => open({ desktopToken: null, vmToken: vm() })).toThrow(KeyError);
    expect(() => open({ desktopToken: null, vmToken: vm({ secret: { kind: "text", text: "short" } }) })).toThrow("it has 5 bytes");
    rmSync(join(root, "payload.pem"));
    expect(() => open({ desktopToken: desktop(), vmToken: null })).toThrow(join(root, "payload.pem"));
    expect(events).toEqual([]);
  });

  test("opens without desktop keys where it may, says so, and serves consoles meanwhile", () => {
    rmSync(join(root, "payload.pem"));
    const front = open({ desktopToken: desktop({ requireKeysAtStart: false }), vmToken: vm() });
    expect(events).toEqual(["error key not loadable: token routes answer 503 until it is"]);
    expect(() => front.identify("desktop", desktopToken())).toThrow(expect.objectContaining({ code: "unavailable" }));
    expect(front.identify("vm", vmToken())).toMatchObject({ kind: "vm" });
  });

  test("follows its secret once it is told to watch", async () => {
    const front = open({ desktopToken: desktop(), vmToken: vm() });
    front.watch();
    writeFileSync(join(root, "console.key"), NEXT);
    await eventually("the new secret", () => events, (seen) => seen.includes("changed"));
    expect(front.identify("vm", vmToken(NEXT))).toMatchObject({ kind: "vm" });
    expect(() => front.identify("vm", vmToken())).toThrow("bad signature");
  });
});

/** How often this process watches a directory: the kernel's own list of inotify watches. */
function watchesOf(directory: string): number {
  const inode = `ino:${statSync(directory).ino.toString(16)} `;
  const lines = readdirSync("/proc/self/fdinfo").flatMap((fd) => {
    try {
      return readFileSync(`/proc/self/fdinfo/${fd}`, "utf8").split("\n");
    } catch {
      return []; // The descriptor that the directory was listed with.
    }
  });
  return lines.filter((line) => line.startsWith("inotify ") && line.includes(inode)).length;
}

describe.skipIf(!existsSync("/proc/self/fdinfo"))("no watcher is left", () => {
  test("after close, which may be called twice", async () => {
    const front = open({ desktopToken: desktop(), vmToken: vm() });
    front.watch();
    expect(watchesOf(root)).toBeGreaterThan(0);
    front.close();
    front.close();
    await eventually("the end of the watches", () => watchesOf(root), (count) => count === 0);
  });

  test("when the desktop's keys cannot be loaded beside a good secret", () => {
    writeFileSync(join(root, "payload.pem"), "rubbish");
    expect(() => open({ desktopToken: desktop(), vmToken: vm() })).toThrow("it holds no PEM");
    expect(watchesOf(root)).toBe(0);
  });
});
