/**
 * codes: a row as codes of a codebook: `dim` tokens in a row of ids are one vector, and a vector is a sum of codewords, one
 * of each stage.
 *
 *     z[g·dim + d]  ≈  shift + c₀[code₀(g), d] + c₁[code₁(g), d] + …
 *
 * A stage takes the nearest codeword to what the ones before it left, the lowest of equally near ones.
 *
 * Source    residual vector quantisation; the definition is src/format/wire/definition.ts, whose f32 steps these are.
 * Shapes    row: (vocab) f32, finite; codebook: (stages, count, dim) f32, dim a multiple of 4 up to 64; codes:
 *           (stages, groups) u16. The last group is filled with the last logit.
 * Cost      encode: vocab · count · stages squares; decode: one pass.
 */
import { sum_lanes } from "../lib/lanes";

/** What is left of a group. */
const LEFT: usize = memory.data(256, 16);

export function wire_to_codes(
  row: usize,
  vocab: usize,
  shift: f32,
  codebook: usize,
  stages: usize,
  count: usize,
  dim: usize,
  out: usize,
): void {
  const groups = (vocab + dim - 1) / dim;
  const bytes = dim * 4;
  for (let group: usize = 0; group < groups; group++) {
    for (let d: usize = 0; d < dim; d++) {
      const token = min<usize>(group * dim + d, vocab - 1);
      store<f32>(LEFT + d * 4, load<f32>(row + token * 4) - shift);
    }
    let words = codebook;
    for (let stage: usize = 0; stage < stages; stage++) {
      const code = nearest(words, count, bytes);
      store<u16>(out + (stage * groups + group) * 2, <u16>code);
      const word = words + code * bytes;
      for (let d: usize = 0; d < bytes; d += 16) {
        v128.store(LEFT + d, f32x4.sub(v128.load(LEFT + d), v128.load(word + d)));
      }
      words += count * bytes;
    }
  }
}

/** Of `count` codewords the one nearest to LEFT. */
function nearest(words: usize, count: usize, bytes: usize): usize {
  let best: usize = 0;
  let least: f32 = Infinity;
  for (let code: usize = 0; code < count; code++) {
    let sum_f32x4 = f32x4.splat(0);
    for (let d: usize = 0; d < bytes; d += 16) {
      const away = f32x4.sub(v128.load(LEFT + d), v128.load(words + d));
      sum_f32x4 = f32x4.add(sum_f32x4, f32x4.mul(away, away));
    }
    const distance = sum_lanes(sum_f32x4);
    if (distance < least) {
      least = distance;
      best = code;
    }
    words += bytes;
  }
  return best;
}

/** Writes whole groups. */
export function wire_from_codes(
  codes: usize,
  vocab: usize,
  shift: f32,
  codebook: usize,
  stages: usize,
  count: usize,
  dim: usize,
  out: usize,
): void {
  const groups = (vocab + dim - 1) / dim;
  const bytes = dim * 4;
  const shift_f32x4 = f32x4.splat(shift);
  for (let group: usize = 0; group < groups; group++) {
    const to = out + group * bytes;
    for (let d: usize = 0; d < bytes; d += 16) {
      let sum = v128.load(codebook + <usize>load<u16>(codes + group * 2) * bytes + d);
      for (let stage: usize = 1; stage < stages; stage++) {
        const code = <usize>load<u16>(codes + (stage * groups + group) * 2);
        sum = f32x4.add(sum, v128.load(codebook + (stage * count + code) * bytes + d));
      }
      v128.store(to + d, f32x4.add(shift_f32x4, sum));
    }
  }
}
