// The page of the VNC tests: the real noVNC client on a full window, and what a test asks it to do, as `window.vnc`.

import RFB from "./novnc/core/rfb.js";

/** What happened so far, oldest first: `{ type, ... }`. */
const events = [];
let rfb = null;

window.vnc = {
  events,

  /** @param {string} path with its token, or a whole URL elsewhere. Resolves when the remote screen is there. */
  connect(path) {
    const url = new URL(path, location.origin.replace(/^http/, "ws"));
    const socket = new WebSocket(url, ["binary"]);
    socket.addEventListener("close", ({ code, reason, wasClean }) => events.push({ type: "close", code, reason, wasClean }));
    rfb = new RFB(document.getElementById("screen"), socket);
    // Local drawing of the cursor would be on top of the picture that is compared.
    rfb.showDotCursor = false;
    rfb.addEventListener("clipboard", ({ detail }) => events.push({ type: "clipboard", text: detail.text }));
    rfb.addEventListener("desktopname", ({ detail }) => events.push({ type: "desktopname", name: detail.name }));
    rfb.addEventListener("bell", () => events.push({ type: "bell" }));
    return new Promise((resolve, reject) => {
      rfb.addEventListener("connect", () => resolve(socket.protocol));
      rfb.addEventListener("disconnect", ({ detail }) => {
        events.push({ type: "disconnect", clean: detail.clean });
        reject(new Error("disconnected"));
      });
    });
  },

  disconnect() { rfb.disconnect(); },

  paste(text) { rfb.clipboardPasteFrom(text); },

  /** Whether the remote screen follows the size of the window. */
  follow(isFollowing) { rfb.resizeSession = isFollowing; },

  /** The remote screen as noVNC has it. */
  picture() { return packed(rfb.getImageData()); },

  /** A PNG, decoded by the browser. */
  async decode(png) {
    const bitmap = await createImageBitmap(await (await fetch(`data:image/png;base64,${png}`)).blob());
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    const context = canvas.getContext("2d");
    context.drawImage(bitmap, 0, 0);
    return packed(context.getImageData(0, 0, bitmap.width, bitmap.height));
  },
};

function packed({ width, height, data }) {
  let text = "";
  for (let at = 0; at < data.length; at += 0x8000) text += String.fromCharCode(...data.subarray(at, at + 0x8000));
  return { width, height, rgba: btoa(text) };
}
