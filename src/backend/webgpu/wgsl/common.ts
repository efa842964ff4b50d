/**
 * common: what all kernels share: half floats, exp and log, tests of bits.
 *
 * WGSL lets an implementation suppose that there are no NaN and no infinities, and flush subnormals; so these are told by
 * their bits, and half floats are widened by integers. exp and log are those of assembly/lib/exp.ts: the built-in ones may be
 * off by more than rounding, and differ between drivers.
 */
export const COMMON = /* wgsl */ `
const LOWEST: f32 = -3.4028234e38;

fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }

/** The half float in the low 16 bits, exactly. */
fn half(bits: u32) -> f32 {
  let magnitude = bits & 0x7fffu;
  var value = bitcast<f32>((magnitude << 13u) + 0x38000000u);
  if (magnitude < 0x400u) { value = f32(magnitude) * 5.9604644775390625e-8; }
  if (magnitude >= 0x7c00u) { value = bitcast<f32>((magnitude << 13u) + 0x70000000u); }
  return select(value, -value, (bits & 0x8000u) != 0u);
}

/** e^x within an ulp: 0 below -87, no more than e^88, NaN of NaN. */
fn exponential(x: f32) -> f32 {
  if (is_nan(x)) { return x; }
  let at = clamp(x, -87.0, 88.0);
  let n = round(at * 1.44269504);
  let t = (at - n * 0.693359375) - n * -2.1219444e-4;
  var q = 1.98756915e-4;
  q = q * t + 1.3981999507e-3;
  q = q * t + 8.3334519073e-3;
  q = q * t + 4.1665795894e-2;
  q = q * t + 1.6666665459e-1;
  q = q * t + 5.0000001201e-1;
  let power = bitcast<f32>(u32(i32(n) + 127) << 23u);
  return select((1.0 + (q * t * t + t)) * power, 0.0, x < -87.0);
}

/** 2 artanh(s) of |s| up to 1/3. */
fn double_artanh(s: f32) -> f32 {
  let z = s * s;
  var q = 1.0 / 15.0;
  q = q * z + 1.0 / 13.0;
  q = q * z + 1.0 / 11.0;
  q = q * z + 1.0 / 9.0;
  q = q * z + 1.0 / 7.0;
  q = q * z + 1.0 / 5.0;
  q = q * z + 1.0 / 3.0;
  return 2.0 * (s + s * z * q);
}

/** ln x of a positive normal x. */
fn logarithm(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  var exponent = i32(bits >> 23u) - 127;
  var m = bitcast<f32>((bits & 0x7fffffu) | 0x3f800000u);
  if (m > 1.41421354) { m = m * 0.5; exponent = exponent + 1; }
  let e = f32(exponent);
  return e * 0.693359375 + (double_artanh((m - 1.0) / (m + 1.0)) + e * -2.1219444e-4);
}

/** Order of f32 as integers: 0 for NaN and -inf, the same for both zeros. */
fn order_of(bits: u32) -> u32 {
  let magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u || bits == 0xff800000u) { return 0u; }
  if (magnitude == 0u) { return 0x80000000u; }
  return select(bits | 0x80000000u, ~bits, (bits & 0x80000000u) != 0u);
}
`;

/** 0, 1, … below `count`: for what a shader says several times. */
export const range = (count: number) => Array.from({ length: count }, (_, i) => i);
