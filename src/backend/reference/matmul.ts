/**
 * matmul: weights, kept as the bytes of the file, and what is read from them.
 *
 *     embed   out[i, k]  =  W[tokens[i], k]
 *     matmul  out[c, r]  =  Σ_k W[r, k] · x[c, k]
 *
 * Accuracy  weights exact (format/blocks.ts), sums in f64 in the order of k, one rounding to f32.
 * Cost      each row is decoded once per product, however many columns there are.
 */
import { expectInteger, grouped } from "../../errors.ts";
import { bytesPerRow, decodeWeights, type WeightType } from "../../format/blocks.ts";
import { type Matrix, type MatrixWriter, stride } from "../backend.ts";
import type { Allocation, Memory } from "./memory.ts";

export class HeldMatrix implements Matrix {
  readonly type: WeightType;
  readonly rows: number;
  readonly cols: number;
  readonly allocation: Allocation<Uint8Array>;
  /** Some rows of another matrix, whose memory they are in. */
  readonly isView: boolean;
  readonly #first: number;
  readonly #rowBytes: number;

  /** @param first Row of the allocation that this begins with; absent: it is all of it. */
  constructor(
    allocation: Allocation<Uint8Array>,
    type: WeightType,
    rows: number,
    cols: number,
    first?: number,
  ) {
    this.allocation = allocation;
    this.isView = first !== undefined;
    this.#first = first ?? 0;
    this.type = type;
    this.rows = rows;
    this.cols = cols;
    this.#rowBytes = bytesPerRow(type, cols);
  }

  get bytes(): number {
    return this.rows * this.#rowBytes;
  }

  view(first: number, count: number): HeldMatrix {
    expectInteger("first", first, 0, this.rows);
    expectInteger("count", count, 0, this.rows - first);
    return new HeldMatrix(this.allocation, this.type, count, this.cols, this.#first + first);
  }

  /** Writes row `index` to `out`, from its start. */
  decodeRow(index: number, out: Float32Array): void {
    expectInteger("row", index, 0, this.rows - 1);
    const start = (this.#first + index) * this.#rowBytes;
    decodeWeights(this.type, this.allocation.data.subarray(start, start + this.#rowBytes), out);
  }
}

export function matrixBytes(type: WeightType, rows: number, cols: number): number {
  const rowBytes = bytesPerRow(type, cols);
  expectInteger("rows", rows, 0, Math.floor(Number.MAX_SAFE_INTEGER / Math.max(rowBytes, 1)));
  return rowBytes * rows;
}

export class HeldMatrixWriter implements MatrixWriter {
  readonly #memory: Memory;
  readonly #matrix: HeldMatrix;
  #received = 0;

  constructor(memory: Memory, type: WeightType, rows: number, cols: number) {
    const bytes = matrixBytes(type, rows, cols);
    const allocation = memory.allocate("matrix", bytes, () => new Uint8Array(bytes));
    this.#memory = memory;
    this.#matrix = new HeldMatrix(allocation, type, rows, cols);
  }

  write(bytes: Uint8Array): void {
    const received = this.#received + bytes.length;
    if (received > this.#matrix.bytes) {
      throw new RangeError(
        `Cannot fill matrix: it takes ${grouped(this.#matrix.bytes)} bytes, got at least ${grouped(received)}`,
      );
    }
    this.#matrix.allocation.data.set(bytes, this.#received);
    this.#received = received;
  }

  finish(): Matrix {
    if (this.#received < this.#matrix.bytes) {
      this.#memory.free(this.#matrix.allocation);
      throw new RangeError(
        `Cannot fill matrix: it takes ${grouped(this.#matrix.bytes)} bytes, got ${grouped(this.#received)}`,
      );
    }
    return this.#matrix;
  }
}

export function embed(out: Float32Array, weights: HeldMatrix, tokens: ArrayLike<number>): void {
  for (let i = 0; i < tokens.length; i++) {
    weights.decodeRow(tokens[i], out.subarray(i * stride(weights.cols)));
  }
}

export function matmul(out: Float32Array, weights: HeldMatrix, x: Float32Array, columns: number): void {
  const { rows, cols } = weights;
  const row = new Float32Array(cols);
  for (let r = 0; r < rows; r++) {
    weights.decodeRow(r, row);
    for (let column = 0; column < columns; column++) {
      const start = column * stride(cols);
      let sum = 0;
      for (let k = 0; k < cols; k++) sum += row[k] * x[start + k];
      out[column * stride(rows) + r] = sum;
    }
  }
}
