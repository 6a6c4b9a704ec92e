// A terminal pane: makes a terminal with POST /terminals, then speaks with it at /terminals/<pid>?<token>.
// It understands what the demo terminal sends: text, CR, LF, backspace, three colours, clear.

import { callPod, socketUrl } from "./api.js";

const LINE_LIMIT = 1000;
const STYLES = { 0: "", 1: "bold", 32: "green", 34: "blue" };
const KEYS = { Enter: "\r", Backspace: "\x7f", Tab: "\t", Escape: "\x1b" };

export class TerminalPane {
  #socket = null;
  #lines = [[]];
  #style = "";
  #pending = "";

  constructor(element, getToken, explainLoss) {
    this.explainLoss = explainLoss;
    this.element = element;
    this.getToken = getToken;
    element.onkeydown = (event) => this.#key(event);
    element.onpaste = (event) => this.#send(event.clipboardData.getData("text").replace(/\n/g, "\r"));
  }

  async open() {
    this.close();
    this.#clear();
    try {
      const token = await this.getToken();
      const created = await callPod("/terminals?cols=80&rows=16", token, { method: "POST" });
      const { pid } = await created.json();
      this.#connect(pid, token);
      await callPod(`/terminals/${pid}/size?cols=${this.#columns()}&rows=16`, token, { method: "POST" });
    } catch (failure) {
      this.#write(`\r\n${failure.message}\r\n`);
    }
  }

  close() {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
  }

  #connect(pid, token) {
    const socket = new WebSocket(socketUrl(`/terminals/${pid}?${token}`));
    socket.onmessage = ({ data }) => this.#write(data);
    socket.onclose = async ({ code }) => {
      if (socket !== this.#socket) return;
      const reason = code === 1000 ? "The terminal has ended." : await this.explainLoss();
      this.#write(`\r\n\x1b[1m${reason}\x1b[0m Press "New" for another one.\r\n`);
    };
    this.#socket = socket;
  }

  #columns() {
    return Math.max(20, Math.floor((this.element.clientWidth - 28) / 7.9));
  }

  #key(event) {
    if (event.metaKey || event.altKey || event.key === "Tab") return;
    const text = event.ctrlKey ? controlCharacter(event.key) : plainText(event.key);
    // Ctrl-C copies when something is selected, as in other terminals.
    if (!text || (text === "\x03" && !getSelection().isCollapsed) || text === "\x16") return;
    event.preventDefault();
    this.#send(text);
  }

  #send(text) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(text);
  }

  #write(text) {
    const input = this.#pending + text;
    this.#pending = "";
    const pattern = /\x1b\[([0-9;]*)([A-Za-z])|\x1b\[?[0-9;]*$|[\s\S]/g;
    for (const match of input.matchAll(pattern)) {
      if (match[2]) this.#escape(match[1], match[2]);
      else if (match[0].startsWith("\x1b")) this.#pending = match[0];
      else this.#put(match[0]);
    }
    this.#lines.splice(0, this.#lines.length - LINE_LIMIT);
    this.#render();
  }

  #escape(parameters, command) {
    if (command === "m") this.#style = STYLES[Number(parameters)] ?? "";
    if (command === "J") this.#lines = [[]];
  }

  #put(character) {
    const line = this.#lines.at(-1);
    if (character === "\n") this.#lines.push([]);
    // A rubout is backspace, space, backspace: the space is put and taken again, one character is gone.
    else if (character === "\b") line.pop();
    else if (character >= " ") line.push({ character, style: this.#style });
  }

  #clear() {
    this.#lines = [[]];
    this.#render();
  }

  #render() {
    const parts = [];
    this.#lines.forEach((line, index) => {
      if (index) parts.push("\n");
      parts.push(...runsOf(line));
    });
    parts.push(span("cursor", " "));
    this.element.replaceChildren(...parts);
    this.element.scrollTop = this.element.scrollHeight;
  }
}

function runsOf(line) {
  const runs = [];
  for (const { character, style } of line) {
    const last = runs.at(-1);
    if (last?.className === style) last.textContent += character;
    else runs.push(span(style, character));
  }
  return runs;
}

function span(className, text) {
  return Object.assign(document.createElement("span"), { className, textContent: text });
}

function plainText(key) {
  return KEYS[key] ?? (key.length === 1 ? key : "");
}

function controlCharacter(key) {
  return /^[a-z]$/i.test(key) ? String.fromCharCode(key.toUpperCase().charCodeAt(0) - 64) : "";
}
