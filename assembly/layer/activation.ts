/**
 * activation: the element-wise steps of a layer.
 *
 *     swiglu  out[i] = gate[i] / (1 + exp(−gate[i])) · up[i]          Shazeer 2020, arXiv:2002.05202
 *     geglu   out[i] = gate[i] / (1 + exp(−z)) · up[i]                the same
 *             z = 2·sqrt(2/π)·(gate[i] + 0.044715·gate[i]³): GELU in its form with tanh, as (1 + tanh y) / 2 = 1 / (1 + exp(−2y))
 *     add     x[i] += y[i]
 *     scale   x[i] *= factor
 *
 * Shapes    f32, `count` elements, buffers a multiple of 16 bytes (the last vector may run over the end of the data).
 * Accuracy  exp within 1 ULP (lib/exp.ts), three more roundings. geglu: those of z too, which below 0 make the result
 *           relatively wrong by up to 3 |z| ULP, of something as small as exp(z).
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

/** 2·sqrt(2/π), and that times 0.044715; loaded where they are used, as in lib/exp.ts. */
const GELU_1: usize = memory.data<f32>([1.5957691216, 1.5957691216, 1.5957691216, 1.5957691216], 16);
const GELU_3: usize = memory.data<f32>(
  [0.0713548162726, 0.0713548162726, 0.0713548162726, 0.0713548162726],
  16,
);

export function geglu(gate: usize, up: usize, out: usize, count: usize): void {
  const one_f32x4 = f32x4.splat(1);
  for (let i: usize = 0; i < count << 2; i += 16) {
    const g = v128.load(gate + i);
    const slope_f32x4 = f32x4.add(f32x4.mul(f32x4.mul(g, g), v128.load(GELU_3)), v128.load(GELU_1));
    const z_f32x4 = f32x4.mul(g, slope_f32x4);
    const gelu_f32x4 = f32x4.div(g, f32x4.add(one_f32x4, exp_f32x4(f32x4.neg(z_f32x4))));
    v128.store(out + i, f32x4.mul(gelu_f32x4, v128.load(up + i)));
  }
}

export function scale(x: usize, factor: f32, count: usize): void {
  const factor_f32x4 = f32x4.splat(factor);
  for (let i: usize = 0; i < count << 2; i += 16)
    v128.store(x + i, f32x4.mul(v128.load(x + i), factor_f32x4));
}

export function add(x: usize, y: usize, count: usize): void {
  for (let i: usize = 0; i < count << 2; i += 16)
    v128.store(x + i, f32x4.add(v128.load(x + i), v128.load(y + i)));
}
