/**
 * What `WireKernels` means, one formula after the other, in plain TypeScript. The steps that round are f32, each by
 * Math.fround, as kernels take them; masses are f64.
 */
import { expBelow } from "../../exp-below.ts";
import { f16ToNumber, numberToF16 } from "../half.ts";
import { type Codebook, codeWidth, groupsOf } from "./codebook.ts";
import { BLOCK, type BlockBits, blocksOf, codeBytes, type RowMass, type WireKernels } from "./kernels.ts";

const fround = Math.fround;

const LEAST_HALF = -65504;

/** The sign bit of a half: set in the scale of a block where code 0 is −∞. */
const MASKED = 0x8000;

export const plainWireKernels: WireKernels = {
  highest(row) {
    let top = -Infinity;
    for (const z of row) {
      if (Number.isNaN(z)) return z;
      if (z > top) top = z;
    }
    return top;
  },

  mass,

  best(row, count) {
    const ids = Uint32Array.from(row.keys()).filter((id) => row[id] > -Infinity);
    ids.sort((a, b) => row[b] - row[a] || a - b);
    return ids.slice(0, count).sort();
  },

  toHalves(row) {
    const view = new DataView(new ArrayBuffer(2 * row.length));
    for (let i = 0; i < row.length; i++) view.setUint16(2 * i, toHalf(row[i]), true);
    return new Uint8Array(view.buffer);
  },

  fromHalves(data, vocab) {
    const view = viewOf(data);
    return Float32Array.from({ length: vocab }, (_, i) => f16ToNumber(view.getUint16(2 * i, true)));
  },

  toBlocks(row, bits, clip) {
    const blocks = blocksOf(row.length);
    const data = new Uint8Array(4 * blocks + codeBytes(row.length, bits));
    const view = viewOf(data);
    for (let block = 0; block < blocks; block++) {
      const first = block * BLOCK;
      const logits = row.subarray(first, first + BLOCK);
      const { scale, minimum, codes } = toBlock(logits, bits === 8 ? 255 : 15, fround(clip));
      view.setUint16(2 * block, scale, true);
      view.setUint16(2 * (blocks + block), minimum, true);
      for (const [i, code] of codes.entries()) putCode(data, 4 * blocks, bits, first + i, code);
    }
    return data;
  },

  fromBlocks(data, vocab, bits) {
    const blocks = blocksOf(vocab);
    const view = viewOf(data);
    return Float32Array.from({ length: vocab }, (_, token) => {
      const block = Math.floor(token / BLOCK);
      const scale = view.getUint16(2 * block, true);
      const minimum = f16ToNumber(view.getUint16(2 * (blocks + block), true));
      const masked = (scale & MASKED) !== 0;
      const code = codeAt(data, 4 * blocks, bits, token);
      if (masked && code === 0) return -Infinity;
      return minimum + f16ToNumber(scale & ~MASKED) * (code - Number(masked));
    });
  },

  toCodes(row, shift, codebook) {
    const { stages, dim } = codebook;
    const groups = groupsOf(row.length, codebook);
    const codes = new Uint16Array(stages * groups);
    for (let group = 0; group < groups; group++) {
      const left = Float32Array.from({ length: dim }, (_, d) => {
        return row[Math.min(group * dim + d, row.length - 1)] - shift;
      });
      for (let stage = 0; stage < stages; stage++) {
        const code = nearestWord(left, codebook, stage);
        codes[stage * groups + group] = code;
        const word = wordOf(codebook, stage, code);
        for (let d = 0; d < dim; d++) left[d] -= word[d];
      }
    }
    return codeWidth(codebook) === 1 ? Uint8Array.from(codes) : new Uint8Array(codes.buffer);
  },

  fromCodes(data, vocab, shift, codebook) {
    const { stages, dim } = codebook;
    const groups = groupsOf(vocab, codebook);
    const view = viewOf(data);
    const codeAt = (at: number) =>
      codeWidth(codebook) === 1 ? view.getUint8(at) : view.getUint16(2 * at, true);
    const row = new Float32Array(vocab);
    for (let token = 0; token < vocab; token++) {
      const [group, d] = [Math.floor(token / dim), token % dim];
      let sum = wordOf(codebook, 0, codeAt(group))[d];
      for (let stage = 1; stage < stages; stage++) {
        sum = fround(sum + wordOf(codebook, stage, codeAt(stage * groups + group))[d]);
      }
      row[token] = shift + sum;
    }
    return row;
  },
};

