/**
 * codebook: from the scores of K codes, f32, to the logits of all tokens; the only part of a codebook head that touches V.
 *
 *     snap   s[j]    =  round(s[j] · 2^12) / 2^12, to even, within ±2^11; NaN gives −2^11
 *     row    out[i]  =  s[codes[i]] + bias[i]
 *
 * Bias has the grid and the range of the scores, so their sum needs at most 24 bits: it is exact.
 *
 * Shapes    codes: (vocab) u16; bias, out: (vocab) f32
 * Source    Shao, Wu 2025, "VQ-Logits", arXiv:2505.10202, for the scatter.
 * Cost      snap: one pass over K. row: ten bytes a token; the scores stay in the first-level cache.
 */
const GRID: f32 = 4096;
const RANGE: f32 = 2048;

/** In place; reads and writes whole vectors of 4. */
export function codebook_snap(scores: usize, count: usize): void {
  const grid = f32x4.splat(GRID);
  const step = f32x4.splat(1 / GRID);
  const most = f32x4.splat(RANGE);
  const least = f32x4.splat(-RANGE);
  for (const end = scores + count * 4; scores < end; scores += 16) {
    const rounded = f32x4.mul(f32x4.nearest(f32x4.mul(v128.load(scores), grid)), step);
    // The pseudo-maximum keeps its first operand where the other is NaN.
    v128.store(scores, f32x4.pmin(most, f32x4.pmax(least, rounded)));
  }
}

export function codebook_row(scores: usize, codes: usize, bias: usize, out: usize, vocab: usize): void {
  const whole = vocab & ~3;
  for (let i: usize = 0; i < whole; i += 4) {
    const four = load<u64>(codes + i * 2);
    let picked = v128.load32_zero(scores + (((<usize>four) & 0xffff) << 2));
    picked = v128.load_lane<u32>(scores + (((<usize>(four >> 16)) & 0xffff) << 2), picked, 1);
    picked = v128.load_lane<u32>(scores + (((<usize>(four >> 32)) & 0xffff) << 2), picked, 2);
    picked = v128.load_lane<u32>(scores + ((<usize>(four >> 48)) << 2), picked, 3);
    v128.store(out + i * 4, f32x4.add(picked, v128.load(bias + i * 4)));
  }
  for (let i = whole; i < vocab; i++) {
    const score = load<f32>(scores + ((<usize>load<u16>(codes + i * 2)) << 2));
    store<f32>(out + i * 4, score + load<f32>(bias + i * 4));
  }
}
