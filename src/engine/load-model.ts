/**
 * loadModel: from bytes to a model that can decode.
 *
 *     header  →  what is it, can it run, what will it take  →  reserve that memory at once  →  stream the tensors
 */
import type { Backend } from "../backend/backend.ts";
import { createReferenceBackend } from "../backend/reference/index.ts";
import { ABI_VERSION } from "../backend/wasm/exports.ts";
import { createWasmBackend } from "../backend/wasm/index.ts";
import { prefersRelaxed } from "../backend/wasm/instantiate.ts";
import type { GpuProvider, WebGpuBackend } from "../backend/webgpu/index.ts";
import { expectInteger, grouped, UnsupportedError } from "../errors.ts";
import { type ByteInput, ByteReader } from "../format/bytes.ts";
import { Fingerprint } from "../format/fingerprint.ts";
import { type Gguf, type Metadata, readGguf } from "../format/gguf.ts";
import { metadataString } from "../format/metadata.ts";
import { type LlamaConfig, readLlamaConfig } from "../model/config.ts";
import { planFor } from "../model/head/stored-plan.ts";
import { Llama } from "../model/llama.ts";
import { planTensors, type TensorPlan } from "../model/tensors.ts";
import { createTokenizer, type Tokenizer } from "../model/tokenizer.ts";
import { loadWeights, weightBytes } from "../model/weights.ts";
import { loadOnGpu, openInput } from "./gpu-model.ts";
import { LocalModel } from "./local-model.ts";
import type { Model } from "./model.ts";
import { sessionBytes } from "./session.ts";

/** The compiled kernels. Whoever knows the platform finds them: see node.ts, web.ts, workerd.ts. */
export interface KernelModules {
  readonly simd: WebAssembly.Module;
  /** Left out where the engine does not compile it. */
  readonly relaxed?: WebAssembly.Module;
}

/** Compiles both builds; the relaxed one only where the engine knows its instructions. */
export async function compileKernels(simd: BufferSource, relaxed: BufferSource): Promise<KernelModules> {
  return {
    simd: await WebAssembly.compile(simd),
    relaxed: WebAssembly.validate(relaxed) ? await WebAssembly.compile(relaxed) : undefined,
  };
}

/**
 * Bytes, or a function that gives them: then they can be had again, should a device be lost. The signal is that of the load they
 * are for.
 */
export type ModelInput = ByteInput | ((signal?: AbortSignal) => ByteInput | Promise<ByteInput>);

/** Opens a backend that ends its device when it is closed. @throws {UnsupportedError} If there is none to be had. */
export type OpenGpu = (
  gpu: GpuProvider | undefined,
  options: { maxBytes?: number },
) => Promise<WebGpuBackend>;

/** Loads a model in one place. */
export type OpenModel = (
  input: ByteInput,
  place: {
    /** Where; default: this process. */
    readonly gpu?: WebGpuBackend;
    /** Why not where it was to be. */
    readonly fallback?: string;
    /** Whether it was loaded before: the signal of that is not asked again. */
    readonly isReload?: boolean;
  },
) => Promise<Model>;

export interface LoadOptions {
  /** Needed for the wasm backend. The entries of the platforms fill it in. */
  modules?: KernelModules;
  /**
   * Default "wasm". "reference" is plain TypeScript: slow, and the definition of what the others compute. "webgpu" is a
   * device of the host, whose rows differ from the others' by what f32 rounds; "auto" is that where there is one, else
   * Wasm, and `Model.fallback` says why. A device that is lost later, or has no memory for this model then, is
   * answered by Wasm in both cases, for good: load the model again to be back on it.
   */
  backend?: "wasm" | "reference" | "webgpu" | "auto";
  /** For "webgpu" and "auto". Default: `navigator.gpu`, or in Node the npm package `webgpu` if that is installed. */
  gpu?: GpuProvider;
  /** Loads the kernels for it. Entries whose platforms have WebGPU fill it in. */
  openGpu?: OpenGpu;
  /** Called as kernels for WebGPU are compiled, which goes on while bytes arrive. */
  onCompile?: (ready: number, total: number) => void;
  /** Which kernels. Default "auto": relaxed where it is right and faster. */
  build?: "auto" | "simd" | "relaxed";
  /** Default: `general.name` of the file, else "model". */
  name?: string;
  /** Called as bytes arrive; `total` is undefined where the source does not say. */
  onProgress?: (loaded: number, total: number | undefined) => void;
  signal?: AbortSignal;
  /** Ceiling for weights, caches and scratch together. Default: what the backend can address. */
  maxMemoryBytes?: number;
  /** Most positions of a sequence. Default: the model's own, at most 4,096. */
  contextLength?: number;
  /**
   * Most bytes for the beginnings of texts that `generate` keeps, so that a text that begins alike starts sooner; 0: none.
   * They give way to whatever else needs memory. Default 64 MiB, at most a quarter of what is left beside the weights.
   */
  prefixCacheBytes?: number;
}

