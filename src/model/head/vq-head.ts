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
import { type Backend, type Floats, type Matrix, stride, type Top } from "../../backend/backend.ts";
import type { CodeMap } from "../../backend/head-kernels.ts";
import { expectInteger } from "../../errors.ts";
import type { DraftHead } from "../draft-head.ts";
import { Codebook } from "./codebook.ts";
import type { Apart, LogitEdits } from "./codebook-edits.ts";
import {
  expectAnswers,
  expectTemperature,
  type Head,
  type HeadDraw,
  type HeadLook,
  readDraw,
} from "./head.ts";
import { HeadDraft } from "./head-draft.ts";
import { type OpenedCodes, ResidualCodes, type ResidualTables } from "./residual-codes.ts";

export interface VqWeights {
  /** (K, D); stays the caller's. */
  readonly codebook: Matrix;
  /** (V) each below K. */
  readonly codes: ArrayLike<number>;
  /** (V) within ±2048; rounded to multiples of 2^-12. */
  readonly bias: ArrayLike<number>;
  /** `basis`: (M, D); stays the caller's. */
  readonly residual?: ResidualTables & { readonly basis: Matrix };
}

/** What is known of a state before anything is asked. */
interface Seen {
  /** (K) */
  readonly scores: Float32Array;
  /** Tokens that residual codes give logits. */
  readonly opened: OpenedCodes | undefined;
}

/** Columns whose scores are made together: the codebook is read once for all. */
const COLUMNS = 8;

/** Bytes for a code in what is looked at beside the codebook: its best bias and its mass. */
const CODE_BYTES = 16;
/** For a token that residual codes give a logit: its bias and its id. */
const TOKEN_BYTES = 8;

export class VqHead implements Head {
  readonly vocab: number;
  readonly hidden: number;
  readonly bytes: number;
  readonly draws = "own";
  readonly #backend: Backend;
  readonly #words: Matrix;
  readonly #codebook: Codebook;
  readonly #map: CodeMap;
  /** (COLUMNS, stride(K)) */
  readonly #scores: Floats;
  /** z: (COLUMNS, stride(M)). */
  readonly #residual: { readonly codes: ResidualCodes; readonly basis: Matrix; readonly z: Floats } | null;

