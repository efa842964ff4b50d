/**
 * norm: root-mean-square normalisation.
 *
 *     out[i]  =  x[i] / sqrt(Σ x² / size + epsilon) · weight[i]
 *
 * Source    Zhang, Sennrich 2019, arXiv:1910.07467.
 * Shapes    x, out: (count, size) f32; weight: (size). out may be x. size: any.
 * Accuracy  the sum is taken in f64, so the result is two roundings from exact.
 */
export function rms_norm(x: usize, weight: usize, out: usize, size: usize, count: usize, epsilon: f32): void {
  const bytes = size << 2;
  const whole = bytes & ~15;
  for (; count > 0; --count) {
    let low_f64x2 = f64x2.splat(0),
      high_f64x2 = f64x2.splat(0);
    for (let i: usize = 0; i < whole; i += 16) {
      const v = v128.load(x + i);
      const low = f64x2.promote_low_f32x4(v);
      const high = f64x2.promote_low_f32x4(i64x2.shuffle(v, v, 1, 1));
      low_f64x2 = f64x2.add(low_f64x2, f64x2.mul(low, low));
      high_f64x2 = f64x2.add(high_f64x2, f64x2.mul(high, high));
    }
    const sum_f64x2 = f64x2.add(low_f64x2, high_f64x2);
    let sum = f64x2.extract_lane(sum_f64x2, 0) + f64x2.extract_lane(sum_f64x2, 1);
    for (let i = whole; i < bytes; i += 4) {
      const v = <f64>load<f32>(x + i);
      sum += v * v;
    }
    const factor = <f32>(1 / sqrt<f64>(sum / <f64>size + <f64>epsilon));
    const factor_f32x4 = f32x4.splat(factor);
    for (let i: usize = 0; i < whole; i += 16) {
      v128.store(out + i, f32x4.mul(f32x4.mul(v128.load(x + i), factor_f32x4), v128.load(weight + i)));
    }
    for (let i = whole; i < bytes; i += 4) {
      store<f32>(out + i, load<f32>(x + i) * factor * load<f32>(weight + i));
    }
    x += bytes;
    out += bytes;
  }
}
