// The tabs of one desktop find each other over /broadcast: what one sends, the others get.

import { socketUrl } from "./api.js";

const MESSAGE_LIMIT = 100;
const RETRY_MS = 3000;

export class TabsPane {
  #socket = null;
  #isWanted = false;
  #id = Math.random().toString(36).slice(2, 6);
  #others = new Set();

  constructor(view, getToken) {
    this.view = view;
    this.getToken = getToken;
    view.form.onsubmit = (event) => {
      event.preventDefault();
      this.#say(view.input.value.trim());
    };
    addEventListener("pagehide", () => this.#send({ kind: "bye" }));
  }

  async connect() {
    this.#isWanted = true;
    const token = await this.getToken();
    if (!this.#isWanted) return;
    const socket = new WebSocket(socketUrl(`/broadcast?jwt_token=${token}`));
    socket.onopen = () => this.#send({ kind: "hello" });
    socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
    socket.onclose = () => {
      this.#others.clear();
      this.#showCount();
      if (socket === this.#socket && this.#isWanted) setTimeout(() => this.#isWanted && this.connect(), RETRY_MS);
    };
    this.#socket = socket;
  }

  disconnect() {
    this.#isWanted = false;
    this.#send({ kind: "bye" });
    this.#socket?.close(1000);
    this.#socket = null;
  }

  #say(text) {
    if (!text || this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#send({ kind: "say", text });
    this.#show("this tab", text, "mine");
    this.view.input.value = "";
  }

  #receive({ kind, from, text }) {
    if (kind === "bye") this.#others.delete(from);
    else this.#others.add(from);
    if (kind === "hello") this.#send({ kind: "here" });
    if (kind === "say") this.#show(`tab ${from}`, text, "");
    this.#showCount();
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify({ ...message, from: this.#id }));
  }

  #show(from, text, className) {
    const item = Object.assign(document.createElement("li"), { className });
    item.append(Object.assign(document.createElement("small"), { textContent: from }), String(text));
    this.view.messages.append(item);
    while (this.view.messages.children.length > MESSAGE_LIMIT) this.view.messages.firstElementChild.remove();
    this.view.messages.scrollTop = this.view.messages.scrollHeight;
  }

  #showCount() {
    const count = this.#others.size + 1;
    this.view.count.textContent = count === 1 ? "1 tab" : `${count} tabs`;
  }
}
