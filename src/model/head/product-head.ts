/**
 * product-head: product codes as a head, with the best tokens made exactly.
 *
 *     row[i]  =  scales[i] · Σ_s table[s][code[i, s]] + biases[i]       of all tokens, approximately
 *     row[i]  =  w · state                                              of the tokens with the largest of these, exactly
 *
 * An eighth of a 4-bit head's bytes are read, and 256 exact rows. What it answers is about this row: an approximation of
 * the dense head's whose best tokens are exact, if they are among those; nobody says that they are. So it drafts, and the
 * dense head verifies.
 *
 * Cost      half a byte for 4 weights, a selection, and the tiles of `shortlist` tokens.
 *
 * Source: Jégou, Douze, Schmid 2011, "Product quantization for nearest neighbor search". product-format.ts has the tensors.
 */
import type { Backend, Floats, Matrix, Top } from "../../backend/backend.ts";
import {
  PRODUCT_TILE,
  type ProductCodes,
  type ProductTables,
  type ScreenKernels,
  TILE_ROWS,
  tilesOf,
} from "../../backend/screen-kernels.ts";
import { expectInteger } from "../../errors.ts";
import { RowHead } from "./row-head.ts";

/** Tokens that are made exactly. */
export const SHORTLIST = 256;

export class ProductHead extends RowHead {
  readonly bytes: number;
  readonly #backend: Backend;
  readonly #kernels: ScreenKernels;
  readonly #codes: ProductCodes;
  readonly #exact: Matrix;
  readonly #shortlist: number;

  /**
   * @param tables Are copied.
   * @param exact (V, D) the dense head; stays the caller's.
   * @param shortlist Tokens that are made exactly, at least 1.
   * @throws {RangeError} If shapes do not belong together.
   * @throws {MemoryError} If there is no room for the codes and a row.
   */
  constructor(backend: Backend, tables: ProductTables, exact: Matrix, shortlist = SHORTLIST) {
    expectInteger("vocab", tables.vocab, exact.rows, exact.rows);
    expectInteger("hidden", tables.hidden, exact.cols, exact.cols);
    expectInteger("shortlist", shortlist, 1, 2 ** 31 - 1);
    super(backend, exact.rows, exact.cols, rowLength(exact.rows));
    this.#backend = backend;
    this.#kernels = backend.screenKernels();
    this.#exact = exact;
    this.#shortlist = Math.min(shortlist, exact.rows);
    try {
      this.#codes = this.#kernels.productCodes(tables);
    } catch (error) {
      super.close();
      throw error;
    }
    this.bytes = this.#codes.bytes + Math.ceil((this.#shortlist * TILE_ROWS * exact.bytes) / exact.rows);
  }

  /** Bytes of the backend that a head takes. */
  static heldBytes(backend: Backend, vocab: number, hidden: number): number {
    return backend.screenKernels().productBytes(vocab, hidden) + 4 * rowLength(vocab);
  }

  override close(): void {
    this.#kernels.freeCodes(this.#codes);
    super.close();
  }

  protected override makeRow(state: Floats, memory: Floats): void {
    const backend = this.#backend;
    this.#kernels.productLogits(state, this.#codes, memory);
    if (this.#kernels.refine !== undefined) {
      this.#kernels.refine(memory, this.vocab, state, this.#exact, this.#shortlist);
      return;
    }
    const { ids } = backend.top(memory, this.vocab, this.#shortlist) as Top;
    const tiles = tilesOf(ids);
    this.#kernels.putTiles(memory, tiles, this.#kernels.tileRows(state, this.#exact, tiles));
  }
}

function rowLength(vocab: number): number {
  return Math.ceil(vocab / PRODUCT_TILE) * PRODUCT_TILE;
}
