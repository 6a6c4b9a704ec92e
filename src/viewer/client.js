// The console viewer's page: shows the machine whose console has this page's address.

import RFB from "@novnc/novnc";

const status = document.getElementById("status");
const known = history.state?.console;
const path = known ?? location.pathname + location.search;
if (known === undefined) history.replaceState({ console: path }, "", `../_viewer/#${path.split("/").at(-1)}`);
const rfb = new RFB(document.getElementById("screen"), `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`);
rfb.scaleViewport = true;
rfb.addEventListener("connect", () => { status.textContent = "connected"; });
rfb.addEventListener("disconnect", () => { status.textContent = "disconnected"; });
