/**
 * ahead: tokens that a session of this process has computed behind its text without appending them.
 *
 *     run(pending, d1)  →  state of d1            keys and values stand behind the text, where they would be appended
 *     forward(pending, d1, d2)                    runs the layers for d2 alone, and the head once for all three
 *
 * A drafter that guesses with the model's own hidden states needs the layers of every token it drafts. They are not run a
 * second time when the draft is verified: what `forward` is given is compared with what was run, and of what agrees only
 * the rows are made. The rows are bit for bit the same, as no column of a pass depends on its company.
 */
import type { Backend, Floats } from "../backend/backend.ts";
import { expectInteger } from "../errors.ts";
import type { DraftHead } from "../model/draft-head.ts";
import type { Session } from "./source.ts";

/** Most tokens that are computed ahead. */
export const MAX_AHEAD = 64;

/** What a session of a model in this process, or on its device, can do beside `Session`. The same object each time. */
export interface Ahead {
  /**
   * Computes on `tokens` as if they followed the text. What was run before and is their beginning is not computed again;
   * the session's text, length and rows stay as they are.
   *
   * @param tokens 1 … MAX_AHEAD of them.
   * @returns State after the last one, (D), for a head. Valid until the session's next call.
   * @throws {RangeError | MemoryError} What `forward` throws for these tokens.
   */
  run(tokens: readonly number[]): Promise<Floats>;
  /** Of the model's own head. */
  readonly headBytes: number;
  /** Whether the model's own head draws by noise of its own, so that a draft must too to be the same. */
  readonly drawsOwn: boolean;
  /** A cheap head over the same states, for one text. @throws {MemoryError} If there is no room for its rows. */
  openHead(): DraftHead;
}

/** Undefined for sessions whose model is elsewhere, or is several. A session that has moved to another model has another one. */
export function aheadOf(session: Session): Ahead | undefined {
  return (session as { readonly ahead?: Ahead }).ahead;
}

/** Tokens behind a text and the states after them. */
export class AheadStates {
  readonly #backend: Backend;
  readonly #hidden: number;
  readonly #tokens: number[] = [];
  #states: Floats | null = null;

  constructor(backend: Backend, hidden: number) {
    this.#backend = backend;
    this.#hidden = hidden;
  }

  /** How many of the first `most` of `tokens` were run. */
  matching(tokens: readonly number[], most: number): number {
    const end = Math.min(most, this.#tokens.length);
    let count = 0;
    while (count < end && this.#tokens[count] === tokens[count]) count++;
    return count;
  }

  /** Makes room for the states of `tokens`, of which the first `kept` are there. */
  extend(tokens: readonly number[], kept: number): Floats {
    expectInteger("tokens.length", tokens.length, 1, MAX_AHEAD);
    this.#states ??= this.#backend.floats(MAX_AHEAD * this.#hidden);
    this.keep(kept);
    return this.states(kept, tokens.length - kept);
  }

  /** Says that `tokens` were run. */
  ran(tokens: readonly number[]): void {
    for (let i = this.#tokens.length; i < tokens.length; i++) this.#tokens.push(tokens[i]);
  }

  /** Of `count` tokens from `first` on, (count, D). */
  states(first: number, count: number): Floats {
    return this.#backend.slice(this.#states as Floats, first * this.#hidden, count * this.#hidden);
  }

  /** Forgets all but the first `count`. */
  keep(count: number): void {
    this.#tokens.length = count;
  }

  free(): void {
    this.#tokens.length = 0;
    if (this.#states !== null) this.#backend.free(this.#states);
    this.#states = null;
  }
}
