/**
 * combine: several rows, z: (vocab) f32, become one.
 *
 *     lin   out  =  Σ scale·z + offset        of a scale that is not above 0 and z = −∞, nothing
 *     mix   out  =  ln Σ exp(scale·(z − pivot) + offset),  scale > 0,  two at a time:
 *                   ln(exp a + exp b)  =  max + ln(1 + e),   e = exp(min − max)
 *                   ln(1 + e)  =  2s + 2s³/3 + …,            s = e / (2 + e)
 *
 * Terms     come in groups of three (mix: two, and a place that is not used) of 32 bytes:
 *             row u32 | scale f32 | offset f32 | missing f32, or pivot | f32x4
 *           z = missing adds nothing: −∞ where the scale is not above 0, else NaN. The kernel leaves the largest z of each
 *           lane in the last. In all groups but the first, the first term is `out` itself, with scale 1.
 * Bounds    of lin; see bounds.ts. They are applied in the same pass.
 * Returns   the largest of out; NaN if any z is NaN or the sum passes f32. The caller looks for the reason.
 * Accuracy  lin: a rounding per operation. mix: 1.5e-7 more for each row after the first.
 * Cost      one pass over all rows, for each group in blocks that stay in the first-level cache. mix: an exp and a
 *           division for each row after the first.
 */
import { exp_below_f32x4 } from "../lib/exp";
import { max_lanes } from "../lib/lanes";
import { BLOCK, is_nan } from "./block";
import { cut } from "./bounds";

const TERM: usize = 32;
const GROUP: usize = 96;

/** Lanes in which a NaN was seen. */
const WRONG: usize = memory.data(16, 16);
/** What does not fill a vector, of three rows and of the result. */
const TAILS: usize = memory.data(64, 16);

export function lin(
  groups: usize,
  count: usize,
  bounds: usize,
  bound_count: usize,
  out: usize,
  vocab: usize,
): f32 {
  return combine(groups, count, bounds, bound_count, out, vocab, false);
}

export function mix(groups: usize, count: usize, out: usize, vocab: usize): f32 {
  return combine(groups, count, 0, 0, out, vocab, true);
}

function combine(
  groups: usize,
  count: usize,
  bounds: usize,
  bound_count: usize,
  out: usize,
  vocab: usize,
  mixes: bool,
): f32 {
  const end = groups + count * GROUP;
  v128.store(WRONG, i32x4.splat(0));
  for (let term = groups; term < end; term += TERM) v128.store(term, f32x4.splat(-Infinity), 16);
  let top_f32x4 = f32x4.splat(-Infinity);
  for (let first: usize = 0; first < vocab; first += BLOCK) {
    const stop = min<usize>(vocab, first + BLOCK);
    const bytes = ((stop - first) & ~3) * 4;
    let block_top = top_f32x4;
    for (let group = groups; group < end; group += GROUP) {
      block_top = run(group, first * 4, out + first * 4, bytes, mixes);
      if (stop & 3) tail(group, out, stop, mixes);
    }
    if (bound_count) block_top = cut(bounds, bound_count, out, first, stop);
    top_f32x4 = f32x4.pmax(top_f32x4, block_top);
  }
  if (v128.any_true(v128.load(WRONG))) return NaN;
  let top = max_lanes(top_f32x4);
  for (let i = vocab & ~3; i < vocab; i++) top = max<f32>(top, load<f32>(out + i * 4));
  return top < Infinity ? top : NaN;
}

/** The last few of a row, as a vector. */
function tail(group: usize, out: usize, vocab: usize, mixes: bool): void {
  const whole = vocab & ~3;
  const bytes = (vocab - whole) * 4;
  for (let i: usize = 0; i < 3; i++) {
    v128.store(TAILS + i * 16, f32x4.splat(-Infinity));
    memory.copy(TAILS + i * 16, <usize>load<u32>(group + i * TERM) + whole * 4, bytes);
  }
  if (mixes) add_two(group, TAILS, TAILS + 16, TAILS + 48, 16);
  else add_three(group, TAILS, TAILS + 16, TAILS + 32, TAILS + 48, 16);
  memory.copy(out + whole * 4, TAILS + 48, bytes);
}

