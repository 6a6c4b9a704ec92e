// The one error type of the project. A RouteError is what a client may see: a stable code for programs, an HTTP status,
// and a message that names no token, address, path or key. What the log needs beyond that stands in `cause`.

export type ErrorCode =
  | "moved" | "bad_request" | "unauthorized" | "forbidden" | "not_found" | "method_not_allowed" | "request_timeout" | "body_too_large"
  | "target_too_long" | "misdirected" | "upgrade_required" | "too_many_requests" | "headers_too_large" | "internal" | "bad_gateway" | "unavailable"
  | "gateway_timeout";

const STATUS: Record<ErrorCode, number> = {
  moved: 308, bad_request: 400, unauthorized: 401, forbidden: 403, not_found: 404, method_not_allowed: 405, request_timeout: 408, body_too_large: 413,
  target_too_long: 414, misdirected: 421, upgrade_required: 426, too_many_requests: 429, headers_too_large: 431, internal: 500, bad_gateway: 502,
  unavailable: 503, gateway_timeout: 504,
};

const PUBLIC_TEXT: Record<ErrorCode, string> = {
  moved: "moved", bad_request: "bad request", unauthorized: "unauthorized", forbidden: "forbidden", not_found: "not found",
  method_not_allowed: "method not allowed", request_timeout: "request timeout", body_too_large: "request body too large",
  target_too_long: "request target too long", misdirected: "misdirected request", upgrade_required: "upgrade required",
  too_many_requests: "too many requests", headers_too_large: "request headers too large", internal: "internal error", bad_gateway: "bad gateway",
  unavailable: "service unavailable", gateway_timeout: "gateway timeout",
};

/**
 * A refusal or failure of one request.
 * `message` is the reason for the log (it may name a host); the client only ever sees {@link RouteError.publicText}.
 */
export class RouteError extends Error {
  readonly status: number;
  /** For method_not_allowed: the methods that there are, as `Allow` lists them; null where that is the usual ones. */
  readonly allow: string | null;
  /** For a route that closes after the upgrade: the reason in its close frame, where the public text is not it. */
  readonly closeReason: string | null;
  /** For moved: where to. */
  readonly location: string | null;
  /** When it is worth trying again, s; null: nobody knows. */
  readonly retryAfterS: number | null;
  readonly #text: string | null;

  /** @param options.text what the client reads in place of the code's own text; from our own short list, never an upstream's */
  constructor(readonly code: ErrorCode, message: string, options?: { cause?: unknown; allow?: string; text?: string; closeReason?: string; location?: string; retryAfterS?: number }) {
    super(message, options);
    this.name = "RouteError";
    this.status = STATUS[code];
    this.allow = options?.allow ?? null;
    this.closeReason = options?.closeReason ?? null;
    this.location = options?.location ?? null;
    this.retryAfterS = options?.retryAfterS ?? null;
    this.#text = options?.text ?? null;
  }

  /** The one line that a client gets as its body; nearly always the same for every reason behind one code. */
  get publicText(): string {
    return this.#text ?? PUBLIC_TEXT[this.code];
  }
}

/** Whatever was thrown, as a RouteError: unknown failures become `internal` with the original as cause. */
export function asRouteError(thrown: unknown): RouteError {
  if (thrown instanceof RouteError) return thrown;
  return new RouteError("internal", thrown instanceof Error ? thrown.message : String(thrown), { cause: thrown });
}
