// The remote screen: tiles come in over /websockify and are put on a canvas; pointer and keys go out.

import { socketUrl } from "./api.js";

const RETRY_MS = [500, 1500, 4000];

export class ScreenPane {
  #socket = null;
  #hello = null;
  #frames = 0;
  #bytes = 0;
  #retries = 0;
  #isWanted = false;
  #isDown = false;
  #context;
  #tile = null;

  /**
   * `view`: the elements; `getToken()` promises a desktop token that is good now, `explainLoss()` the words for a
   * connection that is gone; `onConnect(hello)` is called at each connection.
   */
  constructor(view, getToken, explainLoss, onConnect) {
    this.explainLoss = explainLoss;
    this.view = view;
    this.getToken = getToken;
    this.onConnect = onConnect;
    this.#context = view.canvas.getContext("2d");
    this.#listen();
    setInterval(() => this.#showRate(), 1000);
  }

  async connect() {
    this.#isWanted = true;
    this.view.overlay.hidden = true;
    this.#status("", "connecting");
    const token = await this.getToken();
    if (!this.#isWanted) return;
    const socket = new WebSocket(socketUrl(`/websockify?jwt_token=${token}`));
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => (typeof data === "string" ? this.#start(JSON.parse(data)) : this.#draw(data));
    socket.onclose = (event) => this.#closed(socket, event);
    this.#socket = socket;
  }

  disconnect() {
    this.#isWanted = false;
    this.#retries = 0;
    this.#socket?.close(1000);
    this.#socket = null;
  }

  #start(hello) {
    this.#hello = hello;
    this.#retries = 0;
    Object.assign(this.view.canvas, { width: hello.width, height: hello.height });
    this.#tile = this.#context.createImageData(hello.tileWidth, hello.tileHeight);
    this.#tile.data.fill(255);
    this.#status("on", `connected to ${hello.owner}'s pod at ${hello.address}`);
    // Not out of the hands of somebody who types elsewhere while the screen comes back.
    if (document.activeElement === document.body) this.view.canvas.focus({ preventScroll: true });
    this.onConnect(hello);
  }

  #draw(data) {
    const bytes = new Uint8Array(data);
    const { tileWidth, tileHeight } = this.#hello;
    const count = (bytes[1] << 8) | bytes[2];
    const { data: pixels } = this.#tile;
    let at = 3;
    for (let tile = 0; tile < count; tile++) {
      const column = bytes[at++];
      const row = bytes[at++];
      for (let pixel = 0; pixel < pixels.length; pixel += 4) {
        pixels[pixel] = bytes[at++];
        pixels[pixel + 1] = bytes[at++];
        pixels[pixel + 2] = bytes[at++];
      }
      this.#context.putImageData(this.#tile, column * tileWidth, row * tileHeight);
    }
    this.#frames++;
    this.#bytes += bytes.length;
  }

  async #closed(socket, event) {
    if (socket !== this.#socket || !this.#isWanted) return;
    const wait = RETRY_MS[this.#retries++];
    if (wait !== undefined) {
      this.#status("", "connection lost, trying again");
      await new Promise((resolve) => setTimeout(resolve, wait));
      if (socket === this.#socket && this.#isWanted) this.connect();
      return;
    }
    this.#status("off", `disconnected (${event.code})`);
    this.view.overlayText.textContent = await this.explainLoss();
    this.view.overlay.hidden = false;
  }

  #listen() {
    const { canvas } = this.view;
    canvas.onpointerdown = (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.#isDown = true;
      this.#point(event);
    };
    canvas.onpointermove = (event) => this.#point(event);
    canvas.onpointerup = (event) => {
      this.#isDown = false;
      this.#point(event);
    };
    canvas.onkeydown = (event) => {
      // Shortcuts and Tab stay the browser's, or a keyboard user could not leave the screen.
      if (event.ctrlKey || event.metaKey || event.altKey || event.key === "Tab") return;
      event.preventDefault();
      this.#send({ type: "key", key: event.key });
    };
  }

  #point(event) {
    const { canvas } = this.view;
    const box = canvas.getBoundingClientRect();
    const x = Math.round(((event.clientX - box.left) / box.width) * canvas.width);
    const y = Math.round(((event.clientY - box.top) / box.height) * canvas.height);
    this.#send({ type: "pointer", x: clamp(x, canvas.width), y: clamp(y, canvas.height), isDown: this.#isDown });
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #status(state, text) {
    this.view.dot.className = `dot ${state}`;
    this.view.status.textContent = text;
  }

  #showRate() {
    const isOpen = this.#socket?.readyState === WebSocket.OPEN;
    this.view.rate.textContent = isOpen ? `${this.#frames} frames/s · ${Math.round(this.#bytes / 1024)} KiB/s` : "";
    this.#frames = 0;
    this.#bytes = 0;
  }
}

function clamp(value, limit) {
  return Math.max(0, Math.min(limit, value));
}
