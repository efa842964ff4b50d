/** matrix: weights in linear memory, packed into tiles of 4 rows as they arrive. */
import { grouped } from "../../errors.ts";
import { blockSize, bytesPerRow, type WeightType } from "../../format/blocks.ts";
import { type Matrix, type MatrixWriter, stride } from "../backend.ts";
import type { Arena } from "./arena.ts";
import type { Exports } from "./exports.ts";

/** The kernels' ids of weight formats, which are ggml's. */
export const FORMAT_IDS: Readonly<Record<WeightType, number>> = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q4_1: 3,
  Q5_0: 6,
  Q5_1: 7,
  Q8_0: 8,
  Q4_K: 12,
  Q5_K: 13,
  Q6_K: 14,
  IQ4_NL: 20,
  BF16: 30,
};

const TILE_ROWS = 4;

/** Bytes by which a packed block is longer than the file's: outer scales as f32, inner ones a byte each. */
const MORE_BYTES: Readonly<Partial<Record<WeightType, number>>> = { Q4_K: 8, Q5_K: 8, Q6_K: 2 };

export interface PackedMatrix extends Matrix {
  readonly address: number;
}

/** Bytes of a packed matrix: what tile_bytes of matmul/bands.ts says per tile, without its 32 bits. */
export function packedBytes(type: WeightType, rows: number, cols: number): number {
  const block = blockSize(type).weights;
  const width = block === 1 ? stride(cols) : cols;
  const rowBytes = bytesPerRow(type, width) + (width / block) * (MORE_BYTES[type] ?? 0);
  return Math.ceil(rows / TILE_ROWS) * TILE_ROWS * rowBytes;
}

/** Collects four rows at a time in a staging buffer and packs them; the file's bytes are never held as a whole. */
export class PackingWriter implements MatrixWriter {
  readonly #kernels: Exports;
  readonly #arena: Arena;
  readonly #matrix: PackedMatrix;
  readonly #format: number;
  readonly #rowBytes: number;
  readonly #tileBytes: number;
  readonly #staging: number;
  readonly #total: number;
  #received = 0;
  #staged = 0;
  #tile: number;

  constructor(kernels: Exports, arena: Arena, type: WeightType, rows: number, cols: number) {
    this.#kernels = kernels;
    this.#arena = arena;
    this.#format = FORMAT_IDS[type];
    this.#rowBytes = bytesPerRow(type, cols);
    this.#tileBytes = kernels.tile_bytes(this.#format, cols);
    this.#total = this.#rowBytes * rows;
    const bytes = packedBytes(type, rows, cols);
    this.#matrix = { address: arena.allocate(bytes), type, rows, cols, bytes };
    this.#tile = this.#matrix.address;
    this.#staging = arena.allocate(this.#rowBytes * TILE_ROWS);
  }

  write(bytes: Uint8Array): void {
    if (this.#received + bytes.length > this.#total) {
      throw new RangeError(
        `Cannot pack matrix: it takes ${grouped(this.#total)} bytes, got at least ${grouped(this.#received + bytes.length)}`,
      );
    }
    this.#received += bytes.length;
    const full = this.#rowBytes * TILE_ROWS;
    let at = 0;
    while (at < bytes.length) {
      const some = Math.min(full - this.#staged, bytes.length - at);
      this.#memory().set(bytes.subarray(at, at + some), this.#staging + this.#staged);
      this.#staged += some;
      at += some;
      if (this.#staged === full) this.#pack();
    }
  }

  finish(): Matrix {
    if (this.#received !== this.#total) {
      throw new RangeError(
        `Cannot pack matrix: it takes ${grouped(this.#total)} bytes, got ${grouped(this.#received)}`,
      );
    }
    if (this.#staged > 0) {
      // Rows that pad the last tile are zero.
      const full = this.#rowBytes * TILE_ROWS;
      this.#memory().fill(0, this.#staging + this.#staged, this.#staging + full);
      this.#pack();
    }
    this.#arena.free(this.#staging);
    return this.#matrix;
  }

  #pack(): void {
    this.#kernels.pack_tile(this.#format, this.#staging, this.#rowBytes, this.#tile, this.#matrix.cols);
    this.#tile += this.#tileBytes;
    this.#staged = 0;
  }

  /** Made anew each time: growth of the memory detaches old views. */
  #memory(): Uint8Array {
    return new Uint8Array(this.#kernels.memory.buffer);
  }
}
