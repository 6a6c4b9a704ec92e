// Program: makes many different tokens for one desktop. Each costs a signature, so the bench shares the work out to several.

import { createPrivateKey, createPublicKey } from "node:crypto";
import { mintDesktopToken } from "../../src/token/mint.ts";
import { answerCalls } from "../lab/calls.ts";

export type MintRequest = {
  readonly host: string;
  readonly count: number;
  readonly ttlS: number;
  readonly signingPrivateKey: string;
  readonly payloadPublicKey: string;
};

const calls = {
  /** They differ because the encryption of the host is salted. */
  mint({ host, count, ttlS, ...pem }: MintRequest): string[] {
    const signingPrivateKey = createPrivateKey(pem.signingPrivateKey);
    const payloadPublicKey = createPublicKey(pem.payloadPublicKey);
    return Array.from({ length: count }, () => mintDesktopToken({ host, signingPrivateKey, payloadPublicKey, ttlS }));
  },
};
export type MintCalls = typeof calls;

answerCalls(calls);
