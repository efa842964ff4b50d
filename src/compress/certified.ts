/**
 * certified: a head's coarser copy in Q4_0, and how far each row of it is from the head's. See model/head/certified-head.ts.
 *
 *     blocks of 32:  scale and quants with the least Σ (w − ŵ)², of a few scales tried        errors[i] = ‖w − ŵ‖
 *
 * Why 4 bits: the bound is ‖w − ŵ‖ · ‖state‖, some 30 times what the errors come to as a rule. With 4 bits 6 of 4,096 rows
 * are left to look at on the models here, with 5 bits 2, for a quarter more bytes; with 2 bits all of them. Leading
 * directions of the states in more bits, the rest in none or fewer, takes more bytes for the same bound: trained states are
 * spread over all directions.
 */
import { UnsupportedError } from "../errors.ts";
import { decodeWeights } from "../format/blocks.ts";
import { f16ToNumber, numberToF16 } from "../format/half.ts";
import { expectType } from "../model/head/certified-format.ts";
import type { CompressMethod } from "./method.ts";

const BLOCK = 32;
const BLOCK_BYTES = 18;
const ROWS_AT_ONCE = 256;
/** What the largest weight of a block is divided by to give its scale; ggml takes −8. */
const DIVISORS = [-7.2, -7.4, -7.6, -7.8, -8, -8.2, -8.4, -8.6, -8.8] as const;
/** Norms are told a little larger, to be above their roundings. */
const UP = 1 + 1e-6;

export const certifiedMethod: CompressMethod = {
  name: "certified",
  summary: "the head's own answers, from a 4-bit copy and few exact rows",

  async build({ head, onProgress }) {
    const { vocab, hidden, type } = head;
    expectType("a head", type);
    if (hidden % BLOCK !== 0) {
      throw new UnsupportedError(
        `Cannot certify a head of ${hidden} columns: they are no multiple of ${BLOCK}`,
      );
    }
    const rowBytes = (hidden / BLOCK) * BLOCK_BYTES;
    const bytes = new Uint8Array(vocab * rowBytes);
    const errors = new Float32Array(vocab);
    let norm = 0;
    for (let first = 0; first < vocab; first += ROWS_AT_ONCE) {
      await onProgress("4-bit copy", first, vocab);
      const count = Math.min(ROWS_AT_ONCE, vocab - first);
      const rows = head.rows(first, count);
      const part = bytes.subarray(first * rowBytes, (first + count) * rowBytes);
      encodeNearest(rows, part);
      const copy = decodeWeights("Q4_0", part);
      for (let row = 0; row < count; row++) {
        const { error, length } = compare(rows, copy, row * hidden, hidden);
        errors[first + row] = error * UP;
        norm = Math.max(norm, (length + error) * UP);
      }
    }
    await onProgress("4-bit copy", vocab, vocab);
    const prefix = "output_certified.";
    return [
      { name: `${prefix}screen.weight`, type: "Q4_0", shape: [hidden, vocab], bytes },
      { name: `${prefix}errors`, type: "F32", shape: [vocab], bytes: new Uint8Array(errors.buffer) },
      {
        name: `${prefix}norm`,
        type: "F32",
        shape: [1],
        bytes: new Uint8Array(Float32Array.of(norm * UP).buffer),
      },
    ];
  },
};

function compare(
  rows: Float32Array,
  copy: Float32Array,
  first: number,
  hidden: number,
): { error: number; length: number } {
  let squares = 0;
  let distance = 0;
  for (let k = first; k < first + hidden; k++) {
    const apart = rows[k] - copy[k];
    squares += rows[k] * rows[k];
    distance += apart * apart;
  }
  return { error: Math.sqrt(distance), length: Math.sqrt(squares) };
}

/** Q4_0 blocks with the least squared error of the scales that are tried. */
function encodeNearest(values: Float32Array, bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let block = 0; block * BLOCK < values.length; block++) {
    const first = block * BLOCK;
    const half = bestScale(values, first);
    const at = block * BLOCK_BYTES;
    const scale = f16ToNumber(half);
    const inverse = scale === 0 ? 0 : 1 / scale;
    view.setUint16(at, half, true);
    for (let j = 0; j < BLOCK / 2; j++) {
      const low = quant(values[first + j], inverse);
      const high = quant(values[first + j + BLOCK / 2], inverse);
      bytes[at + 2 + j] = low | (high << 4);
    }
  }
}

/** As bits of F16. */
function bestScale(values: Float32Array, first: number): number {
  let extreme = 0;
  for (let k = first; k < first + BLOCK; k++)
    if (Math.abs(values[k]) > Math.abs(extreme)) extreme = values[k];
  let best = 0;
  let least = Infinity;
  for (const divisor of DIVISORS) {
    const half = numberToF16(extreme / divisor);
    const scale = f16ToNumber(half);
    if (!Number.isFinite(scale)) continue;
    const inverse = scale === 0 ? 0 : 1 / scale;
    let error = 0;
    for (let k = first; k < first + BLOCK; k++) {
      const apart = values[k] - scale * (quant(values[k], inverse) - 8);
      error += apart * apart;
    }
    if (error >= least) continue;
    least = error;
    best = half;
  }
  return best;
}

function quant(value: number, inverse: number): number {
  return Math.min(15, Math.max(0, Math.round(value * inverse) + 8));
}
