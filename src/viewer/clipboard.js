// The clipboard panel: one text for both ways. A page may not look into the person's clipboard by itself, so they paste here.

import { element } from "./view.js";

const text = element("clipboard-text");

/** @param {(text: string) => void} send to the machine */
export function startClipboard(send) {
  const [panel, opener] = [element("clipboard"), element("clipboard-open")];
  const open = (isOpen) => {
    panel.hidden = !isOpen;
    opener.setAttribute("aria-expanded", String(isOpen));
    (isOpen ? text : opener).focus();
  };
  opener.addEventListener("click", () => open(panel.hidden));
  panel.addEventListener("keydown", (event) => { if (event.key === "Escape") open(false); });
  element("clipboard-close").addEventListener("click", () => open(false));
  element("send").addEventListener("click", () => {
    send(text.value);
    say("Sent. Paste it on the machine.");
  });
  element("copy").addEventListener("click", () => void copy());
}

/** The machine has a new text in its clipboard. */
export function copied(value) {
  text.value = value;
  say("Copied on the machine.");
}

async function copy() {
  try {
    await navigator.clipboard.writeText(text.value);
  } catch {
    // Plain http, or not allowed: the old way still works from a click.
    text.select();
    document.execCommand("copy");
  }
  say("Copied here.");
}

function say(what) {
  element("clipboard-said").textContent = what;
}
