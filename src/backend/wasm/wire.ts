/**
 * WireKernels by assembly/wire: a call copies its row in and its result out. What it needs in between is one block of scratch
 * memory that grows to the largest call.
 */
import { type Codebook, codeWidth, groupsOf } from "../../format/wire/codebook.ts";
import { BLOCK, type BlockBits, blocksOf, codeBytes } from "../../format/wire/kernels.ts";
import type { RowMass, WireKernels } from "../wire-kernels.ts";
import type { Arena } from "./arena.ts";
import type { Exports } from "./exports.ts";
import { Scratch } from "./scratch.ts";

/** Of `select`. */
const SELECT_BYTES = 16 * 1024;

export class WasmWireKernels implements WireKernels {
  readonly #kernels: Exports;
  readonly #scratch: Scratch;

  /** @param arena Where scratch memory is allocated: that of the kernels' memory. */
  constructor(kernels: Exports, arena: Arena) {
    this.#kernels = kernels;
    this.#scratch = new Scratch(kernels.memory, arena);
  }

  highest(row: Float32Array): number {
    const [at] = this.#place([row]);
    return this.#kernels.highest(at, row.length);
  }

  mass(row: Float32Array, top: number): RowMass {
    const [at, out] = this.#place([row], 16);
    this.#kernels.moments(at, row.length, out);
    const count = new DataView(this.#kernels.memory.buffer).getFloat64(out, true);
    return { count, total: this.#kernels.wire_total(at, row.length, top) };
  }

  best(row: Float32Array, count: number): Uint32Array {
    const [at, scratch, out] = this.#place([row], SELECT_BYTES, 4 * row.length);
    const last = this.#kernels.select(at, 0, row.length, Math.min(count, row.length), scratch);
    const bar = new DataView(this.#kernels.memory.buffer).getFloat32(scratch, true);
    const found = this.#kernels.wire_list(at, row.length, bar, last, out);
    return new Uint32Array(this.#kernels.memory.buffer, out, found).slice();
  }

  toHalves(row: Float32Array): Uint8Array {
    const [at, out] = this.#place([row], 2 * row.length);
    this.#kernels.wire_to_halves(at, row.length, out);
    return this.#bytes(out, 2 * row.length);
  }

  fromHalves(data: Uint8Array, vocab: number): Float32Array {
    const [at, out] = this.#place([data], 4 * vocab);
    this.#kernels.wire_from_halves(at, vocab, out);
    return this.#row(out, vocab);
  }

  toBlocks(row: Float32Array, bits: BlockBits, clip: number): Uint8Array {
    const { length } = row;
    const blocks = blocksOf(length);
    const bytes = 4 * blocks + codeBytes(length, bits);
    // The last codes end beyond: blocks are written whole.
    const [at, out] = this.#place([row], bytes + BLOCK);
    const minimums = out + 2 * blocks;
    this.#kernels.wire_to_blocks(at, length, bits, clip, out, minimums, minimums + 2 * blocks);
    const data = this.#bytes(out, bytes);
    if (bits === 4 && length % 2 === 1) data[bytes - 1] &= 15;
    return data;
  }

  fromBlocks(data: Uint8Array, vocab: number, bits: BlockBits): Float32Array {
    const blocks = blocksOf(vocab);
    const [at, out] = this.#place([data], 4 * blocks * BLOCK);
    const minimums = at + 2 * blocks;
    this.#kernels.wire_from_blocks(at, minimums, minimums + 2 * blocks, vocab, bits, out);
    return this.#row(out, vocab);
  }

  toCodes(row: Float32Array, shift: number, codebook: Codebook): Uint8Array {
    const { values, stages, count, dim } = codebook;
    const codes = stages * groupsOf(row.length, codebook);
    const [at, words, out] = this.#place([row, values], 2 * codes);
    this.#kernels.wire_to_codes(at, row.length, shift, words, stages, count, dim, out);
    if (codeWidth(codebook) === 2) return this.#bytes(out, 2 * codes);
    return Uint8Array.from(new Uint16Array(this.#kernels.memory.buffer, out, codes));
  }

  fromCodes(data: Uint8Array, vocab: number, shift: number, codebook: Codebook): Float32Array {
    const { values, stages, count, dim } = codebook;
    const groups = groupsOf(vocab, codebook);
    const isNarrow = codeWidth(codebook) === 1;
    const codes = isNarrow ? new Uint8Array(Uint16Array.from(data).buffer) : data;
    const [at, words, out] = this.#place([codes, values], 4 * groups * dim);
    this.#kernels.wire_from_codes(at, vocab, shift, words, stages, count, dim, out);
    return this.#row(out, vocab);
  }

  /** Copies arguments in and sets room aside; the addresses of both, in order. */
  #place(given: readonly (Float32Array | Uint8Array)[], ...rooms: readonly number[]): number[] {
    const sizes = [...given.map(({ byteLength }) => byteLength), ...rooms].map(padded);
    // Rows in this very memory are read before it may move.
    const { buffer } = this.#kernels.memory;
    const safe = given.map((one) => (one.buffer === buffer ? one.slice() : one));
    let at = this.#scratch.of(sizes.reduce((sum, size) => sum + size, 0));
    const addresses = sizes.map((size) => {
      at += size;
      return at - size;
    });
    const memory = new Uint8Array(this.#kernels.memory.buffer);
    safe.forEach((one, i) => {
      memory.set(new Uint8Array(one.buffer, one.byteOffset, one.byteLength), addresses[i]);
    });
    return addresses;
  }

  #bytes(address: number, length: number): Uint8Array {
    return new Uint8Array(this.#kernels.memory.buffer, address, length).slice();
  }

  #row(address: number, vocab: number): Float32Array {
    return new Float32Array(this.#kernels.memory.buffer, address, vocab).slice();
  }
}

/** Whole vectors, and one more: kernels read and write up to their end. */
function padded(bytes: number): number {
  return Math.ceil(bytes / 32) * 32 + 32;
}
