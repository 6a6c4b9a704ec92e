// The token front: every kind of token that routes ask for, with the keys that it is checked with. Text in, identity out;
// what the identity may reach is not asked here.

import { RouteError } from "../errors.ts";
import type { Identity, IdentityKind } from "../identity.ts";
import type { Settings } from "../settings.ts";
import { DesktopTokens } from "./desktop-token.ts";
import { KEY_MISSING, type KeyError, KeyStore, type KeyStoreEvents } from "./keys.ts";
import { SecretStore } from "./secret.ts";
import { VmTokens } from "./vm-token.ts";

export type TokenSettings = Pick<Settings, "desktopToken" | "vmToken">;

type Desktop = { readonly keys: KeyStore; readonly tokens: DesktopTokens };
type Vm = { readonly secret: SecretStore; readonly tokens: VmTokens };

export class TokenFront {
  private constructor(private readonly desktop: Desktop | null, private readonly vm: Vm | null) {}

  /** @throws KeyError when keys cannot be loaded that the settings ask for at the start; nothing is left open then */
  static open(settings: TokenSettings, on: KeyStoreEvents): TokenFront {
    const vm = settings.vmToken === null ? null : openVm(settings.vmToken, on);
    try {
      return new TokenFront(settings.desktopToken === null ? null : openDesktop(settings.desktopToken, on), vm);
    } catch (error) {
      vm?.secret.close();
      throw error;
    }
  }

  /** A front that knows no token, for a configuration whose keys cannot be had. */
  static empty(): TokenFront {
    return new TokenFront(null, null);
  }

  /**
   * The identity itself where it is known or quickly found, else a promise of it.
   * @throws RouteError (or rejects with one) unauthorized, unavailable
   */
  identify(kind: IdentityKind, token: string): Identity | Promise<Identity> {
    const tokens = kind === "vm" ? this.vm?.tokens : this.desktop?.tokens;
    if (tokens === undefined) throw new RouteError("unavailable", `no settings for ${kind} tokens`);
    return tokens.identify(token);
  }

  /** Of key files that could not be read the last time, one each; what was read before is in use. */
  get failures(): readonly KeyError[] {
    return [...this.desktop?.keys.failures ?? [], ...this.vm?.secret.failures ?? []];
  }

  /** Follows the key files from now on. */
  watch(): void {
    this.desktop?.keys.watch();
    this.vm?.secret.watch();
  }

  close(): void {
    this.desktop?.tokens.close();
    this.desktop?.keys.close();
    this.vm?.secret.close();
  }
}

function openDesktop(settings: NonNullable<Settings["desktopToken"]>, on: KeyStoreEvents): Desktop {
  const keys = new KeyStore(settings, on);
  try {
    keys.load();
  } catch (error) {
    if (settings.requireKeysAtStart) throw error;
    on.error(KEY_MISSING, error as KeyError); // load throws nothing else.
  }
  return { keys, tokens: new DesktopTokens(settings, keys) };
}

function openVm(settings: NonNullable<Settings["vmToken"]>, on: KeyStoreEvents): Vm {
  const secret = new SecretStore(settings, on);
  secret.load();
  return { secret, tokens: new VmTokens(settings.algorithms, secret) };
}
