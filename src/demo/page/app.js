// The demo page: plays the create desktop workflow step by step, keeps the desktop token fresh, and joins the panes.

import { callApi, callPod } from "./api.js";
import { ConsolesPane } from "./consoles.js";
import { ScreenPane } from "./screen.js";
import { SoundPane } from "./sound.js";
import { TabsPane } from "./tabs.js";
import { TerminalPane } from "./terminal.js";
import { UploadPane } from "./upload.js";

/** The token is refreshed this long before it ends, or at half of a life that is too short for that. */
const REFRESH_BEFORE_S = 15;
/** A token with less than this left is not used any more. */
const LEAST_LIFE_MS = 2000;
const REFRESH_RETRY_MS = 3000;
const PROGRESS_POLL_MS = 200;
const GONE = "The desktop is gone. It may have been stopped.";
const SESSION_KEY = "route-gateway-demo";

const $ = (id) => document.getElementById(id);
const session = { user: null, userToken: null, desktopToken: null, expiresAtMs: 0, lifetimeS: 0, refreshes: 0 };

const screen = new ScreenPane({
  canvas: $("canvas"), dot: $("screen-dot"), status: $("screen-status"), rate: $("screen-rate"),
  overlay: $("screen-overlay"), overlayText: $("screen-overlay-text"),
}, getToken, explainLoss, (hello) => {
  addStep(3, `router opened the token and connected to ${hello.address}:6081`);
  addStep(3, "WebSocket established");
  markStep(3, "done");
});
const terminal = new TerminalPane($("terminal"), getToken, explainLoss);
const upload = new UploadPane({
  root: $("upload"), drop: $("drop"), file: $("file"), samples: document.querySelectorAll("[data-sample]"),
  name: $("upload-name"), percent: $("upload-percent"), progress: $("upload-progress"), detail: $("upload-detail"),
  pause: $("upload-pause"), discard: $("upload-discard"), localHash: $("hash-local"), remoteHash: $("hash-remote"),
  verdict: $("upload-verdict"),
}, getToken);
const tabs = new TabsPane({
  form: $("broadcast-form"), input: $("broadcast-text"), messages: $("messages"), count: $("tab-count"),
}, getToken);
const consoles = new ConsolesPane({ list: $("machines"), note: $("console-note") }, () => session);
const sound = new SoundPane($("do-sound"), getToken);

// ---- the workflow

async function logIn(user, password) {
  clearSteps(1, 2, 3);
  markStep(1, "active");
  addStep(1, "browser → router → pyos: log me in");
  const result = await callApi("POST", "/API/auth/login", { body: { user, password } });
  addStep(1, `user token of ${result.user} received`);
  markStep(1, "done");
  remember(result);
  await createDesktop();
}

async function createDesktop() {
  document.body.dataset.state = "waiting";
  markStep(2, "active");
  addStep(2, "browser → router → pyos: create my desktop");
  const launch = callApi("POST", "/API/composer/launchdesktop", { token: session.userToken });
  takeToken(await followProgress(launch));
  addStep(2, "desktop token received");
  markStep(2, "done");
  openDesktop();
}

/** Shows what the control plane does until `launch` is answered. */
async function followProgress(launch) {
  let isRunning = true;
  launch.catch(() => {}).finally(() => { isRunning = false; });
  let shown = 0;
  do {
    await new Promise((resolve) => setTimeout(resolve, PROGRESS_POLL_MS));
    const { steps } = await callApi("GET", "/API/composer/progress", { token: session.userToken });
    for (const { text, atMs } of steps.slice(shown)) {
      addStep(2, text, atMs);
      $("waiting-text").textContent = text;
    }
    shown = steps.length;
  } while (isRunning);
  return launch;
}

function openDesktop() {
  document.body.dataset.state = "desktop";
  markStep(3, "active");
  addStep(3, "browser → router: WebSocket /websockify?jwt_token=…");
  screen.connect();
  terminal.open();
  tabs.connect();
  consoles.open();
}

function closeDesktop() {
  screen.disconnect();
  terminal.close();
  tabs.disconnect();
  consoles.close();
  sound.stop();
  upload.reset();
  session.desktopToken = null;
  $("extra-output").hidden = true;
}

