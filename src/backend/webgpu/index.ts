/**
 * The WebGPU backend: kernels in WGSL, over a device that the caller opens.
 *
 * Calls are recorded and run when something is read. It is outside the contract of the same bits: results differ from those
 * of the other backends, and between devices, by what f32 rounds; within one device a position's row is the same bit for
 * bit however calls were cut.
 *
 * What looks at few numbers, once, is done where it is asked: `rowMath`, `fuseKernels` and `wireKernels` take rows of the
 * host's memory, and give the reference's numbers. `lateFuseKernels` are those for rows that lie here. Law kernels, and
 * screens that list tokens, answer at once, which no device can.
 */
import { UnsupportedError } from "../../errors.ts";
import type { WeightType } from "../../format/blocks.ts";
import type { Backend, Floats, KvCache, KvShape, Matrix, MatrixWriter, Top } from "../backend.ts";
import { stride } from "../backend.ts";
import type { DrawKernels } from "../draw-kernels.ts";
import type { LateRowKernels, PlacedRow, RowKernels } from "../fuse-kernels.ts";
import type { CodebookKernels } from "../head-kernels.ts";
import type { LawKernels } from "../law-kernels.ts";
import type { LikelihoodKernels } from "../likelihood-kernels.ts";
import { referenceKernels } from "../reference/fuse.ts";
import { Memory } from "../reference/memory.ts";
import { referenceRowMath } from "../reference/row-math.ts";
import type { RowMath } from "../row-math.ts";
import type { ScreenKernels } from "../screen-kernels.ts";
import { plainWireKernels, type WireKernels } from "../wire-kernels.ts";
import { attention } from "./attention.ts";
import { gpuCodebookKernels } from "./codebook.ts";
import type { GpuDevice } from "./device.ts";
import { DRAW_SCRATCH_WORDS, GpuDraws } from "./draw.ts";
import { FloatStore, GpuFloats, wordOf } from "./floats.ts";
import { GpuFuseKernels } from "./fuse.ts";
import { headKernelsFor } from "./head-needs.ts";
import { spread } from "./kernel.ts";
import { expectKvRoom, GpuKvCache, gpuKvBytes } from "./kv.ts";
import { KvRegions } from "./kv-regions.ts";
import { gpuLikelihoodKernels } from "./likelihood.ts";
import { matmul } from "./matmul.ts";
import { freeMatrix, GpuMatrix, GpuMatrixWriter, gpuMatrixBytes } from "./matrix.ts";
import { type Pipelines, pipelinesOf } from "./pipelines.ts";
import { embed } from "./products.ts";
import { type Params, Recorder, type Target, type Traffic } from "./recorder.ts";
import { Region, Scratch } from "./region.ts";
import { GpuRows } from "./rows.ts";
import { GpuScreenKernels } from "./screen.ts";
import type { WebGpuBackend, WebGpuBackendOptions } from "./webgpu-backend.ts";
import { THREADS } from "./wgsl/layer.ts";

export { type GpuDevice, type GpuOptions, type GpuProvider, openDevice } from "./device.ts";
export { openSharedDevice } from "./shared-device.ts";
export type { WebGpuBackend, WebGpuBackendOptions } from "./webgpu-backend.ts";

/** What devices with that much memory of their own are asked for at most. */
const DEFAULT_MAX_BYTES = 64 * 2 ** 30;

/**
 * @example
 * ```ts
 * const backend = createWebGpuBackend(await openDevice(navigator.gpu));
 * const x = backend.floats(3);
 * backend.write(x, Float32Array.of(1, 3, 2));
 * await backend.argmax(x, 3); // 1
 * ```
 */
export function createWebGpuBackend(gpu: GpuDevice, options: WebGpuBackendOptions = {}): WebGpuBackend {
  return new GpuBackend(gpu, options);
}