/** Tokens whose masses are made at once: even, so that which are even stays. */
const CHUNK = 1024;

function mass(row: Float32Array, top: number): RowMass {
  const logits = new Float64Array(CHUNK);
  const masses = new Float64Array(CHUNK);
  let [count, even, odd] = [0, 0, 0];
  for (let first = 0; first < row.length; first += CHUNK) {
    const some = row.subarray(first, first + CHUNK);
    logits.set(some);
    expBelow(masses, logits, some.length, top);
    for (let i = 0; i < some.length; i++) {
      if (some[i] > -Infinity) count++;
      if (i % 2 === 0) even += masses[i];
      else odd += masses[i];
    }
  }
  return { count, total: even + odd };
}

/** The nearest half; −65,504 for what lies below and is not −∞. */
function toHalf(z: number): number {
  return numberToF16(z === -Infinity ? z : Math.max(z, LEAST_HALF));
}

/** The largest half that is not above `x`. */
function halfBelow(x: number): number {
  const half = numberToF16(x);
  if (f16ToNumber(half) <= x) return half;
  if (half === 0) return 0x8001;
  return half & 0x8000 ? half + 1 : half - 1;
}

/** The least half that is not below `x` ≥ 0. */
function halfAbove(x: number): number {
  const half = numberToF16(x);
  return f16ToNumber(half) >= x ? half : half + 1;
}

function toBlock(
  logits: Float32Array,
  levels: number,
  clip: number,
): { scale: number; minimum: number; codes: number[] } {
  const some = logits.filter((z) => z > -Infinity);
  const masked = Number(some.length < logits.length);
  if (some.length === 0) return { scale: MASKED, minimum: 0, codes: Array.from(logits, () => 0) };
  const most = Math.max(...some, LEAST_HALF);
  const least = Math.max(Math.min(...some), fround(most - clip), LEAST_HALF);
  const minimum = halfBelow(least);
  const low = f16ToNumber(minimum);
  const top = levels - masked;
  const scale = halfAbove(fround(fround(most - low) / top));
  const inverse = scale > 0 ? fround(1 / f16ToNumber(scale)) : 0;
  const codes = Array.from(logits, (z) => {
    if (z === -Infinity) return 0;
    const steps = nearestInteger(fround(fround(z - low) * inverse));
    return Math.min(top, Math.max(0, steps)) + masked;
  });
  return { scale: scale | (masked * MASKED), minimum, codes };
}

/** Ties to even, as IEEE 754 rounds. */
function nearestInteger(x: number): number {
  const low = Math.floor(x);
  if (x - low !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}

function putCode(data: Uint8Array, from: number, bits: BlockBits, token: number, code: number): void {
  if (bits === 8) data[from + token] = code;
  else data[from + (token >> 1)] |= code << (token % 2 === 0 ? 0 : 4);
}

function codeAt(data: Uint8Array, from: number, bits: BlockBits, token: number): number {
  if (bits === 8) return data[from + token];
  return (data[from + (token >> 1)] >> (token % 2 === 0 ? 0 : 4)) & 15;
}

function wordOf({ values, count, dim }: Codebook, stage: number, code: number): Float32Array {
  const at = (stage * count + code) * dim;
  return values.subarray(at, at + dim);
}

function nearestWord(left: Float32Array, codebook: Codebook, stage: number): number {
  let [best, least] = [0, Infinity];
  for (let code = 0; code < codebook.count; code++) {
    const distance = squaredDistance(left, wordOf(codebook, stage, code));
    if (distance < least) [best, least] = [code, distance];
  }
  return best;
}

/** Four sums, each of every fourth square, in f32: (0 + 1) + (2 + 3). */
function squaredDistance(a: Float32Array, b: Float32Array): number {
  const sums = new Float32Array(4);
  for (let d = 0; d < a.length; d++) {
    const away = fround(a[d] - b[d]);
    sums[d % 4] += fround(away * away);
  }
  return fround(fround(sums[0] + sums[1]) + fround(sums[2] + sums[3]));
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
