// The cookie of the sticky policy. It carries an id that is made of the service and the server under a secret: it names no
// address, and who does not know the secret can neither make one nor tell which server it is. An id that nobody has, an old
// one or a forged one, is as good as none.

import { createHmac, randomBytes } from "node:crypto";
import { cookieValue } from "./cookie.ts";

/** Where the configuration has no secret: cookies are good until the next start, also across reloads. */
const PROCESS_SECRET = randomBytes(32);
/** 144 bits, and no bit of the last character is left over, so that there is one spelling. */
const ID_BYTES = 18;
/** That are remembered; a service has at most so many members. */
const IDS = 1000;
const ID = /^[\w-]{24}$/;

export class StickyCookie {
  readonly #secret: string | Uint8Array;
  /** By member key: each answer asks for one. */
  readonly #ids = new Map<string, string>();

  /** @param cookie name, a token of RFC 6265 @param secret the same in all replicas; null: this process's own */
  constructor(private readonly service: string, private readonly cookie: string, secret: string | null) {
    this.#secret = secret ?? PROCESS_SECRET;
  }

  /** The id out of a Cookie header; null when there is none that could be one. */
  read(header: string | null | undefined): string | null {
    const id = cookieValue(header, this.cookie);
    return id !== null && ID.test(id) ? id : null;
  }

  idOf(memberKey: string): string {
    let id = this.#ids.get(memberKey);
    if (id === undefined) {
      // Servers that come and go by their names' addresses.
      if (this.#ids.size >= IDS) this.#ids.clear();
      this.#ids.set(memberKey, id = this.#makeId(memberKey));
    }
    return id;
  }

  #makeId(memberKey: string): string {
    // As JSON, so that no other service and key give the same text.
    const text = JSON.stringify(["sticky", this.service, memberKey]);
    return createHmac("sha256", this.#secret).update(text).digest().subarray(0, ID_BYTES).toString("base64url");
  }

  /** The value of a Set-Cookie header that leads the client back to this member, for as long as the browser runs. */
  header(memberKey: string, isSecure: boolean): string {
    return `${this.cookie}=${this.idOf(memberKey)}; Path=/; HttpOnly; SameSite=Lax${isSecure ? "; Secure" : ""}`;
  }
}
