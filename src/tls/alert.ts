// A TLS alert in the clear, for connections that are refused before there are keys (RFC 8446 section 6).

export const UNEXPECTED_MESSAGE = 10;
export const INTERNAL_ERROR = 80;
export const UNRECOGNIZED_NAME = 112;
export const NO_APPLICATION_PROTOCOL = 120;

const ALERT = 21;
const FATAL = 2;

/** The whole record. */
export function alertRecord(description: number): Uint8Array {
  return new Uint8Array([ALERT, 3, 3, 0, 2, FATAL, description]);
}