  /**
   * @throws {RangeError} If a code or a bias is out of range; the message names it.
   * @throws {MemoryError} If there is no room for codes, biases and scores.
   */
  constructor(backend: Backend, { codebook, codes, bias, residual }: VqWeights) {
    this.#codebook = new Codebook(codebook.rows, codes, bias);
    this.vocab = this.#codebook.vocab;
    this.hidden = codebook.cols;
    this.#backend = backend;
    this.#words = codebook;
    this.#residual = null;
    this.bytes = codebook.bytes + CODE_BYTES * codebook.rows;
    const residualCodes = residual && new ResidualCodes(this.#codebook, residual);
    if (residual && residualCodes) {
      expectInteger("basis.rows", residual.basis.rows, residualCodes.size, residualCodes.size);
      expectInteger("basis.cols", residual.basis.cols, this.hidden, this.hidden);
      this.bytes += residual.basis.bytes + residualCodes.looks * (residual.bytes + TOKEN_BYTES);
    }
    const taken: (() => void)[] = [];
    try {
      this.#map = backend.codebookKernels().map(this.#codebook.codeOf, this.#codebook.bias);
      taken.push(() => backend.codebookKernels().free(this.#map));
      this.#scores = backend.floats(COLUMNS * stride(codebook.rows));
      taken.push(() => backend.free(this.#scores));
      if (residual && residualCodes) {
        const z = backend.floats(COLUMNS * stride(residual.basis.rows));
        this.#residual = { codes: residualCodes, basis: residual.basis, z };
      }
    } catch (error) {
      for (const giveBack of taken) giveBack();
      throw error;
    }
  }

  /** Bytes of the backend that a head takes beside its matrices. @param basis M; 0: there are no residual codes. */
  static heldBytes(backend: Backend, vocab: number, codes: number, basis = 0): number {
    return backend.codebookKernels().mapBytes(vocab) + 4 * COLUMNS * (stride(codes) + stride(basis));
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
    this.#score(state, 1);
    const seen = this.#kept();
    return seen instanceof Promise ? seen.then((one) => this.#look(one)) : this.#look(seen);
  }

  get rowsNeedAnswers(): boolean {
    return this.#residual !== null;
  }

  /** @throws {UnsupportedError} With residual codes, if the backend is one to wait for. */
  rows(states: Floats, columns: number, out: Floats): void {
    const backend = this.#backend;
    expectAnswers(backend, this);
    for (let first = 0; first < columns; first += COLUMNS) {
      const some = Math.min(COLUMNS, columns - first);
      this.#score(backend.slice(states, first * this.hidden, some * this.hidden), some);
      for (let column = 0; column < some; column++) {
        const row = backend.slice(out, (first + column) * stride(this.vocab), this.vocab);
        backend.codebookKernels().row(row, this.#scoresOf(column), this.#map);
        if (this.#residual !== null) this.#writeOpened(row, this.#seen(column) as Seen);
      }
    }
  }

  /** This head as a draft head: one look at the codebook for whatever is asked of a state. */
  openDraft(): DraftHead {
    return new HeadDraft<Seen>(this.#backend, this, {
      see: (state) => {
        this.#score(state, 1);
        return this.#kept();
      },
      look: (seen) => this.#look(seen),
      row: (out, seen) => {
        this.#backend.write(this.#scoresOf(0), seen.scores);
        this.#backend.codebookKernels().row(out, this.#scoresOf(0), this.#map);
        this.#writeOpened(out, seen);
      },
    });
  }

  close(): void {
    this.#backend.codebookKernels().free(this.#map);
    this.#backend.free(this.#scores);
    if (this.#residual !== null) this.#backend.free(this.#residual.z);
  }

  #ask<T>(
    state: Floats,
    edits: LogitEdits | undefined,
    answer: (scores: Float32Array, apart?: LogitEdits | Apart) => T,
  ): T | Promise<T> {
    this.#score(state, 1);
    const seen = this.#seen(0);
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

  #score(states: Floats, columns: number): void {
    const backend = this.#backend;
    backend.matmul(states, columns, [{ weights: this.#words, out: this.#scores }]);
    backend.codebookKernels().snap(this.#scores, columns * stride(this.#words.rows));
    for (let column = 0; column < columns; column++) {
      if (this.#isFinite(states, column)) continue;
      backend.write(this.#scoresOf(column), new Float32Array(this.#words.rows).fill(-Infinity));
    }
    if (this.#residual === null) return;
    backend.matmul(states, columns, [{ weights: this.#residual.basis, out: this.#residual.z }]);
  }

  /**
   * Whether a state is one: scores are bounded, so that what is no number would pass for the least of them. No look at it where
   * that is to wait for a device.
   */
  #isFinite(states: Floats, column: number): boolean {
    const backend = this.#backend;
    if (backend.name === "webgpu") return true;
    const state = backend.read(backend.slice(states, column * this.hidden, this.hidden)) as Float32Array;
    let check = 0;
    for (let i = 0; i < state.length; i++) check += state[i] * 0;
    return check === 0;
  }

  /** Of the first column that was scored; stays. */
  #kept(): Seen | Promise<Seen> {
    const seen = this.#seen(0);
    const kept = ({ scores, opened }: Seen) => ({ scores: scores.slice(), opened });
    return seen instanceof Promise ? seen.then(kept) : kept(seen);
  }

  /** Of a column that was scored; views. */
  #seen(column: number): Seen | Promise<Seen> {
    const backend = this.#backend;
    const scores = backend.read(this.#scoresOf(column));
    if (this.#residual === null) {
      const plain = (values: Float32Array): Seen => ({ scores: values, opened: undefined });
      return scores instanceof Promise ? scores.then(plain) : plain(scores);
    }
    const { codes, basis } = this.#residual;
    const z = backend.read(backend.slice(this.#residual.z, column * stride(basis.rows), basis.rows));
    const opened = (values: Float32Array, at: Float32Array): Seen => ({
      scores: values,
      opened: codes.open(values, at),
    });
    if (!(scores instanceof Promise) && !(z instanceof Promise)) return opened(scores, z);
    return Promise.all([scores, z]).then(([values, at]) => opened(values, at));
  }

  /** Puts the logits of opened codes into a row, (V). */
  #writeOpened(row: Floats, { opened }: Seen): void {
    if (opened === undefined) return;
    const values = (this.#backend.read(row) as Float32Array).slice();
    for (let i = 0; i < opened.tokens.length; i++) values[opened.tokens[i]] = opened.logits[i];
    this.#backend.write(row, values);
  }

  #scoresOf(column: number): Floats {
    const codes = this.#words.rows;
    return this.#backend.slice(this.#scores, column * stride(codes), codes);
  }
}

function withEdits(
  opened: OpenedCodes | undefined,
  edits: LogitEdits | undefined,
): LogitEdits | Apart | undefined {
  return opened && edits ? { ...edits, over: opened } : (opened ?? edits);
}
