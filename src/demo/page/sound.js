// Plays what /sound sends: unsigned 8-bit samples, 8000 a second, one channel.

import { socketUrl } from "./api.js";

const RATE = 8000;
/** Scheduled this far ahead, so that a late frame is not heard. */
const LEAD_S = 0.25;

export class SoundPane {
  #socket = null;
  #audio = null;
  #playsAt = 0;

  constructor(button, getToken) {
    button.onclick = async () => {
      if (this.#socket) this.stop();
      else this.#start(await getToken());
      button.setAttribute("aria-pressed", String(this.#socket !== null));
    };
    this.button = button;
  }

  stop() {
    this.#socket?.close(1000);
    this.#audio?.close();
    this.#socket = this.#audio = null;
    this.button.setAttribute("aria-pressed", "false");
  }

  #start(token) {
    this.#audio = new AudioContext();
    this.#playsAt = 0;
    const socket = new WebSocket(socketUrl(`/sound?jwt_token=${token}`));
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => this.#play(new Uint8Array(data));
    socket.onclose = () => socket === this.#socket && this.stop();
    this.#socket = socket;
  }

  #play(samples) {
    const buffer = this.#audio.createBuffer(1, samples.length, RATE);
    buffer.copyToChannel(Float32Array.from(samples, (sample) => (sample - 128) / 128), 0);
    const source = Object.assign(this.#audio.createBufferSource(), { buffer });
    source.connect(this.#audio.destination);
    this.#playsAt = Math.max(this.#playsAt, this.#audio.currentTime + LEAD_S);
    source.start(this.#playsAt);
    this.#playsAt += buffer.duration;
  }
}
