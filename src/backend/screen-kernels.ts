/**
 * ScreenKernels: what heads need that look at all tokens cheaply and at few exactly. reference/screen.ts is the definition,
 * wasm/screen.ts does it in linear memory.
 *
 *     a cheap row  →  which tokens can it not exclude?  →  their exact logits
 *
 * Tokens stand in tiles of 4 rows of a matrix; a tile is the least that is made exactly.
 */
import { expectInteger } from "../errors.ts";
import type { Floats, Matrix } from "./backend.ts";

/** Rows of a matrix that are made together. */
export const TILE_ROWS = 4;
/** Columns of a sub-vector, and codewords to choose from for it. */
export const PRODUCT_COLUMNS = 4;
export const PRODUCT_WORDS = 16;
/** Tokens of a tile of product codes. */
export const PRODUCT_TILE = 16;

/**
 * Product codes of V rows of D columns, S = D / 4 sub-vectors of 4:
 *
 *     row[i]  ≈  scales[i] · (codebook[0][code[i, 0]], …, codebook[S − 1][code[i, S − 1]]),  plus biases[i] in every logit
 */
export interface ProductTables {
  readonly vocab: number;
  /** A multiple of 8. */
  readonly hidden: number;
  /** (⌈V / 16⌉, S / 2, 16): see `productCodeAt`. */
  readonly codes: Uint8Array;
  /** (S, 4, 16): of each sub-vector and column the 16 codewords. */
  readonly codebook: Float32Array;
  /** (V) bits of F16. */
  readonly scales: Uint16Array;
  /** (V) bits of F16. */
  readonly biases: Uint16Array;
}

/** Product codes in a backend's memory. */
export interface ProductCodes {
  readonly vocab: number;
  readonly hidden: number;
  /** Bytes held. */
  readonly bytes: number;
}

/** A race whose best score so far is known; see pipeline/race.ts. */
export interface RaceBar {
  /** Divides logits, 1e-30 … 1e100. */
  readonly temperature: number;
  /** The logit whose weight is 1: a token's is exp((logit − top) / temperature). */
  readonly top: number;
  /** weight / E that must be reached. */
  readonly score: number;
  readonly seed: number;
  readonly position: number;
}

/** Results are the caller's. */
export interface ScreenKernels {
  /**
   * Rows 4t … 4t + 3 of W · x for each tile t, bit for bit as matmul makes them; beyond the last row anything.
   *
   * @param x (cols) @param tiles Ascending.
   * @returns (tiles.length, 4)
   */
  tileRows(x: Floats, weights: Matrix, tiles: Uint32Array): Float32Array;
  /** Puts what `tileRows` gave for these tiles to their places in a row with room for whole tiles. */
  putTiles(row: Floats, tiles: Uint32Array, logits: Float32Array): void;
  /** row[i] += error[i] · scale + slack, for `vocab` values. Rounds as it likes, by at most 2^-22 of what it adds up. */
  raise(row: Floats, error: Floats, vocab: number, scale: number, slack: number): void;
  /** Tokens with row[i] ≥ bar, ascending; null if they are more than `most`. */
  listAbove(row: Floats, vocab: number, bar: number, most: number): Uint32Array | null;
  /** Tokens that reach the bar's score, ascending, and perhaps some that hardly miss it; null if they are more than `most`. */
  listRacers(row: Floats, vocab: number, bar: RaceBar, most: number): Uint32Array | null;
  /** The token that wins the race over the row, or one that is as good but for rounding; −1 if none reaches the bar. */
  racer(row: Floats, vocab: number, bar: RaceBar): number;
  /** Copies codes into the backend's memory. @throws {MemoryError} If there is no room. */
  productCodes(tables: ProductTables): ProductCodes;
  /** Bytes that `productCodes` takes. */
  productBytes(vocab: number, hidden: number): number;
  /** Logits of all tokens by codes, in an order of sums of its own. @param out (V rounded up to 16) @param x (hidden) */
  productLogits(x: Floats, codes: ProductCodes, out: Floats): void;
  /**
   * Makes the `count` best logits of a row exactly, in place, with those that share their tiles: as `top`, `tileRows` and
   * `putTiles` do. Present where these cannot answer at once.
   *
   * @param x (cols) @param row (W's rows)
   */
  refine?(row: Floats, vocab: number, x: Floats, weights: Matrix, count: number): void;
  freeCodes(codes: ProductCodes): void;
}

/** Lengths of the parts of codes for V rows of D columns. */
export function productShape(vocab: number, hidden: number): { tiles: number; pairs: number; codes: number } {
  const tiles = Math.ceil(vocab / PRODUCT_TILE);
  const pairs = hidden / (2 * PRODUCT_COLUMNS);
  return { tiles, pairs, codes: tiles * pairs * PRODUCT_TILE };
}

/**
 * Where the codes of a token for a pair of sub-vectors stand: the first one's in the low four bits. The tokens of a tile are
 * in the order 0, 8, 1, 9, …, 7, 15.
 */
export function productCodeAt(token: number, pair: number, pairs: number): number {
  const inTile = token % PRODUCT_TILE;
  const place = inTile < 8 ? 2 * inTile : 2 * (inTile - 8) + 1;
  return (Math.floor(token / PRODUCT_TILE) * pairs + pair) * PRODUCT_TILE + place;
}

/** The tiles that tokens are in, ascending, each once. */
export function tilesOf(tokens: Uint32Array): Uint32Array {
  const tiles = tokens.map((token) => Math.floor(token / TILE_ROWS)).sort();
  let count = 0;
  for (let i = 0; i < tiles.length; i++) {
    if (i === 0 || tiles[i] !== tiles[i - 1]) tiles[count++] = tiles[i];
  }
  return tiles.subarray(0, count);
}

/** Results of `tileRows` to their places in a row. */
export function placeTiles(row: Float32Array, tiles: Uint32Array, logits: Float32Array): void {
  for (let i = 0; i < tiles.length; i++) {
    const to = tiles[i] * TILE_ROWS;
    for (let j = 0; j < TILE_ROWS; j++) row[to + j] = logits[i * TILE_ROWS + j];
  }
}

/** @throws {RangeError} If the lengths do not belong together. */
export function expectProductTables({ vocab, hidden, codes, codebook, scales, biases }: ProductTables): void {
  expectInteger("hidden / 8", hidden / 8, 1, 2 ** 13);
  const expected = { codes: productShape(vocab, hidden).codes, codebook: hidden * PRODUCT_WORDS };
  expectInteger("codes.length", codes.length, expected.codes, expected.codes);
  expectInteger("codebook.length", codebook.length, expected.codebook, expected.codebook);
  expectInteger("scales.length", scales.length, vocab, vocab);
  expectInteger("biases.length", biases.length, vocab, vocab);
}
