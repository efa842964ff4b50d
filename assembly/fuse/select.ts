/**
 * select: where the weights of tokens, largest logit first, of equal ones the lowest id first, reach a goal.
 *
 *     weights 0     each token counts 1: the goal is a number of tokens
 *     weights w     (vocab) f32, none negative: the goal is a mass
 *
 * A radix selection: the order of logits is that of the integers made of their bits. Their first 11 bits are counted, or
 * weighed, then of those in the bucket where the goal is reached the next 11, then the last 10; at the end, tokens with the
 * logit that was found. Tokens at −∞ are not among them. Should the goal not be reached, it is at the last token.
 *
 * Returns   that token's id, −1 if there is none; its logit goes to `scratch`.
 * Scratch   16 KiB.
 * Accuracy  sums in f64: in a bucket in order of id, over buckets from the top.
 * Cost      one scalar pass, three that skip quickly over what is not in the bucket.
 */
const BUCKETS: usize = 2048;
/** The key of −∞. */
const NOTHING: u32 = 0x007fffff;

export function select(row: usize, weights: usize, vocab: usize, goal: f64, scratch: usize): i32 {
  let before: f64 = 0;
  // Of the keys, those that begin with `prefix` are left; the bits from `known` on are known.
  let prefix: u32 = 0;
  let known: u32 = 32;
  while (known > 0) {
    const shift: u32 = known == 32 ? 21 : known == 21 ? 10 : 0;
    const mask: u32 = (1 << (known - shift)) - 1;
    memory.fill(scratch, 0, BUCKETS * 8);
    for (let i: usize = 0; i < vocab; i += 4) {
      for (let lanes = among(row, i, vocab, prefix, known); lanes != 0; lanes &= lanes - 1) {
        const id = i + <usize>ctz(lanes);
        const bucket = scratch + <usize>((key_of(load<u32>(row + id * 4)) >> shift) & mask) * 8;
        store<f64>(bucket, load<f64>(bucket) + weight_of(weights, id));
      }
    }
    let found: i32 = -1;
    let sum = before;
    for (let bucket = <i32>mask; bucket >= 0; bucket--) {
      const weight = load<f64>(scratch + <usize>bucket * 8);
      if (weight == 0) continue;
      found = bucket;
      before = sum;
      sum += weight;
      if (sum >= goal) break;
    }
    if (found < 0) return -1;
    prefix = (prefix << (known - shift)) | (<u32>found);
    known = shift;
  }
  let last: i32 = -1;
  for (let i: usize = 0; i < vocab; i += 4) {
    for (let lanes = among(row, i, vocab, prefix, 0); lanes != 0; lanes &= lanes - 1) {
      last = <i32>i + ctz(lanes);
      before += weight_of(weights, <usize>last);
      if (before >= goal) {
        i = vocab;
        break;
      }
    }
  }
  store<f32>(scratch, load<f32>(row + <usize>last * 4));
  return last;
}

/** Which of four tokens have a key with the prefix, as bits. */
// @ts-ignore: decorator
@inline
function among(row: usize, i: usize, vocab: usize, prefix: u32, known: u32): i32 {
  // + 0: −0 and 0 are equal.
  const bits = f32x4.add(v128.load(row + i * 4), f32x4.splat(0));
  const keys = v128.xor(bits, v128.or(i32x4.shr_s(bits, 31), i32x4.splat(0x80000000)));
  let inside = i32x4.gt_u(keys, i32x4.splat(NOTHING));
  if (known < 32) inside = v128.and(inside, i32x4.eq(i32x4.shr_u(keys, known), i32x4.splat(prefix)));
  const lanes = i32x4.bitmask(inside);
  if (i + 4 <= vocab) return lanes;
  const left = <i32>vocab - <i32>i;
  return lanes & ((1 << left) - 1);
}

/** An integer in the order of floats. */
// @ts-ignore: decorator
@inline
function key_of(float: u32): u32 {
  const bits = reinterpret<i32>(reinterpret<f32>(float) + 0);
  return <u32>(bits ^ ((bits >> 31) | 0x80000000));
}

// @ts-ignore: decorator
@inline
function weight_of(weights: usize, id: usize): f64 {
  return weights ? <f64>load<f32>(weights + id * 4) : 1;
}
