/**
 * vq-head: a codebook as a head. A state is compared with K codewords; tokens share them, and differ by a bias.
 *
 *     s      =  codebook · state           (K), rounded to the grid of 2^-12
 *     row[i] =  s[code of i] + bias[i]     (V)
 *
 * What decoding asks is answered from s alone: codebook.ts has the identities. With K = 2,048 and V = 151,936 that reads a
 * hundredth of what the matrix would take, and the numbers of V tokens are never made unless the row is asked for.
 *
 * With residual codes (residual-codes.ts) the tokens of the best codes have logits of their own:
 *
 *     row[i] =  s[code of i] + residual of i in this state
 *
 * A head that was trained this way is loaded like one that was made from a dense head (src/compress).
 *
 * Source: Shao, Wu 2025, "VQ-Logits", arXiv:2505.10202.
 */
import type { Backend, Floats, Matrix, Top } from "../../backend/backend.ts";
import { expectInteger } from "../../errors.ts";
import type { DraftHead } from "../draft-head.ts";
import { Codebook } from "./codebook.ts";
import type { Apart, LogitEdits } from "./codebook-edits.ts";
import { expectTemperature, type Head, type HeadDraw, type HeadLook, readDraw } from "./head.ts";
import { HeadDraft } from "./head-draft.ts";
import type { OpenedCodes } from "./residual-codes.ts";
import { type ResidualWeights, type Seen, VqRows } from "./vq-rows.ts";

export interface VqWeights {
  /** (K, D); stays the caller's. */
  readonly codebook: Matrix;
  /** (V) each below K. */
  readonly codes: ArrayLike<number>;
  /** (V) within ±2048; rounded to multiples of 2^-12. */
  readonly bias: ArrayLike<number>;
  readonly residual?: ResidualWeights;
}

export class VqHead implements Head {
  readonly vocab: number;
  readonly hidden: number;
  readonly bytes: number;
  readonly draws = "own";
  readonly #backend: Backend;
  readonly #codebook: Codebook;
  readonly #rows: VqRows;

  /**
   * @throws {RangeError} If a code or a bias is out of range; the message names it.
   * @throws {MemoryError} If there is no room for codes, biases and scores.
   */
  constructor(backend: Backend, { codebook, codes, bias, residual }: VqWeights) {
    this.#backend = backend;
    this.#codebook = new Codebook(codebook.rows, codes, bias);
    this.#rows = new VqRows(backend, this.#codebook, codebook, residual);
    this.vocab = this.#codebook.vocab;
    this.hidden = codebook.cols;
    this.bytes = this.#rows.bytes;
  }

  /**
   * Bytes of the backend that a head takes beside its matrices.
   *
   * @param codes K
   * @param residual M, and the bytes of a token; undefined: there are no residual codes.
   */
  static heldBytes(
    backend: Backend,
    vocab: number,
    codes: number,
    residual?: { readonly size: number; readonly bytes: number },
  ): number {
    return VqRows.heldBytes(backend, vocab, codes, residual);
  }

  /** @param edits Logits of few tokens in place of the head's, here and below. */
  argmax(state: Floats, edits?: LogitEdits): number | Promise<number> {
    return this.#ask(state, edits, (scores, apart) => this.#codebook.argmax(scores, apart));
  }

  top(state: Floats, count: number, edits?: LogitEdits): Top | Promise<Top> {
    expectInteger("count", count, 0, this.vocab);
    return this.#ask(state, edits, (scores, apart) => this.#codebook.top(scores, count, apart));
  }

  sample(state: Floats, draw: HeadDraw, edits?: LogitEdits): number | Promise<number> {
    const read = readDraw(draw);
    return this.#ask(state, edits, (scores, apart) => this.#codebook.draw(scores, read, apart));
  }

  logPartition(state: Floats, temperature = 1, edits?: LogitEdits): number | Promise<number> {
    expectTemperature(temperature);
    return this.#ask(state, edits, (scores, apart) =>
      this.#codebook.logPartition(scores, temperature, apart),
    );
  }

  look(state: Floats): HeadLook | Promise<HeadLook> {
    const seen = this.#rows.see(state, true);
    return seen instanceof Promise ? seen.then((one) => this.#look(one)) : this.#look(seen);
  }

  rows(states: Floats, columns: number, out: Floats): void {
    this.#rows.make(states, columns, out);
  }

  /** This head as a draft head: one look at the codebook for whatever is asked of a state. */
  openDraft(): DraftHead {
    return new HeadDraft<Seen>(this.#backend, this, {
      see: (state) => this.#rows.see(state, true),
      look: (seen) => this.#look(seen),
      row: (out, seen) => this.#rows.makeSeen(out, seen),
    });
  }

  close(): void {
    this.#rows.close();
  }

  #ask<T>(
    state: Floats,
    edits: LogitEdits | undefined,
    answer: (scores: Float32Array, apart?: LogitEdits | Apart) => T,
  ): T | Promise<T> {
    const seen = this.#rows.see(state, false);
    const tell = ({ scores, opened }: Seen) => answer(scores, withEdits(opened, edits));
    return seen instanceof Promise ? seen.then(tell) : tell(seen);
  }

  #look({ scores, opened }: Seen): HeadLook {
    const { codeOf, bias } = this.#codebook;
    return {
      logit: (token) => opened?.logit(token) ?? scores[codeOf[token]] + bias[token],
      top: (count) => this.#codebook.top(scores, expectInteger("count", count, 0, this.vocab), opened),
      draw: (draw, top, edits) => this.#codebook.drawTold(scores, draw, top, withEdits(opened, edits)),
    };
  }
}

function withEdits(
  opened: OpenedCodes | undefined,
  edits: LogitEdits | undefined,
): LogitEdits | Apart | undefined {
  return opened && edits ? { ...edits, over: opened } : (opened ?? edits);
}
