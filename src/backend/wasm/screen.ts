/** ScreenKernels by assembly/head/{rescore,product}.ts, over handles in linear memory. */
import type { Floats, Matrix } from "../backend.ts";
import {
  expectProductTables,
  PRODUCT_TILE,
  PRODUCT_WORDS,
  type ProductCodes,
  type ProductTables,
  placeTiles,
  productShape,
  type RaceBar,
  type ScreenKernels,
  TILE_ROWS,
} from "../screen-kernels.ts";
import type { Arena } from "./arena.ts";
import type { Exports } from "./exports.ts";
import { FORMAT_IDS, type PackedMatrix } from "./matrix.ts";
import { Scratch } from "./scratch.ts";

/** Tiles that are gathered at once: sixteen streams of four, see matmul/bands.ts, in the second-level cache. */
const TILES_AT_ONCE = 64;
/** Tokens that may lead the race one after the other; a few dozen do. */
const MOST_LEADERS = 1 << 16;
/** 1 / temperature as f32: what lies below the best logit is out of reach long before. */
const MOST_INVERSE = 1e30;

/** Addresses of the parts, one after the other. */
interface PackedCodes extends ProductCodes {
  readonly address: number;
  readonly codebook: number;
  readonly scales: number;
  readonly biases: number;
  readonly tables: number;
  readonly work: number;
}

export class WasmScreenKernels implements ScreenKernels {
  readonly #kernels: Exports;
  readonly #arena: Arena;
  readonly #scratch: Scratch;

  constructor(kernels: Exports, arena: Arena) {
    this.#kernels = kernels;
    this.#arena = arena;
    this.#scratch = new Scratch(kernels.memory, arena);
  }

  tileRows(x: Floats, weights: Matrix, tiles: Uint32Array): Float32Array {
    const kernels = this.#kernels;
    const { address, type, cols } = weights as PackedMatrix;
    const format = FORMAT_IDS[type];
    const tileBytes = kernels.tile_bytes(format, cols);
    const inputBytes = round16(kernels.input_bytes(format, cols, 1));
    const most = Math.min(tiles.length, TILES_AT_ONCE);
    const input = this.#scratch.of(inputBytes + most * (tileBytes + TILE_ROWS * 4 + 4));
    const gathered = input + inputBytes;
    const out = gathered + most * tileBytes;
    const list = out + most * TILE_ROWS * 4;
    kernels.prepare(format, addressOf(x), 0, input, cols, 1);
    const logits = new Float32Array(tiles.length * TILE_ROWS);
    for (let first = 0; first < tiles.length; first += TILES_AT_ONCE) {
      const some = tiles.subarray(first, first + TILES_AT_ONCE);
      new Uint32Array(kernels.memory.buffer, list, some.length).set(some);
      kernels.gather_tiles(address, tileBytes, list, some.length, gathered);
      const rows = some.length * TILE_ROWS;
      kernels.matmul(format, gathered, input, out, 0, rows, cols, 1);
      logits.set(new Float32Array(kernels.memory.buffer, out, rows), first * TILE_ROWS);
    }
    return logits;
  }

  putTiles(row: Floats, tiles: Uint32Array, logits: Float32Array): void {
    placeTiles(new Float32Array(this.#kernels.memory.buffer, addressOf(row), row.length), tiles, logits);
  }

  raise(row: Floats, error: Floats, vocab: number, scale: number, slack: number): void {
    this.#kernels.raise(addressOf(row), addressOf(error), vocab, scale, slack);
  }

  listAbove(row: Floats, vocab: number, bar: number, most: number): Uint32Array | null {
    const out = this.#scratch.of(most * 4);
    return this.#listed(out, this.#kernels.list_above(addressOf(row), vocab, bar, out, most));
  }

  listRacers(row: Floats, vocab: number, bar: RaceBar, most: number): Uint32Array | null {
    const out = this.#scratch.of(most * 4);
    return this.#listed(out, this.#race(row, vocab, bar, 0, out, most));
  }

  racer(row: Floats, vocab: number, bar: RaceBar): number {
    const most = Math.min(vocab, MOST_LEADERS);
    const leaders = this.#scratch.of(most * 4);
    const count = this.#race(row, vocab, bar, 1, leaders, most);
    const last = count < 0 ? most : count;
    return last === 0 ? -1 : new Uint32Array(this.#kernels.memory.buffer, leaders, last)[last - 1];
  }

  productBytes(vocab: number, hidden: number): number {
    const { codes, tiles } = productShape(vocab, hidden);
    const subs = hidden / 4;
    return codes + subs * (PRODUCT_WORDS * 16 + PRODUCT_WORDS + PRODUCT_WORDS * 4 + 4) + tiles * 64;
  }

  productCodes(tables: ProductTables): ProductCodes {
    expectProductTables(tables);
    const { vocab, hidden } = tables;
    const { codes, tiles } = productShape(vocab, hidden);
    const subs = hidden / 4;
    const bytes = this.productBytes(vocab, hidden);
    const address = this.#arena.allocate(bytes);
    const codebook = address + codes;
    const scales = codebook + subs * PRODUCT_WORDS * 16;
    const biases = scales + tiles * PRODUCT_TILE * 2;
    const places = biases + tiles * PRODUCT_TILE * 2;
    const { buffer } = this.#kernels.memory;
    new Uint8Array(buffer, address, codes).set(tables.codes);
    new Float32Array(buffer, codebook, tables.codebook.length).set(tables.codebook);
    new Uint16Array(buffer, scales, vocab).set(tables.scales);
    new Uint16Array(buffer, biases, vocab).set(tables.biases);
    const work = places + subs * PRODUCT_WORDS;
    return { vocab, hidden, bytes, address, codebook, scales, biases, tables: places, work } as PackedCodes;
  }

  productLogits(x: Floats, codes: ProductCodes, out: Floats): void {
    const { vocab, hidden, address, codebook, scales, biases, tables, work } = codes as PackedCodes;
    const { tiles, pairs } = productShape(vocab, hidden);
    this.#kernels.product_tables(codebook, addressOf(x), 2 * pairs, tables, work);
    this.#kernels.product_scan(address, tables, pairs, tiles, scales, biases, addressOf(out));
  }

  freeCodes(codes: ProductCodes): void {
    this.#arena.free((codes as PackedCodes).address);
  }

  #race(
    row: Floats,
    vocab: number,
    { temperature, top, score, seed, position }: RaceBar,
    follow: number,
    out: number,
    most: number,
  ): number {
    return this.#kernels.list_racers(
      addressOf(row),
      vocab,
      top,
      Math.min(1 / temperature, MOST_INVERSE),
      score,
      seed | 0,
      (seed / 2 ** 32) | 0,
      position,
      follow,
      out,
      most,
    );
  }

  #listed(out: number, count: number): Uint32Array | null {
    return count < 0 ? null : new Uint32Array(this.#kernels.memory.buffer, out, count).slice();
  }
}

function addressOf(x: Floats): number {
  return (x as Floats & { readonly address: number }).address;
}

function round16(bytes: number): number {
  return Math.ceil(bytes / 16) * 16;
}
