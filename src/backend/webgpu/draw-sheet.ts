/**
 * draw-sheet: tasks as the kernels of wgsl/draw.ts read them, and room for what these leave.
 *
 *     table        TASK_WORDS per row
 *     changes      CHANGE_WORDS per changed token
 *     masks        a bit per token
 *     parts        PART_WORDS per row and group; not written here
 *     results      RESULT_WORDS of a token, or LIST_HEAD_WORDS and two per token of a list; not written here
 */
import { type DrawTask, LIST_HEAD_WORDS, type LogitChanges } from "../draw-kernels.ts";
import { bitsOf } from "./kernel.ts";
import { groupsOf } from "./wgsl/row.ts";
import {
  CHANGE_WORDS,
  NONE,
  PART_WORDS,
  RESULT_WORDS,
  SCANNED,
  TASK_FIELDS,
  TASK_WORDS,
} from "./wgsl/task.ts";

/** A row: where its first logit is in the region, in words, and what is asked of it. */
export interface DrawRow {
  readonly x: number;
  readonly task: DrawTask;
  /** Of a draft that is decided on: no token is drawn. */
  readonly place?: ScanPlace;
}

/** A place in a draft: its token, the number that decides on it, and the row that it was drawn from. */
export interface ScanPlace {
  readonly token: number;
  readonly coin: number;
  /** Where q is, in words from the beginning of the sheet; NONE: the token was chosen. */
  readonly q: number;
  /** Makes probabilities of q; and that of the token. */
  readonly qScale: number;
  readonly qToken: number;
}

/** Where the words of a row begin. */
interface Place {
  readonly changes: number;
  readonly mask: number;
  readonly parts: number;
  readonly result: number;
}

export class DrawSheet {
  readonly rows: readonly DrawRow[];
  readonly vocab: number;
  /** Workgroups of a row. */
  readonly groups: number;
  /** Words in all, and where the results and what is behind them begin. */
  readonly length: number;
  readonly results: number;
  readonly extra: number;
  /** In words from the beginning of the sheet. */
  readonly #places: readonly Place[];
  readonly #written: number;

  /** @param extra Words behind the results. */
  constructor(rows: readonly DrawRow[], vocab: number, extra = 0) {
    this.rows = rows;
    this.vocab = vocab;
    this.groups = groupsOf(vocab);
    let at = TASK_WORDS * rows.length;
    const take = (words: number) => {
      at += words;
      return at - words;
    };
    const changes = rows.map(({ task }) => take(CHANGE_WORDS * (task.changes?.tokens.length ?? 0)));
    const masks = rows.map(({ task }) => (task.mask === undefined ? NONE : take(Math.ceil(vocab / 32))));
    this.#written = at;
    const parts = rows.map(() => take(PART_WORDS * this.groups));
    this.results = at;
    const results = rows.map((row) => take(resultWords(row)));
    this.extra = at;
    this.length = at + extra;
    this.#places = rows.map((_, i) => ({
      changes: changes[i],
      mask: masks[i],
      parts: parts[i],
      result: results[i],
    }));
  }

  get hasChanges(): boolean {
    return this.rows.some(({ task }) => task.changes !== undefined);
  }

  get hasLists(): boolean {
    return this.rows.some(({ task }) => task.list);
  }

  /** What stands at `origin` in the region. */
  wordsAt(origin: number): Uint32Array<ArrayBuffer> {
    const words = new Uint32Array(this.#written);
    for (const [i, row] of this.rows.entries()) {
      const place = this.#places[i];
      const { changes, mask } = row.task;
      words.set(tableOf(row, place, origin), TASK_WORDS * i);
      if (changes !== undefined) words.set(changeWords(changes), place.changes);
      if (mask !== undefined) words.set(mask.subarray(0, Math.ceil(this.vocab / 32)), place.mask);
    }
    return words;
  }

  /** The result of row `index` in what was read from `results` on. */
  resultOf(index: number, read: ArrayBuffer): ArrayBuffer {
    const at = this.#places[index].result - this.results;
    return read.slice(4 * at, 4 * (at + resultWords(this.rows[index])));
  }
}

function resultWords({ task: { list = 0 }, place }: DrawRow): number {
  if (place !== undefined) return LIST_HEAD_WORDS;
  return list === 0 ? RESULT_WORDS : LIST_HEAD_WORDS + 2 * list;
}

const NO_PLACE: ScanPlace = { token: 0, coin: 0, q: NONE, qScale: 0, qToken: 1 };

function tableOf(
  { x, task, place }: DrawRow,
  { changes, mask, parts, result }: Place,
  origin: number,
): number[] {
  const { temperature, seed, position, list = 0 } = task;
  const { token, coin, q, qScale, qToken } = place ?? NO_PLACE;
  const words: Record<(typeof TASK_FIELDS)[number], number> = {
    x,
    inverse: temperature === 0 ? 0 : bitsOf(1 / temperature),
    seedLow: seed % 2 ** 32,
    seedHigh: Math.floor(seed / 2 ** 32),
    position,
    changes: origin + changes,
    changeCount: task.changes?.tokens.length ?? 0,
    mask: mask === NONE ? NONE : origin + mask,
    list: place === undefined ? list : SCANNED,
    parts: origin + parts,
    result: origin + result,
    token,
    coin: bitsOf(coin),
    q: q === NONE ? NONE : origin + q,
    qScale: bitsOf(qScale),
    qToken: bitsOf(qToken),
  };
  return TASK_FIELDS.map((name) => words[name]);
}

function changeWords({ tokens, changes }: LogitChanges): Uint32Array {
  const words = new Uint32Array(CHANGE_WORDS * tokens.length);
  const numbers = new Float32Array(words.buffer);
  for (let i = 0; i < tokens.length; i++) {
    const [before, penalty, after] = [changes[3 * i], changes[3 * i + 1], changes[3 * i + 2]];
    words[CHANGE_WORDS * i] = tokens[i];
    numbers.set([before, penalty, 1 / penalty, after], CHANGE_WORDS * i + 1);
  }
  return words;
}
