/**
 * matrix: weights in GPU buffers, none larger than a binding, as they come from a file.
 */
import { expectInteger, grouped } from "../../errors.ts";
import { bytesPerRow, type WeightType } from "../../format/blocks.ts";
import type { Matrix, MatrixWriter } from "../backend.ts";
import type { Memory } from "../reference/memory.ts";
import { type Recorder, USAGE } from "./recorder.ts";
import { layoutOf, type MatrixLayout, repackRow } from "./repack.ts";

/** Bytes of rows that are put in order before they are written. */
const PIECE_BYTES = 1 << 20;

/** Some consecutive rows in a buffer of their own. */
export interface Chunk {
  readonly buffer: GPUBuffer;
  readonly first: number;
  readonly rows: number;
  /** Words before each section. */
  readonly sections: readonly number[];
}

export class GpuMatrix implements Matrix {
  readonly type: WeightType;
  readonly rows: number;
  readonly cols: number;
  readonly layout: MatrixLayout;
  readonly chunks: readonly Chunk[];
  /** Row of the chunks that this begins with. */
  readonly first: number;
  /** Some rows of another matrix, whose memory they are in. */
  readonly isView: boolean;

  constructor(parts: Pick<GpuMatrix, "type" | "rows" | "cols" | "chunks" | "first" | "isView">) {
    this.type = parts.type;
    this.rows = parts.rows;
    this.cols = parts.cols;
    this.chunks = parts.chunks;
    this.first = parts.first;
    this.isView = parts.isView;
    this.layout = layoutOf(parts.type, parts.cols);
  }

  get bytes(): number {
    return this.rows * this.layout.words * 4;
  }

  view(first: number, rows: number): GpuMatrix {
    const { type, cols, chunks } = this;
    return new GpuMatrix({ type, rows, cols, chunks, first: this.first + first, isView: true });
  }

  /** Its rows by the chunks they are in. @param at Row of this matrix that a part begins with. */
  forEachPart(use: (chunk: Chunk, part: { at: number; first: number; rows: number }) => void): void {
    const end = this.first + this.rows;
    for (const chunk of this.chunks) {
      const from = Math.max(this.first, chunk.first);
      const to = Math.min(end, chunk.first + chunk.rows);
      if (from < to) use(chunk, { at: from - this.first, first: from - chunk.first, rows: to - from });
    }
  }
}

/** Bytes that a matrix takes. */
export function gpuMatrixBytes(type: WeightType, rows: number, cols: number): number {
  bytesPerRow(type, cols);
  const bytes = layoutOf(type, cols).words * 4;
  expectInteger("rows", rows, 0, Math.floor(Number.MAX_SAFE_INTEGER / Math.max(bytes, 1)));
  return rows * bytes;
}

export class GpuMatrixWriter implements MatrixWriter {
  readonly #recorder: Recorder;
  readonly #memory: Memory;
  readonly #matrix: GpuMatrix;
  readonly #rowBytes: number;
  /** Bytes of the next row that have come. */
  readonly #row: Uint8Array;
  #filled = 0;
  #received = 0;
  readonly #piece: Piece;

  /** @param maxBytes Of a buffer. */
  constructor(
    recorder: Recorder,
    memory: Memory,
    shape: { type: WeightType; rows: number; cols: number },
    maxBytes: number,
  ) {
    const { type, rows, cols } = shape;
    const bytes = gpuMatrixBytes(type, rows, cols);
    memory.claim(bytes);
    this.#recorder = recorder;
    this.#memory = memory;
    this.#rowBytes = bytesPerRow(type, cols);
    this.#row = new Uint8Array(this.#rowBytes);
    const layout = layoutOf(type, cols);
    const most = Math.max(4, Math.floor(maxBytes / Math.max(layout.words * 4, 1) / 4) * 4);
    const chunks: Chunk[] = [];
    for (let first = 0; first < rows; first += most) {
      const some = Math.min(most, rows - first);
      // Loads are in vectors of 16 bytes.
      const size = Math.max(16, Math.ceil((some * layout.words) / 4) * 16);
      const sections: number[] = [];
      layout.sections.reduce((at, words) => {
        sections.push(at);
        return at + some * words;
      }, some * layout.codes);
      chunks.push({
        buffer: recorder.createBuffer(size, USAGE.storage | USAGE.copyTarget),
        first,
        rows: some,
        sections,
      });
    }
    this.#matrix = new GpuMatrix({ type, rows, cols, chunks, first: 0, isView: false });
    this.#piece = new Piece(recorder, this.#matrix);
  }

