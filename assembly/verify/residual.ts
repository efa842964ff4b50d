/**
 * residual: what a target row has above a draft row.
 *
 *     out[x]  =  (p[x]·p_scale − q[x]·q_scale)+          p_scale = scale / Σp,  q_scale = 1 / Σq
 *
 * Shapes    p, q, out: (vocab) f32. out may be p or q; 0: only the mass is wanted.
 * Returns   Σ out, of the rounded values and in the order of sums.ts: what `mass` gives for the row.
 * Accuracy  f64, rounded to f32 once. Equal rows under equal scales leave exactly 0.
 * Cost      one pass over both rows.
 */
import { high_f64x2, low_f64x2 } from "../lib/lanes";
import { block_total } from "./block";

export function residual(p: usize, q: usize, out: usize, vocab: usize, p_scale: f64, q_scale: f64): f64 {
  const p_scale_f64x2 = f64x2.splat(p_scale);
  const q_scale_f64x2 = f64x2.splat(q_scale);
  let total: f64 = 0;
  let i: usize = 0;
  while (i < vocab) {
    const stop = min<usize>(vocab, i + 64);
    let low_sum = f64x2.splat(0),
      high_sum = f64x2.splat(0);
    for (; i + 4 <= stop; i += 4) {
      const p_f32x4 = v128.load(p + i * 4);
      const q_f32x4 = v128.load(q + i * 4);
      const low = excess(low_f64x2(p_f32x4), low_f64x2(q_f32x4), p_scale_f64x2, q_scale_f64x2);
      const high = excess(high_f64x2(p_f32x4), high_f64x2(q_f32x4), p_scale_f64x2, q_scale_f64x2);
      if (out) v128.store(out + i * 4, i64x2.shuffle(low, high, 0, 2));
      low_sum = f64x2.add(low_sum, low_f64x2(low));
      high_sum = f64x2.add(high_sum, low_f64x2(high));
    }
    let sum = block_total(low_sum, high_sum);
    for (; i < stop; i++) {
      const above = <f64>load<f32>(p + i * 4) * p_scale - <f64>load<f32>(q + i * 4) * q_scale;
      const value = above > 0 ? <f32>above : 0;
      if (out) store<f32>(out + i * 4, value);
      sum += <f64>value;
    }
    total += sum;
  }
  return total;
}

/** Two values, in the low lanes of an f32x4. */
// @ts-ignore: decorator
@inline
function excess(p: v128, q: v128, p_scale: v128, q_scale: v128): v128 {
  const above = f64x2.sub(f64x2.mul(p, p_scale), f64x2.mul(q, q_scale));
  return f32x4.demote_f64x2_zero(f64x2.pmax(f64x2.splat(0), above));
}
