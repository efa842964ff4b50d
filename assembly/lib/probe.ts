/**
 * probe: does this engine's relaxed dot do what the kernels rely on?
 *
 * Validation only says that the instruction exists. Known to be wrong in the field: an engine that adds the products
 * twice in one of its compilers. So the loader runs this often enough to see both compilers, and compares with plain
 * arithmetic: extreme operands on both sides, accumulation over several steps, all lanes.
 *
 * Returns 0 if the relaxed dot is wrong, or missing from this build; 1 if it is right but made of three instructions
 * (it then saturates where operands leave the defined range, and the plain build is faster); 2 if it is one.
 */
import { RELAXED, dot_bytes } from "./lanes";

const SIGNED: usize = memory.data<i8>(
  [-128, -128, 127, 127, -128, 127, 1, -1, 0, 5, -7, 100, -100, 64, -64, 33],
  16,
);
const UNSIGNED: usize = memory.data<u8>(
  [127, 127, 127, 127, 127, 127, 127, 127, 0, 1, 15, 63, 64, 126, 99, 7],
  16,
);

export function probe(rounds: i32): i32 {
  if (!RELAXED) return 0;
  const signed = v128.load(SIGNED);
  const unsigned = v128.load(UNSIGNED);
  let sum = i32x4.splat(-3);
  for (let i = 0; i < rounds; i++) sum = dot_bytes(sum, signed, unsigned);
  let wrong = 0;
  for (let lane: usize = 0; lane < 4; lane++) {
    let expected = 0;
    for (let i: usize = 0; i < 4; i++) {
      expected += <i32>load<i8>(SIGNED + lane * 4 + i) * <i32>load<u8>(UNSIGNED + lane * 4 + i);
    }
    expected = expected * rounds - 3;
    v128.store(RESULT, sum);
    if (load<i32>(RESULT + lane * 4) != expected) wrong++;
  }
  if (wrong != 0) return 0;
  // Outside the defined range, 4 * 127 * 255: the pair sums of a three-instruction dot stop at 32767.
  const beyond = dot_bytes(i32x4.splat(0), i8x16.splat(127), i8x16.splat(-1));
  return i32x4.extract_lane(beyond, 0) == 65534 ? 1 : 2;
}

const RESULT: usize = memory.data(16, 16);
