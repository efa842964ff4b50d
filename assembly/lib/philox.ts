/**
 * philox: Philox-4x32-10 of four counters at once, one per lane.
 *
 *     (c0, c1, c2, c3)  →  (high(M1·c2) ^ c1 ^ k0,  low(M1·c2),  high(M0·c0) ^ c3 ^ k1,  low(M0·c0))      ten times
 *     (k0, k1)          →  (k0 + W0, k1 + W1)                                                      after each
 *
 * The words of counter g, as lanes of one vector, go to `out` + 16·g: four numbers for tokens 4g … 4g + 3. Keys of all rounds
 * are laid out by `set_key`, once for many counters.
 *
 * Source  Salmon et al. 2011; src/philox.ts has the definition.
 */
const MULTIPLIER_0: u32 = 0xd2511f53;
const MULTIPLIER_1: u32 = 0xcd9e8d57;
const WEYL_0: u32 = 0x9e3779b9;
const WEYL_1: u32 = 0xbb67ae85;

/** Of each round k0, then k1, in four lanes. */
const KEYS: usize = memory.data(320, 16);

/** The key of all `philox4` that follow. */
export function set_key(key0: u32, key1: u32): void {
  for (let round: usize = 0; round < 320; round += 32) {
    v128.store(KEYS + round, i32x4.splat(key0));
    v128.store(KEYS + round, i32x4.splat(key1), 16);
    key0 += WEYL_0;
    key1 += WEYL_1;
  }
}

/** For the counters (c0, c1, c2 + i, 0), i: the four u32 at `lanes`. */
export function philox4(c0: u32, c1: u32, c2: u32, lanes: usize, out: usize): void {
  const multiplier_0 = i32x4.splat(MULTIPLIER_0);
  const multiplier_1 = i32x4.splat(MULTIPLIER_1);
  let a = i32x4.splat(c0),
    b = i32x4.splat(c1),
    c = i32x4.add(i32x4.splat(c2), v128.load(lanes)),
    d = i32x4.splat(0);
  for (let key = KEYS; key < KEYS + 320; key += 32) {
    const a_low = i64x2.extmul_low_i32x4_u(a, multiplier_0);
    const a_high = i64x2.extmul_high_i32x4_u(a, multiplier_0);
    const c_low = i64x2.extmul_low_i32x4_u(c, multiplier_1);
    const c_high = i64x2.extmul_high_i32x4_u(c, multiplier_1);
    a = v128.xor(v128.xor(i32x4.shuffle(c_low, c_high, 1, 3, 5, 7), b), v128.load(key));
    b = i32x4.shuffle(c_low, c_high, 0, 2, 4, 6);
    c = v128.xor(v128.xor(i32x4.shuffle(a_low, a_high, 1, 3, 5, 7), d), v128.load(key, 16));
    d = i32x4.shuffle(a_low, a_high, 0, 2, 4, 6);
  }
  const ab_low = i32x4.shuffle(a, b, 0, 4, 1, 5);
  const ab_high = i32x4.shuffle(a, b, 2, 6, 3, 7);
  const cd_low = i32x4.shuffle(c, d, 0, 4, 1, 5);
  const cd_high = i32x4.shuffle(c, d, 2, 6, 3, 7);
  v128.store(out, i64x2.shuffle(ab_low, cd_low, 0, 2));
  v128.store(out, i64x2.shuffle(ab_low, cd_low, 1, 3), 16);
  v128.store(out, i64x2.shuffle(ab_high, cd_high, 0, 2), 32);
  v128.store(out, i64x2.shuffle(ab_high, cd_high, 1, 3), 48);
}
