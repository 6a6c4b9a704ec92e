// A resumable upload to /filer: sent in pieces, each with the token of its moment; the pod says where to go on after a
// pause, an error or a reload. Browser and pod hash the file on their own, and the page compares.

import { callPod, explainStatus } from "./api.js";
import { fileSource, readSource, sampleSource } from "./source.js";

const PIECE_BYTES = 16 * 1024 ** 2;
const RETRY_MS = [500, 1500, 4000];
/** Speed is what was sent within this time. */
const SPEED_WINDOW_MS = 2000;

export class UploadPane {
  #source = null;
  #offset = 0;
  #request = null;
  #worker = null;
  #localHash = null;
  #remoteHash = null;
  #state = "idle";
  #samples = [];

  constructor(view, getToken) {
    this.view = view;
    this.getToken = getToken;
    view.file.onchange = () => view.file.files[0] && this.start(fileSource(view.file.files[0]));
    for (const button of view.samples) {
      button.onclick = () => this.start(sampleSource(Number(button.dataset.sample), (Math.random() * 2 ** 31) | 0));
    }
    view.pause.onclick = () => (this.#state === "sending" ? this.#pause() : this.#send());
    view.discard.onclick = () => this.#discard();
    this.#listenToDrops();
  }

  start(source) {
    this.reset();
    this.#source = source;
    this.view.root.hidden = false;
    this.view.name.textContent = `${source.name} · ${bytesText(source.size)}`;
    this.#hash(source);
    this.#send();
  }

  /** Ends what runs and shows nothing; what has arrived stays at the pod. */
  reset() {
    this.#state = "idle";
    this.#request?.abort();
    this.#worker?.terminate();
    Object.assign(this.view.file, { value: "" });
    this.#localHash = this.#remoteHash = this.#source = null;
    this.#offset = 0;
    this.view.root.hidden = this.view.verdict.hidden = true;
    this.view.localHash.textContent = this.view.remoteHash.textContent = "–";
  }

  #listenToDrops() {
    const { drop } = this.view;
    drop.ondragover = (event) => { event.preventDefault(); drop.classList.add("over"); };
    drop.ondragleave = () => drop.classList.remove("over");
    drop.ondrop = (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      const [file] = event.dataTransfer.files;
      if (file) this.start(fileSource(file));
    };
  }

