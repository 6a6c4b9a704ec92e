// The console viewer: shows the machine whose console has this page's address, and connects again when that makes sense.

import { consolePath, isRefused, socketUrl } from "./address.js";
import { copied, startClipboard } from "./clipboard.js";
import { endingOf } from "./ending.js";
import { askForCredentials, stopAsking } from "./password.js";
import { Retries } from "./retries.js";
import { Session } from "./session.js";
import { element, enableControls, show, showBar, showName, toggle } from "./view.js";

const OPEN_AGAIN = { title: "No console is open here", hint: "Open the console's link again." };

const retries = new Retries();
const settings = { credentials: {}, isScaled: true, isViewOnly: false };
let session = null;
let retryTimer = 0;
/** What is seen now. */
let state = "disconnected";

showName();
startControls();
if (consolePath === null) {
  element("reconnect").disabled = true;
  element("notice-reconnect").hidden = true;
  display("disconnected", OPEN_AGAIN);
} else connect();

// ---- the connection

function connect() {
  drop();
  display("connecting", null);
  const own = new Session(element("screen"), socketUrl(), settings, {
    connected: () => {
      display("connected", null);
      focusScreen();
    },
    asked: (types) => askForCredentials(types, (credentials) => answer(own, credentials)),
    copied,
    ended: (end, livedMs) => void ended(own, end, livedMs),
  });
  session = own;
}

function answer(asker, credentials) {
  if (credentials === null) {
    drop();
    return display("disconnected", { title: "Disconnected", hint: "The machine asks for a password." });
  }
  settings.credentials = credentials;
  asker.rfb.sendCredentials(credentials);
}

/** Lets go of what there is, without a word. */
function drop() {
  clearTimeout(retryTimer);
  stopAsking();
  session?.close();
  session = null;
}

async function ended(which, { code, reason, wasOpen, failure }, livedMs) {
  stopAsking();
  if (failure !== "") settings.credentials = {};
  // noVNC gave up by itself, with the WebSocket still open: its reason is in the browser's console.
  const isOurs = code === 0;
  const refused = !wasOpen && !isOurs && await isRefused();
  // Somebody pressed a button while we asked.
  if (session !== which) return;
  session = null;
  if (failure !== "") return display("disconnected", { title: "The machine let nobody in", hint: failure });
  if (isOurs) return display("disconnected", { title: "The screen cannot be shown", hint: "The machine sent something that is no VNC." });
  const { title, hint, isRetried } = endingOf({ code, reason, wasOpen, isRefused: refused });
  const delayMs = isRetried ? retries.next(livedMs) : null;
  if (delayMs === null) return display("disconnected", { title, hint });
  display("disconnected", { title, hint: `${hint} Connecting again in ${delayMs / 1000} s (try ${retries.count}).`.trim() });
  retryTimer = setTimeout(connect, delayMs);
}

function display(next, notice) {
  state = next;
  show(state, notice);
  enableControls(state === "connected" && !settings.isViewOnly);
}

// ---- the controls

function startControls() {
  for (const id of ["reconnect", "notice-reconnect"]) element(id).addEventListener("click", reconnect);
  element("ctrl-alt-del").addEventListener("click", () => {
    session?.rfb.sendCtrlAltDel();
    focusScreen();
  });
  startClipboard((text) => session?.rfb.clipboardPasteFrom(text));
  toggle("scale", settings.isScaled, (isScaled) => {
    settings.isScaled = isScaled;
    if (session !== null) session.rfb.scaleViewport = isScaled;
  });
  toggle("view-only", settings.isViewOnly, (isViewOnly) => {
    settings.isViewOnly = isViewOnly;
    if (session !== null) session.rfb.viewOnly = isViewOnly;
    enableControls(state === "connected" && !isViewOnly);
  });
  startFullscreen();
  element("hide").addEventListener("click", () => {
    showBar(false);
    focusScreen();
  });
  element("show").addEventListener("click", enterBar);
  leaveScreenByKeys();
}

function reconnect() {
  retries.reset();
  connect();
}

function startFullscreen() {
  const root = document.documentElement;
  const set = toggle("fullscreen", false, (isOn) => {
    const changed = isOn ? root.requestFullscreen() : document.exitFullscreen();
    // Refused by the browser or by the page around us; the event below does not come then.
    changed.then(focusScreen, () => set(document.fullscreenElement !== null));
  });
  // Also by Escape or F11.
  document.addEventListener("fullscreenchange", () => set(document.fullscreenElement !== null));
}

function focusScreen() {
  const canvas = element("screen").querySelector("canvas");
  // For those who come by the Tab key.
  if (canvas !== null) canvas.tabIndex = 0;
  canvas?.focus();
}

/**
 * The screen takes every key, Tab included; Ctrl+Alt+Shift is the way out. On its release, so that the machine sees the keys
 * go up again.
 */
function leaveScreenByKeys() {
  let isArmed = false;
  addEventListener("keydown", (event) => {
    isArmed = event.ctrlKey && event.altKey && event.shiftKey && ["Control", "Alt", "Shift", "Meta"].includes(event.key);
  }, true);
  addEventListener("keyup", (event) => {
    if (!isArmed || event.ctrlKey || event.altKey || event.shiftKey) return;
    isArmed = false;
    enterBar();
  }, true);
}

function enterBar() {
  showBar(true);
  element("hide").focus();
}
