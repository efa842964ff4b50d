/**
 * headers: writes the headers of a tile from the file's blocks, and reads single numbers of them; scales.ts has the layout's use.
 *
 * Used when a matrix is packed and when a row is unpacked.
 */
import { half_to_f32 } from "../lib/half";
import { Q6_K, has_minimum, is_k_type } from "./tile";

/** Writes row `row` of a header, from the file's block at `from`. */
export function pack_scales(format: i32, from: usize, header: usize, row: usize): void {
  if (format == Q6_K) {
    store<f32>(header + row * 4, half_to_f32(load<u16>(from, 208)));
    for (let half: usize = 0; half < 16; half++) {
      store<u8>(header + half * 4 + row, load<u8>(from + half, 192), 16);
    }
  } else if (is_k_type(format)) {
    store<f32>(header + row * 4, half_to_f32(load<u16>(from)));
    store<f32>(header + row * 4, -half_to_f32(load<u16>(from, 2)), 16);
    for (let index: usize = 0; index < 8; index++) {
      store<u8>(header + index * 8 + row, inner_scale(from + 4, index), 32);
      store<u8>(header + index * 8 + row, inner_minimum(from + 4, index), 36);
    }
  } else {
    store<u16>(header + row * 2, load<u16>(from));
    if (has_minimum(format)) store<u16>(header + row * 2, load<u16>(from, 2), 8);
  }
}

/** 12 bytes hold 8 scales and 8 minima of 6 bits: the first four of each whole, the others in two pieces. */
function inner_scale(packed: usize, index: usize): u8 {
  if (index < 4) return load<u8>(packed + index) & 63;
  return (load<u8>(packed + index + 4) & 15) | ((load<u8>(packed + index - 4) >> 6) << 4);
}

function inner_minimum(packed: usize, index: usize): u8 {
  if (index < 4) return load<u8>(packed + index + 4) & 63;
  return (load<u8>(packed + index + 4) >> 4) | ((load<u8>(packed + index) >> 6) << 4);
}

/** Scale of row `row` in half `half` of block `index`. */
export function scale_of(format: i32, header: usize, index: usize, half: usize, row: usize): f32 {
  if (format == Q6_K) {
    return load<f32>(header + row * 4) * <f32>load<i8>(header + index * 8 + half * 4 + row, 16);
  }
  if (is_k_type(format)) return load<f32>(header + row * 4) * <f32>load<u8>(header + index * 8 + row, 32);
  return half_to_f32(load<u16>(header + row * 2));
}

/** Minimum of row `row` in block `index`, of a format that has one. */
export function minimum_of(format: i32, header: usize, index: usize, row: usize): f32 {
  if (!is_k_type(format)) return half_to_f32(load<u16>(header + row * 2, 8));
  return load<f32>(header + row * 4, 16) * <f32>load<u8>(header + index * 8 + row, 36);
}