  #hash(source) {
    this.#worker = new Worker("/hash-worker.js", { type: "module" });
    this.#worker.onmessage = ({ data }) => {
      if (data.hashed) this.view.localHash.textContent = `hashing, ${Math.floor((data.hashed / source.size) * 100)} %`;
      if (data.error) this.view.localHash.textContent = `cannot read the file: ${data.error}`;
      if (!data.sha256) return;
      this.#localHash = data.sha256;
      this.view.localHash.textContent = data.sha256;
      this.#compare();
    };
    this.#worker.postMessage(source);
  }

  async #send() {
    const source = this.#source;
    this.#setState("sending");
    for (let failures = 0; this.#isSending(source);) {
      try {
        await this.#sendFromOffset(source);
        return;
      } catch (failure) {
        if (!this.#isSending(source)) return;
        const wait = RETRY_MS[failures++];
        if (wait === undefined || failure.isFinal) return this.#fail(failure);
        this.#showDetail(`${failure.message} Trying again…`);
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }
  }

  async #sendFromOffset(source) {
    const path = this.#path(source);
    const head = await callPod(path, await this.getToken(), { method: "HEAD" });
    this.#offset = Number(head.headers.get("Upload-Offset"));
    this.#samples = [];
    while (this.#isSending(source) && this.#offset < source.size) await this.#sendPiece(source, path);
    if (!this.#isSending(source)) return;
    // A file of no bytes has no piece that would make it known.
    if (source.size === 0) await callPod(path, await this.getToken(), { method: "PUT", body: "" });
    const { sha256 } = await (await callPod(path, await this.getToken())).json();
    if (this.#isSending(source)) this.#finish(sha256);
  }

  async #sendPiece(source, path) {
    const start = this.#offset;
    const end = Math.min(start + PIECE_BYTES, source.size);
    // A Blob, as whoever watches a request (the developer tools, a test) gets a copy of any other body.
    const body = source.file ? source.file.slice(start, end) : new Blob([await readSource(source, start, end)]);
    const token = await this.getToken();
    if (!this.#isSending(source)) return;
    await this.#patch(path, token, body, start, source);
    this.#progress(end);
  }

  /** XMLHttpRequest, as fetch tells nothing of a request's progress. */
  #patch(path, token, body, start, source) {
    const request = new XMLHttpRequest();
    this.#request = request;
    return new Promise((resolve, reject) => {
      request.upload.onprogress = ({ loaded }) => this.#isSending(source) && this.#progress(start + loaded);
      request.onload = () => (request.status < 300 ? resolve() : reject(refusal(request.status)));
      request.onerror = () => reject(new Error("The connection broke."));
      request.onabort = () => reject(new Error("Paused."));
      request.open("PATCH", path);
      request.setRequestHeader("AbcAuthorization", `Bearer ${token}`);
      request.setRequestHeader("Upload-Offset", String(start));
      request.setRequestHeader("Content-Type", "application/offset+octet-stream");
      request.send(body);
    });
  }

  #pause() {
    this.#setState("paused");
    this.#request?.abort();
    this.#showDetail(`paused at ${bytesText(this.#offset)}`);
  }

  async #discard() {
    const source = this.#source;
    this.reset();
    const token = await this.getToken();
    // What cannot be forgotten now is forgotten with the pod.
    if (source) await callPod(this.#path(source), token, { method: "DELETE" }).catch(() => {});
  }

  #finish(sha256) {
    this.#setState("done");
    this.#progress(this.#source.size);
    this.#showDetail(`${bytesText(this.#source.size)} sent`);
    this.#remoteHash = sha256;
    this.view.remoteHash.textContent = sha256;
    this.#compare();
  }

  #fail(failure) {
    this.#setState("paused");
    this.#showDetail(`${failure.message} Press Resume to go on from ${bytesText(this.#offset)}.`);
  }

  #compare() {
    if (!this.#localHash || !this.#remoteHash) return;
    const isSame = this.#localHash === this.#remoteHash;
    const words = isSame ? "SHA-256 is the same on both ends" : "SHA-256 differs: the file was damaged";
    this.view.verdict.textContent = words;
    this.view.verdict.className = isSame ? "verdict" : "verdict bad";
    this.view.verdict.hidden = false;
  }

  #progress(offset) {
    this.#offset = offset;
    const { size } = this.#source;
    const part = size ? offset / size : 1;
    this.view.progress.value = part;
    this.view.percent.textContent = `${Math.floor(part * 100)} %`;
    this.#showSpeed(offset);
  }

  #showSpeed(offset) {
    const now = performance.now();
    this.#samples.push({ now, offset });
    this.#samples = this.#samples.filter((sample) => now - sample.now < SPEED_WINDOW_MS);
    const [first] = this.#samples;
    const bytesPerSecond = ((offset - first.offset) / (now - first.now)) * 1000;
    if (!(bytesPerSecond > 0)) return;
    const left = Math.ceil((this.#source.size - offset) / bytesPerSecond);
    this.#showDetail(`${bytesText(offset)} · ${bytesText(bytesPerSecond)}/s · ${left} s left`);
  }

  #showDetail(text) {
    this.view.detail.textContent = text;
  }

  #setState(state) {
    this.#state = state;
    this.view.root.dataset.state = state;
    this.view.pause.textContent = state === "sending" ? "Pause" : "Resume";
    this.view.pause.hidden = state === "done";
    this.view.discard.textContent = state === "done" ? "Clear" : "Discard";
  }

  #isSending(source) {
    return this.#state === "sending" && this.#source === source;
  }

  #path(source) {
    return `/filer/${encodeURIComponent(source.id)}`;
  }
}

function refusal(status) {
  const failure = new Error(status === 409 ? "The pod is at another place of the file." : explainStatus(status));
  // Neither becomes right by being sent again.
  return Object.assign(failure, { isFinal: status === 403 || status === 413 });
}

function bytesText(bytes) {
  const units = ["B", "KiB", "MiB", "GiB"];
  const unit = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  const value = bytes / 1024 ** unit;
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}
