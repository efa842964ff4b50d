import { max_lanes } from "./lanes";

/** Largest of `count` f32 at `values`; NaN counts as −∞. */
export function row_max(values: usize, count: usize): f32 {
  let a = f32x4.splat(-Infinity),
    b = a,
    c = a,
    d = a;
  let i: usize = 0;
  // Four chains: a maximum has to wait for the one before it.
  for (; i + 16 <= count; i += 16) {
    a = f32x4.pmax(a, v128.load(values + i * 4));
    b = f32x4.pmax(b, v128.load(values + i * 4, 16));
    c = f32x4.pmax(c, v128.load(values + i * 4, 32));
    d = f32x4.pmax(d, v128.load(values + i * 4, 48));
  }
  let top = max_lanes(f32x4.pmax(f32x4.pmax(a, b), f32x4.pmax(c, d)));
  for (; i < count; i++) {
    const x = load<f32>(values + i * 4);
    if (x > top) top = x;
  }
  return top;
}
