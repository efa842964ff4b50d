/** row-head: heads that make the whole row in the backend's memory and ask it there: what is handed over is a token or a number. */
import { type Backend, type Floats, stride, type Top } from "../../backend/backend.ts";
import { createPipeline, type Pipeline } from "../../decoding/pipeline.ts";
import { expectInteger } from "../../errors.ts";
import { log } from "../../math.ts";
import { expectTemperature, type Head, type HeadDraw, readDraw } from "./head.ts";

export abstract class RowHead implements Head {
  readonly vocab: number;
  readonly hidden: number;
  abstract readonly bytes: number;
  readonly draws = "race";
  readonly #backend: Backend;
  /** The row, and what pads it. */
  readonly #memory: Floats;
  readonly #row: Floats;
  #pipeline: { temperature: number; pipeline: Pipeline } | null = null;

  /** @param length Room for a row. @throws {MemoryError} If there is none. */
  constructor(backend: Backend, vocab: number, hidden: number, length = stride(vocab)) {
    this.vocab = vocab;
    this.hidden = hidden;
    this.#backend = backend;
    this.#memory = backend.floats(length);
    this.#row = backend.slice(this.#memory, 0, vocab);
  }

  /** @param memory (length) */
  protected abstract makeRow(state: Floats, memory: Floats): void;

  argmax(state: Floats): number | Promise<number> {
    return this.#backend.argmax(this.#rowOf(state), this.vocab);
  }

  top(state: Floats, count: number): Top | Promise<Top> {
    expectInteger("count", count, 0, this.vocab);
    return this.#backend.top(this.#rowOf(state), this.vocab, count);
  }

  sample(state: Floats, draw: HeadDraw): number | Promise<number> {
    const { temperature, seed, position } = readDraw(draw);
    const row = this.#rowOf(state);
    const backend = this.#backend;
    const place = { history: [], promptLength: 0, position, seed };
    const pipeline = this.#pipelineOf(temperature);
    if (backend.name === "webgpu") {
      return Promise.resolve(backend.read(row)).then((values) => pipeline.sample(values, place).token);
    }
    // Kernels first: to make them may move memory, and a view of the row with it.
    const law = backend.lawKernels(row, this.vocab);
    const best = (count: number) => backend.top(row, this.vocab, count) as Top;
    const values = backend.read(row) as Float32Array;
    return pipeline.sample(values, { ...place, kernels: { best, law } }).token;
  }

  logPartition(state: Floats, temperature = 1): number | Promise<number> {
    expectTemperature(temperature);
    const row = this.#rowOf(state);
    if (this.#backend.name === "webgpu") {
      this.#backend.scale(row, 1 / temperature, this.vocab);
      return this.#backend.logSumExp(row, this.vocab);
    }
    const law = { temperature, edits: { tokens: new Uint32Array(0), logits: new Float64Array(0) } };
    const kernels = this.#backend.lawKernels(row, this.vocab);
    const { most, count } = kernels.range(law);
    return count === 0 ? -Infinity : most + log(kernels.buckets(law, most, 1).total);
  }

  rows(states: Floats, columns: number, out: Floats): void {
    for (let column = 0; column < columns; column++) {
      const row = this.#rowOf(this.#backend.slice(states, column * this.hidden, this.hidden));
      this.#backend.copy(this.#backend.slice(out, column * stride(this.vocab), this.vocab), row, this.vocab);
    }
  }

  close(): void {
    this.#backend.free(this.#memory);
  }

  #rowOf(state: Floats): Floats {
    this.makeRow(state, this.#memory);
    return this.#row;
  }

  #pipelineOf(temperature: number): Pipeline {
    if (this.#pipeline?.temperature !== temperature) {
      this.#pipeline = { temperature, pipeline: createPipeline([{ step: "temperature", temperature }]) };
    }
    return this.#pipeline.pipeline;
  }
}
