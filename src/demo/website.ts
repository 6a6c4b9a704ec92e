// The stand-in for the website service: the demo's page, embedded in the program. It serves exactly the files listed
// here, with a policy that lets the page load nothing from elsewhere and run no inline script.

import appScript from "./page/app.js" with { type: "text" };
import apiScript from "./page/api.js" with { type: "text" };
import consolesScript from "./page/consoles.js" with { type: "text" };
import hashWorkerScript from "./page/hash-worker.js" with { type: "text" };
import iconSvg from "./page/icon.svg" with { type: "text" };
import indexHtml from "./page/index.html" with { type: "text" };
import screenScript from "./page/screen.js" with { type: "text" };
import sha256Script from "./page/sha256.js" with { type: "text" };
import soundScript from "./page/sound.js" with { type: "text" };
import sourceScript from "./page/source.js" with { type: "text" };
import styleCss from "./page/style.css" with { type: "text" };
import tabsScript from "./page/tabs.js" with { type: "text" };
import terminalScript from "./page/terminal.js" with { type: "text" };
import uploadScript from "./page/upload.js" with { type: "text" };

export type Website = { readonly port: number; stop(): Promise<void> };

const JAVASCRIPT = "text/javascript; charset=utf-8";

const FILES: ReadonlyMap<string, readonly [type: string, text: string]> = new Map([
  // Bun's types call every .html import a bundle; with `type: "text"` it is a string.
  ["/", ["text/html; charset=utf-8", indexHtml as unknown as string]],
  ["/style.css", ["text/css; charset=utf-8", styleCss]],
  ["/icon.svg", ["image/svg+xml", iconSvg]],
  // The router's own pages name no icon, and browsers ask for this one then.
  ["/favicon.ico", ["image/svg+xml", iconSvg]],
  ["/api.js", [JAVASCRIPT, apiScript]],
  ["/app.js", [JAVASCRIPT, appScript]],
  ["/consoles.js", [JAVASCRIPT, consolesScript]],
  ["/hash-worker.js", [JAVASCRIPT, hashWorkerScript]],
  ["/screen.js", [JAVASCRIPT, screenScript]],
  ["/sha256.js", [JAVASCRIPT, sha256Script]],
  ["/sound.js", [JAVASCRIPT, soundScript]],
  ["/source.js", [JAVASCRIPT, sourceScript]],
  ["/tabs.js", [JAVASCRIPT, tabsScript]],
  ["/terminal.js", [JAVASCRIPT, terminalScript]],
  ["/upload.js", [JAVASCRIPT, uploadScript]],
]);

const POLICY = [
  "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' blob:", "connect-src 'self'",
  "worker-src 'self'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'",
].join("; ");

/** Starts it on a free loopback port. */
export function startWebsite(): Website {
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    reusePort: false,
    development: false,
    fetch: (request) => serveFile(new URL(request.url).pathname),
  });
  return { port: server.port!, stop: () => server.stop(true) };
}

function serveFile(path: string): Response {
  const file = FILES.get(path);
  const [type, text] = file ?? ["text/plain; charset=utf-8", "not found\n"];
  return new Response(text, {
    status: file ? 200 : 404,
    headers: {
      "Content-Type": type,
      "Content-Security-Policy": POLICY,
      "X-Content-Type-Options": "nosniff",
      "Referrer-Policy": "no-referrer",
      "Cache-Control": "no-cache",
    },
  });
}
