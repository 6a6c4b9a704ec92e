// The virtual machines, as links to their consoles. The token in the links is renewed at half of its life, so that a link
// that is there is good.

import { callApi } from "./api.js";

const RETRY_MS = 5000;

export class ConsolesPane {
  #timer = null;
  /** Which opening is current: what an earlier one still waits for comes too late. */
  #turn = 0;

  constructor(view, getSession) {
    this.view = view;
    this.getSession = getSession;
  }

  async open() {
    clearTimeout(this.#timer);
    const turn = ++this.#turn;
    const { user, userToken } = this.getSession();
    try {
      const { machines } = await callApi("GET", "/API/consoles", { token: userToken });
      const { consoleToken, expiresInS } = await callApi("POST", "/API/consoles/token", { token: userToken });
      if (turn !== this.#turn) return;
      this.view.list.replaceChildren(...machines.map((machine) => item(machine, user, consoleToken)));
      this.view.note.textContent = `console token for ${user}, ${expiresInS / 60} min, renewed while you are here`;
      this.#timer = setTimeout(() => this.open(), expiresInS * 500);
    } catch (failure) {
      if (turn !== this.#turn) return;
      this.view.note.textContent = failure.message;
      this.#timer = setTimeout(() => this.open(), RETRY_MS);
    }
  }

  /** Nobody else's links are left on the page. */
  close() {
    clearTimeout(this.#timer);
    this.#turn++;
    this.view.list.replaceChildren();
    this.view.note.textContent = "";
  }
}

function item({ name, owner, about, state }, user, consoleToken) {
  const isRunning = state === "Running";
  const title = element("h3", "", [element("span", "", [name]), dot(isRunning), element("span", "state", [state.toLowerCase()])]);
  const whose = owner === user ? "yours" : `${owner}'s`;
  const link = Object.assign(element("a", owner === user && isRunning ? "button primary" : "button", ["Open console"]), {
    href: `/consoles/${consoleToken}/${name}`, target: "_blank", rel: "noopener noreferrer",
  });
  const machine = element("li", `machine ${owner}${isRunning ? "" : " off"}`, [
    element("span", "glyph", [">_"]), element("div", "what", [title, element("p", "", [`${whose} · ${about}`])]), link,
  ]);
  machine.dataset.vm = name;
  return machine;
}

function dot(isRunning) {
  return element("span", isRunning ? "dot on" : "dot off", []);
}

function element(name, className, children) {
  const made = Object.assign(document.createElement(name), { className });
  made.append(...children);
  return made;
}
