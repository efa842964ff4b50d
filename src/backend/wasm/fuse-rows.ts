/** Rows of a fusion in linear memory: where they lie, and what is known of them. */
import { expectLogits } from "../fuse-kernels.ts";
import type { Arena } from "./arena.ts";
import type { MatchSums } from "./fuse-match.ts";

/** Rows kept for the next step: those of three sources, and some that are made of them. */
const SPARE_ROWS = 12;

/** (length) f32, aligned and padded to 16 bytes. */
export class FuseRow {
  readonly address: number;
  readonly length: number;
  /** Whether its memory is the store's to give back. */
  readonly isOwn: boolean;
  /** Of a row that came from outside and that no kernel has read yet: what errors call it. */
  unread: string | null;
  isFree = false;
  /** Largest logit, once known. */
  top: number | undefined;
  /** Σ exp(z − top), once known. */
  sum: number | undefined;
  /** What was summed with this row as the base. */
  readonly matches: { readonly expert: FuseRow; readonly anti: FuseRow; readonly sums: MatchSums | null }[] =
    [];

  constructor(address: number, length: number, isOwn: boolean, unread: string | null) {
    this.address = address;
    this.length = length;
    this.isOwn = isOwn;
    this.unread = unread;
  }
}

export class FuseRows {
  readonly #memory: WebAssembly.Memory;
  readonly #arena: Arena;
  readonly #spares: { readonly address: number; readonly bytes: number }[] = [];

  constructor(memory: WebAssembly.Memory, arena: Arena) {
    this.#memory = memory;
    this.#arena = arena;
  }

  /** A row with anything in it. @throws {MemoryError} If there is no memory for it. */
  make(length: number): FuseRow {
    const bytes = bytesOf(length);
    const spare = this.#spares.findIndex((one) => one.bytes === bytes);
    const address = spare < 0 ? this.#allocate(bytes) : this.#spares.splice(spare, 1)[0].address;
    return new FuseRow(address, length, true, null);
  }

  /** A row where it is, if kernels can read it there. */
  view(row: ArrayLike<number>, length: number, name: string): FuseRow | null {
    const isHere = row instanceof Float32Array && row.buffer === this.#memory.buffer;
    return isHere && row.byteOffset % 16 === 0 ? new FuseRow(row.byteOffset, length, false, name) : null;
  }

  free(row: FuseRow): void {
    if (row.isFree) return;
    row.isFree = true;
    row.matches.length = 0;
    if (!row.isOwn) return;
    if (this.#spares.length < SPARE_ROWS) {
      this.#spares.push({ address: row.address, bytes: bytesOf(row.length) });
    } else this.#arena.free(row.address);
  }

  /** A view that the next allocation may make invalid. */
  values(row: FuseRow): Float32Array {
    return new Float32Array(this.#memory.buffer, addressOf(row), row.length);
  }

  /** Reads rows that no kernel has read. @throws {RangeError} If one is none. */
  inspect(rows: readonly FuseRow[]): void {
    for (const row of rows) {
      if (row.unread !== null) expectLogits(row.unread, this.values(row), row.length);
      row.unread = null;
    }
  }

  /** Says what is wrong with rows of which a kernel found that something is. @throws {RangeError} */
  refuse(rows: readonly FuseRow[]): never {
    this.inspect(rows);
    throw new RangeError("Cannot fuse: logits that are added up pass the largest f32");
  }

  #allocate(bytes: number): number {
    try {
      return this.#arena.allocate(bytes);
    } catch (error) {
      if (this.#spares.length === 0) throw error;
      for (const { address } of this.#spares.splice(0)) this.#arena.free(address);
      return this.#arena.allocate(bytes);
    }
  }
}

/** @throws {TypeError} If the row was given back. */
export function addressOf(row: FuseRow): number {
  if (row.isFree) throw new TypeError("Cannot use a row: already given back");
  return row.address;
}

function bytesOf(length: number): number {
  return Math.ceil(length / 4) * 16;
}
