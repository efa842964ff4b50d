/** Reads `bytes` (a multiple of 64) from `source` and returns their exclusive or: the roofline that benchmarks compare with. */
export function stream_read(source: usize, bytes: usize): i32 {
  let a = i32x4.splat(0),
    b = a,
    c = a,
    d = a;
  for (const end = source + bytes; source < end; source += 64) {
    a = v128.xor(a, v128.load(source));
    b = v128.xor(b, v128.load(source, 16));
    c = v128.xor(c, v128.load(source, 32));
    d = v128.xor(d, v128.load(source, 48));
  }
  a = v128.xor(v128.xor(a, b), v128.xor(c, d));
  return (
    i32x4.extract_lane(a, 0) ^ i32x4.extract_lane(a, 1) ^ i32x4.extract_lane(a, 2) ^ i32x4.extract_lane(a, 3)
  );
}
