/** Bytes of one block of a tile: 4 rows by 32 columns, 4 scales (f16) and the weights. */
export const BLOCK_BYTES_Q8_0: usize = 136;
export const BLOCK_BYTES_Q4_0: usize = 72;