function showLogin() {
  closeDesktop();
  sessionStorage.removeItem(SESSION_KEY);
  Object.assign(session, { user: null, userToken: null, refreshes: 0 });
  $("user-chip").hidden = true;
  document.body.dataset.state = "login";
  clearSteps(1, 2, 3);
}

function remember({ user, userToken }) {
  Object.assign(session, { user, userToken });
  sessionStorage.setItem(SESSION_KEY, JSON.stringify({ user, userToken }));
  $("user-chip").hidden = false;
  $("user-name").textContent = user;
  $("user-avatar").textContent = user[0];
  $("user-avatar").className = `avatar ${user}`;
}

// ---- the desktop token

function takeToken({ desktopToken, expiresInS }) {
  Object.assign(session, { desktopToken, lifetimeS: expiresInS, expiresAtMs: Date.now() + expiresInS * 1000 });
  refreshNotBeforeMs = 0;
  showClaims(desktopToken);
  showCountdown();
}

/** A token that is good now. A browser slows the timers of hidden tabs, so it may have to be refreshed first. */
async function getToken() {
  if (session.expiresAtMs - Date.now() < LEAST_LIFE_MS && Date.now() >= refreshNotBeforeMs) await refreshToken();
  return session.desktopToken;
}

let refreshing = null;
/** After a failure, for a while; never, when there is no desktop any more. */
let refreshNotBeforeMs = 0;

/** Several callers wait for one refresh. */
function refreshToken() {
  refreshing ??= requestToken().finally(() => { refreshing = null; });
  return refreshing;
}

async function requestToken() {
  if (!session.desktopToken) return;
  try {
    await replaceToken();
  } catch (failure) {
    refreshNotBeforeMs = failure.status === 404 ? Infinity : Date.now() + REFRESH_RETRY_MS;
    notify("The desktop token could not be refreshed.", failure.status === 404 ? GONE : failure.message);
  }
}

async function replaceToken() {
  const token = await callApi("POST", "/API/composer/refreshdesktoptoken", { token: session.userToken });
  session.refreshes++;
  takeToken(token);
}

/** A browser does not tell why a WebSocket was refused or lost; the control plane and a plain request to the pod do. */
async function explainLoss() {
  try {
    await replaceToken();
    await callPod("/spawner/", session.desktopToken);
    return "The connection was closed. The desktop is still there.";
  } catch (failure) {
    return failure.status === 404 ? GONE : failure.message;
  }
}

function showCountdown() {
  if (!session.desktopToken) return;
  const leftS = Math.max(0, Math.round((session.expiresAtMs - Date.now()) / 1000));
  $("token-left").textContent = leftS;
  $("token-refreshes").textContent = session.refreshes;
  $("ring-left").style.strokeDashoffset = 100 - (leftS / session.lifetimeS) * 100;
  const isLow = leftS <= Math.min(REFRESH_BEFORE_S, session.lifetimeS / 2);
  document.querySelector(".ring").classList.toggle("low", isLow);
  if (isLow && Date.now() >= refreshNotBeforeMs) refreshToken();
}

function showClaims(token) {
  const claims = JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
  const items = Object.entries(claims).flatMap(([name, value]) => {
    const text = name === "exp" ? `${value} (${new Date(value * 1000).toLocaleTimeString()})` : String(value);
    return [element("dt", name), element("dd", text)];
  });
  $("claims").replaceChildren(...items);
}

// ---- the other services

async function showExtra(work) {
  const output = $("extra-output");
  output.hidden = false;
  output.replaceChildren(element("span", "…"));
  try {
    output.replaceChildren(await work());
  } catch (failure) {
    output.replaceChildren(element("span", failure.message));
  }
}

async function snapshot() {
  const image = new Image();
  image.src = URL.createObjectURL(await (await callPod("/snapshot", await getToken())).blob());
  image.alt = "Snapshot of the desktop";
  await image.decode();
  URL.revokeObjectURL(image.src);
  return image;
}

async function whatThePodSees() {
  const seen = await (await callPod("/spawner/request", await getToken())).json();
  const lines = Object.entries(seen.headers).map(([name, value]) => `${name}: ${value}`);
  return element("pre", [`${seen.method} ${seen.path}`, ...lines].join("\n"));
}

