/**
 * rope: rotary position embedding, in place.
 *
 *     (a, b)  →  (a·cos − b·sin, a·sin + b·cos)      for the pair i = 0 … rotary/2 − 1 of each head
 *
 * Interleaved pairs are (x[2i], x[2i+1]), half-split ones (x[i], x[i + rotary/2]). What lies behind `rotary` is left alone.
 *
 * Source    Su et al. 2021, arXiv:2104.09864.
 * Shapes    x: (heads, head_dim) f32 of one position; table: rotary/2 cosines, then rotary/2 sines of that position.
 */
export function rope(
  x: usize,
  table: usize,
  heads: usize,
  head_dim: usize,
  rotary: usize,
  half_split: bool,
): void {
  const half = rotary << 1; // bytes of rotary/2 floats
  const sines = table + half;
  for (; heads > 0; --heads) {
    if (half_split) {
      for (let i: usize = 0; i < half; i += 4) rotate(x + i, x + half + i, table + i, sines + i);
    } else {
      for (let i: usize = 0; i < half; i += 4) rotate(x + i * 2, x + i * 2 + 4, table + i, sines + i);
    }
    x += head_dim << 2;
  }
}

// @ts-ignore: decorator
@inline
function rotate(first: usize, second: usize, cosine: usize, sine: usize): void {
  const a = load<f32>(first),
    b = load<f32>(second);
  const c = load<f32>(cosine),
    s = load<f32>(sine);
  store<f32>(first, a * c - b * s);
  store<f32>(second, a * s + b * c);
}
