// One connection to the console: noVNC over a WebSocket of our own, because noVNC keeps the close frame's code and reason to
// itself. It ends once, and says why.

import RFB from "@novnc/novnc";

export class Session {
  /** For the time that the machine's screen was there. */
  #connectedAtMs = Infinity;
  #isOver = false;
  /** What the WebSocket or noVNC said of the end. */
  #end = { code: 0, reason: "", wasOpen: false, failure: "" };

  /**
   * @param {HTMLElement} target
   * @param {string} url
   * @param {{ credentials: object, isScaled: boolean, isViewOnly: boolean }} settings
   * @param {{ connected(): void, asked(types: string[]): void, copied(text: string): void, ended(end: object, livedMs: number): void }} events
   */
  constructor(target, url, { credentials, isScaled, isViewOnly }, events) {
    const socket = new WebSocket(url);
    socket.addEventListener("open", () => { this.#end.wasOpen = true; });
    // Before noVNC's own listener, and so before its `disconnect`.
    socket.addEventListener("close", ({ code, reason }) => Object.assign(this.#end, { code, reason }));
    this.rfb = new RFB(target, socket, { credentials });
    this.rfb.background = "transparent";
    this.rfb.scaleViewport = isScaled;
    this.rfb.viewOnly = isViewOnly;
    const on = (name, listener) => this.rfb.addEventListener(name, ({ detail }) => { if (!this.#isOver) listener(detail); });
    on("connect", () => {
      this.#connectedAtMs = performance.now();
      events.connected();
    });
    on("credentialsrequired", ({ types }) => events.asked(types));
    // The gateway and the cluster's API answer for the machine; its own key is not known to anybody here.
    on("serververification", () => this.rfb.approveServer());
    on("securityfailure", ({ reason }) => { this.#end.failure = reason ?? "The machine refused the password."; });
    on("clipboard", ({ text }) => events.copied(text));
    on("disconnect", () => {
      this.#isOver = true;
      events.ended(this.#end, Math.max(0, performance.now() - this.#connectedAtMs));
    });
  }

  /** Ends it without a word of why. */
  close() {
    if (this.#isOver) return;
    this.#isOver = true;
    this.rfb.disconnect();
  }
}
