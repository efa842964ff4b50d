/**
 * rope-table: cosines and sines of every position, made as positions are reached.
 *
 *     angle[p, i]  =  p / factor / scaling[i] · base^(−2i / rotary)        i = 0 … rotary/2 − 1
 *
 * Angles are f64 and the functions our own (src/math.ts), so the table has the same bits in every engine.
 *
 * Source: Su et al. 2021, arXiv:2104.09864; linear scaling: Chen et al. 2023, arXiv:2306.15595; `scaling` is the
 * tensor rope_freqs.weight of a GGUF (Llama 3).
 */
import { type Backend, type Floats, stride } from "../backend/backend.ts";
import { cos, exp, log, sin } from "../math.ts";
import type { RopeConfig } from "./rope-config.ts";

/** Positions computed at a time. */
const STEP = 64;

/** Radians that sin and cos go up to. */
const LARGEST_ANGLE = 1e8;

export class RopeTable {
  /** (capacity, rotary), `stride(rotary)` apart: per position the cosines, then the sines. */
  readonly values: Floats;
  readonly #backend: Backend;
  readonly #frequencies: Float64Array;
  /** Floats per position. */
  readonly #stride: number;
  readonly #capacity: number;
  #filled = 0;

  /** @throws {RangeError} If the file's scaling turns a pair too fast for `capacity` positions. */
  constructor(backend: Backend, rope: RopeConfig, capacity: number, scaling: Float32Array | null) {
    this.#backend = backend;
    this.#stride = stride(rope.rotary);
    this.#capacity = capacity;
    const logBase = log(rope.base);
    this.#frequencies = Float64Array.from({ length: rope.rotary / 2 }, (_, i) => {
      const frequency = exp((-2 * i * logBase) / rope.rotary);
      return frequency / rope.factor / (scaling?.[i] ?? 1);
    });
    const fastest = Math.max(...this.#frequencies);
    if (fastest * capacity > LARGEST_ANGLE) {
      throw new RangeError(
        `Cannot load model: rope must turn by at most ${LARGEST_ANGLE / capacity} per position, got ${fastest}`,
      );
    }
    this.values = backend.floats(tableLength(rope, capacity));
  }

  /** Makes sure that positions below `end` are there. */
  fill(end: number): void {
    while (this.#filled < end) {
      const first = this.#filled;
      const some = Math.min(STEP, this.#capacity - first);
      const rows = new Float32Array(some * this.#stride);
      for (let p = 0; p < some; p++) this.#fillRow(rows, p * this.#stride, first + p);
      this.#backend.write(this.#backend.slice(this.values, first * this.#stride, rows.length), rows);
      this.#filled += some;
    }
  }

  #fillRow(rows: Float32Array, at: number, position: number): void {
    const half = this.#frequencies.length;
    for (let i = 0; i < half; i++) {
      const angle = position * this.#frequencies[i];
      rows[at + i] = cos(angle);
      rows[at + half + i] = sin(angle);
    }
  }
}

/** f32 values that a table of `capacity` positions takes. */
export function tableLength(rope: RopeConfig, capacity: number): number {
  return capacity * stride(rope.rotary);
}
