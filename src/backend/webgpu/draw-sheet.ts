/**
 * draw-sheet: tasks as the kernels of wgsl/draw.ts read them, and room for what these leave.
 *
 *     table        TASK_WORDS per row
 *     changes      CHANGE_WORDS per changed token
 *     masks        a bit per token
 *     cuts         CUT_WORDS per cut
 *     parts        PART_WORDS per row and group; not written here
 *     results      RESULT_WORDS of a token, or LIST_HEAD_WORDS and two per token of a list; not written here
 */
import { log } from "../../math.ts";
import { type Cut, type DrawTask, LIST_HEAD_WORDS, LIST_ROOM, type LogitChanges } from "../draw-kernels.ts";
import { bitsOf } from "./kernel.ts";
import { massError } from "./sum-error.ts";
import { groupsOf } from "./wgsl/row.ts";
import {
  CHANGE_WORDS,
  CUT_WORDS,
  CUTS,
  LISTED,
  NONE,
  PART_WORDS,
  RESULT_WORDS,
  SCANNED,
  TASK_FIELDS,
  TASK_WORDS,
} from "./wgsl/task.ts";

const NO_CHANGES: LogitChanges = { tokens: [], changes: [] };
/** Half ulps: of what is added and of the sum; of the factor, the product and what is added before too; and one more. */
const ROUNDING_OF_ADDED = 3 / 2 ** 24;
const ROUNDING_OF_CHANGED = 6 / 2 ** 24;
/** What f32 has room for. */
const MOST_REACH = 1e38;

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
  readonly cuts: number;
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
    const cuts = rows.map(({ task }) => take(CUT_WORDS * (task.cuts?.length ?? 0)));
    this.#written = at;
    const parts = rows.map(() => take(PART_WORDS * this.groups));
    this.results = at;
    const results = rows.map((row) => take(resultWords(row)));
    this.extra = at;
    this.length = at + extra;
    this.#places = rows.map((_, i) => ({
      changes: changes[i],
      mask: masks[i],
      cuts: cuts[i],
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

  get hasCuts(): boolean {
    return this.rows.some(({ task }) => task.cuts !== undefined);
  }

  /** Whether there are rows that are neither listed nor cut. */
  get hasWhole(): boolean {
    return this.rows.some(({ task }) => !task.list && task.cuts === undefined);
  }

  /** What stands at `origin` in the region. */
  wordsAt(origin: number): Uint32Array<ArrayBuffer> {
    const words = new Uint32Array(this.#written);
    for (const [i, row] of this.rows.entries()) {
      const place = this.#places[i];
      const { changes, mask, cuts } = row.task;
      words.set(tableOf(row, place, origin, this.vocab), TASK_WORDS * i);
      if (changes !== undefined) words.set(changeWords(changes), place.changes);
      if (mask !== undefined) words.set(mask.subarray(0, Math.ceil(this.vocab / 32)), place.mask);
      if (cuts !== undefined) words.set(cutWords(cuts, this.vocab), place.cuts);
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
  return list === 0 || place !== undefined ? RESULT_WORDS : LIST_HEAD_WORDS + 2 * list;
}

const NO_PLACE: ScanPlace = { token: 0, coin: 0, q: NONE, qScale: 0, qToken: 1 };

function tableOf(
  { x, task, place }: DrawRow,
  { changes, mask, cuts, parts, result }: Place,
  origin: number,
  vocab: number,
): number[] {
  const { temperature, seed, position, list = 0 } = task;
  const { token, coin, q, qScale, qToken } = place ?? NO_PLACE;
  const { rounding, change } = changeError(task.changes);
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
    cuts: origin + cuts,
    cutCount: task.cuts?.length ?? 0,
    cutList: task.cuts === undefined ? 0 : cutList(task.cuts[0], vocab),
    rounding: bitsOf(rounding),
    change: bitsOf(change),
  };
  return TASK_FIELDS.map((name) => words[name]);
}

/** Tokens that are listed for cuts. */
function cutList(first: Cut, vocab: number): number {
  return Math.min(vocab, first.cut === "top-k" ? first.k + LIST_ROOM : LISTED);
}

function cutWords(cuts: readonly Cut[], vocab: number): Uint32Array {
  const words = new Uint32Array(CUT_WORDS * cuts.length);
  for (const [i, one] of cuts.entries()) words.set(wordsOfCut(one, vocab), CUT_WORDS * i);
  return words;
}

function wordsOfCut(cut: Cut, vocab: number): number[] {
  const kind = CUTS[cut.cut];
  if (cut.cut === "top-k") return [kind, cut.k, cut.ties === "all" ? 1 : 0, 0, 0];
  const { p, temperature } = cut;
  const inverse = bitsOf(1 / temperature);
  if (cut.cut === "min-p") return [kind, bitsOf(Math.min(-log(p) * temperature, MOST_REACH)), 0, inverse, 0];
  return [kind, bitsOf(p), bitsOf(1 - p), inverse, bitsOf(massError(p, vocab))];
}

/** How far f32 may be off in a logit x that is changed: `rounding` · (|x| + `change`). */
export interface ChangeError {
  /** 0: none is changed but to −∞, which is exact. */
  readonly rounding: number;
  /** The largest number that goes into one, beside the row's. */
  readonly change: number;
}

export function changeError({ tokens, changes }: LogitChanges = NO_CHANGES): ChangeError {
  let [rounding, change] = [0, 0];
  for (let i = 0; i < tokens.length; i++) {
    const [before, penalty, after] = [changes[3 * i], changes[3 * i + 1], changes[3 * i + 2]];
    if (after === -Infinity) continue;
    const isSum = before === 0 && penalty === 1;
    rounding = Math.max(rounding, isSum ? ROUNDING_OF_ADDED : ROUNDING_OF_CHANGED);
    change = Math.max(change, Math.abs(before) * Math.max(penalty, 1 / penalty) + Math.abs(after));
  }
  return { rounding, change };
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
