// Why a console's connection ended, from what the WebSocket says of it to words for the person in front, and whether it is
// tried again. The rule: what was refused is refused again, and a machine that has another viewer now is not taken back by
// itself (two pages would take it from each other for ever). Only what the gateway or the network did is tried again.

const LINK = {
  title: "The link is no longer good", hint: "Links to consoles end after a while. Open the console again from where you got the link.", isRetried: false,
};
const NO_CONSOLE = { title: "There is no console at this address", hint: "Open the console again from where you got the link.", isRetried: false };
const NO_ANSWER = { title: "The machine's host did not answer", hint: "", isRetried: true };
const RESTART = { title: "The gateway is restarting", hint: "", isRetried: true };
const MACHINE_SIDE = {
  title: "The console was closed", hint: "The machine was stopped, or its console was opened by somebody else.", isRetried: false,
};

/** The gateway's own reasons: after the upgrade where routes say so (`closeAfterUpgrade`), and of a running session. */
const BY_REASON = {
  "invalid token": LINK,
  "invalid url": NO_CONSOLE,
  "wrong path prefix": NO_CONSOLE,
  "no such virtual machine": { title: "There is no such virtual machine", hint: "It may have been deleted, or not be started yet.", isRetried: false },
  "not running": { title: "The machine is not running", hint: "Start it, then connect again.", isRetried: false },
  "in use": { title: "The console is in use", hint: "Somebody else is looking at it. Connect again when they are done.", isRetried: false },
  "idle": { title: "Disconnected", hint: "Nothing happened on the console for a long time.", isRetried: false },
  "bad gateway": NO_ANSWER,
  "gateway timeout": NO_ANSWER,
  "service unavailable": NO_ANSWER,
  "service restart": RESTART,
};

/** RFC 6455 section 7.4.1 and its registry. */
const BY_CODE = {
  1000: MACHINE_SIDE,
  1001: { title: "The gateway went away", hint: "", isRetried: true },
  1005: MACHINE_SIDE,
  1006: { title: "The connection was lost", hint: "", isRetried: true },
  // Without a reason: the other end left without a word, which is how KubeVirt lets an old viewer go as well.
  1011: MACHINE_SIDE,
  1012: RESTART,
  1013: NO_ANSWER,
};

/**
 * @param end `code` and `reason` of the close event, whether the WebSocket had been open, and, if not, whether the page's own
 *   address is refused by now
 */
export function endingOf({ code, reason, wasOpen, isRefused }) {
  if (isRefused) return LINK;
  if (!wasOpen) return { title: "Cannot reach the console", hint: "The machine may not be running, or the gateway is away.", isRetried: true };
  if (Object.hasOwn(BY_REASON, reason)) return BY_REASON[reason];
  return BY_CODE[code] ?? { title: "Disconnected", hint: `The connection was ended with code ${code}.`, isRetried: false };
}
