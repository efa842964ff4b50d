/**
 * add: out = Σ scale·z of three rows, plus Σ offset; a term whose z is `missing` adds neither.
 *
 * The order of additions is ((x + y) + z) + ((x offset + y offset) + z offset), whichever of the two does them.
 *
 * Cost      one pass. add_possible: 12 operations for four tokens, which reading three rows from memory hides;
 *           add_three: 22.
 */
import { is_nan } from "./block";
import { WRONG } from "./terms";

/**
 * For rows of which no term is missing. Returns the largest of out by lane; NaN in some lane if a term was missing or the sum
 * is none, and then `add_three` is to tell which.
 */
export function add_possible(group: usize, a: usize, b: usize, c: usize, out: usize, bytes: usize): v128 {
  const a_scale = v128.load32_splat(group, 4);
  const b_scale = v128.load32_splat(group, 36);
  const c_scale = v128.load32_splat(group, 68);
  let offset = f32x4.add(v128.load32_splat(group, 8), v128.load32_splat(group, 40));
  offset = f32x4.add(offset, v128.load32_splat(group, 72));
  let a_top = v128.load(group, 16),
    b_top = v128.load(group, 48),
    c_top = v128.load(group, 80);
  let top = f32x4.splat(-Infinity),
    wrong = i32x4.splat(0);
  for (let i: usize = 0; i < bytes; i += 16) {
    const x = v128.load(a + i);
    const y = v128.load(b + i);
    const z = v128.load(c + i);
    let sum = f32x4.add(f32x4.mul(x, a_scale), f32x4.mul(y, b_scale));
    sum = f32x4.add(f32x4.add(sum, f32x4.mul(z, c_scale)), offset);
    v128.store(out + i, sum);
    a_top = f32x4.pmax(a_top, x);
    b_top = f32x4.pmax(b_top, y);
    c_top = f32x4.pmax(c_top, z);
    top = f32x4.pmax(top, sum);
    wrong = v128.or(wrong, is_nan(sum));
  }
  v128.store(group, a_top, 16);
  v128.store(group, b_top, 48);
  v128.store(group, c_top, 80);
  // −∞ taken away is ∞. All ones are a NaN.
  return v128.or(top, v128.or(wrong, f32x4.eq(top, f32x4.splat(Infinity))));
}

export function add_three(group: usize, a: usize, b: usize, c: usize, out: usize, bytes: usize): v128 {
  const a_scale = v128.load32_splat(group, 4);
  const b_scale = v128.load32_splat(group, 36);
  const c_scale = v128.load32_splat(group, 68);
  const a_offset = v128.load32_splat(group, 8);
  const b_offset = v128.load32_splat(group, 40);
  const c_offset = v128.load32_splat(group, 72);
  const a_missing = v128.load32_splat(group, 12);
  const b_missing = v128.load32_splat(group, 44);
  const c_missing = v128.load32_splat(group, 76);
  let a_top = v128.load(group, 16),
    b_top = v128.load(group, 48),
    c_top = v128.load(group, 80);
  let top = f32x4.splat(-Infinity),
    wrong = v128.load(WRONG);
  for (let i: usize = 0; i < bytes; i += 16) {
    const x = v128.load(a + i);
    const y = v128.load(b + i);
    const z = v128.load(c + i);
    const no_x = f32x4.eq(x, a_missing);
    const no_y = f32x4.eq(y, b_missing);
    const no_z = f32x4.eq(z, c_missing);
    let sum = f32x4.add(v128.andnot(f32x4.mul(x, a_scale), no_x), v128.andnot(f32x4.mul(y, b_scale), no_y));
    sum = f32x4.add(sum, v128.andnot(f32x4.mul(z, c_scale), no_z));
    const offset = f32x4.add(v128.andnot(a_offset, no_x), v128.andnot(b_offset, no_y));
    sum = f32x4.add(sum, f32x4.add(offset, v128.andnot(c_offset, no_z)));
    v128.store(out + i, sum);
    a_top = f32x4.pmax(a_top, x);
    b_top = f32x4.pmax(b_top, y);
    c_top = f32x4.pmax(c_top, z);
    top = f32x4.pmax(top, sum);
    wrong = v128.or(wrong, is_nan(sum));
  }
  v128.store(group, a_top, 16);
  v128.store(group, b_top, 48);
  v128.store(group, c_top, 80);
  v128.store(WRONG, wrong);
  return top;
}
