// What a series may be called. Methods come from clients and status codes from upstreams: whoever invents new ones must
// not be able to make a series of each.

export type Protocol = "http" | "websocket" | "tcp";

export type Labels = {
  /** HTTP status; of a connection that never had one, "" or "0". */
  readonly code: string;
  readonly method: string;
  readonly protocol: Protocol;
};

export const OTHER = "OTHER";

/** RFC 9110 section 9.3, RFC 5789, and the WebDAV methods that the filer knows; "" and "-" are for what has no method. */
const METHODS = new Set([
  "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE",
  "PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "", "-",
]);

/** The HTTP Status Code Registry of IANA, and 499 for a client that left. */
const CODES = new Set([
  "", "-", "0", "100", "101", "102", "103", "200", "201", "202", "203", "204", "205", "206", "207", "208", "226",
  "300", "301", "302", "303", "304", "305", "307", "308",
  "400", "401", "402", "403", "404", "405", "406", "407", "408", "409", "410", "411", "412", "413", "414", "415", "416", "417", "418",
  "421", "422", "423", "424", "425", "426", "428", "429", "431", "451", "499",
  "500", "501", "502", "503", "504", "505", "506", "507", "508", "510", "511",
]);

/** The labels that are counted under; an unknown code becomes its class, `5xx`, which queries such as `5..` still find. */
export function foldLabels({ code, method, protocol }: Labels): Labels {
  return { code: foldCode(code), method: METHODS.has(method) ? method : OTHER, protocol };
}

/** For a service that has more series than an honest one: the class of the code, and no method. */
export function coarseLabels({ code, protocol }: Labels): Labels {
  return { code: classOf(code), method: OTHER, protocol };
}

function foldCode(code: string): string {
  return CODES.has(code) ? code : classOf(code);
}

function classOf(code: string): string {
  return /^[1-5](?:\d\d|xx)$/.test(code) ? `${code.charAt(0)}xx` : OTHER;
}
