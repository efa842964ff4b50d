/** vq-rows: from states to the scores of codes, and to rows, for vq-head.ts. Its working memory serves one call at a time. */
import { type Backend, type Floats, type Matrix, stride } from "../../backend/backend.ts";
import type { CodebookKernels, CodeMap, ResidualMap, ResidualTables } from "../../backend/head-kernels.ts";
import { expectInteger } from "../../errors.ts";
import type { Codebook } from "./codebook.ts";
import {
  expectResidualTables,
  type OpenedCodes,
  openedIn,
  ResidualCodes,
  residualLooks,
} from "./residual-codes.ts";

export interface ResidualWeights extends ResidualTables {
  /** (M, D); stays the caller's. */
  readonly basis: Matrix;
}

/** What is known of a state before anything is asked. */
export interface Seen {
  /** (K) */
  readonly scores: Float32Array;
  /** Tokens that residual codes give logits. */
  readonly opened: OpenedCodes | undefined;
}

/** Residual codes: looked at here, or by a device that is not to be waited for. */
interface Residual {
  readonly basis: Matrix;
  /** (COLUMNS, stride(M)) */
  readonly z: Floats;
  readonly codes: ResidualCodes | ResidualMap;
}

/** Columns whose scores are made together: the codebook is read once for all. */
const COLUMNS = 8;

/** Bytes for a code in what is looked at beside the codebook: its best bias and its mass. */
const CODE_BYTES = 16;
/** For a token that residual codes give a logit: its bias and its id. */
const TOKEN_BYTES = 8;

export class VqRows {
  /** Weights and tables that are read for one state, in bytes. */
  readonly bytes: number;
  readonly #backend: Backend;
  readonly #kernels: CodebookKernels;
  readonly #words: Matrix;
  readonly #codebook: Codebook;
  readonly #map: CodeMap;
  /** (COLUMNS, stride(K)) */
  readonly #scores: Floats;
  readonly #residual: Residual | null;
  /** (stride(V)) for what is asked of rows that a device makes. Made when first needed. */
  #row: Floats | null = null;
  readonly #taken: (() => void)[] = [];

