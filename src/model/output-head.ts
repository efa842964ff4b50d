/**
 * output-head: from the stream of a pass to rows.
 *
 *     state  =  norm(stream)            what the head looks at, (D) per column
 *     row    =  W · state               (V)
 *
 * Rows of states that an earlier pass left are made together with those of this one: W is read once for all.
 */
import { type Backend, type Floats, type Matrix, stride } from "../backend/backend.ts";
import { MemoryError } from "../errors.ts";
import type { Head } from "./head/head.ts";
import type { Part } from "./llama.ts";

export interface OutputWeights {
  readonly head: Matrix; // (V, D)
  /** What makes the rows instead, where the model has it. */
  readonly storedHeads: { readonly model: Head | null };
  readonly outputNorm: Floats; // (D)
}

/** Rows to make of states that stand one after the other. */
interface Product {
  readonly states: Floats;
  readonly rows: number;
  readonly out: Floats;
}

export class OutputHead {
  readonly #backend: Backend;
  readonly #weights: OutputWeights;
  readonly #hidden: number;
  readonly #epsilon: number;
  /** States of a pass, (passColumns, D). */
  readonly #states: Floats;
  /** Rows of several sequences, before each gets its own: (some, stride(V)). Made when first needed. */
  #logits: Floats | null = null;

  /** @param states Working memory, (passColumns, D); holds nothing between two calls. */
  constructor(backend: Backend, weights: OutputWeights, epsilon: number, states: Floats) {
    this.#backend = backend;
    this.#weights = weights;
    this.#hidden = weights.head.cols;
    this.#epsilon = epsilon;
    this.#states = states;
  }

  /** @param stream (columns of all parts, D), as the last layer left it. */
  run(stream: Floats, parts: readonly Part[]): void {
    this.#leaveStates(stream, parts);
    const most = this.#states.length / this.#hidden;
    const isOnePass = parts.reduce((sum, part) => sum + part.rows + this.#knownRows(part), 0) <= most;
    const products: Product[] = [];
    let end = 0;
    let count = 0;
    for (const part of parts) {
      const { rows, out, known } = part;
      const knownRows = this.#knownRows(part);
      const first = count;
      end += part.tokens.length;
      if (known !== undefined && isOnePass) {
        this.#backend.copy(this.#statesFrom(count, knownRows), known, known.length);
        count += knownRows;
      } else if (known !== undefined) products.push({ states: known, rows: knownRows, out });
      if (rows > 0) this.#norm(this.#statesFrom(count, rows), stream, end - rows, rows);
      count += rows;
      if (count === first) continue;
      const size = stride(this.#weights.head.rows);
      products.push({
        states: this.#statesFrom(first, count - first),
        rows: count - first,
        out: isOnePass ? out : this.#backend.slice(out, knownRows * size, rows * size),
      });
    }
    this.#multiply(products, isOnePass ? count : 0);
  }

  #leaveStates(stream: Floats, parts: readonly Part[]): void {
    let end = 0;
    for (const { tokens, states } of parts) {
      end += tokens.length;
      const count = states === undefined ? 0 : states.length / this.#hidden;
      if (count > 0) this.#norm(states!, stream, end - count, count);
    }
  }

  /** @param together Rows of all products where their states are the first of `#states`, in order; else 0. */
  #multiply(products: readonly Product[], together: number): void {
    const backend = this.#backend;
    const { head } = this.#weights;
    const size = stride(head.rows);
    const logits = products.length > 1 && together > 0 ? this.#logitsOf(together) : null;
    if (logits !== null) this.#makeRows(this.#states, together, logits);
    let row = 0;
    for (const { states, rows, out } of products) {
      if (logits !== null) backend.copy(out, backend.slice(logits, row * size, rows * size), rows * size);
      else this.#makeRows(states, rows, out);
      row += rows;
    }
  }

  #makeRows(states: Floats, count: number, out: Floats): void {
    const { head, storedHeads } = this.#weights;
    if (storedHeads.model !== null) storedHeads.model.rows(states, count, out);
    else this.#backend.matmul(states, count, [{ weights: head, out }]);
  }

  /** Room for `rows` rows; null where memory is short of it, and each sequence must read the head's weights itself. */
  #logitsOf(rows: number): Floats | null {
    const length = rows * stride(this.#weights.head.rows);
    if (this.#logits !== null && this.#logits.length >= length) return this.#logits;
    if (this.#logits !== null) this.#backend.free(this.#logits);
    this.#logits = null;
    try {
      this.#logits = this.#backend.floats(length);
    } catch (error) {
      if (!(error instanceof MemoryError)) throw error;
    }
    return this.#logits;
  }

  #norm(out: Floats, stream: Floats, first: number, count: number): void {
    const hidden = this.#hidden;
    const columns = this.#backend.slice(stream, first * hidden, count * hidden);
    this.#backend.rmsNorm(out, columns, this.#weights.outputNorm, hidden, count, this.#epsilon);
  }

  #statesFrom(first: number, count: number): Floats {
    return this.#backend.slice(this.#states, first * this.#hidden, count * this.#hidden);
  }

  #knownRows({ known }: Part): number {
    return known === undefined ? 0 : known.length / this.#hidden;
  }
}
