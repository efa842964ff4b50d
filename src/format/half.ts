/**
 * Half floats: F16 (IEEE 754 binary16) and BF16 (the upper half of binary32), as bit patterns to and from numbers.
 *
 *     F16    s eeeee mmmmmmmmmm      (-1)^s 2^(e-15) 1.m     e = 0: (-1)^s 2^-14 0.m    e = 31: infinity, NaN
 *     BF16   s eeeeeeee mmmmmmm      a binary32 whose lower 16 bits are zero
 *
 * Decoding is exact. Encoding rounds to nearest, ties to even; overflow gives infinity, and a NaN stays a NaN.
 */

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** Bit pattern of the binary32 with the value of an F16 pattern. */
export function f16ToF32Bits(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >>> 10) & 31;
  const mantissa = half & 0x3ff;
  if (exponent === 31) return (sign | 0x7f800000 | (mantissa << 13)) >>> 0;
  if (exponent !== 0) return (sign | ((exponent + 112) << 23) | (mantissa << 13)) >>> 0;
  if (mantissa === 0) return sign >>> 0;
  // Subnormal: shift the leading one of the mantissa to where binary32 leaves it out.
  const shift = Math.clz32(mantissa) - 21;
  return (sign | ((113 - shift) << 23) | (((mantissa << shift) & 0x3ff) << 13)) >>> 0;
}

/** Value of an F16 pattern. */
export function f16ToNumber(half: number): number {
  bits[0] = f16ToF32Bits(half);
  return float[0];
}

/** F16 pattern nearest to `value`, which is taken as binary32. */
export function numberToF16(value: number): number {
  float[0] = value;
  const pattern = bits[0];
  const sign = (pattern >>> 16) & 0x8000;
  const magnitude = pattern & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  // 65520, halfway between the largest F16 and the next power of two, rounds to infinity and so does all above.
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    // Subnormal: adding 0.5 puts the last F16 bit, 2^-24, at the last mantissa bit, and the addition rounds.
    float[0] = value < 0 ? -value : value;
    float[0] += 0.5;
    return sign | (bits[0] - 0x3f000000);
  }
  const odd = (magnitude >>> 13) & 1;
  return sign | ((magnitude - 0x38000000 + 0xfff + odd) >>> 13);
}

/** Value of a BF16 pattern. */
export function bf16ToNumber(half: number): number {
  bits[0] = half << 16;
  return float[0];
}

/** BF16 pattern nearest to `value`, which is taken as binary32. */
export function numberToBf16(value: number): number {
  float[0] = value;
  const pattern = bits[0];
  if ((pattern & 0x7fffffff) > 0x7f800000) return (pattern >>> 16) | 0x40;
  const odd = (pattern >>> 16) & 1;
  return (pattern + 0x7fff + odd) >>> 16;
}
