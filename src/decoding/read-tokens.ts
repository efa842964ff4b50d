import { nextTask } from "./next-task.ts";

/** Tokens that are computed on in one call where none of their rows is wanted. Pages of a KV cache hold as many. */
export const PIECE = 64;

interface Reader {
  readonly length: number;
  forward(tokens: readonly number[], rows: number): Promise<unknown>;
}

/**
 * Computes on tokens whose rows nobody wants, in pieces, between which others have their turn.
 *
 * @param tokens The whole text; `session` holds a beginning of it.
 * @param onPiece After each piece.
 * @throws {DOMException} AbortError, when the signal fires.
 */
export async function readTokens(
  session: Reader,
  tokens: readonly number[],
  signal?: AbortSignal,
  onPiece?: () => void,
): Promise<void> {
  while (session.length < tokens.length) {
    await session.forward(tokens.slice(session.length, session.length + PIECE), 0);
    onPiece?.();
    await nextTask();
    signal?.throwIfAborted();
  }
}
