/**
 * layer: the steps between the matmuls. Every value is computed in f64 and rounded to f32 once.
 *
 *     rmsNorm  out[i]  =  x[i] / sqrt(Σ x² / size + epsilon) · weight[i]          Zhang, Sennrich 2019, arXiv:1910.07467
 *     add      x[i]   +=  y[i]
 *     scale    x[i]   *=  factor
 *     swiglu   out[i]  =  gate[i] · sigmoid(gate[i]) · up[i]                       Shazeer 2020, arXiv:2002.05202
 *     geglu    out[i]  =  gelu(gate[i]) · up[i]                                    the same
 *     gelu(x)          =  x / 2 · (1 + tanh y)  =  x · sigmoid(2 y)
 *                         y = sqrt(2 / π) · (x + 0.044715 x³)                      Hendrycks, Gimpel 2016, arXiv:1606.08415
 *     rope     (a, b)  →  (a·cos − b·sin, a·sin + b·cos)                          Su et al. 2021, arXiv:2104.09864
 */
import { exp } from "../../math.ts";
import { type RopePairs, stride } from "../backend.ts";

const ROOT_OF_2_OVER_PI = Math.sqrt(2 / Math.PI);

/** @param out May be x. */
export function rmsNorm(
  out: Float32Array,
  x: Float32Array,
  weight: Float32Array,
  size: number,
  count: number,
  epsilon: number,
): void {
  for (let vector = 0; vector < count; vector++) {
    const start = vector * stride(size);
    let sum = 0;
    for (let i = 0; i < size; i++) sum += x[start + i] * x[start + i];
    const root = Math.sqrt(sum / size + epsilon);
    for (let i = 0; i < size; i++) out[start + i] = (x[start + i] / root) * weight[i];
  }
}

export function add(x: Float32Array, y: Float32Array, count: number): void {
  for (let i = 0; i < count; i++) x[i] += y[i];
}

export function scale(x: Float32Array, factor: number, count: number): void {
  const rounded = Math.fround(factor);
  for (let i = 0; i < count; i++) x[i] *= rounded;
}

export function addBias(x: Float32Array, bias: Float32Array, size: number, columns: number): void {
  for (let column = 0; column < columns; column++) add(x.subarray(column * stride(size)), bias, size);
}

/** @param out May be gate. */
export function swiglu(out: Float32Array, gate: Float32Array, up: Float32Array, count: number): void {
  for (let i = 0; i < count; i++) out[i] = (gate[i] / (1 + exp(-gate[i]))) * up[i];
}

/** @param out May be gate. */
export function geglu(out: Float32Array, gate: Float32Array, up: Float32Array, count: number): void {
  for (let i = 0; i < count; i++) {
    const x = gate[i];
    const y = ROOT_OF_2_OVER_PI * (x + 0.044715 * x * x * x);
    out[i] = (x / (1 + exp(-2 * y))) * up[i];
  }
}

/** One position: x: (heads, headDim); table: rotary / 2 cosines, then as many sines. In place. */
export function rope(
  x: Float32Array,
  table: Float32Array,
  shape: { heads: number; headDim: number; rotary: number; pairs: RopePairs },
): void {
  const { heads, headDim, rotary, pairs } = shape;
  const half = rotary / 2;
  for (let head = 0; head < heads; head++) {
    const start = head * headDim;
    for (let i = 0; i < half; i++) {
      const first = pairs === "interleaved" ? start + 2 * i : start + i;
      const second = pairs === "interleaved" ? first + 1 : first + half;
      const [a, b] = [x[first], x[second]];
      const [cosine, sine] = [table[i], table[half + i]];
      x[first] = a * cosine - b * sine;
      x[second] = a * sine + b * cosine;
    }
  }
}
