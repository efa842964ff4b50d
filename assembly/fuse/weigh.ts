/**
 * weigh: weights of tokens, and back.
 *
 *     weigh       out  =  exp((z − top)·scale)
 *     logarithms  row  =  ln row
 *
 * Shapes    z, out, row: (vocab) f32.
 * Accuracy  exp within 1 ULP of its argument, 0 below exp(−87); ln rounded once.
 */
import { exp_f32x4, log_f64 } from "../lib/exp";
import { four, rest_of } from "./block";

export function weigh(row: usize, out: usize, vocab: usize, top: f32, scale: f32): void {
  const rest = rest_of(row, vocab);
  const top_f32x4 = f32x4.splat(top);
  const scale_f32x4 = f32x4.splat(scale);
  // What fills the last vector of `out` is padding.
  for (let i: usize = 0; i < vocab; i += 4) {
    const x = f32x4.mul(f32x4.sub(four(row, i, vocab, rest), top_f32x4), scale_f32x4);
    v128.store(out + i * 4, exp_f32x4(x));
  }
}

export function logarithms(row: usize, vocab: usize): void {
  for (let i: usize = 0; i < vocab; i++) {
    store<f32>(row + i * 4, <f32>log_f64(<f64>load<f32>(row + i * 4)));
  }
}
