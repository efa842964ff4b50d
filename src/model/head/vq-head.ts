/**
 * vq-head: a codebook as a head. A state is compared with K codewords; tokens share them, and differ by a bias.
 *
 *     s      =  codebook · state           (K), rounded to the grid of 2^-12
 *     row[i] =  s[code of i] + bias[i]     (V)
 *
 * What decoding asks is answered from s alone: codebook.ts has the identities. With K = 2,048 and V = 151,936 that reads a
 * hundredth of what the matrix would take, and the numbers of V tokens are never made unless the row is asked for.
 *
 * Tensors, under `output_vq.`
 *     codebook.weight   (K, D) any type that can run
 *     codes             (V) I16 read as unsigned, or I32
 *     bias              (V) F16 or F32, within ±2048
 *
 * A head that was trained this way is loaded like one that was made from a dense head (src/compress).
 *
 * Source: Shao, Wu 2025, "VQ-Logits", arXiv:2505.10202.
 */
import { type Backend, type Floats, type Matrix, stride, type Top } from "../../backend/backend.ts";
import type { CodeMap } from "../../backend/head-kernels.ts";
import { expectInteger } from "../../errors.ts";
import type { DraftHead } from "../draft-head.ts";
import { Codebook } from "./codebook.ts";
import type { LogitEdits } from "./codebook-edits.ts";
import { expectTemperature, type Head, type HeadDraw, readDraw } from "./head.ts";
import { HeadDraft } from "./head-draft.ts";

export interface VqWeights {
  /** (K, D); stays the caller's. */
  readonly codebook: Matrix;
  /** (V) each below K. */
  readonly codes: ArrayLike<number>;
  /** (V) within ±2048; rounded to multiples of 2^-12. */
  readonly bias: ArrayLike<number>;
}

/** Columns whose scores are made together: the codebook is read once for all. */
const COLUMNS = 8;

/** Bytes for a code in what is looked at beside the codebook: its best bias and its mass. */
const CODE_BYTES = 16;

export class VqHead implements Head {
  readonly vocab: number;
  readonly hidden: number;
  readonly bytes: number;
  readonly draws = "own";
  readonly #backend: Backend;
  readonly #weights: Matrix;
  readonly #codebook: Codebook;
  readonly #map: CodeMap;
  /** (COLUMNS, stride(K)) */
  readonly #scores: Floats;

  /**
   * @throws {RangeError} If a code or a bias is out of range; the message names it.
   * @throws {MemoryError} If there is no room for codes, biases and scores.
   */
  constructor(backend: Backend, { codebook, codes, bias }: VqWeights) {
    this.#codebook = new Codebook(codebook.rows, codes, bias);
    this.vocab = this.#codebook.vocab;
    this.hidden = codebook.cols;
    this.bytes = codebook.bytes + CODE_BYTES * codebook.rows;
    this.#backend = backend;
    this.#weights = codebook;
    this.#map = backend.codebookKernels().map(this.#codebook.codeOf, this.#codebook.bias);
    this.#scores = backend.floats(COLUMNS * stride(codebook.rows));
  }

  /** Bytes of the backend that a head takes beside its codebook. */
  static heldBytes(backend: Backend, vocab: number, codes: number): number {
    return backend.codebookKernels().mapBytes(vocab) + 4 * COLUMNS * stride(codes);
  }

  /** @param edits Logits of few tokens in place of the head's, here and below. */
  argmax(state: Floats, edits?: LogitEdits): number | Promise<number> {
    return this.#ask(state, (scores) => this.#codebook.argmax(scores, edits));
  }

  top(state: Floats, count: number, edits?: LogitEdits): Top | Promise<Top> {
    expectInteger("count", count, 0, this.vocab);
    return this.#ask(state, (scores) => this.#codebook.top(scores, count, edits));
  }

  sample(state: Floats, draw: HeadDraw, edits?: LogitEdits): number | Promise<number> {
    const read = readDraw(draw);
    return this.#ask(state, (scores) => this.#codebook.draw(scores, read, edits));
  }

  logPartition(state: Floats, temperature = 1, edits?: LogitEdits): number | Promise<number> {
    expectTemperature(temperature);
    return this.#ask(state, (scores) => this.#codebook.logPartition(scores, temperature, edits));
  }

  rows(states: Floats, columns: number, out: Floats): void {
    const backend = this.#backend;
    for (let first = 0; first < columns; first += COLUMNS) {
      const some = Math.min(COLUMNS, columns - first);
      this.#score(backend.slice(states, first * this.hidden, some * this.hidden), some);
      for (let column = 0; column < some; column++) {
        const row = backend.slice(out, (first + column) * stride(this.vocab), this.vocab);
        backend.codebookKernels().row(row, this.#scoresOf(column), this.#map);
      }
    }
  }

  /** This head as a draft head: one look at the codebook for whatever is asked of a state. */
  openDraft(): DraftHead {
    return new HeadDraft(this.#backend, this, {
      see: (state) => this.#ask(state, (scores) => scores.slice()),
      top: (scores, count) => this.#codebook.top(scores, count),
      row: (out, scores) => {
        this.#backend.write(this.#scoresOf(0), scores);
        this.#backend.codebookKernels().row(out, this.#scoresOf(0), this.#map);
      },
    });
  }

  close(): void {
    this.#backend.codebookKernels().free(this.#map);
    this.#backend.free(this.#scores);
  }

  #ask<T>(state: Floats, answer: (scores: Float32Array) => T): T | Promise<T> {
    this.#score(state, 1);
    const scores = this.#backend.read(this.#scoresOf(0));
    return scores instanceof Promise ? scores.then(answer) : answer(scores);
  }

  #score(states: Floats, columns: number): void {
    const backend = this.#backend;
    backend.matmul(states, columns, [{ weights: this.#weights, out: this.#scores }]);
    backend.codebookKernels().snap(this.#scores, columns * stride(this.#weights.rows));
  }

  #scoresOf(column: number): Floats {
    const codes = this.#weights.rows;
    return this.#backend.slice(this.#scores, column * stride(codes), codes);
  }
}