async function printerFiles() {
  const names = await (await callPod("/printerfiler", await getToken())).json();
  const texts = await Promise.all(names.map(async (name) => {
    return `${name}\n  ${await (await callPod(`/printerfiler/${name}`, await getToken())).text()}`;
  }));
  return element("pre", texts.join("\n"));
}

async function download() {
  const size = 64 * 1024 ** 2;
  const startedAt = performance.now();
  const response = await callPod(`/filer/download?bytes=${size}`, await getToken());
  let received = 0;
  for (const reader = response.body.getReader();;) {
    const { done, value } = await reader.read();
    if (done) break;
    received += value.length;
  }
  const seconds = (performance.now() - startedAt) / 1000;
  const verdict = received === size ? "complete" : `${size - received} bytes are missing`;
  const speed = Math.round(received / 1024 ** 2 / seconds);
  return element("pre", `${received} bytes in ${seconds.toFixed(2)} s (${speed} MiB/s): ${verdict}`);
}

// ---- small parts of the page

/** A step that is told again and again stays one line, with a count. */
function addStep(step, text, atMs) {
  const list = document.querySelector(`[data-step="${step}"] ul`);
  const last = list.lastElementChild;
  const count = last?.dataset.text === text ? Number(last.dataset.count) + 1 : 1;
  if (count > 1) last.remove();
  const item = element("li", "");
  Object.assign(item.dataset, { text, count });
  item.append(element("span", count > 1 ? `${text} (${count} times)` : text));
  if (atMs !== undefined) item.append(element("time", `${atMs} ms`));
  list.append(item);
  list.scrollTop = list.scrollHeight;
}

function markStep(step, state) {
  document.querySelector(`[data-step="${step}"]`).className = state;
}

function clearSteps(...steps) {
  for (const step of steps) {
    markStep(step, "");
    document.querySelector(`[data-step="${step}"] ul`).replaceChildren();
  }
}

function failActiveStep(message) {
  const active = document.querySelector("[data-step].active");
  if (!active) return;
  addStep(active.dataset.step, message);
  active.className = "failed";
}

function notify(title, text) {
  $("notice-title").textContent = title;
  $("notice-text").textContent = text;
  $("notice").hidden = false;
}

function element(name, text) {
  return Object.assign(document.createElement(name), { textContent: text });
}

async function attempt(title, work) {
  $("notice").hidden = true;
  try {
    await work();
  } catch (failure) {
    failActiveStep(failure.message);
    notify(title, failure.message);
    if (document.body.dataset.state === "waiting") document.body.dataset.state = "login";
  }
}

// ---- start

$("login").onsubmit = (event) => {
  event.preventDefault();
  attempt("That did not work.", () => logIn($("login-user").value.trim(), $("login-password").value));
};
for (const button of document.querySelectorAll("[data-user]")) {
  button.onclick = () => {
    $("login-user").value = $("login-password").value = button.dataset.user;
    $("login").requestSubmit();
  };
}
$("log-out").onclick = showLogin;
$("stop-desktop").onclick = () => attempt("The desktop could not be stopped.", async () => {
  const token = session.userToken;
  showLogin();
  await callApi("POST", "/API/composer/stopdesktop", { token });
});
$("reconnect").onclick = () => attempt("The desktop could not be brought back.", async () => {
  closeDesktop();
  clearSteps(2, 3);
  await createDesktop();
});
// With an opener, the new tab starts with a copy of this tab's session.
$("second-tab").onclick = () => open(location.href, "_blank");
$("refresh-token").onclick = refreshToken;
$("terminal-new").onclick = () => terminal.open().then(() => $("terminal").focus());
$("do-snapshot").onclick = () => showExtra(snapshot);
$("do-request").onclick = () => showExtra(whatThePodSees);
$("do-printer").onclick = () => showExtra(printerFiles);
$("do-download").onclick = () => showExtra(download);
$("notice-close").onclick = () => { $("notice").hidden = true; };
$("theme").onclick = () => {
  const isDark = getComputedStyle(document.body).colorScheme === "dark"
    || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = isDark ? "light" : "dark";
};
setInterval(showCountdown, 500);

const remembered = JSON.parse(sessionStorage.getItem(SESSION_KEY) ?? "null");
if (remembered) {
  attempt("Your desktop could not be opened again.", async () => {
    remember(remembered);
    addStep(1, `logged in as ${remembered.user}`);
    markStep(1, "done");
    await createDesktop();
  });
}