class GpuBackend implements WebGpuBackend {
  readonly name = "webgpu";
  /** A prompt of 256 tokens is two passes: there is much to be done at once, and a call of a kernel costs microseconds. */
  readonly passColumns = 128;
  readonly build: GpuDevice["products"];
  readonly #gpu: GpuDevice;
  readonly #memory: Memory;
  readonly #pipelines: Pipelines;
  readonly #recorder: Recorder;
  readonly #floats: FloatStore;
  readonly #kvRegions: KvRegions;
  readonly #maxBindingBytes: number;
  readonly #target: Target;
  readonly #rows: GpuRows;
  readonly #draws: GpuDraws;
  readonly #likelihoodKernels: LikelihoodKernels;
  readonly #fuseKernels: GpuFuseKernels;
  readonly #screenKernels: ScreenKernels;
  readonly #ownsDevice: boolean;

  constructor(gpu: GpuDevice, options: WebGpuBackendOptions) {
    const { maxBytes = DEFAULT_MAX_BYTES, maxBindingBytes, ownsDevice = false } = options;
    this.#ownsDevice = ownsDevice;
    this.build = gpu.products;
    this.#gpu = gpu;
    this.#memory = new Memory(maxBytes);
    this.#pipelines = pipelinesOf(gpu);
    this.#recorder = new Recorder(gpu, this.#pipelines);
    this.#maxBindingBytes = Math.min(maxBindingBytes ?? gpu.maxBindingBytes, gpu.maxBindingBytes);
    const region = new Region(this.#recorder, gpu.maxBindingBytes);
    const scratch = new Scratch(region, DRAW_SCRATCH_WORDS);
    this.#floats = new FloatStore(this.#recorder, this.#memory, region, scratch);
    this.#kvRegions = new KvRegions(this.#recorder, gpu.maxBindingBytes);
    this.#target = {
      recorder: this.#recorder,
      pipelines: this.#pipelines,
      floats: () => this.#floats.buffer,
    };
    this.#rows = new GpuRows(this.#target, scratch);
    this.#draws = new GpuDraws(this.#target, scratch);
    this.#likelihoodKernels = gpuLikelihoodKernels(this);
    this.#fuseKernels = new GpuFuseKernels(this.#target, this.#floats, (row) => this.#storeOf(row));
    this.#screenKernels = new GpuScreenKernels(this.#target, this.#floats, this.#maxBindingBytes);
  }

  get usedBytes(): number {
    return this.#memory.usedBytes;
  }

  get maxBytes(): number {
    return this.#memory.maxBytes;
  }

  get failure(): string | null {
    return this.#recorder.faults.failure;
  }

  get traffic(): Traffic {
    return this.#recorder.traffic;
  }

  get variant(): string {
    return this.#gpu.variant;
  }

  prepare(
    types: Iterable<WeightType>,
    onProgress?: (ready: number, total: number) => void,
    heads: Iterable<string> = [],
  ): Promise<void> {
    const all = [...types];
    return this.#pipelines.prepare(all, onProgress, headKernelsFor(heads, all));
  }

  async settle(): Promise<void> {
    await this.#recorder.read(this.#floats.buffer, 0, 4);
  }

  settleMemory(): Promise<void> {
    return this.#recorder.faults.memorySettled();
  }

  abandon(): void {
    this.#recorder.abandon();
  }

  reserve(bytes: number): void {
    this.#memory.reserve(bytes);
  }

  /** Kernels here need none that depends on shapes. */
  reserveScratch(): void {}

  floats(length: number): GpuFloats {
    return this.#floats.cleared(length);
  }

  slice(x: Floats, start: number, length: number): GpuFloats {
    return new GpuFloats((x as GpuFloats).offset + start * 4, length, true);
  }

  write(x: Floats, values: Float32Array): void {
    if (values.length === 0) return;
    this.#floats.write(x, values as Float32Array<ArrayBuffer>);
  }

  copy(to: Floats, x: Floats, count: number): void {
    this.#forEach("copy", count, { to: wordOf(to), x: wordOf(x) });
  }

