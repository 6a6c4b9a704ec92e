// Calls through the router: the control plane behind /API with the user token, the pod with the desktop token.

export class CallError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** A call of the control plane; gives its `result`, throws a CallError that a person can read. */
export async function callApi(method, path, { token, body } = {}) {
  const headers = { Accept: "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers["Content-Type"] = "application/json";
  const response = await reach(path, { method, headers, body: body && JSON.stringify(body) });
  const answer = await response.json().catch(() => null);
  if (!response.ok || !answer) throw new CallError(response.status, answer?.message ?? explainStatus(response.status));
  return answer.result;
}

/** A request to the pod; gives the Response, throws a CallError when it is refused. */
export async function callPod(path, token, init = {}) {
  const response = await reach(path, { ...init, headers: { ...init.headers, AbcAuthorization: `Bearer ${token}` } });
  if (!response.ok) throw new CallError(response.status, explainStatus(response.status));
  return response;
}

export function socketUrl(pathAndQuery) {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${pathAndQuery}`;
}

/** What a status from the router means to the person in front of the page. */
export function explainStatus(status) {
  const texts = {
    401: "The router refused the token (401): it has expired or is not for this router.",
    403: "The router refused the request (403): the target or the origin is not allowed.",
    413: "Too large (413): the route's body limit was crossed.",
    502: "The desktop does not answer (502). It may have been stopped.",
    503: "The router is not ready (503): its keys could not be read.",
    504: "The desktop took too long to answer (504).",
  };
  return texts[status] ?? `The router answered ${status}.`;
}

async function reach(path, init) {
  try {
    return await fetch(path, { cache: "no-store", ...init });
  } catch {
    throw new CallError(0, "The router cannot be reached. Is the demo still running?");
  }
}
