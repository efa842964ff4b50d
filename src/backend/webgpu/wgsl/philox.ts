/** philox: the numbers of src/philox.ts, in integers, hence the same bits. */
export const PHILOX = /* wgsl */ `
fn multiply_high(a: u32, b: u32) -> u32 {
  let low = a & 0xffffu;
  let high = a >> 16u;
  let middle = high * (b & 0xffffu) + ((low * (b & 0xffffu)) >> 16u);
  let other = low * (b >> 16u) + (middle & 0xffffu);
  return high * (b >> 16u) + (middle >> 16u) + (other >> 16u);
}
fn philox(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
  var c = counter;
  var k = key;
  for (var round = 0u; round < 10u; round++) {
    let high0 = multiply_high(c.x, 0xd2511f53u);
    let high1 = multiply_high(c.z, 0xcd9e8d57u);
    c = vec4<u32>(high1 ^ c.y ^ k.x, c.z * 0xcd9e8d57u, high0 ^ c.w ^ k.y, c.x * 0xd2511f53u);
    k += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
  }
  return c;
}
/** -ln E of a word of noise. Near 1, u is told by its distance from 1: f32 has no room for it otherwise. */
fn gumbel(word: u32) -> f32 {
  var e: f32;
  if (word < 0x80000000u) { e = -logarithm((f32(word) + 0.5) * 2.3283064365386963e-10); }
  else {
    let v = (f32(~word) + 0.5) * 2.3283064365386963e-10;
    e = double_artanh(v / (2.0 - v));
  }
  return -logarithm(e);
}`;