  async read(x: Floats): Promise<Float32Array> {
    if (x.length === 0) return new Float32Array(0);
    return await this.#floats.read(x);
  }

  matrixBytes(type: WeightType, rows: number, cols: number): number {
    return gpuMatrixBytes(type, rows, cols);
  }

  /** @throws {UnsupportedError} If memory of one before was not there: no need to read on. */
  matrix(type: WeightType, rows: number, cols: number): MatrixWriter {
    this.#recorder.faults.expectWell();
    return new GpuMatrixWriter(this.#recorder, this.#memory, { type, rows, cols }, this.#maxBindingBytes);
  }

  rowsOf(weights: Matrix, first: number, count: number): Matrix {
    return (weights as GpuMatrix).view(first, count);
  }

  kvBytes(shape: KvShape, capacity: number): number {
    return gpuKvBytes(shape, capacity);
  }

  kvCache(shape: KvShape, capacity: number): KvCache {
    const host = { ...this.#target, memory: this.#memory, regions: this.#kvRegions };
    return GpuKvCache.open(host, shape, capacity);
  }

  expectKvRoom(shape: KvShape, capacity: number): void {
    expectKvRoom(this.#kvRegions, shape, capacity);
  }

  forkKv(cache: KvCache, length: number, capacity: number): KvCache {
    return (cache as GpuKvCache).fork(length, capacity);
  }

  claimKv(cache: KvCache, position: number, columns: number): void {
    (cache as GpuKvCache).claim(position, columns);
  }

  free(handle: Floats | Matrix | KvCache): void {
    if (handle instanceof GpuKvCache) handle.free();
    else if (handle instanceof GpuMatrix) {
      if (handle.isView) throw new TypeError("Cannot free rows of a matrix: free what they are of");
      freeMatrix(handle, this.#memory, this.#recorder);
    } else this.#floats.free(handle as GpuFloats);
  }

  /** The device stays unless it is the backend's own. */
  close(): void {
    this.#recorder.close();
    this.#floats.close();
    this.#kvRegions.close();
    this.#memory.close();
    if (this.#ownsDevice) this.#gpu.close();
  }

  embed(out: Floats, weights: Matrix, tokens: ArrayLike<number>): void {
    embed(this.#target, out, weights as GpuMatrix, tokens);
  }

  matmul(x: Floats, columns: number, products: readonly { weights: Matrix; out: Floats }[]): void {
    const parts = products.map(({ weights, out }) => ({ weights: weights as GpuMatrix, out }));
    matmul(this.#target, (words) => this.#floats.scratch.of(words), x, columns, parts);
  }

  rmsNorm(out: Floats, x: Floats, weight: Floats, size: number, count: number, epsilon: number): void {
    const [across, down] = spread(count);
    const params = { out: wordOf(out), x: wordOf(x), weight: wordOf(weight), size, stride: stride(size) };
    this.#run("rmsNorm", { ...params, count, across, epsilon }, [across, down]);
  }

  add(x: Floats, y: Floats, count: number): void {
    this.#forEach("add", count, { x: wordOf(x), y: wordOf(y) });
  }

  scale(x: Floats, factor: number, count: number): void {
    this.#forEach("scale", count, { x: wordOf(x), factor });
  }

  addBias(x: Floats, bias: Floats, size: number, columns: number): void {
    const params = { x: wordOf(x), bias: wordOf(bias), size, stride: stride(size) };
    this.#forEach("addBias", size * columns, params);
  }

  swiglu(out: Floats, gate: Floats, up: Floats, count: number): void {
    this.#forEach("swiglu", count, { out: wordOf(out), gate: wordOf(gate), up: wordOf(up) });
  }

  geglu(out: Floats, gate: Floats, up: Floats, count: number): void {
    this.#forEach("geglu", count, { out: wordOf(out), gate: wordOf(gate), up: wordOf(up) });
  }

  rope(x: Floats, table: Floats, shape: Parameters<Backend["rope"]>[2]): void {
    const { position, columns, heads, headDim, rotary, pairs } = shape;
    const half = rotary / 2;
    const perColumn = heads * half;
    const params = {
      x: wordOf(x),
      size: stride(heads * headDim),
      table: wordOf(table),
      stride: stride(rotary),
      position,
      headDim,
      half,
      interleaved: pairs === "interleaved" ? 1 : 0,
      perColumn,
    };
    this.#forEach("rope", columns * perColumn, params);
  }

  storeKv(cache: KvCache, key: Floats, value: Floats, place: Parameters<Backend["storeKv"]>[3]): void {
    const { buffer, ...at } = (cache as GpuKvCache).at(place.layer);
    const params = { ...place, ...at, key: wordOf(key), value: wordOf(value) };
    this.#run("storeKv", params, [place.columns * cache.kvHeads, 2], buffer);
  }

  copyKv(cache: KvCache, from: KvCache, place: Parameters<Backend["copyKv"]>[2]): void {
    const { buffer, ...at } = (cache as GpuKvCache).at(place.layer);
    const params = { ...place, ...at, sourceTable: (from as GpuKvCache).at(place.layer).table };
    this.#run("copyKv", params, [place.columns * cache.kvHeads, 2], buffer);
  }

  attention(out: Floats, q: Floats, cache: KvCache, shape: Parameters<Backend["attention"]>[3]): void {
    const scratch = (words: number) => this.#floats.scratch.of(words);
    attention(this.#target, scratch, out, q, cache as GpuKvCache, shape);
  }

  argmax(x: Floats, count: number): Promise<number> {
    return this.#rows.argmax(x, count);
  }

  top(x: Floats, vocab: number, count: number): Promise<Top> {
    return this.#draws.top(x, vocab, count);
  }

  logSumExp(x: Floats, count: number): Promise<number> {
    return this.#rows.logSumExp(x, count);
  }

  softmax(out: Floats, x: Floats, count: number): void {
    this.#rows.softmax(out, x, count);
  }

  drawKernels(): DrawKernels {
    return this.#draws;
  }

  /** @throws {UnsupportedError} Always. */
  lawKernels(): LawKernels {
    throw notHere("the law of a row");
  }

  likelihoodKernels(): LikelihoodKernels {
    return this.#likelihoodKernels;
  }

  rowMath(): RowMath {
    return referenceRowMath;
  }

  fuseKernels(): RowKernels<object> {
    return referenceKernels;
  }

  lateFuseKernels(): LateRowKernels<object> {
    return this.#fuseKernels as LateRowKernels<object>;
  }

  sharesDevice(other: WebGpuBackend): boolean {
    return other instanceof GpuBackend && other.#gpu.device === this.#gpu.device;
  }

  screenKernels(): ScreenKernels {
    return this.#screenKernels;
  }

  wireKernels(): WireKernels {
    return plainWireKernels;
  }

  codebookKernels(): CodebookKernels {
    const run = (name: string, count: number, params: Params) => this.#forEach(name, count, params);
    return gpuCodebookKernels(this.#target, this.#floats, run);
  }

  /** A kernel with a thread for each of `count` values. */
  #forEach(name: string, count: number, params: Params): void {
    if (count === 0) return;
    const [across, down] = spread(Math.ceil(count / THREADS));
    this.#run(name, { ...params, count, across }, [across, down]);
  }

  #run(name: string, params: Params, groups: readonly [number, number], second?: GPUBuffer): void {
    if (groups[0] === 0) return;
    const buffers = { floats: this.#floats.buffer, second };
    this.#recorder.dispatch(this.#pipelines.named(name), buffers, params, groups);
  }

  /** What a row stands in; null: on another device. */
  #storeOf({ backend }: PlacedRow): FloatStore | null {
    return backend instanceof GpuBackend && this.sharesDevice(backend) ? backend.#floats : null;
  }
}

function notHere(what: string): UnsupportedError {
  return new UnsupportedError(
    `Cannot ask a WebGPU backend for ${what}: read the row, and ask a backend of this process`,
  );
}
