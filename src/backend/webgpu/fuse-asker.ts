/**
 * fuse-asker: asks kernels for numbers of rows where they lie.
 *
 * What is wrong with a row is found by the first kernel that reads it, and told by whatever is asked of it, or of a row that is
 * made of it.
 */
import { PENDING, type Pending } from "../fuse-kernels.ts";
import type { FloatStore } from "./floats.ts";
import type { AnswerMap, Answers, Words } from "./fuse-answers.ts";
import { expectHeld, type GpuRow, logitOf, logitOfBits } from "./fuse-rows.ts";
import { type Kernel, spread } from "./kernel.ts";
import type { Params, Target } from "./recorder.ts";
import { THREADS } from "./wgsl/layer.ts";
import {
  EXTREMES_WIDTH,
  fuseExtremes,
  fuseJoin,
  fuseTops,
  MEASURE_GROUPS,
  measureGroups,
  TOPS_WIDTH,
} from "./wgsl/measure.ts";
import { fuseWrong, MOST_JUDGED, WRONG_WIDTH } from "./wgsl/wrong.ts";

/** No row, and no token. */
const NONE = 0xffffffff;

export interface Extremes {
  readonly top: number;
  readonly argmax: number;
  /** The largest but for that one, and the least. */
  readonly second: number;
  readonly least: number;
  readonly count: number;
}

export class Asker {
  readonly #target: Target;
  readonly #floats: FloatStore;
  readonly #answers: Answers;

  constructor(target: Target, floats: FloatStore, answers: Answers) {
    this.#target = target;
    this.#floats = floats;
    this.#answers = answers;
  }

  /** Word of room for what kernels leave each other, until it is asked for again. */
  scratch(words: number): number {
    return this.#floats.scratch.of(words);
  }

  /**
   * @param words That `record` writes, from the word on that it is given.
   * @param read Makes an answer of them.
   * @throws {RangeError} If something is wrong with a row.
   */
  ask<T>(
    rows: readonly GpuRow[],
    key: string,
    words: number,
    record: (result: number) => void,
    read: (words: Words) => T,
  ): T | Pending {
    const checked = this.checked(rows);
    const answer = this.#answers.ask(rows[0].answers, key, words, record, read);
    return checked === PENDING ? PENDING : answer;
  }

  /**
   * Of all rows, if they are none of which something is wrong.
   *
   * @throws {RangeError} If one is.
   * @throws {UnsupportedError} If the backend of one has failed.
   */
  checked(rows: readonly GpuRow[]): readonly Extremes[] | Pending {
    const origins = new Set(rows.flatMap((row) => [...expectHeld(row).origins]));
    let isKnown = true;
    // One that was given back has told what it had to tell.
    for (const origin of origins) if (!origin.isFree && this.extremes(origin) === PENDING) isKnown = false;
    return isKnown ? rows.map((row) => this.extremes(row) as Extremes) : PENDING;
  }

  extremes(row: GpuRow): Extremes | Pending {
    const found = this.#answers.ask(
      row.answers,
      "extremes",
      EXTREMES_WIDTH,
      (result) => {
        const { tops, groups } = this.topsOf(row);
        this.run(fuseExtremes, { x: row.x, groups, parts: tops, result });
      },
      ({ bits }) => [...bits],
    );
    if (found === PENDING) return PENDING;
    // The row may not be what its backend was to make: that was known before anything of it was answered.
    row.faults?.expectWell();
    const [order, argmax, second, least, count, bad, badBits] = found;
    if (bad !== NONE) throw wrongLogit(row.name, bad, logitOfBits(badBits));
    if (row.name !== null && count === 0) throw noLogit(row.name);
    return { top: logitOf(order), argmax, second: logitOf(second), least: logitOf(least), count };
  }

  /**
   * Asks whether a row that is a result is one, and has a token, and whether all are rows that it was made of.
   *
   * @returns To be called when that is known: throws what is wrong, or an UnsupportedError if the backend of one has failed.
   */
  judge(result: GpuRow): () => void {
    const rows = [...expectHeld(result).origins].filter(({ isFree }) => !isFree);
    const judges: (() => void)[] = [];
    for (let first = 0; first < rows.length; first += MOST_JUDGED) {
      judges.push(this.#judge(rows.slice(first, first + MOST_JUDGED), result));
    }
    return () => {
      for (const row of rows) row.faults?.expectWell();
      for (const judge of judges) judge();
    };
  }

  #judge(rows: readonly GpuRow[], result: GpuRow): () => void {
    const list = rows.flatMap((row) => {
      const { tops, groups } = this.topsOf(row);
      return [row.x, tops, groups, row.name !== null || row === result ? 1 : 0];
    });
    const names = rows.map(({ name }) => name);
    const answers: AnswerMap = new Map();
    const ask = () =>
      this.#answers.ask(
        answers,
        "wrong",
        WRONG_WIDTH,
        (words) => this.run(fuseWrong, { rows: rows.length, result: words }, [1, 1], list),
        ({ bits: [row, token, bits] }) => {
          if (row === NONE) return [];
          return [token === NONE ? noLogit(names[row]) : wrongLogit(names[row], token, logitOfBits(bits))];
        },
      );
    ask();
    return () => {
      const errors = ask();
      if (errors === PENDING)
        throw new TypeError("Cannot judge a row: kernels have not answered, wait for them");
      if (errors.length > 0) throw errors[0];
    };
  }

  /** Records `fuseTops` once. */
  topsOf(row: GpuRow): { readonly tops: number; readonly groups: number; readonly count: number } {
    const groups = measureGroups(row.vocab);
    if (row.tops === null) {
      const held = this.#floats.allocate(TOPS_WIDTH * MEASURE_GROUPS);
      row.held.push(held);
      row.tops = held.offset / 4;
      this.run(fuseTops, { x: row.x, count: row.vocab, groups, parts: row.tops }, [groups]);
    }
    return { tops: row.tops, groups, count: row.vocab };
  }

  /** Sums of a kernel's parts, `width` words a set. */
  sum(kernel: Kernel, count: number, width: number, params: Params, result: number, sets = 1): void {
    const groups = measureGroups(count);
    this.run(kernel, { ...params, count, groups }, [groups, sets]);
    this.run(fuseJoin, { parts: params.parts, groups, width, result }, [sets]);
  }

  /** @param groups In x, and in y. */
  run(
    kernel: Kernel,
    params: Params,
    groups: readonly [x: number, y?: number] = [1],
    list?: readonly number[],
  ): void {
    const { recorder, pipelines } = this.#target;
    recorder.dispatch(pipelines.of(kernel), { floats: this.#floats.buffer }, params, groups, list);
  }

  /** Copies words within the region. */
  copy(to: number, from: number, count: number): void {
    const { recorder, pipelines } = this.#target;
    const [across, down] = spread(Math.ceil(count / THREADS));
    const params = { to, x: from, count, across };
    recorder.dispatch(pipelines.named("copy"), { floats: this.#floats.buffer }, params, [across, down]);
  }
}

function noLogit(name: string | null): RangeError {
  if (name === null) return new RangeError("Cannot fuse: the plan leaves no token above −∞");
  return new RangeError(`"${name}" must have a logit above −∞, got none`);
}

function wrongLogit(name: string | null, token: number, value: number): RangeError {
  if (name === null) return new RangeError("Cannot fuse: logits that are added up pass the largest f32");
  return new RangeError(`"${name}" must have logits that are f32 below ∞, got ${value} at token ${token}`);
}
