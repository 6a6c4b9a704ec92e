// A virtual machine's console: from the token and the path to a handshake at the Kubernetes API, and from the API's refusals
// to what a client may hear of them. Nothing of the client's request goes to the API: it is our own service account that asks.

import { RouteError } from "../errors.ts";
import type { VmIdentity } from "../identity.ts";
import { hostForUrl } from "../lib/address.ts";
import { isSubdomainName } from "../lib/kubernetes-name.ts";
import type { Match } from "../router/router.ts";
import type { ConsoleService } from "../service.ts";
import { CredentialsError, readServiceAccount } from "../upstream/service-account.ts";
import type { HandshakeRefusedError } from "../upstream/websocket.ts";
import type { BridgeRequest } from "./bridge-request.ts";
import type { ClientRequest } from "./request.ts";
import { offeredProtocols } from "./upgrade.ts";

/** Raw bytes in binary frames: what KubeVirt speaks on its console WebSockets. */
const KUBEVIRT_PROTOCOL = "plain.kubevirt.io";
/** Names that browsers' clients offer for the same thing; old noVNC and websockify's clients say `binary`. */
const CLIENT_PROTOCOLS = ["binary", KUBEVIRT_PROTOCOL];

export type VmConsole = { readonly namespace: string; readonly vm: string };

/** The machine that the path names, if the token lists it. @throws RouteError forbidden */
export function consoleOf(match: Match, identity: VmIdentity): VmConsole {
  const vm = match.pathVm ?? "";
  // It is not repeated: what stands there may be a token in the wrong place, and the log has the path without tokens.
  if (!isSubdomainName(vm)) throw new RouteError("forbidden", "not a name of a virtual machine");
  if (!identity.vms.includes(vm)) throw new RouteError("forbidden", `the token does not list the virtual machine "${vm}"`);
  return { namespace: identity.namespace, vm };
}

/** The path at the API, with what the console policy asks for. */
export function consolePath(service: ConsoleService, { namespace, vm }: VmConsole): string {
  const path = service.apiPath.replaceAll("{namespace}", namespace).replaceAll("{vmi_name}", vm);
  return service.policy === "preserve" ? `${path}?preserveSession=true` : path;
}

/** @throws RouteError unavailable when the service account's files cannot be read */
export function askForConsole(service: ConsoleService, vmConsole: VmConsole, request: ClientRequest): BridgeRequest {
  const credentials = service.credentials === null ? null : readCredentials(service.credentials);
  const authority = `${hostForUrl(service.host)}:${service.port}`;
  const authorization = credentials === null ? "" : `Authorization: Bearer ${credentials.token}\r\n`;
  return {
    target: {
      address: service.host, port: service.port, authority, key: `${authority}/${vmConsole.namespace}/${vmConsole.vm}`, socketPath: null,
      tls: credentials === null ? null : { ca: credentials.ca, serverName: service.host, skipsVerify: false },
    },
    head: `GET ${consolePath(service, vmConsole)} HTTP/1.1\r\nHost: ${authority}\r\n${authorization}`
      + `Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: ${KUBEVIRT_PROTOCOL}\r\n\r\n`,
    protocols: [KUBEVIRT_PROTOCOL],
    // Only what the client offered itself, and only names that mean the same.
    clientProtocol: () => offeredProtocols(request).find((name) => CLIENT_PROTOCOLS.includes(name)) ?? "",
    passesHeaders: false,
    refusal: (error) => consoleRefusal(service, vmConsole, error),
  };
}

function readCredentials(files: NonNullable<ConsoleService["credentials"]>): ReturnType<typeof readServiceAccount> {
  try {
    return readServiceAccount(files);
  } catch (error) {
    if (!(error instanceof CredentialsError)) throw error;
    throw new RouteError("unavailable", error.message, { cause: error });
  }
}

/** The API's own words go to the log only: they name nodes, users and addresses of the cluster. */
function consoleRefusal(service: ConsoleService, { namespace, vm }: VmConsole, error: HandshakeRefusedError): RouteError {
  const said = apiMessage(error.body);
  const machine = `${namespace}/${vm}`;
  const because = `the Kubernetes API answered ${error.status} for ${machine}${said === "" ? "" : `: ${said}`}`;
  switch (error.status) {
    case 401:
      return new RouteError("bad_gateway", `${because}; it does not know our service account token (${permission(service, namespace)})`);
    case 403:
      return new RouteError("bad_gateway", `${because}; our service account lacks ${permission(service, namespace)}`);
    case 404:
      return new RouteError("not_found", because, { text: "no such virtual machine" });
    case 400: case 409: case 503:
      return new RouteError("unavailable", because, { text: isInUse(said) ? "in use" : "not running" });
    default:
      return new RouteError("bad_gateway", because);
  }
}

/** As a Role names it: `get` on `virtualmachineinstances/vnc` of `subresources.kubevirt.io`. */
function permission({ apiPath }: ConsoleService, namespace: string): string {
  const [, group = "subresources.kubevirt.io"] = /^\/apis\/([^/]+)\//.exec(apiPath) ?? [];
  const subresource = apiPath.slice(apiPath.lastIndexOf("/") + 1);
  return `the permission "get" on "${group}" "virtualmachineinstances/${subresource}" in namespace "${namespace}"`;
}

/** KubeVirt answers with a `Status` object, or with a line of text. */
function apiMessage(body: string): string {
  let text = body;
  try {
    const status: unknown = JSON.parse(body);
    if (typeof status === "object" && status !== null && "message" in status) text = String(status.message);
  } catch {
    // A line of text, or a Status that was cut.
  }
  return text.trim().slice(0, 300);
}

/** Words with a space between them: the machine's name stands in the message as well, and may be `active-directory`. */
function isInUse(message: string): boolean {
  return /\bin use\b|\bactive (?:\w+ )?connection\b/i.test(message);
}