function run(group: usize, offset: usize, out: usize, bytes: usize, mixes: bool): v128 {
  const a = <usize>load<u32>(group) + offset;
  const b = <usize>load<u32>(group, 32) + offset;
  const c = <usize>load<u32>(group, 64) + offset;
  return mixes ? add_two(group, a, b, out, bytes) : add_three(group, a, b, c, out, bytes);
}

function add_three(group: usize, a: usize, b: usize, c: usize, out: usize, bytes: usize): v128 {
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
    let sum = v128.andnot(f32x4.add(f32x4.mul(x, a_scale), a_offset), f32x4.eq(x, a_missing));
    sum = f32x4.add(sum, v128.andnot(f32x4.add(f32x4.mul(y, b_scale), b_offset), f32x4.eq(y, b_missing)));
    sum = f32x4.add(sum, v128.andnot(f32x4.add(f32x4.mul(z, c_scale), c_offset), f32x4.eq(z, c_missing)));
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

/** What is further below adds nothing, and would lead to subnormal numbers, which are slow. */
const LEAST: usize = memory.data<f32>([-40, -40, -40, -40], 16);
const TWO: usize = memory.data<f32>([2, 2, 2, 2], 16);
// 2·atanh(s) / s in s², on [0, 1/9]: least largest error 8e-9.
const L4: usize = memory.data<f32>([0.28174657, 0.28174657, 0.28174657, 0.28174657], 16);
const L3: usize = memory.data<f32>([0.27961419, 0.27961419, 0.27961419, 0.27961419], 16);
const L2: usize = memory.data<f32>([0.40024854, 0.40024854, 0.40024854, 0.40024854], 16);
const L1: usize = memory.data<f32>([0.66666316, 0.66666316, 0.66666316, 0.66666316], 16);

function add_two(group: usize, a: usize, b: usize, out: usize, bytes: usize): v128 {
  const a_scale = v128.load32_splat(group, 4);
  const b_scale = v128.load32_splat(group, 36);
  const a_offset = v128.load32_splat(group, 8);
  const b_offset = v128.load32_splat(group, 40);
  const a_pivot = v128.load32_splat(group, 12);
  const b_pivot = v128.load32_splat(group, 44);
  let a_top = v128.load(group, 16),
    b_top = v128.load(group, 48);
  let top = f32x4.splat(-Infinity),
    wrong = v128.load(WRONG);
  for (let i: usize = 0; i < bytes; i += 16) {
    const x = v128.load(a + i);
    const y = v128.load(b + i);
    a_top = f32x4.pmax(a_top, x);
    b_top = f32x4.pmax(b_top, y);
    const t = f32x4.add(f32x4.mul(f32x4.sub(x, a_pivot), a_scale), a_offset);
    const u = f32x4.add(f32x4.mul(f32x4.sub(y, b_pivot), b_scale), b_offset);
    wrong = v128.or(wrong, is_nan(f32x4.add(t, u)));
    const most = f32x4.pmax(t, u);
    // −∞ less −∞ is NaN, which the maximum with a constant before it takes away.
    const below = f32x4.pmax(v128.load(LEAST), f32x4.sub(f32x4.pmin(t, u), most));
    const sum = f32x4.add(most, log_1_plus(exp_below_f32x4(below)));
    v128.store(out + i, sum);
    top = f32x4.pmax(top, sum);
  }
  v128.store(group, a_top, 16);
  v128.store(group, b_top, 48);
  v128.store(WRONG, wrong);
  return top;
}

/** ln(1 + e), e from 0 to 1. */
// @ts-ignore: decorator
@inline
function log_1_plus(e: v128): v128 {
  const s = f32x4.div(e, f32x4.add(e, v128.load(TWO)));
  const square = f32x4.mul(s, s);
  let series = f32x4.add(f32x4.mul(v128.load(L4), square), v128.load(L3));
  series = f32x4.add(f32x4.mul(series, square), v128.load(L2));
  series = f32x4.add(f32x4.mul(series, square), v128.load(L1));
  series = f32x4.add(f32x4.mul(series, square), v128.load(TWO));
  return f32x4.mul(s, series);
}
