/** exact-tokens: the tokens of one state whose exact logits are known, tile by tile. */
import type { Floats, Matrix } from "../../backend/backend.ts";
import { type ScreenKernels, TILE_ROWS } from "../../backend/screen-kernels.ts";
import { bestFirst } from "../../decoding/pipeline/select.ts";

export class ExactTokens {
  readonly #kernels: ScreenKernels;
  readonly #weights: Matrix;
  readonly #state: Floats;
  /** Tiles that were made, and where the logits of each begin. */
  readonly #known = new Map<number, number>();
  #ids: number[] = [];
  #logits: number[] = [];

  /** @param state (D); must stay as it is. */
  constructor(kernels: ScreenKernels, weights: Matrix, state: Floats) {
    this.#kernels = kernels;
    this.#weights = weights;
    this.#state = state;
  }

  /** Rows that were made. */
  get count(): number {
    return this.#ids.length;
  }

  /** In order of `logits`, no other. */
  get ids(): readonly number[] {
    return this.#ids;
  }

  get logits(): readonly number[] {
    return this.#logits;
  }

  /** Of a token whose tile was made; undefined for others. */
  logitOf(token: number): number | undefined {
    const first = this.#known.get(Math.floor(token / TILE_ROWS));
    return first === undefined ? undefined : this.#logits[first + (token % TILE_ROWS)];
  }

  /** Makes the logits of these tokens and of those that share their tiles. */
  add(tokens: ArrayLike<number>): void {
    const tiles: number[] = [];
    for (let i = 0; i < tokens.length; i++) {
      const tile = Math.floor(tokens[i] / TILE_ROWS);
      if (this.#known.has(tile)) continue;
      this.#known.set(tile, 0);
      tiles.push(tile);
    }
    if (tiles.length === 0) return;
    const ascending = Uint32Array.from(tiles).sort();
    const logits = this.#kernels.tileRows(this.#state, this.#weights, ascending);
    for (let i = 0; i < logits.length; i++) {
      const tile = ascending[Math.floor(i / TILE_ROWS)];
      const id = tile * TILE_ROWS + (i % TILE_ROWS);
      if (id % TILE_ROWS === 0) this.#known.set(tile, this.#ids.length);
      if (id >= this.#weights.rows) break;
      this.#ids.push(id);
      this.#logits.push(logits[i]);
    }
  }

  /** The `count` largest, best first, of equal ones the lowest id first. */
  best(count: number): { ids: Uint32Array; logits: Float32Array } {
    const order = this.#ids.map((_, at) => at).sort((a, b) => this.#ids[a] - this.#ids[b]);
    const keys = Float64Array.from(order, (at) => this.#logits[at]);
    const chosen = Array.from(bestFirst(keys, keys.length, count), (at) => order[at]);
    return {
      ids: Uint32Array.from(chosen, (at) => this.#ids[at]),
      logits: Float32Array.from(chosen, (at) => this.#logits[at]),
    };
  }
}
