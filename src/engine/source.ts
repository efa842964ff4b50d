/**
 * Source and Session: the two words everything composes over.
 *
 * A Source gives rows (the logits over the vocabulary for one position) for a token sequence; a Session is one
 * sequence on one Source. `forward` with several rows and `truncate` are the primitives that speculation needs.
 */

/** Logits of consecutive positions, (count, vocab) row-major f32. Valid until the next call on the source or a session of it. */
export interface Rows {
  readonly count: number;
  readonly vocab: number;
  /** Row `index` as a view, (vocab); copy it to keep it. */
  row(index: number): Float32Array;
  /** Token with the largest logit of row `index`; the lowest id wins ties. */
  argmax(index: number): number;
}

export interface Session {
  /** Tokens held, which is also the position of the next one. */
  readonly length: number;
  /** Largest `length` this session can reach. */
  readonly capacity: number;
  /**
   * Appends `tokens` and returns the logits that follow each of the last `rows` of them.
   *
   * @param rows 0 … tokens.length, default 1. A row is bit for bit the same however the tokens were split into calls.
   * @throws {RangeError} If a token is not below `vocab`, or the sequence would pass `capacity`; nothing is appended then.
   */
  forward(tokens: ArrayLike<number>, rows?: number): Promise<Rows>;
  /** Forgets everything from position `length` on; the next `forward` continues from there. */
  truncate(length: number): void;
  /** Gives the memory back. The session cannot be used afterwards. */
  close(): void;
}

export interface Source {
  readonly vocab: number;
  readonly contextLength: number;
  /** @param options.capacity positions to reserve memory for, default `contextLength`. */
  open(options?: { capacity?: number }): Session;
}
