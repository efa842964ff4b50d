/**
 * The Wasm backend: the kernels of assembly/ over one linear memory. Handles are addresses; every call is synchronous.
 */
import type { WeightType } from "../../format/blocks.ts";
import type { Backend, Floats, KvCache, KvShape, Matrix, MatrixWriter, Top } from "../backend.ts";
import { stride } from "../backend.ts";
import type { RowKernels } from "../fuse-kernels.ts";
import type { CodebookKernels } from "../head-kernels.ts";
import type { LawKernels } from "../law-kernels.ts";
import type { LikelihoodKernels } from "../likelihood-kernels.ts";
import type { RowMath } from "../row-math.ts";
import type { ScreenKernels } from "../screen-kernels.ts";
import type { WireKernels } from "../wire-kernels.ts";
import { Arena } from "./arena.ts";
import { createWasmCodebookKernels } from "./codebook.ts";
import type { Exports } from "./exports.ts";
import { WasmFuseKernels } from "./fuse.ts";
import { type Build, instantiate } from "./instantiate.ts";
import { KvMemory, type WasmKvCache } from "./kv.ts";
import { createWasmLawKernels, LAW_BYTES } from "./law.ts";
import { createWasmLikelihoodKernels } from "./likelihood.ts";
import { FORMAT_IDS, type PackedMatrix, PackingWriter, packedBytes } from "./matrix.ts";
import { createWasmRowMath } from "./row-math.ts";
import { Scratch } from "./scratch.ts";
import { WasmScreenKernels } from "./screen.ts";
import { WasmWireKernels } from "./wire.ts";

/** Columns that one matmul call lays out at once: bounds the scratch memory, and fits the second-level cache. */
const COLUMNS_AT_ONCE = 32;

/** Of `top` for 4,096 tokens, and of the law kernels: such calls never move memory, so a view of the row outlives them. */
const SAMPLING_BYTES = Math.max(4096 * 8, LAW_BYTES);

/** The widest window of attention. */
const ALL_POSITIONS = 2 ** 32 - 1;

const MAX_BYTES = 4096 * 2 ** 20 - 65_536;

interface WasmFloats extends Floats {
  readonly address: number;
}

export interface WasmBackendOptions {
  /** Which build `module` is. Default "simd". */
  build?: Build;
  /** Ceiling of the linear memory. Default: what 32-bit addresses reach. */
  maxBytes?: number;
}

/**
 * A backend over a compiled kernel module.
 *
 * @throws {UnsupportedError} If the module is not usable here; another build may be.
 *
 * @example
 * ```ts
 * const backend = createWasmBackend(await WebAssembly.compile(bytes), { build: "simd", maxBytes: 100 << 20 });
 * ```
 */
export function createWasmBackend(module: WebAssembly.Module, options: WasmBackendOptions = {}): Backend {
  const build = options.build ?? "simd";
  return new WasmBackend(
    instantiate(module, build),
    build,
    Math.min(options.maxBytes ?? MAX_BYTES, MAX_BYTES),
  );
}

class WasmBackend implements Backend {
  readonly name = "wasm";
  readonly passColumns = 32;
  readonly build: Build;
  readonly #kernels: Exports;
  readonly #arena: Arena;
  readonly #kv: KvMemory;
  #likelihoodKernels: LikelihoodKernels | undefined;
  #rowMath: RowMath | undefined;
  #fuseKernels: RowKernels<object> | undefined;
  #screenKernels: ScreenKernels | undefined;
  #wireKernels: WireKernels | undefined;
  #codebookKernels: CodebookKernels | undefined;
  /** Scratch for laid-out inputs and attention scores: grows to the largest need, is never zeroed. */
  readonly #scratch: Scratch;

  constructor(kernels: Exports, build: Build, maxBytes: number) {
    this.#kernels = kernels;
    this.build = build;
    this.#arena = new Arena(kernels.memory, kernels.heap_base(), maxBytes);
    this.#kv = new KvMemory(kernels, this.#arena);
    this.#scratch = new Scratch(kernels.memory, this.#arena);
  }

  get usedBytes(): number {
    return this.#arena.usedBytes;
  }

  get maxBytes(): number {
    return this.#arena.maxBytes;
  }

  reserve(bytes: number): void {
    this.#arena.reserve(bytes);
  }

  reserveScratch(cols: number, capacity: number): void {
    const inputs = Object.values(FORMAT_IDS).map((id) =>
      this.#kernels.input_bytes(id, cols, COLUMNS_AT_ONCE),
    );
    this.#scratch.of(Math.max(...inputs, scoreBytes(capacity, cols), SAMPLING_BYTES));
  }

