/**
 * law: the logits that a token is drawn from, made of a row x, (vocab) f32, 64 tokens at a time, in f64.
 *
 *     l[i]  =  x[i] / temperature          +∞ counts as the largest finite f32
 *     l[i]  =  another logit               of edited tokens
 *     none                                 where x is NaN or −∞, and where the mask has a 0
 *
 * Source    src/backend/law-kernels.ts, whose `Law` is laid out as
 *
 *     0   f64  temperature
 *     8   u32  address of the mask, bit i mod 8 of byte i / 8, as many whole u64 as the row needs; 0: none
 *     12  u32  end of the edits
 *     16  edits, ascending: (token u32, nothing u32, logit f64)
 */

/** The logits of a block; NaN: none, or beyond the row. */
export const LOGITS: usize = memory.data(512, 16);

const MOST: usize = memory.data<f32>([3.4028234e38, 3.4028234e38, 3.4028234e38, 3.4028234e38], 16);
const NONE: usize = memory.data<f32>([-Infinity, -Infinity, -Infinity, -Infinity], 16);

// @ts-ignore: decorator
@inline
export function first_edit(law: usize): usize {
  return law + 16;
}

/** Whether no token of a block of 64 whole ones is edited or masked: its logits are the row's, but for the temperature. */
// @ts-ignore: decorator
@inline
export function is_plain(first: usize, vocab: usize, law: usize, edit: usize): bool {
  if (first + 64 > vocab) return false;
  if (edit < <usize>load<u32>(law, 12) && <usize>load<u32>(edit) < first + 64) return false;
  const mask = <usize>load<u32>(law, 8);
  return mask == 0 || load<i64>(mask + (first >> 3)) == -1;
}

/** A bound in numbers of the row: that of logits at `l`, a little lower. */
// @ts-ignore: decorator
@inline
export function row_floor(l: f64, law: usize, most: f64): f32 {
  return <f32>((l - (abs(l) + abs(most)) * 1e-6) * load<f64>(law) - 1e-37);
}

/** The same, a little higher. */
// @ts-ignore: decorator
@inline
export function row_ceiling(l: f64, law: usize, most: f64): f32 {
  return <f32>((l + (abs(l) + abs(most)) * 1e-6) * load<f64>(law) + 1e-37);
}

/** Whether a plain block has a value from `low` to `high`. */
export function reaches(row: usize, first: usize, low: f32, high: f32): bool {
  const at = row + first * 4;
  const low_f32x4 = f32x4.splat(low);
  const high_f32x4 = f32x4.splat(high);
  let found = f32x4.splat(0);
  for (let i: usize = 0; i < 256; i += 16) {
    const x = v128.load(at + i);
    found = v128.or(found, v128.and(f32x4.ge(x, low_f32x4), f32x4.le(x, high_f32x4)));
  }
  return v128.any_true(found);
}

/**
 * Loads tokens `first` … `first` + 63 into LOGITS; `first` is a multiple of 64.
 *
 * @param edit The first edit that does not lie before; the result is the first that lies behind.
 */
export function load_logits(row: usize, first: usize, vocab: usize, law: usize, edit: usize): usize {
  const left = vocab - first;
  const from = row + first * 4;
  const bytes: usize = left < 64 ? left * 4 : 256;
  const temperature_f64x2 = f64x2.splat(load<f64>(law));
  for (let i: usize = 0; i < bytes; i += 16) {
    let x = f32x4.pmin(v128.load(from + i), v128.load(MOST));
    // All bits set are a NaN.
    x = v128.or(x, f32x4.eq(x, v128.load(NONE)));
    const to = LOGITS + i * 2;
    v128.store(to, f64x2.div(f64x2.promote_low_f32x4(x), temperature_f64x2));
    x = i64x2.shuffle(x, x, 1, 0);
    v128.store(to, f64x2.div(f64x2.promote_low_f32x4(x), temperature_f64x2), 16);
  }
  for (let i = bytes * 2; i < 512; i += 8) store<f64>(LOGITS + i, NaN);
  const mask = <usize>load<u32>(law, 8);
  if (mask) {
    for (let bits = ~load<u64>(mask + (first >> 3)); bits != 0; bits &= bits - 1)
      store<f64>(LOGITS + ((<usize>ctz(bits)) << 3), NaN);
  }
  const edits_end = <usize>load<u32>(law, 12);
  for (; edit < edits_end && <usize>load<u32>(edit) < first + 64; edit += 16) {
    store<f64>(LOGITS + (<usize>load<u32>(edit) - first) * 8, load<f64>(edit, 8));
  }
  return edit;
}
