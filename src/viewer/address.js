// Where the console is. The page was asked for at the console's own address, which has the token in it: whoever looks at the
// screen, copies the address or bookmarks it would have the token as well. So this runs before everything else (it is the
// first import of client.js) and leaves the name of the machine only; the session's history entry keeps the path for a reload.

/** Path of the console, token included; null when the page was opened without one. */
export const consolePath = takePath();

/** The name of the machine; "" without a console. */
export const machine = consolePath?.split("/").at(-1) ?? "";

function takePath() {
  const kept = history.state?.console;
  if (typeof kept === "string") return kept;
  const path = location.pathname;
  const name = path.split("/").at(-1);
  if (name === "") return null;
  history.replaceState({ console: path }, "", `../_viewer/#${name}`);
  return path;
}

/** The console's WebSocket: the same address by another scheme. */
export function socketUrl() {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${consolePath}`;
}

/**
 * A browser hides why a handshake failed; the page at the same address is refused for the same reasons.
 * @returns whether the token is (401, 403); false as well when nobody answers
 */
export async function isRefused() {
  try {
    const { status } = await fetch(location.origin + consolePath, {
      method: "HEAD", headers: { accept: "text/html" }, credentials: "same-origin", cache: "no-store", redirect: "manual",
      referrerPolicy: "no-referrer", signal: AbortSignal.timeout(5000),
    });
    return status === 401 || status === 403;
  } catch {
    // Not reachable, or too slow: the handshake was not refused by us, then.
    return false;
  }
}
