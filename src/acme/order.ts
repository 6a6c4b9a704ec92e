// One order at the CA, from the names to the chain (RFC 8555 section 7.4). acme-client signs, keeps nonces and builds the
// request for the certificate; the order of steps, waiting and errors are ours.

import { generateKeyPair } from "node:crypto";
import { promisify } from "node:util";
import type { Authorization, Client, Order } from "acme-client";
import type { OrderDeadline } from "./deadline.ts";
import { AcmeError, problemError, readProblem, reasonOf } from "./errors.ts";
import { pause } from "./pause.ts";
import type { ChallengeSolver } from "./solver.ts";
import type { Transport } from "./transport.ts";

export type ChallengeType = "http-01" | "dns-01";
export type KeyType = "ecdsa" | "rsa";

/** What the CA signed, with the key that we made for it. */
export type IssuedCertificate = { readonly certPem: string; readonly keyPem: string };

/** Between two looks at something that the CA works on. */
const FIRST_LOOK_MS = 250;
const LOOK_LIMIT_MS = 5000;
/** Retry-After may ask for more than that, but not for any time. */
const RETRY_AFTER_LIMIT_MS = 60_000;

export type OrderOptions = {
  readonly client: Client;
  readonly transport: Transport;
  readonly signal: AbortSignal;
  /** Part of `signal`. */
  readonly deadline: OrderDeadline;
  readonly challenge: ChallengeType;
  readonly solver: ChallengeSolver;
  readonly keyType: KeyType;
  cleanupFailed(identifier: string, error: Error): void;
};

export class OrderRun {
  constructor(private readonly options: OrderOptions) {}

  /** @throws AcmeError, or what acme-client throws */
  async run(names: readonly string[]): Promise<IssuedCertificate> {
    const { client, deadline } = this.options;
    const order = await client.createOrder({ identifiers: names.map((value) => ({ type: "dns", value })) });
    for (const url of order.authorizations) await this.#authorize(await this.#authorization(url));
    deadline.waitsFor = "the certificate";
    await this.#untilOrder(order, ["pending"]);
    const { keyPem, csr } = await newRequest(names, this.options.keyType);
    await client.finalizeOrder(order, csr);
    const issued = await this.#untilOrder(order, ["ready", "processing"]);
    const certPem: unknown = await client.getCertificate(issued);
    if (typeof certPem !== "string") throw new AcmeError("invalid_answer", "the CA's answer is no certificate in PEM");
    return { certPem, keyPem };
  }

  async #authorization(url: string): Promise<Authorization> {
    const [found] = await this.options.client.getAuthorizations({ authorizations: [url] } as Order);
    return found as Authorization;
  }

  /** Proves one name, unless the CA remembers that it was proved. */
  async #authorize(authorization: Authorization): Promise<void> {
    if (authorization.status === "valid") return;
    const { client, challenge: type, solver, signal, deadline } = this.options;
    const name = authorization.identifier.value;
    if (authorization.status !== "pending") throw refusal(authorization);
    const challenge = authorization.challenges.find((offered) => offered.type === type);
    if (challenge === undefined) throw new AcmeError("refused", `the CA offers no ${type} challenge for ${name}`, { identifier: name });
    // For this type acme-client gives the key authorization itself; for dns-01 a hash of it, which is the solver's affair.
    const keyAuthorization = await client.getChallengeKeyAuthorization({ ...challenge, type: "http-01" });
    try {
      await solved(name, () => deadline.without(() => solver.present(name, challenge.token, keyAuthorization, signal)));
      deadline.waitsFor = `the check of ${name}`;
      await client.completeChallenge(challenge);
      await this.#untilProved(authorization);
    } finally {
      await deadline.without(() => solver.cleanup(name, challenge.token, keyAuthorization)).catch((error: Error) => this.options.cleanupFailed(name, error));
    }
  }

  async #untilProved(authorization: Authorization): Promise<void> {
    const proved = await this.#poll(() => this.#authorization(authorization.url), ({ status }) => status !== "pending");
    if (proved.status !== "valid") throw refusal(proved);
  }

  /** The order when it is none of `statuses` any more. @throws AcmeError when it has become invalid */
  async #untilOrder(order: Order, statuses: readonly string[]): Promise<Order> {
    const found = await this.#poll(() => this.options.client.getOrder(order), ({ status }) => !statuses.includes(status));
    if (found.status !== "invalid") return found;
    throw problemError(found.error ?? { detail: "the order is invalid" }, 403, null);
  }

  /** Looks until `isDone`; the deadline of the whole order is what ends it otherwise. */
  async #poll<T>(look: () => Promise<T>, isDone: (found: T) => boolean): Promise<T> {
    const { transport, signal } = this.options;
    for (let pauseMs = FIRST_LOOK_MS; ; pauseMs = Math.min(pauseMs * 2, LOOK_LIMIT_MS)) {
      const found = await look();
      if (isDone(found)) return found;
      // RFC 8555 section 7.5.1: the CA says when to look again. It may say "at once": that often nobody looks.
      await pause(Math.max(Math.min(transport.retryAfterMs ?? 0, RETRY_AFTER_LIMIT_MS), pauseMs), signal);
    }
  }
}

async function solved(name: string, present: () => Promise<void>): Promise<void> {
  try {
    await present();
  } catch (error) {
    if (error instanceof AcmeError && error.code !== "challenge") throw error; // Stopped, or out of time.
    throw new AcmeError("challenge", `cannot answer the challenge for ${name}: ${reasonOf(error)}`, { identifier: name, cause: error });
  }
}

function refusal({ identifier, status, challenges }: Authorization): AcmeError {
  const failed = challenges.find((challenge) => challenge.error !== undefined);
  const { type, detail } = readProblem(failed?.error);
  const reason = type === null ? `the authorization is ${status}` : `${type}${detail === null ? "" : `: ${detail}`}`;
  return new AcmeError("refused", `the CA refuses ${identifier.value}: ${reason}`, { problemType: type, identifier: identifier.value });
}

async function newRequest(names: readonly string[], type: KeyType): Promise<{ keyPem: string; csr: Buffer }> {
  const { crypto } = await import("acme-client"); // Why so late: see client.ts.
  const keyPem = type === "ecdsa"
    ? (await makeKeyPair("ec", { namedCurve: "P-256", ...KEY_FORMAT })).privateKey
    : (await makeKeyPair("rsa", { modulusLength: 2048, ...KEY_FORMAT })).privateKey;
  const [, csr] = await crypto.createCsr({ altNames: [...names] }, keyPem);
  return { keyPem, csr };
}

const makeKeyPair = promisify(generateKeyPair);
const KEY_FORMAT = { privateKeyEncoding: { type: "pkcs8", format: "pem" }, publicKeyEncoding: { type: "spki", format: "pem" } } as const;
