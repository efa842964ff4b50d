/**
 * fuse-answers: what was asked of rows on a device, until it comes back.
 *
 *     ask, ask, ask, …     kernels recorded, each with a place for its words
 *     settle               one submission, one read; the words become answers
 *
 * Answers belong to the row that was asked, by a key, so that the same question is not asked twice.
 */
import { PENDING, type Pending } from "../fuse-kernels.ts";
import type { Faults } from "./faults.ts";
import { type FloatStore, type GpuFloats, wordOf } from "./floats.ts";
import type { Recorder, Target } from "./recorder.ts";

/** Words of an answer, as both of what they may be. */
export interface Words {
  readonly bits: Uint32Array;
  readonly values: Float32Array;
}

/** By key; undefined: asked, and not there yet. */
export type AnswerMap = Map<string, { readonly value: unknown } | undefined>;

interface Asked {
  readonly block: Block;
  readonly at: number;
  readonly words: number;
  readonly answers: AnswerMap;
  readonly key: string;
  readonly read: (words: Words) => unknown;
}

interface Block {
  readonly floats: GpuFloats;
  used: number;
}

const FIRST_WORDS = 4096;

export class Answers {
  readonly #recorder: Recorder;
  readonly #floats: FloatStore;
  /** The last one has room; the others wait to be read. */
  #blocks: Block[] = [];
  #asked: Asked[] = [];
  #reading: Promise<void> = Promise.resolve();
  /** Of backends that rows were copied from. */
  readonly #faults = new Set<Faults>();

  constructor({ recorder }: Target, floats: FloatStore) {
    this.#recorder = recorder;
    this.#floats = floats;
  }

  /**
   * @param words That `record` writes, from the word on that it is given.
   * @param read Makes an answer of them.
   */
  ask<T>(
    answers: AnswerMap,
    key: string,
    words: number,
    record: (result: number) => void,
    read: (words: Words) => T,
  ): T | Pending {
    if (answers.has(key)) return (answers.get(key)?.value as T | undefined) ?? PENDING;
    const block = this.#room(words);
    const at = block.used;
    record(wordOf(block.floats) + at);
    block.used += words;
    this.#asked.push({ block, at, words, answers, key, read });
    answers.set(key, undefined);
    return PENDING;
  }

  /** Says that rows come from another backend: what went wrong there is to be known before they are answered for. */
  relyOn(faults: Faults): void {
    this.#faults.add(faults);
  }

  /** Waits for everything that was asked. @throws {UnsupportedError} If the backend has failed. */
  async settle(): Promise<void> {
    const before = this.#reading;
    const now = this.#read();
    this.#reading = now;
    try {
      await Promise.all([before, now]);
    } finally {
      if (this.#reading === now) this.#reading = Promise.resolve();
    }
  }

  async #read(): Promise<void> {
    const [asked, blocks] = [this.#asked, this.#blocks];
    if (asked.length === 0) return;
    this.#asked = [];
    const reads = blocks.map(async (block): Promise<[Block, ArrayBuffer]> => {
      const { offset } = block.floats;
      return [block, await this.#recorder.read(this.#floats.buffer, offset, Math.max(1, block.used) * 4)];
    });
    // The copies are on their way: what is asked from now on may be written to the same place.
    const last = blocks.pop()!;
    for (const { floats } of blocks) this.#floats.free(floats);
    this.#blocks = [{ floats: last.floats, used: 0 }];
    const buffers = new Map(await Promise.all(reads));
    await Promise.all([...this.#faults].map((faults) => faults.settled()));
    for (const faults of this.#faults) if (faults.failure !== null) this.#faults.delete(faults);
    for (const { block, at, words, answers, key, read } of asked) {
      const buffer = buffers.get(block)!;
      const bits = new Uint32Array(buffer, at * 4, words);
      answers.set(key, { value: read({ bits, values: new Float32Array(buffer, at * 4, words) }) });
    }
  }

  #room(words: number): Block {
    const last = this.#blocks.at(-1);
    if (last !== undefined && last.used + words <= last.floats.length) return last;
    const length = Math.max(FIRST_WORDS, FIRST_WORDS + words, 2 * (last?.floats.length ?? 0));
    const block = { floats: this.#floats.allocate(length), used: 0 };
    if (last?.used === 0) this.#floats.free(this.#blocks.pop()!.floats);
    this.#blocks.push(block);
    return block;
  }
}
