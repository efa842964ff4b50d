/**
 * screen: ScreenKernels on a device: those of product codes. The others list tokens, of which heads ask more before they can go
 * on. A certified head would wait for each list, so here the dense one answers, to the same end.
 */
import { UnsupportedError } from "../../errors.ts";
import { type Floats, type Matrix, stride } from "../backend.ts";
import {
  expectProductTables,
  PRODUCT_TILE,
  PRODUCT_WORDS,
  type ProductCodes,
  type ProductTables,
  productShape,
  type ScreenKernels,
  TILE_ROWS,
} from "../screen-kernels.ts";
import { type FloatStore, type GpuFloats, wordOf } from "./floats.ts";
import { spread } from "./kernel.ts";
import { sectionParams } from "./matmul.ts";
import type { GpuMatrix } from "./matrix.ts";
import { type Target, USAGE } from "./recorder.ts";
import { THREADS } from "./wgsl/layer.ts";
import { fuseFloor } from "./wgsl/measure.ts";
import { productLogits, productTable, rescoreKernel } from "./wgsl/product.ts";

interface GpuProductCodes extends ProductCodes {
  /** Codes of consecutive tiles, no more than can be bound. */
  readonly chunks: readonly { readonly buffer: GPUBuffer; readonly tile: number; readonly tiles: number }[];
  /** (S, 4, 16) codewords, then per token a word: its scale below its bias. */
  readonly tables: GpuFloats;
}

export class GpuScreenKernels implements ScreenKernels {
  readonly #target: Target;
  readonly #floats: FloatStore;
  readonly #maxBytes: number;

  /** @param maxBytes Of a buffer. */
  constructor(target: Target, floats: FloatStore, maxBytes: number) {
    this.#target = target;
    this.#floats = floats;
    this.#maxBytes = maxBytes;
  }

  productBytes(vocab: number, hidden: number): number {
    return productShape(vocab, hidden).codes + 4 * tableWords(vocab, hidden);
  }

  productCodes(tables: ProductTables): GpuProductCodes {
    expectProductTables(tables);
    const { vocab, hidden, codes } = tables;
    const { tiles, pairs, codes: bytes } = productShape(vocab, hidden);
    this.#floats.memory.claim(bytes);
    try {
      const held = this.#floats.allocate(tableWords(vocab, hidden));
      this.#floats.write(held, tableOf(tables));
      const { recorder } = this.#target;
      const most = Math.max(1, Math.floor(this.#maxBytes / (pairs * PRODUCT_TILE)));
      const chunks: GpuProductCodes["chunks"][number][] = [];
      for (let tile = 0; tile < tiles; tile += most) {
        const some = Math.min(most, tiles - tile);
        const part = codes.slice(tile * pairs * PRODUCT_TILE, (tile + some) * pairs * PRODUCT_TILE);
        const buffer = recorder.createBuffer(part.length, USAGE.storage | USAGE.copyTarget);
        recorder.write(buffer, 0, part);
        chunks.push({ buffer, tile, tiles: some });
      }
      return { vocab, hidden, bytes: this.productBytes(vocab, hidden), chunks, tables: held };
    } catch (error) {
      this.#floats.memory.release(bytes);
      throw error;
    }
  }

  productLogits(x: Floats, codes: ProductCodes, out: Floats): void {
    const { vocab, hidden, chunks, tables } = codes as GpuProductCodes;
    const { pairs } = productShape(vocab, hidden);
    const { recorder, pipelines } = this.#target;
    const table = this.#floats.scratch.of(32 * pairs);
    const count = 32 * pairs;
    const [across, down] = spread(Math.ceil(count / THREADS));
    const words = { x: wordOf(x), codebook: wordOf(tables), table, count, across };
    recorder.dispatch(pipelines.of(productTable), { floats: this.#floats.buffer }, words, [across, down]);
    const halves = wordOf(tables) + hidden * PRODUCT_WORDS;
    for (const { buffer, tile, tiles } of chunks) {
      const [across, down] = spread(Math.ceil((4 * tiles) / THREADS));
      const params = { out: wordOf(out), table, halves, tile, tiles, pairs, vocab, across };
      const buffers = { floats: this.#floats.buffer, second: buffer };
      recorder.dispatch(pipelines.of(productLogits), buffers, params, [across, down]);
    }
  }

  refine(row: Floats, vocab: number, x: Floats, weights: Matrix, count: number): void {
    const { type, cols, layout } = weights as GpuMatrix;
    const { recorder, pipelines } = this.#target;
    const floor = this.#floats.scratch.of(3);
    const places = { row: wordOf(row), x: wordOf(x), cols, units: layout.units, floor };
    const floats = this.#floats.buffer;
    const wanted = { x: wordOf(row), count: vocab, k: Math.min(count, vocab), result: floor };
    recorder.dispatch(pipelines.of(fuseFloor), { floats }, wanted, [1]);
    const pipeline = pipelines.of(rescoreKernel(type));
    (weights as GpuMatrix).forEachPart((chunk, { at, first, rows }) => {
      const [across, down] = spread(Math.ceil(rows / TILE_ROWS));
      const params = { ...places, at, first, rows, across, ...sectionParams(chunk.sections) };
      recorder.dispatch(pipeline, { floats, second: chunk.buffer }, params, [across, down]);
    });
  }

  freeCodes(codes: ProductCodes): void {
    const { chunks, tables, vocab, hidden } = codes as GpuProductCodes;
    this.#target.recorder.destroy(...chunks.map(({ buffer }) => buffer));
    this.#floats.free(tables);
    this.#floats.memory.release(productShape(vocab, hidden).codes);
  }

  tileRows = notHere;
  putTiles = notHere;
  raise = notHere;
  listAbove = notHere;
  listRacers = notHere;
  racer = notHere;
}

/** @throws {UnsupportedError} Always. */
function notHere(): never {
  throw new UnsupportedError("Cannot ask a WebGPU backend for a screen of tokens: it answers later");
}

function tableWords(vocab: number, hidden: number): number {
  return stride(hidden * PRODUCT_WORDS + vocab);
}

function tableOf({ vocab, hidden, codebook, scales, biases }: ProductTables): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(hidden * PRODUCT_WORDS + vocab);
  new Float32Array(words.buffer).set(codebook);
  for (let i = 0; i < vocab; i++) words[hidden * PRODUCT_WORDS + i] = scales[i] | (biases[i] << 16);
  return words;
}
