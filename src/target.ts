// A target is the one address of this request: where the bytes go.

export type Target = {
  /** What is dialled: an IP literal that passed the guard, or a configured host name. */
  readonly address: string;
  readonly port: number;
  /** The upstream's own `host[:port]`, for a Host header that is not the client's. */
  readonly authority: string;
  /** `address:port`, the pool's key and what the log shows. */
  readonly key: string;
};
