/**
 * exp of f64: the bits of `expBelow` in src/exp-below.ts, whose operations these are, in their order.
 *
 *     exp(x)  =  2^(k / 64) · (1 + p)      k = x · 64 / ln 2, rounded;  r = x − k · ln 2 / 64;  p = r + r²/2! + … + r⁵/5!
 *
 * Four values at a time: a constant is loaded once for two vectors, and each has the other's steps to wait with.
 */

/** From here to 0 the result is a normal number; below the other it is 0. */
const NORMAL: usize = memory.data<f64>([-708, -708], 16);
const LEAST: f64 = -746;

// Both lanes of each constant, loaded where they are used, as in exp.ts.
const STEPS_PER_NAT: usize = memory.data<f64>([92.33248261689366, 92.33248261689366], 16);
const STEP_HIGH: usize = memory.data<f64>([0.6931471803691238 / 64, 0.6931471803691238 / 64], 16);
const STEP_LOW: usize = memory.data<f64>([1.9082149292705877e-10 / 64, 1.9082149292705877e-10 / 64], 16);
/** 1.5·2^52: adding it rounds to an integer and leaves that in the low bits. */
const ROUND: usize = memory.data<f64>([6755399441055744, 6755399441055744], 16);
const R2: usize = memory.data<f64>([0.5, 0.5], 16);
const R3: usize = memory.data<f64>([1.0 / 6, 1.0 / 6], 16);
const R4: usize = memory.data<f64>([1.0 / 24, 1.0 / 24], 16);
const R5: usize = memory.data<f64>([1.0 / 120, 1.0 / 120], 16);
const EXPONENT: usize = memory.data<u64>([0xfff0000000000000, 0xfff0000000000000], 16);

/** 2^(j / 64) */
// prettier-ignore
const POWERS: usize = memory.data<f64>([
  1.0, 1.0108892860517005, 1.0218971486541166, 1.0330248790212284, 1.0442737824274138, 1.0556451783605572,
  1.0671404006768237, 1.0787607977571199, 1.0905077326652577, 1.102382583307841, 1.1143867425958924,
  1.1265216186082418, 1.1387886347566916, 1.1511892299529827, 1.1637248587775775, 1.1763969916502812,
  1.189207115002721, 1.202156731452703, 1.215247359980469, 1.22848053610687, 1.241857812073484,
  1.255380757024691, 1.2690509571917332, 1.2828700160787783, 1.2968395546510096, 1.3109612115247644,
  1.3252366431597413, 1.339667524053303, 1.3542555469368927, 1.3690024229745905, 1.383909881963832,
  1.3989796725383112, 1.4142135623730951, 1.42961333839197, 1.4451808069770467, 1.460917794180647,
  1.4768261459394993, 1.4929077282912648, 1.5091644275934228, 1.5255981507445384, 1.5422108254079407,
  1.559004400237837, 1.5759808451078865, 1.593142151342267, 1.6104903319492543, 1.6280274218573478,
  1.645755478153965, 1.6636765803267364, 1.681792830507429, 1.7001063537185235, 1.718619298122478,
  1.7373338352737062, 1.7562521603732995, 1.7753764925265212, 1.7947090750031072, 1.8142521755003989,
  1.8340080864093424, 1.8539791250833855, 1.8741676341103, 1.8945759815869656, 1.9152065613971474,
  1.9360617934922943, 1.9571441241754002, 1.978456026387951,
], 16);

