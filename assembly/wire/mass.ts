/**
 * mass: what encodings that keep few tokens need to know of a row, z: (vocab) f32, −∞ or finite.
 *
 *     wire_total   Σ exp(z − top), of even tokens plus of odd ones, each in order, in f64
 *     wire_list    the tokens with z > bar, and of those with z = bar the ones up to `last`, ascending, as u32
 *
 * Source    the definition is src/format/wire/definition.ts; exp has the bits of src/exp-below.ts.
 * Cost      one pass; `wire_total` with an exp of f64 per token.
 */
import { exp_below_4 } from "../lib/exp-f64";
import { high_f64x2, low_f64x2 } from "../lib/lanes";

const LOGITS: usize = memory.data(32, 16);
const MASSES: usize = memory.data(32, 16);

export function wire_total(row: usize, vocab: usize, top: f64): f64 {
  const top_f64x2 = f64x2.splat(top);
  let total = f64x2.splat(0);
  for (let i: usize = 0; i < vocab; i += 4) {
    let z = v128.load(row + i * 4);
    // exp of NaN is 0 here, as is that of −∞, which takes longer.
    z = v128.or(z, f32x4.eq(z, f32x4.splat(-Infinity)));
    v128.store(LOGITS, low_f64x2(z));
    v128.store(LOGITS, high_f64x2(z), 16);
    for (let rest = vocab - i; rest < 4; rest++) store<f64>(LOGITS + rest * 8, NaN);
    exp_below_4(LOGITS, top_f64x2, MASSES);
    total = f64x2.add(total, v128.load(MASSES));
    total = f64x2.add(total, v128.load(MASSES, 16));
  }
  return f64x2.extract_lane(total, 0) + f64x2.extract_lane(total, 1);
}

/** @returns How many. */
export function wire_list(row: usize, vocab: usize, bar: f32, last: u32, out: usize): u32 {
  const bar_f32x4 = f32x4.splat(bar);
  let at = out;
  for (let i: usize = 0; i < vocab; i += 4) {
    for (
      let lanes = i32x4.bitmask(f32x4.ge(v128.load(row + i * 4), bar_f32x4));
      lanes != 0;
      lanes &= lanes - 1
    ) {
      const token = <u32>i + <u32>ctz(lanes);
      if (token >= <u32>vocab) break;
      if (token > last && load<f32>(row + <usize>token * 4) == bar) continue;
      store<u32>(at, token);
      at += 4;
    }
  }
  return <u32>((at - out) >> 2);
}
