/** matrix-product: matrices of this process multiplied in a backend's memory, a few columns at a time. */
import { type Backend, type Floats, type Matrix, stride } from "../backend/backend.ts";
import { encodeWeights, type WeightType } from "../format/blocks.ts";
import type { HeadTensor } from "../model/head/stored-head.ts";

/** Columns that are handed over at once. */
const COLUMNS = 32;

/** A matrix in the backend's memory, with room for some columns and their products. */
export class MatrixProduct {
  readonly rows: number;
  readonly #backend: Backend;
  readonly #matrix: Matrix;
  readonly #isOurs: boolean;
  readonly #x: Floats;
  readonly #out: Floats;

  /** @throws {MemoryError} If there is no room for it. */
  constructor(backend: Backend, matrix: Matrix, isOurs = false) {
    this.rows = matrix.rows;
    this.#backend = backend;
    this.#matrix = matrix;
    this.#isOurs = isOurs;
    this.#x = backend.floats(COLUMNS * stride(matrix.cols));
    this.#out = backend.floats(COLUMNS * stride(matrix.rows));
  }

  /** @param values (rows, cols) */
  static of(backend: Backend, values: Float32Array, rows: number, cols: number): MatrixProduct {
    const writer = backend.matrix("F32", rows, cols);
    writer.write(encodeWeights("F32", values));
    return new MatrixProduct(backend, writer.finish(), true);
  }

  /**
   * @param x (count, cols) @param use Called with the product of each column, a view of (rows), in order; and with where it
   *   lies.
   */
  each(x: Float32Array, count: number, use: (out: Float32Array, column: number, at: Floats) => void): void {
    const backend = this.#backend;
    const { rows, cols } = this.#matrix;
    const padded = new Float32Array(COLUMNS * stride(cols));
    for (let first = 0; first < count; first += COLUMNS) {
      const some = Math.min(COLUMNS, count - first);
      for (let i = 0; i < some; i++) {
        padded.set(x.subarray((first + i) * cols, (first + i + 1) * cols), i * stride(cols));
      }
      backend.write(this.#x, padded);
      backend.matmul(this.#x, some, [{ weights: this.#matrix, out: this.#out }]);
      for (let i = 0; i < some; i++) {
        const at = backend.slice(this.#out, i * stride(rows), rows);
        use(backend.read(at) as Float32Array, first + i, at);
      }
    }
  }

  /** (count, rows) */
  all(x: Float32Array, count: number): Float32Array {
    const values = new Float32Array(count * this.rows);
    this.each(x, count, (out, column) => values.set(out, column * this.rows));
    return values;
  }

  close(): void {
    if (this.#isOurs) this.#backend.free(this.#matrix);
    this.#backend.free(this.#x);
    this.#backend.free(this.#out);
  }
}

/** A matrix as a file will have it, but for its name. */
export interface MatrixTensor extends Pick<HeadTensor, "shape" | "bytes"> {
  readonly type: WeightType;
}

/** In 8 bits where rows are whole blocks. @param values (rows, cols) */
export function matrixTensor(values: Float32Array, rows: number, cols: number): MatrixTensor {
  const type = cols % 32 === 0 ? "Q8_0" : "F16";
  return { type, shape: [cols, rows], bytes: encodeWeights(type, values) };
}

/** What a head will make of states by a matrix as the file has it, (states, rows). @param states (states, cols) */
export function productsOf(
  backend: Backend,
  { type, shape, bytes }: MatrixTensor,
  states: Float32Array,
): Float32Array {
  const [cols, rows] = shape;
  const writer = backend.matrix(type, rows, cols);
  writer.write(bytes);
  const product = new MatrixProduct(backend, writer.finish(), true);
  try {
    return product.all(states, states.length / cols);
  } finally {
    product.close();
  }
}
