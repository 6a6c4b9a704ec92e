// Asks for what the machine's VNC server wants before it shows its screen. Kept in memory while the page is open, so that a
// lost connection comes back by itself; forgotten when the server refuses it.

import { element } from "./view.js";

const dialog = element("password");
const form = element("password-form");

/** @param {string[]} types of noVNC: username, password, target @param {(credentials: object | null) => void} done null: cancelled */
export function askForCredentials(types, done) {
  for (const input of form.querySelectorAll("input")) {
    const isAsked = types.includes(input.name);
    input.value = "";
    input.disabled = !isAsked;
    input.closest("label").hidden = !isAsked;
  }
  form.onsubmit = (event) => {
    event.preventDefault();
    const credentials = Object.fromEntries(types.map((type) => [type, form.elements[type]?.value ?? ""]));
    form.reset();
    dialog.close("given");
    done(credentials);
  };
  dialog.returnValue = "";
  dialog.onclose = () => { if (dialog.returnValue !== "given") done(null); };
  dialog.showModal();
}

/** The connection is gone: nobody asks any more. */
export function stopAsking() {
  dialog.onclose = null;
  form.reset();
  if (dialog.open) dialog.close();
}

element("password-cancel").addEventListener("click", () => dialog.close());
