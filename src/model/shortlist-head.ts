/**
 * shortlist-head: the model's own head, but of few tokens: the first of the vocabulary and those that the text has used.
 *
 *     logits[t]  =  W[t] · state       if t < K, or t's tile of 4 rows is among the last that the text used
 *                   −∞                 else
 *
 * Why it is good: tokenizers number their tokens in the order they were merged, frequent ones first, and a text says its
 * rare words again. Of English prose, technical text and code, 85 to 95 % of all tokens are below 8,192 of the 100,256 or
 * 199,998 ids of OpenAI's vocabularies, or came before; 93 to 98 % with 32,768. Where the model's best token is known
 * here, it is the best here too: the weights are the same, to the bit. They are not copied.
 *
 * Cost: K + 4 T rows of V, at most an eighth and 1,024.
 *
 * Sources: FR-Spec, Zhao et al. 2025, arXiv:2502.14856, for the frequent part.
 */
import { type Backend, type Floats, type Matrix, stride, type Top } from "../backend/backend.ts";
import type { DraftHead, DraftRow } from "./draft-head.ts";
import { answersLater, LateDraft } from "./head/late-draft.ts";

/** Rows that the weights of a matrix come in. */
const TILE = 4;
/** Of the vocabulary: what is always looked at. */
const SHARE = 1 / 8;
/** And no fewer tokens than that. */
const LEAST = 1024;
/** Most tiles of other tokens; the one that was used longest ago gives way. */
const MOST_TILES = 256;
/** On a device, where each takes a call of a kernel. */
const MOST_LATE_TILES = 64;

/** Which tokens are known, and their weights. */
class Shortlist {
  /** Tokens below are always known. */
  readonly prefix: number;
  readonly prefixRows: Matrix;
  /** Tiles of others, by index; least recently used first. */
  readonly tiles = new Map<number, Matrix>();
  readonly #backend: Backend;
  readonly #head: Matrix;
  readonly #most: number;

  /** @param most Tiles to know. */
  constructor(backend: Backend, head: Matrix, most: number) {
    this.#backend = backend;
    this.#head = head;
    this.#most = most;
    const whole = Math.floor(head.rows / TILE) * TILE;
    const share = Math.ceil((head.rows * SHARE) / TILE) * TILE;
    this.prefix = Math.min(whole, Math.max(LEAST, share));
    this.prefixRows = backend.rowsOf(head, 0, this.prefix);
  }

  get bytes(): number {
    let bytes = this.prefixRows.bytes;
    for (const tile of this.tiles.values()) bytes += tile.bytes;
    return bytes;
  }

  /** @param forget Told of tiles that give way. */
  learn(tokens: ArrayLike<number>, forget: (tile: number) => void): void {
    for (let i = 0; i < tokens.length; i++) {
      const tile = Math.floor(tokens[i] / TILE);
      const first = tile * TILE;
      // The last tokens, if they fill no tile, are never known.
      if (first < this.prefix || first + TILE > this.#head.rows) continue;
      const rows = this.tiles.get(tile) ?? this.#backend.rowsOf(this.#head, first, TILE);
      this.tiles.delete(tile);
      this.tiles.set(tile, rows);
      if (this.tiles.size <= this.#most) continue;
      const [oldest] = this.tiles.keys();
      this.tiles.delete(oldest);
      forget(oldest);
    }
  }
}

export class ShortlistHead implements DraftHead {
  readonly #backend: Backend;
  readonly #list: Shortlist;
  /** Logits of the known tokens, one after the other. */
  readonly #logits: Floats;
  /** Logits of all tokens. */
  readonly #row: Float32Array;
  #calls = 0;

  /** @throws {MemoryError} If there is no room for a row. */
  constructor(backend: Backend, head: Matrix) {
    this.#backend = backend;
    this.#list = new Shortlist(backend, head, MOST_TILES);
    this.#logits = backend.floats(stride(this.#list.prefix) + MOST_TILES * TILE);
    this.#row = new Float32Array(head.rows).fill(-Infinity);
  }

  get bytes(): number {
    return this.#list.bytes;
  }

  learn(tokens: ArrayLike<number>): void {
    this.#list.learn(tokens, (tile) => this.#row.fill(-Infinity, tile * TILE, tile * TILE + TILE));
  }

  async read(state: Floats): Promise<DraftRow> {
    const backend = this.#backend;
    const { prefix, prefixRows } = this.#list;
    const tiles = [...this.#list.tiles.keys()];
    const products = [{ weights: prefixRows, out: backend.slice(this.#logits, 0, prefix) }];
    for (const weights of this.#list.tiles.values()) {
      const at = prefix + (products.length - 1) * TILE;
      products.push({ weights, out: backend.slice(this.#logits, at, TILE) });
    }
    backend.matmul(state, 1, products);
    const count = prefix + tiles.length * TILE;
    const known = backend.slice(this.#logits, 0, count);
    this.#fill(await backend.read(known), tiles);
    const call = ++this.#calls;
    const expectCurrent = () => {
      if (call !== this.#calls) throw new TypeError("Cannot read a draft's row: its head was called again");
    };
    return {
      row: () => {
        expectCurrent();
        return this.#row;
      },
      top: (some) => {
        expectCurrent();
        const { ids, logits } = backend.top(known, count, some) as Top;
        return { ids: ids.map((at) => this.#tokenAt(at, tiles)), logits };
      },
    };
  }

  close(): void {
    this.#calls++;
    this.#backend.free(this.#logits);
  }

  #fill(known: Float32Array, tiles: readonly number[]): void {
    const { prefix } = this.#list;
    this.#row.set(known.subarray(0, prefix));
    for (const [i, tile] of tiles.entries()) {
      const at = prefix + i * TILE;
      this.#row.set(known.subarray(at, at + TILE), tile * TILE);
    }
  }

  #tokenAt(at: number, tiles: readonly number[]): number {
    const { prefix } = this.#list;
    if (at < prefix) return at;
    const other = at - prefix;
    return tiles[Math.floor(other / TILE)] * TILE + (other % TILE);
  }
}

/** A shortlist of a head, wherever that is. @throws {MemoryError} If there is no room for a row. */
export function openShortlist(backend: Backend, head: Matrix): DraftHead {
  return answersLater(backend) ? lateShortlist(backend, head) : new ShortlistHead(backend, head);
}

/** Logits of known tokens are made where they stand in the row. */
export function lateShortlist(backend: Backend, head: Matrix): LateDraft {
  const list = new Shortlist(backend, head, MOST_LATE_TILES);
  const nothing = new Float32Array(TILE).fill(-Infinity);
  const place = (row: Floats, tile: number) => backend.slice(row, tile * TILE, TILE);
  return new LateDraft(backend, {
    vocab: head.rows,
    get bytes() {
      return list.bytes;
    },
    make(state, row) {
      const tiles = Array.from(list.tiles, ([tile, weights]) => ({ weights, out: place(row, tile) }));
      const prefix = { weights: list.prefixRows, out: backend.slice(row, 0, list.prefix) };
      backend.matmul(state, 1, [prefix, ...tiles]);
    },
    learn: (tokens, row) => list.learn(tokens, (tile) => backend.write(place(row, tile), nothing)),
  });
}
