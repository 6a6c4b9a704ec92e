// Asks a certificate authority for certificates by ACME (RFC 8555): the account, the deadline of an order, and typed errors.
// Whom to ask for what, and when, is decided elsewhere (certificate/renewal.ts); whether a name is ours, too.

import type { Client } from "acme-client";
import { type Account, AccountFile } from "./account.ts";
import { caaIdentitiesOf } from "./caa.ts";
import { OrderDeadline } from "./deadline.ts";
import { AcmeError, asAcmeError, PROBLEM } from "./errors.ts";
import { type ChallengeType, type IssuedCertificate, type KeyType, OrderRun } from "./order.ts";
import type { ChallengeSolver } from "./solver.ts";
import { Transport } from "./transport.ts";

export type { ChallengeType, IssuedCertificate, KeyType } from "./order.ts";

/** A CA that spends nonces quickly rejects many; each rejection brings the next one (RFC 8555 section 6.5). */
const BAD_NONCE_RETRIES = 20;

export type AcmeClientOptions = {
  readonly directoryUrl: string;
  /** The resolver's own; the account is kept in it. */
  readonly directory: string;
  /** Where the CA writes to; null: nowhere. */
  readonly email: string | null;
  /** Trusted for the CA's own address, in place of the public roots; null: those. */
  readonly caPem: string | null;
  readonly keyType?: KeyType;
  /** For one call to the CA. */
  readonly requestTimeoutMs?: number;
  /** For an order as a whole, without what the solver takes: that ends by itself. */
  readonly orderTimeoutMs?: number;
  /** What the CA is called in CAA records, as its directory says: with every order, before its challenges; [] when it says nothing. */
  caaIdentities?(names: readonly string[]): void;
  /** What was put somewhere for a challenge may still be there; the order does not depend on it. */
  cleanupFailed?(identifier: string, error: Error): void;
};

/** To the CA, as one account. */
type Connection = { readonly client: Client; readonly transport: Transport };

export class AcmeClient {
  readonly #account: AccountFile;

  constructor(private readonly options: AcmeClientOptions) {
    this.#account = new AccountFile(options.directory, options.directoryUrl);
  }

  /** Where the account is kept. */
  get accountFile(): string {
    return this.#account.path;
  }

  /**
   * One certificate for `names`, wildcards as `*.example.org` (those by dns-01 only).
   * @throws AcmeError
   */
  async order(names: readonly string[], challenge: ChallengeType, solver: ChallengeSolver, signal?: AbortSignal): Promise<IssuedCertificate> {
    const { orderTimeoutMs = 10 * 60_000, keyType = "ecdsa" } = this.options;
    const deadline = new OrderDeadline(orderTimeoutMs);
    const ended = signal === undefined ? deadline.signal : AbortSignal.any([signal, deadline.signal]);
    try {
      return await this.#withAccount(ended, (client, transport) =>
        new OrderRun({
          client, transport, signal: ended, deadline, challenge, solver, keyType,
          cleanupFailed: (identifier, error) => this.options.cleanupFailed?.(identifier, error),
        }).run(names));
    } catch (error) {
      throw asAcmeError(error);
    } finally {
      deadline.close();
    }
  }

  /** A CA that has forgotten the account (it was set up anew, or another one answers there) gets the same key again. */
  async #withAccount<T>(signal: AbortSignal, job: (client: Client, transport: Transport) => Promise<T>): Promise<T> {
    const account = await this.#account.open();
    if (account.url !== null) {
      const { client, transport } = await this.#connect(account, signal);
      try {
        return await job(client, transport);
      } catch (error) {
        if (!(error instanceof AcmeError) || error.problemType !== `${PROBLEM}accountDoesNotExist`) throw error;
      }
    }
    const { client, transport } = await this.#registered(account.url, signal);
    return job(client, transport);
  }

  /** One registers at a time: who waited for another one uses the account that it got. @param forgottenUrl of what is none any more */
  async #registered(forgottenUrl: string | null, signal: AbortSignal): Promise<Connection> {
    using _ = await this.#account.lock(signal);
    const account = await this.#account.open();
    if (account.url !== forgottenUrl) return this.#connect(account, signal);
    const connection = await this.#connect({ ...account, url: null }, signal);
    await this.#register(connection.client, account);
    return connection;
  }

  /**
   * A key that the CA knows already (a crash before the account was kept) leads to its account, RFC 8555 section 7.3.1. Not by
   * `client.createAccount`, which would go on to change that account, and perhaps by nothing: a strict CA refuses.
   */
  async #register(client: Client, { keyPem }: Account): Promise<void> {
    const { email } = this.options;
    const { api } = client as unknown as { api: { createAccount(account: object): Promise<unknown> } };
    await api.createAccount({ termsOfServiceAgreed: true, ...(email === null ? {} : { contact: [`mailto:${email}`] }) });
    await this.#account.keep({ keyPem, url: client.getAccountUrl() });
  }

  async #connect({ keyPem, url }: Account, signal: AbortSignal): Promise<Connection> {
    // It brings axios and node-forge with it: loaded by the first order, not by every start.
    const { Client } = await import("acme-client");
    const { directoryUrl, caPem, requestTimeoutMs = 30_000 } = this.options;
    const transport = new Transport({ caPem, timeoutMs: requestTimeoutMs, signal });
    const client = new Client({ directoryUrl, accountKey: keyPem, ...(url === null ? {} : { accountUrl: url }) });
    // The one place through which acme-client reaches the network; its types don't show it, the tests against a CA do.
    const { http } = client as unknown as { http: { request: Transport["request"]; maxBadNonceRetries: number; getDirectory(): Promise<unknown> } };
    http.request = (address, method, options) => transport.request(address, method, options);
    http.maxBadNonceRetries = BAD_NONCE_RETRIES;
    this.options.caaIdentities?.(caaIdentitiesOf(await http.getDirectory())); // It is kept: the order does not read it again.
    return { client, transport };
  }
}
