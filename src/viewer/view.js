// The page's elements, and what the person in front sees of the state. It knows nothing of connections.

import { machine } from "./address.js";

export const element = (id) => document.getElementById(id);

/** What only a connected machine can take. */
const NEEDS_MACHINE = ["ctrl-alt-del", "send"];

/** @param {"connecting" | "connected" | "disconnected"} state @param {{ title: string, hint: string } | null} notice */
export function show(state, notice) {
  document.documentElement.dataset.state = state;
  element("state").textContent = state;
  element("notice").hidden = notice === null;
  element("notice-title").textContent = notice?.title ?? "";
  element("notice-hint").textContent = notice?.hint ?? "";
}

/** @param {boolean} canType a machine is there and takes what is sent */
export function enableControls(canType) {
  for (const id of NEEDS_MACHINE) element(id).disabled = !canType;
}

export function showName() {
  if (machine === "") return;
  document.title = `${machine} – console`;
  element("name").textContent = machine;
  element("screen").setAttribute("aria-label", `screen of ${machine}`);
}

export function showBar(isShown) {
  element("bar").hidden = !isShown;
  element("show").hidden = isShown;
}

/** A button that is on or off. */
export function toggle(id, isOn, changed) {
  const button = element(id);
  const set = (next) => button.setAttribute("aria-pressed", String(next));
  set(isOn);
  button.addEventListener("click", () => {
    const next = button.getAttribute("aria-pressed") !== "true";
    set(next);
    changed(next);
  });
  return set;
}