  /**
   * @param words (K, D)
   * @throws {RangeError} If a residual code or a bias is out of range; the message names it.
   * @throws {MemoryError} If there is no room for codes, biases and scores.
   */
  constructor(backend: Backend, codebook: Codebook, words: Matrix, residual: ResidualWeights | undefined) {
    this.#backend = backend;
    this.#kernels = backend.codebookKernels();
    this.#codebook = codebook;
    this.#words = words;
    this.bytes = words.bytes + CODE_BYTES * words.rows;
    if (residual !== undefined) {
      const { basis, bytes } = residual;
      const size = expectResidualTables(codebook.vocab, residual);
      expectInteger("basis.rows", basis.rows, size, size);
      expectInteger("basis.cols", basis.cols, words.cols, words.cols);
      this.bytes += basis.bytes + residualLooks(codebook) * (bytes + TOKEN_BYTES);
    }
    try {
      this.#map = this.#kernels.map(codebook.codeOf, codebook.bias);
      this.#taken.push(() => this.#kernels.free(this.#map));
      this.#scores = this.#take(COLUMNS * stride(words.rows));
      this.#residual = residual === undefined ? null : this.#takeResidual(residual);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Bytes of the backend that are taken beside the matrices; see VqHead.heldBytes. */
  static heldBytes(
    backend: Backend,
    vocab: number,
    codes: number,
    residual: { readonly size: number; readonly bytes: number } | undefined,
  ): number {
    const { mapBytes, residuals } = backend.codebookKernels();
    const held = mapBytes(vocab) + 4 * COLUMNS * stride(codes);
    if (residual === undefined) return held;
    const map = residuals?.mapBytes({ vocab, codes, ...residual }) ?? 0;
    return held + map + 4 * COLUMNS * stride(residual.size);
  }

  /** @param states (columns, D) @param out (columns, stride(V)) */
  make(states: Floats, columns: number, out: Floats): void {
    const [hidden, size] = [this.#words.cols, stride(this.#codebook.vocab)];
    for (let first = 0; first < columns; first += COLUMNS) {
      const some = Math.min(COLUMNS, columns - first);
      this.#score(this.#backend.slice(states, first * hidden, some * hidden), some);
      this.#makeRows(this.#backend.slice(out, first * size, some * size), some);
    }
  }

  /** Looks at a state. What it gives may be views, unless they are to be kept. */
  see(state: Floats, isKept: boolean): Seen | Promise<Seen> {
    this.#score(state, 1);
    const scores = this.#backend.read(this.#scoresOf(0));
    if (scores instanceof Promise) return this.#seenLater(scores);
    return this.#seen(isKept ? scores.slice() : scores, 0);
  }

  /** The row of a state that was looked at. @param row (V) */
  makeSeen(row: Floats, seen: Seen): void {
    this.#backend.write(this.#scoresOf(0), seen.scores);
    this.#kernels.row(row, this.#scoresOf(0), this.#map);
    this.#writeOpened(row, seen);
  }

  close(): void {
    for (const giveBack of this.#taken.splice(0)) giveBack();
  }

  #take(length: number): Floats {
    const taken = this.#backend.floats(length);
    this.#taken.push(() => this.#backend.free(taken));
    return taken;
  }

  #takeResidual({ basis, ...tables }: ResidualWeights): Residual {
    const z = this.#take(COLUMNS * stride(basis.rows));
    const { residuals } = this.#kernels;
    if (residuals === undefined) return { basis, z, codes: new ResidualCodes(this.#codebook, tables) };
    const codes = residuals.map(this.#map, this.#codebook.best, tables);
    this.#taken.push(() => residuals.free(codes));
    return { basis, z, codes };
  }

  #score(states: Floats, columns: number): void {
    const backend = this.#backend;
    backend.matmul(states, columns, [{ weights: this.#words, out: this.#scores }]);
    this.#kernels.snap(this.#scores, columns * stride(this.#words.rows));
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
    const { cols } = this.#words;
    const state = backend.read(backend.slice(states, column * cols, cols)) as Float32Array;
    let check = 0;
    for (let i = 0; i < state.length; i++) check += state[i] * 0;
    return check === 0;
  }

  /** Of columns that were scored. @param out (columns, stride(V)) */
  #makeRows(out: Floats, columns: number): void {
    const { residuals } = this.#kernels;
    const residual = this.#residual;
    if (residuals !== undefined && residual !== null) {
      residuals.rows(out, this.#scores, residual.z, columns, residual.codes as ResidualMap);
      return;
    }
    const { vocab } = this.#codebook;
    for (let column = 0; column < columns; column++) {
      const row = this.#backend.slice(out, column * stride(vocab), vocab);
      this.#kernels.row(row, this.#scoresOf(column), this.#map);
      if (residual === null) continue;
      const scores = this.#backend.read(this.#scoresOf(column)) as Float32Array;
      this.#writeOpened(row, this.#seen(scores, column));
    }
  }

  /** Of a column that was scored, by a backend that answers at once. */
  #seen(scores: Float32Array, column: number): Seen {
    if (this.#residual === null) return { scores, opened: undefined };
    const { codes, basis, z } = this.#residual;
    const at = this.#backend.slice(z, column * stride(basis.rows), basis.rows);
    return { scores, opened: (codes as ResidualCodes).open(scores, this.#backend.read(at) as Float32Array) };
  }

  /** Of the first column, by the row that the device makes of it: only that knows what was rounded there. */
  async #seenLater(scores: Promise<Float32Array>): Promise<Seen> {
    if (this.#residual === null) return { scores: await scores, opened: undefined };
    this.#row ??= this.#take(stride(this.#codebook.vocab));
    this.#makeRows(this.#row, 1);
    const [values, row] = await Promise.all([scores, this.#backend.read(this.#row)]);
    return { scores: values, opened: openedIn(this.#codebook, values, row) };
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
