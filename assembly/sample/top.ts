/**
 * top: the `count` largest of a row, x: (vocab) f32, best first, of equal ones the lowest id first.
 *
 * NaN and −∞ are never among them. A heap holds the best so far, the worst on top: the bar that a value must pass. It
 * rises quickly, and sixteen values at a time are turned away by it. A value that equals the bar has a higher id than
 * what is there, so passing means to be larger.
 *
 * Scratch   out: 8 bytes for each of `count`; at the end (id u32, logit f32) pairs.
 * Returns   how many were found.
 * Cost      O(vocab + m log count), m values that passed: about count · ln(vocab / count) of a row in no order.
 */
export function top(row: usize, vocab: usize, count: usize, out: usize): usize {
  if (count == 0) return 0;
  let size: usize = 0;
  let bar: f32 = -Infinity;
  let bar_f32x4 = f32x4.splat(bar);
  const whole = vocab & ~15;
  for (let i: usize = 0; i < whole; i += 16) {
    const at = row + i * 4;
    const passed = v128.or(
      v128.or(f32x4.gt(v128.load(at), bar_f32x4), f32x4.gt(v128.load(at, 16), bar_f32x4)),
      v128.or(f32x4.gt(v128.load(at, 32), bar_f32x4), f32x4.gt(v128.load(at, 48), bar_f32x4)),
    );
    if (!v128.any_true(passed)) continue;
    for (let j = i; j < i + 16; j++) {
      const x = load<f32>(row + j * 4);
      if (!(x > bar)) continue;
      size = insert(out, size, count, keyOf(x, <u32>j));
      if (size == count) bar = valueOf(load<u64>(out));
    }
    bar_f32x4 = f32x4.splat(bar);
  }
  for (let j = whole; j < vocab; j++) {
    const x = load<f32>(row + j * 4);
    if (!(x > bar)) continue;
    size = insert(out, size, count, keyOf(x, <u32>j));
    if (size == count) bar = valueOf(load<u64>(out));
  }
  // The worst goes behind the others, which leaves the best at the front.
  for (let left = size; left > 1;) {
    --left;
    const last = load<u64>(out + left * 8);
    store<u64>(out + left * 8, load<u64>(out));
    sink(out, left, last);
  }
  for (let i: usize = 0; i < size; i++) {
    const id = ~(<u32>load<u64>(out + i * 8));
    store<u32>(out + i * 8, id);
    store<f32>(out + i * 8, load<f32>(row + <usize>id * 4), 4);
  }
  return size;
}

/** One number that is larger for what is better: the logit in the order of integers, then the id turned over. */
// @ts-ignore: decorator
@inline
function keyOf(x: f32, id: u32): u64 {
  // + 0: −0 and 0 are equal.
  const bits = reinterpret<i32>(x + 0);
  const ordered = <u32>(bits ^ ((bits >> 31) | 0x80000000));
  return ((<u64>ordered) << 32) | (<u64>~id);
}

// @ts-ignore: decorator
@inline
function valueOf(key: u64): f32 {
  const ordered = <i32>(key >> 32);
  return reinterpret<f32>(ordered ^ ((~ordered >> 31) | 0x80000000));
}

/** Adds to a heap that is not full, else replaces the worst; gives the new size. */
function insert(heap: usize, size: usize, capacity: usize, key: u64): usize {
  if (size == capacity) {
    sink(heap, size, key);
    return size;
  }
  let at = size;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    const above = load<u64>(heap + parent * 8);
    if (above <= key) break;
    store<u64>(heap + at * 8, above);
    at = parent;
  }
  store<u64>(heap + at * 8, key);
  return size + 1;
}

/** Puts `key` at the top of a heap of `size` and lets it sink to its place. */
function sink(heap: usize, size: usize, key: u64): void {
  let at: usize = 0;
  for (let child: usize = 1; child < size; child = 2 * at + 1) {
    let below = load<u64>(heap + child * 8);
    if (child + 1 < size) {
      const right = load<u64>(heap + child * 8 + 8);
      if (right < below) {
        below = right;
        child++;
      }
    }
    if (key <= below) break;
    store<u64>(heap + at * 8, below);
    at = child;
  }
  store<u64>(heap + at * 8, key);
}
