// What the bridge asks of an upstream. For a desktop or a fixed service it is the client's own handshake, passed on; a
// console's (console.ts) is ours alone. Everything behind the handshake is one bridge for both (session.ts).

import type { RouteError } from "../errors.ts";
import type { Target } from "../target.ts";
import type { HandshakeRefusedError } from "../upstream/websocket.ts";
import { type Passage, upstreamHead } from "./passage.ts";
import { offeredProtocols, upgradeFields } from "./upgrade.ts";

export type BridgeRequest = {
  readonly target: Target;
  /** The whole request head, blank line included, but for the key, which is random and added when it is dialled. */
  readonly head: string;
  /** Subprotocols that are offered. */
  readonly protocols: readonly string[];
  /** What the client is answered for the one that the upstream chose; "" for none. */
  clientProtocol(chosen: string): string;
  /** The client gets what else the upstream says with its 101. */
  readonly passesHeaders: boolean;
  /** What the client hears of a refusal, where the upstream's status is not the client's business; null: the status speaks. */
  readonly refusal: ((error: HandshakeRefusedError) => RouteError) | null;
};

export function passOnHandshake(passage: Passage, target: Target): BridgeRequest {
  return {
    target,
    head: upstreamHead(passage, target, upgradeFields(passage.request)),
    protocols: offeredProtocols(passage.request),
    clientProtocol: (chosen) => chosen,
    passesHeaders: true,
    refusal: null,
  };
}