/** out[i] = exp(x[i] − top) of four f64, none above `top`. NaN gives 0. */
// @ts-ignore: decorator
@inline
export function exp_below_4(x: usize, top_f64x2: v128, out: usize): void {
  const a = f64x2.sub(v128.load(x), top_f64x2);
  const b = f64x2.sub(v128.load(x, 16), top_f64x2);
  let c = v128.load(STEPS_PER_NAT);
  const round = v128.load(ROUND);
  const a_bits = f64x2.add(f64x2.mul(a, c), round);
  const b_bits = f64x2.add(f64x2.mul(b, c), round);
  const a_k = f64x2.sub(a_bits, round);
  const b_k = f64x2.sub(b_bits, round);
  c = v128.load(STEP_HIGH);
  let a_r = f64x2.sub(a, f64x2.mul(a_k, c));
  let b_r = f64x2.sub(b, f64x2.mul(b_k, c));
  c = v128.load(STEP_LOW);
  a_r = f64x2.sub(a_r, f64x2.mul(a_k, c));
  b_r = f64x2.sub(b_r, f64x2.mul(b_k, c));
  c = v128.load(R5);
  let a_p = f64x2.mul(a_r, c);
  let b_p = f64x2.mul(b_r, c);
  c = v128.load(R4);
  a_p = f64x2.mul(f64x2.add(a_p, c), a_r);
  b_p = f64x2.mul(f64x2.add(b_p, c), b_r);
  c = v128.load(R3);
  a_p = f64x2.mul(f64x2.add(a_p, c), a_r);
  b_p = f64x2.mul(f64x2.add(b_p, c), b_r);
  c = v128.load(R2);
  a_p = f64x2.add(a_r, f64x2.mul(f64x2.mul(a_r, a_r), f64x2.add(a_p, c)));
  b_p = f64x2.add(b_r, f64x2.mul(f64x2.mul(b_r, b_r), f64x2.add(b_p, c)));
  c = v128.load(EXPONENT);
  const a_power = powers(a_bits);
  const b_power = powers(b_bits);
  const a_exp = i64x2.add(f64x2.add(a_power, f64x2.mul(a_power, a_p)), v128.and(i64x2.shl(a_bits, 46), c));
  const b_exp = i64x2.add(f64x2.add(b_power, f64x2.mul(b_power, b_p)), v128.and(i64x2.shl(b_bits, 46), c));
  c = v128.load(NORMAL);
  v128.store(out, v128.and(a_exp, f64x2.ge(a, c)));
  v128.store(out, v128.and(b_exp, f64x2.ge(b, c)), 16);
  if (v128.any_true(v128.or(f64x2.lt(a, c), f64x2.lt(b, c)))) {
    const top = f64x2.extract_lane(top_f64x2, 0);
    for (let i: usize = 0; i < 32; i += 8) {
      const below = load<f64>(x + i) - top;
      if (below < load<f64>(NORMAL)) store<f64>(out + i, exp_subnormal(below));
    }
  }
}

/** Of both lanes 2^(j / 64), j the low 6 bits. */
// @ts-ignore: decorator
@inline
function powers(bits: v128): v128 {
  const j = <usize>(i32x4.extract_lane(bits, 0) & 63);
  const other = <usize>(i32x4.extract_lane(bits, 2) & 63);
  return v128.load64_lane(POWERS + other * 8, v128.load64_zero(POWERS + j * 8), 1);
}

/** exp(x) of x below −708. */
function exp_subnormal(x: f64): f64 {
  if (x < LEAST) return 0;
  const bits = x * load<f64>(STEPS_PER_NAT) + load<f64>(ROUND);
  const k = bits - load<f64>(ROUND);
  const r = x - k * load<f64>(STEP_HIGH) - k * load<f64>(STEP_LOW);
  const p = r + r * r * (((r * load<f64>(R5) + load<f64>(R4)) * r + load<f64>(R3)) * r + load<f64>(R2));
  const whole = <i32>k;
  const power = load<f64>(POWERS + <usize>(whole & 63) * 8);
  // In two steps, as 2^-1075 is not a number; the first is exact.
  const n = whole >> 6;
  const half = n >> 1;
  return (power + power * p) * power_of_two(half) * power_of_two(n - half);
}

function power_of_two(n: i32): f64 {
  return reinterpret<f64>((<u64>(n + 1023)) << 52);
}