  write(bytes: Uint8Array): void {
    this.#received += bytes.length;
    const total = this.#rowBytes * this.#matrix.rows;
    if (this.#received > total) {
      this.#giveUp();
      throw new RangeError(
        `Cannot fill matrix: it takes ${grouped(total)} bytes, got at least ${grouped(this.#received)}`,
      );
    }
    for (let at = 0; at < bytes.length; ) {
      const some = Math.min(this.#rowBytes - this.#filled, bytes.length - at);
      if (some === this.#rowBytes) this.#piece.add(bytes.subarray(at, at + some));
      else {
        this.#row.set(bytes.subarray(at, at + some), this.#filled);
        this.#filled += some;
        if (this.#filled === this.#rowBytes) this.#piece.add(this.#row);
        this.#filled %= this.#rowBytes;
      }
      at += some;
    }
  }

  finish(): Matrix {
    const total = this.#rowBytes * this.#matrix.rows;
    if (this.#received < total) {
      this.#giveUp();
      throw new RangeError(
        `Cannot fill matrix: it takes ${grouped(total)} bytes, got ${grouped(this.#received)}`,
      );
    }
    this.#piece.flush();
    return this.#matrix;
  }

  #giveUp(): void {
    freeMatrix(this.#matrix, this.#memory, this.#recorder);
  }
}

export function freeMatrix(matrix: GpuMatrix, memory: Memory, recorder: Recorder): void {
  recorder.destroy(...matrix.chunks.map(({ buffer }) => buffer));
  memory.release(matrix.bytes);
}

/** Rows in order, on their way to a chunk. */
class Piece {
  readonly #recorder: Recorder;
  readonly #matrix: GpuMatrix;
  readonly #most: number;
  readonly #codes: Uint8Array<ArrayBuffer>;
  readonly #sections: readonly DataView<ArrayBuffer>[];
  #chunk = 0;
  /** Row of the chunk that the piece begins with, and its rows. */
  #first = 0;
  #rows = 0;

  constructor(recorder: Recorder, matrix: GpuMatrix) {
    this.#recorder = recorder;
    this.#matrix = matrix;
    const { codes, sections, words } = matrix.layout;
    this.#most = Math.max(1, Math.min(matrix.rows, Math.floor(PIECE_BYTES / Math.max(4 * words, 1))));
    this.#codes = new Uint8Array(this.#most * codes * 4);
    this.#sections = sections.map((some) => new DataView(new ArrayBuffer(this.#most * some * 4)));
  }

  add(row: Uint8Array): void {
    const { layout, type, chunks } = this.#matrix;
    const at = this.#rows;
    repackRow(type, row, {
      codes: this.#codes.subarray(at * layout.codes * 4, (at + 1) * layout.codes * 4),
      sections: this.#sections.map(
        ({ buffer }, i) => new DataView(buffer, at * layout.sections[i] * 4, layout.sections[i] * 4),
      ),
    });
    this.#rows++;
    const isLast = this.#first + this.#rows === chunks[this.#chunk].rows;
    if (this.#rows === this.#most || isLast) this.flush();
    if (!isLast) return;
    this.#chunk++;
    this.#first = 0;
  }

  flush(): void {
    if (this.#rows === 0) return;
    const { layout, chunks } = this.#matrix;
    const { buffer, sections } = chunks[this.#chunk];
    const put = (start: number, words: number, data: ArrayBuffer) => {
      const bytes = new Uint8Array(data, 0, this.#rows * words * 4);
      this.#recorder.write(buffer, (start + this.#first * words) * 4, bytes);
    };
    put(0, layout.codes, this.#codes.buffer);
    for (const [i, start] of sections.entries()) put(start, layout.sections[i], this.#sections[i].buffer);
    this.#first += this.#rows;
    this.#rows = 0;
  }
}
