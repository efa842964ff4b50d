/**
 * Exact arithmetic on f64: numbers m · 2^e with an integer m of any size.
 *
 * Every f64 is one, and so are sums and products of them, so nothing is ever rounded and the order of a sum does not
 * matter. A sum of likelihoods has some hundred bits.
 */

export interface Dyadic {
  readonly mantissa: bigint;
  readonly exponent: number;
}

export const ZERO: Dyadic = { mantissa: 0n, exponent: 0 };

const word = new DataView(new ArrayBuffer(8));

/** @param x Finite. */
export function dyadic(x: number): Dyadic {
  if (x === 0) return ZERO;
  if (Number.isInteger(x) && Math.abs(x) <= Number.MAX_SAFE_INTEGER) {
    return { mantissa: BigInt(x), exponent: 0 };
  }
  word.setFloat64(0, x);
  const biased = (word.getUint32(0) >>> 20) & 0x7ff;
  const fraction = word.getBigUint64(0) & 0xf_ffff_ffff_ffffn;
  const mantissa = biased === 0 ? fraction : fraction | 0x10_0000_0000_0000n;
  return { mantissa: x < 0 ? -mantissa : mantissa, exponent: Math.max(biased, 1) - 1075 };
}

export function plus(a: Dyadic, b: Dyadic): Dyadic {
  if (a.mantissa === 0n) return b;
  if (b.mantissa === 0n) return a;
  const exponent = Math.min(a.exponent, b.exponent);
  const mantissa =
    (a.mantissa << BigInt(a.exponent - exponent)) + (b.mantissa << BigInt(b.exponent - exponent));
  return { mantissa, exponent };
}

export function times(a: Dyadic, b: Dyadic): Dyadic {
  return { mantissa: a.mantissa * b.mantissa, exponent: a.exponent + b.exponent };
}

export function minus(a: Dyadic, b: Dyadic): Dyadic {
  return plus(a, { mantissa: -b.mantissa, exponent: b.exponent });
}

/** The same number with an odd mantissa: the one form that equal numbers share. */
export function reduced({ mantissa, exponent }: Dyadic): Dyadic {
  if (mantissa === 0n) return ZERO;
  const zeros = trailingZeros(mantissa);
  return { mantissa: mantissa >> BigInt(zeros), exponent: exponent + zeros };
}

/** a / b as the nearest f64, but for results below the normal range; b > 0. */
export function quotient(a: Dyadic, b: Dyadic): number {
  if (a.mantissa === 0n) return 0;
  const size = a.mantissa < 0n ? -a.mantissa : a.mantissa;
  // A quotient of 64 bits or more, and a last bit for what the division leaves, so that Number() rounds once and right.
  const shift = Math.max(0, 65 + bits(b.mantissa) - bits(size));
  const numerator = size << BigInt(shift);
  const whole = numerator / b.mantissa;
  const sticky = whole * b.mantissa === numerator ? 0n : 1n;
  const scaled = scale(whole * 2n + sticky, a.exponent - b.exponent - shift - 1);
  return a.mantissa < 0n ? -scaled : scaled;
}

/** √(a / b), also where a / b is out of the range of f64; b > 0, a ≥ 0. */
export function rootOfQuotient(a: Dyadic, b: Dyadic): number {
  if (a.mantissa === 0n) return 0;
  const size = bits(a.mantissa) + a.exponent - bits(b.mantissa) - b.exponent;
  const half = Math.round(size / 2);
  const near = quotient({ mantissa: a.mantissa, exponent: a.exponent - 2 * half }, b);
  return times2(Math.sqrt(near), half);
}

/** integer · 2^exponent; the integer is cut to a size that Number() can hold, its last bits kept as one. */
function scale(integer: bigint, exponent: number): number {
  const extra = BigInt(Math.max(0, bits(integer) - 128));
  const kept = integer >> extra;
  return times2(Number(kept << extra === integer ? kept : kept | 1n), exponent + Number(extra));
}

/** x · 2^exponent */
function times2(x: number, exponent: number): number {
  let left = exponent;
  let result = x;
  for (; left > 1000; left -= 1000) result *= 2 ** 1000;
  for (; left < -1000; left += 1000) result /= 2 ** 1000;
  return result * powerOfTwo(left);
}

/** 2^n for |n| ≤ 1000. */
function powerOfTwo(n: number): number {
  word.setBigUint64(0, BigInt(n + 1023) << 52n);
  return word.getFloat64(0);
}

/** Length in bits of a positive integer. */
function bits(integer: bigint): number {
  const digits = integer.toString(16);
  return digits.length * 4 - Math.clz32(Number.parseInt(digits[0], 16)) + 28;
}

function trailingZeros(integer: bigint): number {
  let zeros = 0;
  let rest = integer;
  for (const step of [1024, 256, 64, 16, 4, 1]) {
    const mask = (1n << BigInt(step)) - 1n;
    while ((rest & mask) === 0n) {
      rest >>= BigInt(step);
      zeros += step;
    }
  }
  return zeros;
}