  floats(length: number): WasmFloats {
    return { address: this.#arena.allocate(stride(length) * 4), length };
  }

  slice(x: Floats, start: number, length: number): WasmFloats {
    return { address: address(x) + start * 4, length };
  }

  write(x: Floats, values: Float32Array): void {
    new Float32Array(this.#kernels.memory.buffer, address(x), x.length).set(values);
  }

  copy(to: Floats, x: Floats, count: number): void {
    const bytes = new Uint8Array(this.#kernels.memory.buffer);
    bytes.copyWithin(address(to), address(x), address(x) + count * 4);
  }

  read(x: Floats): Float32Array {
    return new Float32Array(this.#kernels.memory.buffer, address(x), x.length);
  }

  matrixBytes(type: WeightType, rows: number, cols: number): number {
    return packedBytes(type, rows, cols);
  }

  matrix(type: WeightType, rows: number, cols: number): MatrixWriter {
    return new PackingWriter(this.#kernels, this.#arena, type, rows, cols);
  }

  rowsOf(weights: Matrix, first: number, count: number): PackedMatrix {
    const { address: tiles, type, cols } = weights as PackedMatrix;
    const at = tiles + packedBytes(type, first, cols);
    return { address: at, type, rows: count, cols, bytes: packedBytes(type, count, cols) };
  }

  kvBytes(shape: KvShape, capacity: number): number {
    return this.#kv.bytes(shape, capacity);
  }

  kvCache(shape: KvShape, capacity: number): KvCache {
    return this.#kv.open(shape, capacity);
  }

  forkKv(cache: KvCache, length: number, capacity: number): KvCache {
    return this.#kv.fork(cache as WasmKvCache, length, capacity);
  }

  claimKv(cache: KvCache, position: number, columns: number): void {
    this.#kv.claim(cache as WasmKvCache, position, columns);
  }

  free(handle: Floats | Matrix | KvCache): void {
    if ("table" in handle) this.#kv.free(handle as WasmKvCache);
    else this.#arena.free(address(handle as Floats));
  }

  /** The instance and its memory go when the last reference does; there is nothing to release by hand. */
  close(): void {}

  embed(out: Floats, weights: Matrix, tokens: ArrayLike<number>): void {
    const { address: tiles, type, cols } = weights as PackedMatrix;
    for (let i = 0; i < tokens.length; i++) {
      this.#kernels.unpack_row(FORMAT_IDS[type], tiles, tokens[i], address(out) + i * stride(cols) * 4, cols);
    }
  }

  matmul(x: Floats, columns: number, products: readonly { weights: Matrix; out: Floats }[]): void {
    const cols = products[0].weights.cols;
    const xStride = stride(cols) * 4;
    for (let first = 0; first < columns; first += COLUMNS_AT_ONCE) {
      const some = Math.min(COLUMNS_AT_ONCE, columns - first);
      let prepared: WeightType | undefined;
      let input = 0;
      for (const { weights, out } of products) {
        const format = FORMAT_IDS[weights.type];
        if (weights.type !== prepared) {
          input = this.#scratch.of(this.#kernels.input_bytes(format, cols, some));
          this.#kernels.prepare(format, address(x) + first * xStride, xStride, input, cols, some);
          prepared = weights.type;
        }
        const outStride = stride(weights.rows) * 4;
        this.#kernels.matmul(
          format,
          (weights as PackedMatrix).address,
          input,
          address(out) + first * outStride,
          outStride,
          weights.rows,
          cols,
          some,
        );
      }
    }
  }

  rmsNorm(out: Floats, x: Floats, weight: Floats, size: number, count: number, epsilon: number): void {
    this.#kernels.rms_norm(address(x), address(weight), address(out), size, count, epsilon);
  }

  add(x: Floats, y: Floats, count: number): void {
    this.#kernels.add(address(x), address(y), count);
  }

  scale(x: Floats, factor: number, count: number): void {
    this.#kernels.scale(address(x), factor, count);
  }

  addBias(x: Floats, bias: Floats, size: number, columns: number): void {
    for (let column = 0; column < columns; column++) {
      this.#kernels.add(address(x) + column * stride(size) * 4, address(bias), size);
    }
  }

  swiglu(out: Floats, gate: Floats, up: Floats, count: number): void {
    this.#kernels.swiglu(address(gate), address(up), address(out), count);
  }

  geglu(out: Floats, gate: Floats, up: Floats, count: number): void {
    this.#kernels.geglu(address(gate), address(up), address(out), count);
  }

  rope(x: Floats, table: Floats, shape: Parameters<Backend["rope"]>[2]): void {
    const { position, columns, heads, headDim, rotary, pairs } = shape;
    const halfSplit = pairs === "half-split" ? 1 : 0;
    for (let column = 0; column < columns; column++) {
      this.#kernels.rope(
        address(x) + column * heads * headDim * 4,
        address(table) + (position + column) * stride(rotary) * 4,
        heads,
        headDim,
        rotary,
        halfSplit,
      );
    }
  }

  storeKv(cache: KvCache, key: Floats, value: Floats, place: Parameters<Backend["storeKv"]>[3]): void {
    const { table, kvHeads, headDim } = cache as WasmKvCache;
    const { layer, position, columns } = place;
    for (let column = 0; column < columns; column++) {
      const offset = column * kvHeads * headDim * 4;
      this.#kernels.store_kv(
        address(key) + offset,
        address(value) + offset,
        table,
        layer,
        position + column,
        kvHeads,
        headDim,
      );
    }
  }

  copyKv(cache: KvCache, from: KvCache, place: Parameters<Backend["copyKv"]>[2]): void {
    const { table, kvHeads, headDim } = cache as WasmKvCache;
    const { layer, source, position, columns } = place;
    const sourceTable = (from as WasmKvCache).table;
    for (let i = 0; i < columns; i++) {
      this.#kernels.copy_kv(sourceTable, source + i, table, position + i, layer, kvHeads, headDim);
    }
  }

  attention(out: Floats, q: Floats, cache: KvCache, shape: Parameters<Backend["attention"]>[3]): void {
    const { table, capacity, kvHeads, headDim } = cache as WasmKvCache;
    const { layer, position, columns, heads, scale, window = ALL_POSITIONS } = shape;
    this.#kernels.attention(
      address(q),
      table,
      address(out),
      this.#scratch.of(scoreBytes(capacity, headDim)),
      layer,
      position,
      columns,
      heads,
      kvHeads,
      headDim,
      scale,
      window,
    );
  }

  argmax(x: Floats, count: number): number {
    return this.#kernels.argmax(address(x), count) >>> 0;
  }

  logSumExp(x: Floats, count: number): number {
    return this.#kernels.log_sum_exp(address(x), count);
  }

  softmax(out: Floats, x: Floats, count: number): void {
    this.#kernels.softmax(address(x), address(out), count);
  }

  top(x: Floats, vocab: number, count: number): Top {
    const most = Math.min(count, vocab);
    const out = this.#scratch.of(most * 8);
    const found = this.#kernels.top(address(x), vocab, most, out);
    const pairs = new DataView(this.#kernels.memory.buffer, out, found * 8);
    const ids = Uint32Array.from({ length: found }, (_, i) => pairs.getUint32(i * 8, true));
    return { ids, logits: Float32Array.from(ids, (_, i) => pairs.getFloat32(i * 8 + 4, true)) };
  }

  lawKernels(x: Floats, vocab: number): LawKernels {
    const scratch = () => this.#scratch.of(SAMPLING_BYTES);
    // Now, as later calls must not move memory.
    scratch();
    return createWasmLawKernels(this.#kernels, address(x), vocab, scratch);
  }

  likelihoodKernels(): LikelihoodKernels {
    this.#likelihoodKernels ??= createWasmLikelihoodKernels(this.#kernels, this.#arena, address);
    return this.#likelihoodKernels;
  }

  rowMath(): RowMath {
    this.#rowMath ??= createWasmRowMath(this.#kernels, this.#arena);
    return this.#rowMath;
  }

  fuseKernels(): RowKernels<object> {
    this.#fuseKernels ??= new WasmFuseKernels(this.#kernels, this.#arena);
    return this.#fuseKernels;
  }

  screenKernels(): ScreenKernels {
    this.#screenKernels ??= new WasmScreenKernels(this.#kernels, this.#arena);
    return this.#screenKernels;
  }

  wireKernels(): WireKernels {
    this.#wireKernels ??= new WasmWireKernels(this.#kernels, this.#arena);
    return this.#wireKernels;
  }

  codebookKernels(): CodebookKernels {
    this.#codebookKernels ??= createWasmCodebookKernels(this.#kernels, this.#arena, address);
    return this.#codebookKernels;
  }
}

/** Four heads that attention works on at a time, and their scores. */
function scoreBytes(capacity: number, headDim: number): number {
  return 16 * (stride(capacity) + headDim);
}

function address(x: Floats | Matrix): number {
  return (x as WasmFloats).address;
}
