/**
 * The wire format for rows of logits: what crosses a network, or waits in a file, between a model and whoever samples.
 *
 * A row is encoded in one of these ways. All numbers are little-endian; V is the size of the vocabulary, −∞ a token without
 * a chance, NaN and +∞ are nowhere allowed.
 *
 *     f32       V f32                                                                           exact
 *     f16       V f16                                                                           |z| / 2048
 *     int8      ⌈V/32⌉ scales f16, as many minimums f16, V codes u8                             scale / 2
 *     int4      the same, codes of 4 bits: byte i has token 2i low, 2i + 1 high                 scale / 2
 *     vq        shift f32, then codes of a codebook, (stages, ⌈V/dim⌉) u8, or u16 beyond 256    none
 *     top-k     u8 16 or 32, tail mass f32, LEB128 count, LEB128 gaps, log-probabilities f16 or f32
 *     lattice   LEB128 resolution, LEB128 count, u8 r, then bits: per token its gap (Rice, r) and count (Elias gamma)
 *     ids       LEB128 count, LEB128 ids, best first
 *
 * What they decode to, and how far that may be from what went in:
 *
 *     f16       the nearest half; below −65,504 that. Largest logit within ±60,000, as for int8 and int4
 *     int8 …    minimum + |scale| · code. With the sign bit of a scale set, code 0 is −∞ and others count from 1. The scale is
 *               at most clip / 255 (int8), clip / 15 (int4), and a unit of the minimum's last place over that; what lies more
 *               than `clip` below its block's best is raised to there, which adds at most 31 · e^−clip of the best one's mass
 *     vq        shift + Σ codewords; the shift is the largest logit. How near that is depends on the codebook
 *     top-k     log-probabilities: of `count` tokens their own, within |ln p| / 2048 (f16) or to f32 (f32); of all others an
 *               equal share of the tail. Gaps are ids less the id before less 1
 *     lattice   ln(count / resolution); −∞ for tokens without a count. Each probability is within 1 / resolution of its own
 *     ids       equal logits for those named, −∞ for others: one id is a one-hot row, as a drafter's choice is
 *
 * What is decoded is a row of its own right: who samples from it and who verifies must decode the same bytes, and then
 * speculation loses nothing, however coarse they are.
 *
 * A message (media type `application/vnd.edgewise.rows`) has rows of one vocabulary, each in its encoding. It is a safetensors
 * file, so that other tools can open it: u64 length of the header, the header in JSON, the tensors. Rows in a row that have the
 * same encoding are a segment; segment s has tensors "s.name", with the rows as their first dimension:
 *
 *     f32, f16        "0.logits" (rows, V)
 *     int8, int4      "0.scale", "0.minimum" F16 (rows, ⌈V/32⌉), "0.codes" U8 (rows, V or ⌈V/2⌉)
 *     vq              "0.shift" F32 (rows), "0.codes" U8 or U16 (rows, stages, ⌈V/dim⌉)
 *     others          "0.ends" U32 (rows), where each row's bytes end, "0.bytes" U8
 *     codebooks       "codebook.ID" F32 (stages, count, dim), for the rows, or to keep
 *
 * A row's bytes are its parts of these tensors in the order above. The header's `__metadata__`, texts all of it:
 *
 *     format    "edgewise.rows"        version    "1"        vocab    "32000"
 *     segments  '[{"encoding":"int8","rows":3},{"encoding":"vq","rows":1,"codebook":"0123456789abcdef"}]'
 *     note      anything; of an answer over HTTP the rest of it, in JSON
 *
 * Readers refuse a version they do not know, tensors that are missing, unknown, overlapping or of the wrong type, shape or
 * length, and ceilings that are passed (WIRE_LIMITS) before they allocate. A row is decoded, and its numbers are checked, when
 * it is asked for.
 */

export {
  type Codebook,
  type CodebookShape,
  createCodebook,
} from "./codebook.ts";
export { plainWireKernels } from "./definition.ts";
export { rowFromJson, rowToJson } from "./json.ts";
export type { WireKernels } from "./kernels.ts";
export { type DecodedRows, type DecodeRowsOptions, decodeRows } from "./read-message.ts";
export { decodeRow, encodeRow, logitsOf, type WireOptions } from "./row.ts";
export { type TrainCodebookOptions, trainCodebook } from "./train-codebook.ts";
export {
  type EncodedRow,
  type EncodingSpec,
  isEncodedRow,
  ROW_ENCODINGS,
  type RowEncoding,
  WIRE_LIMITS,
} from "./types.ts";
export { type EncodeRowsOptions, encodeRows } from "./write-message.ts";

/** Of messages. */
export const ROWS_MEDIA_TYPE = "application/vnd.edgewise.rows";
