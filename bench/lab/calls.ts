// How the bench asks its programs in other processes: one message a question, one an answer. The program's side.

export type CallTable = { readonly [name: string]: (argument: never) => unknown };

export type Request = { readonly id: number; readonly name: string; readonly argument: unknown };

export type Reply = { readonly id: number; readonly value?: unknown; readonly error?: string };

/** Answers calls until the bench is gone; then this process ends. */
export function answerCalls(calls: CallTable): void {
  process.on("message", (request: Request) => void answer(calls, request));
  process.on("disconnect", () => process.exit());
}

async function answer(calls: CallTable, { id, name, argument }: Request): Promise<void> {
  try {
    const value = await (calls[name] as (argument: unknown) => unknown)(argument);
    process.send?.({ id, value } satisfies Reply);
  } catch (error) {
    process.send?.({ id, error: error instanceof Error ? error.message : String(error) } satisfies Reply);
  }
}
