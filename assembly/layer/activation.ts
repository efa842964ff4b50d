/**
 * activation: the element-wise steps of a layer.
 *
 *     swiglu  out[i] = gate[i] / (1 + exp(−gate[i])) · up[i]          Shazeer 2020, arXiv:2002.05202
 *     add     x[i] += y[i]
 *
 * Shapes    f32, `count` elements, buffers a multiple of 16 bytes (the last vector may run over the end of the data).
 * Accuracy  exp within 1 ULP (lib/exp.ts), three more roundings.
 */
import { exp_f32x4 } from "../lib/exp";

export function swiglu(gate: usize, up: usize, out: usize, count: usize): void {
  const one_f32x4 = f32x4.splat(1);
  for (let i: usize = 0; i < count << 2; i += 16) {
    const g = v128.load(gate + i);
    const silu_f32x4 = f32x4.div(g, f32x4.add(one_f32x4, exp_f32x4(f32x4.neg(g))));
    v128.store(out + i, f32x4.mul(silu_f32x4, v128.load(up + i)));
  }
}

export function add(x: usize, y: usize, count: usize): void {
  for (let i: usize = 0; i < count << 2; i += 16)
    v128.store(x + i, f32x4.add(v128.load(x + i), v128.load(y + i)));
}