const DEFAULT_CONTEXT = 4096;
const DEFAULT_PREFIX_BYTES = 64 << 20;

/** Positions that must fit beside the weights, or loading is refused. */
const LEAST_CONTEXT = 64;

/** Bytes of laid-out input per column of the widest matrix: 32 vectors, in fours of 9.5 bytes a value, or of 4 bytes. */
const SCRATCH_PER_COLUMN = 128;

/** Rows that straddle tiles while packing, rounding of allocations. */
const SLACK_BYTES = 1 << 18;

/**
 * Loads a GGUF model of the llama family (llama, qwen2, qwen3, gemma3), with weights of any type in `WEIGHT_TYPES`.
 *
 * The file streams through: at no time is more held than the packed weights and one chunk of the input.
 *
 * @param input Bytes, a stream, a Blob or File, or a Response.
 * @throws {UnsupportedError} For a file that is fine but cannot run here; the message says what is missing.
 * @throws {RangeError | TypeError} For a file that is broken, or one that needs more memory than allowed.
 * @throws {DOMException} AbortError, when `signal` fires.
 */
export async function loadModel(input: ModelInput, options: LoadOptions = {}): Promise<Model> {
  const { backend } = options;
  if (backend !== "webgpu" && backend !== "auto")
    return await loadInto(options, await openInput(input, options.signal));
  const host = options.modules === undefined ? "reference" : "wasm";
  return await loadOnGpu(input, options, (bytes, place) => {
    const signal = place.isReload ? undefined : options.signal;
    return loadInto({ ...options, signal, backend: host }, bytes, place);
  });
}

/** Loads for the backend of `options`, or for a device beside it: what looks at rows is in this process then. */
async function loadInto(
  options: LoadOptions,
  input: ByteInput,
  { gpu, fallback }: Parameters<OpenModel>[1] = {},
): Promise<Model> {
  const started = performance.now();
  const { onProgress, signal } = options;
  const reader = ByteReader.from(input, { onProgress, signal });
  try {
    const gguf = await readGguf(reader);
    const { config, plan, tokenizer } = planModel(gguf);
    const contextLength = contextOf(config, options.contextLength);
    const rowsBackend = createBackend(options);
    const backend = gpu ?? rowsBackend;
    const needs = memoryNeeds(backend, config, plan, contextLength);
    gpu?.expectKvRoom(config, contextLength);
    backend.reserve(
      needs.weights +
        needs.working +
        sessionBytes(backend, { config, vocab: plan.vocab }, Math.min(contextLength, LEAST_CONTEXT)),
    );
    const fingerprint = new Fingerprint();
    const kernels = gpu === undefined ? backend.name : `${backend.name} ${gpu.variant}`;
    fingerprint.addText(`${kernels} ${ABI_VERSION} ${config.architecture}`);
    backend.reserveScratch(widest(config), contextLength);
    const [weights] = await Promise.all([
      loadWeights(backend, reader, plan, config, fingerprint),
      gpu && prepareKernels(gpu, plan, options.onCompile),
    ]);
    const model = new Llama(backend, config, weights, contextLength);
    return new LocalModel(backend, model, gguf.metadata, tokenizer, {
      name: options.name ?? fileName(gguf.metadata),
      contextLength,
      fingerprint: `ew-${fingerprint}`,
      weightBytes: needs.weights,
      prefixCacheBytes: prefixCacheOf(backend, options.prefixCacheBytes),
      ...(gpu && { rowsBackend }),
      fallback,
      loadMs: Math.round((performance.now() - started) * 1000) / 1000,
    });
  } finally {
    await reader.close();
  }
}

