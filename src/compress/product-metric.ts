/**
 * product-metric: how errors in the columns of a head add up in its logits, and how later columns make up for earlier ones;
 * product.ts has the formulas.
 */
import { PRODUCT_COLUMNS, PRODUCT_WORDS } from "../backend/screen-kernels.ts";
import type { CalibrationStates } from "./method.ts";
import { nearestWord } from "./product-words.ts";

/** Of the mean square of a state's columns: what is added to those of all directions. */
const RIDGE = 0.02;
const N = PRODUCT_COLUMNS;

export interface Compensation {
  /** (D) the mean state. */
  readonly mean: Float64Array;
  /** y of sub-vector `sub` of x, to `out` from `at` on. */
  whiten(x: Float64Array, sub: number, out: Float64Array, at: number): void;
  /** The inverse, of 16 codewords (16, 4), into their place of a codebook (S, 4, 16). */
  restore(words: Float64Array, sub: number, codebook: Float32Array): void;
  /** Codewords of a codebook as `whiten` has them, into their place of (S, 16, 4). */
  whitenWords(codebook: Float32Array, sub: number, out: Float64Array): void;
  /**
   * Chooses the codeword of a sub-vector and changes the later columns of x.
   *
   * @param coded (D) where the codeword, out of `codebook`, is put; none: nowhere.
   */
  code(
    x: Float64Array,
    sub: number,
    whitened: Float64Array,
    coded?: Float64Array,
    codebook?: Float32Array,
  ): number;
}

export function compensationOf(states: CalibrationStates, hidden: number): Compensation {
  const { moments, mean } = momentsOf(states, hidden);
  // U with H⁻¹ = Uᵀ U, as rows of the transposed Cholesky factor of the inverse.
  const upper = upperOfInverse(moments, hidden);
  const inverses = diagonalInverses(upper, hidden);
  const y = new Float64Array(N);

  const multiply = (
    value: (column: number) => number,
    matrix: Float64Array,
    out: Float64Array,
    at: number,
  ): void => {
    for (let j = 0; j < N; j++) {
      let sum = 0;
      for (let i = 0; i <= j; i++) sum += value(i) * matrix[i * N + j];
      out[at + j] = sum;
    }
  };

  return {
    mean,
    whiten(x, sub, out, at) {
      multiply((i) => x[sub * N + i], inverses[sub].inverse, out, at);
    },
    restore(words, sub, codebook) {
      const word = new Float64Array(N);
      for (let j = 0; j < PRODUCT_WORDS; j++) {
        multiply((i) => words[j * N + i], inverses[sub].block, word, 0);
        for (let d = 0; d < N; d++) codebook[(sub * N + d) * PRODUCT_WORDS + j] = word[d];
      }
    },
    whitenWords(codebook, sub, out) {
      for (let j = 0; j < PRODUCT_WORDS; j++) {
        const at = (sub * PRODUCT_WORDS + j) * N;
        const column = (i: number) => codebook[(sub * N + i) * PRODUCT_WORDS + j];
        multiply(column, inverses[sub].inverse, out, at);
      }
    },
    code(x, sub, whitened, coded, codebook) {
      multiply((i) => x[sub * N + i], inverses[sub].inverse, y, 0);
      const word = nearestWord(y, 0, whitened, sub * PRODUCT_WORDS * N);
      if (coded !== undefined && codebook !== undefined) {
        for (let d = 0; d < N; d++) coded[sub * N + d] = codebook[(sub * N + d) * PRODUCT_WORDS + word];
      }
      const at = (sub * PRODUCT_WORDS + word) * N;
      const [a, b, c, d] = [
        y[0] - whitened[at],
        y[1] - whitened[at + 1],
        y[2] - whitened[at + 2],
        y[3] - whitened[at + 3],
      ];
      const row = sub * N * hidden;
      for (let k = (sub + 1) * N; k < hidden; k++) {
        x[k] -=
          a * upper[row + k] +
          b * upper[row + hidden + k] +
          c * upper[row + 2 * hidden + k] +
          d * upper[row + 3 * hidden + k];
      }
      return word;
    },
  };
}

/** Second moments of the states, with the ridge, (D, D), and their mean. */
function momentsOf(
  { count, values }: CalibrationStates,
  hidden: number,
): { moments: Float64Array; mean: Float64Array } {
  const moments = new Float64Array(hidden * hidden);
  const mean = new Float64Array(hidden);
  const share = 1 / Math.max(count, 1);
  for (let n = 0; n < count; n++) {
    const state = values.subarray(n * hidden, (n + 1) * hidden);
    for (let i = 0; i < hidden; i++) {
      const x = state[i] * share;
      mean[i] += x;
      for (let j = 0; j <= i; j++) moments[i * hidden + j] += x * state[j];
    }
  }
  let trace = 0;
  for (let i = 0; i < hidden; i++) trace += moments[i * hidden + i];
  const ridge = trace > 0 ? (RIDGE * trace) / hidden : 1;
  for (let i = 0; i < hidden; i++) {
    moments[i * hidden + i] += ridge;
    for (let j = 0; j < i; j++) moments[j * hidden + i] = moments[i * hidden + j];
  }
  return { moments, mean };
}

/** Of a positive definite matrix. */
function upperOfInverse(matrix: Float64Array, n: number): Float64Array {
  const lower = choleskyOf(matrix, n);
  // The inverse, column by column: L z = e, Lᵀ x = z.
  const inverse = new Float64Array(n * n);
  const x = new Float64Array(n);
  for (let column = 0; column < n; column++) {
    x.fill(0);
    for (let i = column; i < n; i++) {
      let sum = i === column ? 1 : 0;
      for (let k = column; k < i; k++) sum -= lower[i * n + k] * x[k];
      x[i] = sum / lower[i * n + i];
    }
    for (let i = n - 1; i >= 0; i--) {
      x[i] /= lower[i * n + i];
      const value = x[i];
      for (let k = 0; k < i; k++) x[k] -= lower[i * n + k] * value;
    }
    for (let i = 0; i < n; i++) inverse[i * n + column] = x[i];
  }
  const factor = choleskyOf(inverse, n);
  const upper = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) upper[j * n + i] = factor[i * n + j];
  return upper;
}

/** L with L Lᵀ = matrix. */
function choleskyOf(matrix: Float64Array, n: number): Float64Array {
  const lower = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = matrix[i * n + j];
      for (let k = 0; k < j; k++) sum -= lower[i * n + k] * lower[j * n + k];
      lower[i * n + j] = i === j ? Math.sqrt(Math.max(sum, 1e-300)) : sum / lower[j * n + j];
    }
  }
  return lower;
}

/** The 4 × 4 upper triangles on the diagonal, and their inverses. */
function diagonalInverses(upper: Float64Array, n: number): { block: Float64Array; inverse: Float64Array }[] {
  return Array.from({ length: n / N }, (_, sub) => {
    const block = new Float64Array(N * N);
    const inverse = new Float64Array(N * N);
    for (let i = 0; i < N; i++)
      for (let j = i; j < N; j++) block[i * N + j] = upper[(sub * N + i) * n + sub * N + j];
    for (let j = 0; j < N; j++) {
      inverse[j * N + j] = 1 / block[j * N + j];
      for (let i = j - 1; i >= 0; i--) {
        let sum = 0;
        for (let k = i + 1; k <= j; k++) sum -= block[i * N + k] * inverse[k * N + j];
        inverse[i * N + j] = sum / block[i * N + i];
      }
    }
    return { block, inverse };
  });
}
