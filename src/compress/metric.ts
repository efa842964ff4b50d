/**
 * metric: how far two rows of a head are apart, in logits that states of a text give.
 *
 *     |w − v|²  =  mean over the states of ((w − v) · (h − mean h))²  =  |E (w − v)|²         Eᵀ E = covariance of h
 *
 * Distances of weights say little: what matters is where the states are. What a token's row adds to all states alike is
 * left out, as a bias makes up for it. E keeps the directions with the largest variance: (m, D), m at most 128.
 *
 * Sources: the second moments of GPTQ, Frantar et al. 2022, arXiv:2210.17323, for the metric; Halko, Martinsson, Tropp 2011
 * for the subspace iteration; Jacobi 1846 for the eigenvalues.
 */
import { STAGE, uniform } from "../philox.ts";
import type { CalibrationStates } from "./method.ts";

/** Directions that are kept at most. */
const MOST = 128;
/** Up to here all of them are found at once. */
const WHOLE = 256;
const ITERATIONS = 6;
const SWEEPS = 30;

/** E, (m, D) row-major; its rows stand in order of what they weigh, the largest first. */
export interface Metric {
  readonly rows: number;
  readonly values: Float32Array;
}

export function metricOf(states: CalibrationStates, hidden: number, seed: number): Metric {
  const covariance = covarianceOf(states, hidden);
  const basis =
    hidden <= WHOLE ? identity(hidden) : leadingSubspace(covariance, hidden, Math.min(MOST, hidden), seed);
  const size = basis.length;
  // Within the subspace: B = Q C Qᵀ, whose eigenvectors turn Q into those of C.
  const images = basis.map((vector) => times(covariance, vector, hidden));
  const inner = basis.map((vector) => images.map((image) => dot(vector, image)));
  const { values: variances, vectors } = eigen(inner);
  const order = variances.map((_, i) => i).sort((a, b) => variances[b] - variances[a] || a - b);
  const rows = Math.min(MOST, size);
  const values = new Float32Array(rows * hidden);
  for (let r = 0; r < rows; r++) {
    const scale = Math.sqrt(Math.max(0, variances[order[r]]));
    for (let i = 0; i < size; i++) {
      const share = scale * vectors[i][order[r]];
      for (let k = 0; k < hidden; k++) values[r * hidden + k] += share * basis[i][k];
    }
  }
  return { rows, values };
}

/** (D, D), symmetric. */
function covarianceOf({ count, values }: CalibrationStates, hidden: number): Float64Array {
  const mean = new Float64Array(hidden);
  for (let n = 0; n < count; n++) for (let k = 0; k < hidden; k++) mean[k] += values[n * hidden + k] / count;
  const covariance = new Float64Array(hidden * hidden);
  const centred = new Float64Array(hidden);
  for (let n = 0; n < count; n++) {
    for (let k = 0; k < hidden; k++) centred[k] = values[n * hidden + k] - mean[k];
    for (let k = 0; k < hidden; k++) {
      const scale = centred[k] / count;
      for (let l = 0; l <= k; l++) covariance[k * hidden + l] += scale * centred[l];
    }
  }
  for (let k = 0; k < hidden; k++) {
    for (let l = 0; l < k; l++) covariance[l * hidden + k] = covariance[k * hidden + l];
  }
  return covariance;
}

function leadingSubspace(matrix: Float64Array, size: number, count: number, seed: number): Float64Array[] {
  let basis: Float64Array[] = Array.from({ length: count }, (_, i) =>
    Float64Array.from({ length: size }, (__, k) => uniform(seed, i, STAGE.compress, k) - 0.5),
  );
  orthonormalise(basis);
  for (let i = 0; i < ITERATIONS; i++) {
    basis = basis.map((vector) => times(matrix, vector, size));
    orthonormalise(basis);
  }
  return basis;
}

/** Gram and Schmidt, twice, as once loses what was nearly parallel. In place. */
function orthonormalise(basis: readonly Float64Array[]): void {
  for (const [i, vector] of basis.entries()) {
    for (let pass = 0; pass < 2; pass++) {
      for (let j = 0; j < i; j++) {
        const share = dot(vector, basis[j]);
        for (let k = 0; k < vector.length; k++) vector[k] -= share * basis[j][k];
      }
    }
    const length = Math.sqrt(dot(vector, vector));
    // A direction in which no state differs.
    for (let k = 0; k < vector.length; k++) vector[k] = length > 0 ? vector[k] / length : 0;
  }
}

/** Eigenvalues of a symmetric matrix, and its eigenvectors as columns. Turns two coordinates at a time. */
function eigen(matrix: readonly (readonly number[])[]): { values: number[]; vectors: number[][] } {
  const size = matrix.length;
  const a = matrix.map((row) => Float64Array.from(row));
  const v = matrix.map((_, i) => Float64Array.from({ length: size }, (__, j) => (i === j ? 1 : 0)));
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    let off = 0;
    let all = 0;
    for (let i = 0; i < size; i++) {
      for (let j = 0; j < size; j++) {
        all += a[i][j] * a[i][j];
        if (i !== j) off += a[i][j] * a[i][j];
      }
    }
    if (!(off > 1e-24 * all)) break;
    for (let p = 0; p < size; p++) for (let q = p + 1; q < size; q++) turn(a, v, p, q);
  }
  return { values: a.map((row, i) => row[i]), vectors: v.map((row) => Array.from(row)) };
}

/** Makes a[p][q] zero. */
function turn(a: Float64Array[], v: Float64Array[], p: number, q: number): void {
  if (a[p][q] === 0) return;
  const theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
  const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
  const c = 1 / Math.sqrt(t * t + 1);
  const s = t * c;
  for (let i = 0; i < a.length; i++) {
    const [left, right] = [a[i][p], a[i][q]];
    a[i][p] = c * left - s * right;
    a[i][q] = s * left + c * right;
    const [first, second] = [v[i][p], v[i][q]];
    v[i][p] = c * first - s * second;
    v[i][q] = s * first + c * second;
  }
  const [rowP, rowQ] = [a[p], a[q]];
  for (let j = 0; j < a.length; j++) {
    const [upper, lower] = [rowP[j], rowQ[j]];
    rowP[j] = c * upper - s * lower;
    rowQ[j] = s * upper + c * lower;
  }
}

function identity(size: number): Float64Array[] {
  return Array.from({ length: size }, (_, i) =>
    Float64Array.from({ length: size }, (__, k) => (i === k ? 1 : 0)),
  );
}

function times(matrix: Float64Array, vector: Float64Array, size: number): Float64Array {
  const out = new Float64Array(size);
  for (let k = 0; k < size; k++) {
    let sum = 0;
    for (let l = 0; l < size; l++) sum += matrix[k * size + l] * vector[l];
    out[k] = sum;
  }
  return out;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let k = 0; k < a.length; k++) sum += a[k] * b[k];
  return sum;
}
