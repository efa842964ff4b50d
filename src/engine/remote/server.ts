/** What a remote source asks of a server, whatever it speaks. */

/** Rows after the last tokens of a text. */
export interface RowCall {
  /** Tokens before the call. */
  readonly text: readonly number[];
  readonly tokens: readonly number[];
  /** Of the last tokens. */
  readonly rows: number;
  /** One per token, −1: the text before. Absent: a chain. */
  readonly parents?: readonly number[];
}

/** One row: logits of all tokens, or the log-probabilities of some; or why there is none, for who looks at it. */
export type ServedRow = Float32Array | KnownTokens | RangeError;

/** Tokens whose log-probabilities a server told, each once; all others share what is left. */
export interface KnownTokens {
  readonly ids: readonly number[];
  readonly logProbabilities: readonly number[];
}

export interface RowServer {
  /** What it runs, as it says. */
  readonly model: string;
  /** All that is known of what decides its rows. */
  readonly fingerprint: string;
  /** Tokens that a row knows at most; absent: all. */
  readonly known?: number;
  /** Positions that it takes, as it says. */
  readonly contextLength?: number;
  /** In the order of the tokens. @throws {RemoteError} If they cannot be had. */
  rows(call: RowCall, signal: AbortSignal): Promise<readonly ServedRow[]>;
}

/** For each row, all tokens before it. */
export function pathsOf({ text, tokens, rows, parents }: RowCall): number[][] {
  return Array.from({ length: rows }, (_, index) => {
    const path: number[] = [];
    for (let at = tokens.length - rows + index; at >= 0; at = parents?.[at] ?? at - 1) path.push(tokens[at]);
    return [...text, ...path.reverse()];
  });
}

/** `items` in lists of at most `most`. */
export function chunks<T>(items: readonly T[], most: number): (readonly T[])[] {
  const lists: (readonly T[])[] = [];
  for (let at = 0; at < items.length; at += most) lists.push(items.slice(at, at + most));
  return lists;
}
