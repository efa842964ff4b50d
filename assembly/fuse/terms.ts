/**
 * Terms of a sum or a mixture, as the host writes them, in groups of three of 32 bytes:
 *
 *     row u32 | scale f32 | offset f32 | third f32 | f32x4
 *
 * third     sum: the z that adds nothing, −∞ where the scale is not above 0, else NaN. Mixture: what is taken off first.
 * f32x4     the largest z of each lane so far, which kernels leave there.
 */

export const TERM: usize = 32;
export const GROUP: usize = 96;

/** Lanes in which a NaN was seen. */
export const WRONG: usize = memory.data(16, 16);