/** Has all kernels compiled that the model will take. */
function prepareKernels(
  gpu: WebGpuBackend,
  plan: TensorPlan,
  onCompile: LoadOptions["onCompile"],
): Promise<void> {
  const heads = planFor(gpu, plan.heads);
  const tensors = [...plan.tensors.values(), ...heads.tensors.values()];
  const types = new Set(tensors.filter(({ kind }) => kind === "matrix").map(({ type }) => type));
  const methods = heads.formats.map(({ method }) => method);
  return gpu.prepare(types, onCompile, methods);
}

/** Bytes a model takes in a backend, without sessions. */
export function memoryNeeds(
  backend: Backend,
  config: LlamaConfig,
  plan: TensorPlan,
  contextLength: number,
): { weights: number; working: number } {
  const scratch = Math.max(SCRATCH_PER_COLUMN * widest(config), 16 * contextLength);
  const working = 4 * Llama.workingLength(config, contextLength, backend.passColumns) + scratch + SLACK_BYTES;
  return { weights: weightBytes(backend, plan) + 64 * plan.tensors.size, working };
}

/** Columns of the widest matrix. */
function widest({ hidden, feedForward, heads, headDim }: LlamaConfig): number {
  return Math.max(hidden, feedForward, heads * headDim);
}

/** The parts of loading that need no weights: what the file is, and whether it can run. */
export function planModel(gguf: Gguf): { config: LlamaConfig; plan: TensorPlan; tokenizer: Tokenizer } {
  const config = readLlamaConfig(gguf.metadata);
  const plan = planTensors(gguf, config);
  const tokenizer = createTokenizer(gguf.metadata);
  if (tokenizer.vocab > plan.vocab) {
    throw new RangeError(
      `Cannot load model: the tokenizer has ${grouped(tokenizer.vocab)} tokens, the embedding ${grouped(plan.vocab)} rows`,
    );
  }
  return { config, plan, tokenizer };
}

export function contextOf(config: LlamaConfig, asked: number | undefined): number {
  if (asked === undefined) return Math.min(config.contextLength, DEFAULT_CONTEXT);
  return expectInteger("contextLength", asked, 1, config.contextLength);
}

function prefixCacheOf({ maxBytes, usedBytes }: Backend, asked: number | undefined): number {
  if (asked !== undefined) return expectInteger("prefixCacheBytes", asked, 0, Number.MAX_SAFE_INTEGER);
  return Math.min(DEFAULT_PREFIX_BYTES, Math.floor((maxBytes - usedBytes) / 4));
}

function createBackend({ backend = "wasm", build = "auto", modules, maxMemoryBytes }: LoadOptions): Backend {
  const maxBytes =
    maxMemoryBytes === undefined
      ? undefined
      : expectInteger("maxMemoryBytes", maxMemoryBytes, 1, Number.MAX_SAFE_INTEGER);
  if (backend === "reference") return createReferenceBackend({ maxBytes });
  if (backend !== "wasm") {
    throw new RangeError(`"backend" must be "wasm", "reference", "webgpu" or "auto", got "${backend}"`);
  }
  if (!["auto", "simd", "relaxed"].includes(build)) {
    throw new RangeError(`"build" must be "auto", "simd" or "relaxed", got "${build}"`);
  }
  if (modules === undefined) throw new TypeError('"modules" must hold the compiled kernels, got undefined');
  const { simd, relaxed } = modules;
  if (build === "relaxed") {
    if (relaxed === undefined)
      throw new UnsupportedError("Cannot use the relaxed build: this engine has no relaxed SIMD");
    return createWasmBackend(relaxed, { build, maxBytes });
  }
  if (build === "auto" && relaxed !== undefined && prefersRelaxed(relaxed)) {
    return createWasmBackend(relaxed, { build: "relaxed", maxBytes });
  }
  return createWasmBackend(simd, { build: "simd", maxBytes });
}

function fileName(metadata: Metadata): string {
  return metadataString(metadata, "general.name", { default: "" }) || "model";
}
