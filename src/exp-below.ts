/**
 * exp of whole rows, of values below their largest: the same bits in every engine, and in the kernels
 * (assembly/lib/exp-f64.ts). Steps that two lanes can take at once, hence another algorithm than that of `exp`:
 *
 *     exp(x)  =  2^(k / 64) · (1 + p)      k = x · 64 / ln 2, rounded;  r = x − k · ln 2 / 64;  p = r + r²/2! + … + r⁵/5!
 *
 * Accuracy  below 1 ulp, subnormal results included. k · ln 2 / 64 comes in two parts, the first exact.
 *
 * Source: Tang 1989, "Table-driven implementation of the exponential function".
 */

/** From here to 0 the result is a normal number; below the other it is 0. */
const NORMAL = -708;
const LEAST = -746;

const STEPS_PER_NAT = 92.33248261689366;
/** ln 2 / 64: the first 32 bits, and the rest. */
const STEP_HIGH = 0.6931471803691238 / 64;
const STEP_LOW = 1.9082149292705877e-10 / 64;
/** 1.5 · 2^52: what is added to it is rounded to a whole number, to an even one if it lies between two. */
const ROUND = 6755399441055744;

/** 2^(j / 64) */
// biome-ignore format: a table
const POWERS = Float64Array.of(
  1.0, 1.0108892860517005, 1.0218971486541166, 1.0330248790212284, 1.0442737824274138, 1.0556451783605572,
  1.0671404006768237, 1.0787607977571199, 1.0905077326652577, 1.102382583307841, 1.1143867425958924,
  1.1265216186082418, 1.1387886347566916, 1.1511892299529827, 1.1637248587775775, 1.1763969916502812,
  1.189207115002721, 1.202156731452703, 1.215247359980469, 1.22848053610687, 1.241857812073484,
  1.255380757024691, 1.2690509571917332, 1.2828700160787783, 1.2968395546510096, 1.3109612115247644,
  1.3252366431597413, 1.339667524053303, 1.3542555469368927, 1.3690024229745905, 1.383909881963832,
  1.3989796725383112, Math.SQRT2, 1.42961333839197, 1.4451808069770467, 1.460917794180647,
  1.4768261459394993, 1.4929077282912648, 1.5091644275934228, 1.5255981507445384, 1.5422108254079407,
  1.559004400237837, 1.5759808451078865, 1.593142151342267, 1.6104903319492543, 1.6280274218573478,
  1.645755478153965, 1.6636765803267364, 1.681792830507429, 1.7001063537185235, 1.718619298122478,
  1.7373338352737062, 1.7562521603732995, 1.7753764925265212, 1.7947090750031072, 1.8142521755003989,
  1.8340080864093424, 1.8539791250833855, 1.8741676341103, 1.8945759815869656, 1.9152065613971474,
  1.9360617934922943, 1.9571441241754002, 1.978456026387951,
);
/** 1, 1/2, 1/4, … */
const HALVES = new Float64Array(1023);
for (let n = 0, half = 1; n < HALVES.length; n++, half /= 2) HALVES[n] = half;

/** out[i] = exp(x[i] − top) for i < count, and their sum in that order; `top` is the largest x. */
export function expBelow(out: Float64Array, x: Float64Array, count: number, top: number): number {
  let sum = 0;
  for (let i = 0; i < count; i++) {
    const below = x[i] - top;
    if (below < LEAST) {
      out[i] = 0;
      continue;
    }
    const rounded = below * STEPS_PER_NAT + ROUND - ROUND;
    const k = rounded | 0;
    const r = below - rounded * STEP_HIGH - rounded * STEP_LOW;
    const p = r + r * r * (((r * (1 / 120) + 1 / 24) * r + 1 / 6) * r + 0.5);
    const power = POWERS[k & 63];
    const value = power + power * p;
    // Not -(k >> 6), which is −0 at times: no index for V8, which then gives up on whole numbers, for three times the time.
    const result = below >= NORMAL ? value * HALVES[0 - (k >> 6)] : subnormal(value, k >> 6);
    out[i] = result;
    sum += result;
  }
  return sum;
}

/** value · 2^n. In two steps, as 2^-1075 is not a number; the first is exact. */
function subnormal(value: number, n: number): number {
  const half = n >> 1;
  return value * HALVES[-half] * HALVES[half - n];
}
