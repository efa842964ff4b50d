/**
 * pipelines: shaders compiled once per device; at load all at once and without blocking, else when first needed.
 */
import { UnsupportedError } from "../../errors.ts";
import type { WeightType } from "../../format/blocks.ts";
import type { GpuDevice } from "./device.ts";
import { Faults } from "./faults.ts";
import { type Kernel, type KernelKind, PARAM_BYTES, shaderOf } from "./kernel.ts";
import { attentionKernels } from "./wgsl/attention.ts";
import { codebookKernels } from "./wgsl/codebook.ts";
import { drawKernels } from "./wgsl/draw.ts";
import { embedKernel } from "./wgsl/embed.ts";
import { kvKernels } from "./wgsl/kv.ts";
import { layerKernels } from "./wgsl/layer.ts";
import { COLUMN_VARIANTS, matmulKernel, rowsOfGroup } from "./wgsl/matmul.ts";
import { type Rounding, roundKernel } from "./wgsl/round.ts";
import { rowKernels } from "./wgsl/row.ts";
import { scanKernels } from "./wgsl/scan.ts";
import { TILE_COLUMNS, TILE_ROWS, tileKernel } from "./wgsl/tile.ts";
import { roundedProducts } from "./wgsl/variant.ts";

export interface Pipeline {
  readonly kernel: Kernel;
  readonly pipeline: GPUComputePipeline;
}

/** A matmul for some number of columns. */
export interface MatmulPipeline extends Pipeline {
  /** Columns of a workgroup, and its rows where a row has that many units. */
  readonly columns: number;
  rows(units: number): number;
  /** How its inputs are to be rounded before; null: they are taken as they are. */
  readonly rounding: Rounding | null;
}

/** From so many columns on a tile is better, though some of its columns may be empty. */
const LEAST_FOR_TILE = 17;

const KINDS: readonly KernelKind[] = ["floats", "weights", "kv"];

const KERNELS: Readonly<Record<string, Kernel>> = {
  ...layerKernels,
  ...kvKernels,
  ...rowKernels,
  ...codebookKernels,
  ...drawKernels,
  ...scanKernels,
};

export class Pipelines {
  /** Of each kind of kernel. */
  readonly groupLayouts: Readonly<Record<KernelKind, GPUBindGroupLayout>>;
  readonly #gpu: GpuDevice;
  /** What does not compile is told where that is awaited, or used: a command buffer with it is refused. */
  readonly #faults: Faults;
  readonly #layouts: Readonly<Record<KernelKind, GPUPipelineLayout>>;
  readonly #kernels: Readonly<Record<string, Kernel>>;
  readonly #made = new Map<string, Pipeline>();

  constructor(gpu: GpuDevice) {
    this.#gpu = gpu;
    this.#faults = new Faults(gpu);
    this.#kernels = { ...KERNELS, ...attentionKernels(gpu.subgroupSize) };
    const { device } = gpu;
    const each = <T>(make: (kind: KernelKind) => T) =>
      Object.fromEntries(KINDS.map((kind) => [kind, make(kind)])) as Record<KernelKind, T>;
    this.groupLayouts = each((kind) => device.createBindGroupLayout({ entries: layoutEntries(kind) }));
    this.#layouts = each((kind) =>
      device.createPipelineLayout({ bindGroupLayouts: [this.groupLayouts[kind]] }),
    );
  }

  /** Of a kernel that few models need: compiled when it is first used. */
  of(kernel: Kernel): Pipeline {
    return this.#of(kernel.name, () => kernel);
  }

  named(name: string): Pipeline {
    return this.#of(name, () => this.#kernels[name]);
  }

  /** For so many columns: the next larger number there is, or the largest. */
  matmul(type: WeightType, columns: number): MatmulPipeline {
    const rounding = this.#roundingOf(type);
    const { products } = this.#gpu;
    if (columns >= LEAST_FOR_TILE) {
      const made = this.#of(`matmul ${type} tile`, () => tileKernel(type, products));
      return { ...made, columns: TILE_COLUMNS, rows: () => TILE_ROWS, rounding };
    }
    const variant = COLUMN_VARIANTS.find((some) => some >= columns) ?? COLUMN_VARIANTS.at(-1)!;
    const made = this.#of(`matmul ${type} ${variant}`, () => matmulKernel(type, variant, products));
    return { ...made, columns: variant, rows: rowsOfGroup, rounding };
  }

  /** What rounds inputs. */
  round(rounding: Rounding): Pipeline {
    return this.#of(`round ${rounding}`, () => roundKernel(rounding));
  }

  embed(type: WeightType): Pipeline {
    return this.#of(`embed ${type}`, () => embedKernel(type));
  }

  /**
   * Compiles what models with these types of weights need, in parallel.
   *
   * @param onProgress Called as pipelines are ready.
   * @param more       Kernels that `of` gives then.
   * @throws {UnsupportedError} If the device does not take one.
   */
  async prepare(
    types: Iterable<WeightType>,
    onProgress?: (ready: number, total: number) => void,
    more: readonly Kernel[] = [],
  ): Promise<void> {
    const kernels = new Map(Object.entries(this.#kernels));
    for (const type of types) {
      const rounding = this.#roundingOf(type);
      if (rounding !== null) kernels.set(`round ${rounding}`, roundKernel(rounding));
      kernels.set(`embed ${type}`, embedKernel(type));
      kernels.set(`matmul ${type} tile`, tileKernel(type, this.#gpu.products));
      for (const columns of COLUMN_VARIANTS) {
        kernels.set(`matmul ${type} ${columns}`, matmulKernel(type, columns, this.#gpu.products));
      }
    }
    for (const kernel of more) kernels.set(kernel.name, kernel);
    await this.#compileAll(kernels, onProgress);
  }

  /** Compiles kernels that `of` gives then, in parallel. @throws {UnsupportedError} As `prepare`. */
  async compile(
    kernels: Iterable<Kernel>,
    onProgress?: (ready: number, total: number) => void,
  ): Promise<void> {
    await this.#compileAll(new Map([...kernels].map((kernel) => [kernel.name, kernel])), onProgress);
  }

  async #compileAll(
    kernels: ReadonlyMap<string, Kernel>,
    onProgress: (ready: number, total: number) => void = () => {},
  ): Promise<void> {
    const missing = [...kernels].filter(([name]) => !this.#made.has(name));
    let ready = 0;
    await Promise.all(
      missing.map(async ([name, kernel]) => {
        const pipeline = await this.#compile(kernel);
        this.#made.set(name, { kernel, pipeline });
        onProgress(++ready, missing.length);
      }),
    );
  }

  #roundingOf(type: WeightType): Rounding | null {
    return roundedProducts(type, this.#gpu.products)?.rounding ?? null;
  }

  async #compile(kernel: Kernel): Promise<GPUComputePipeline> {
    try {
      return await this.#faults.within(() =>
        this.#gpu.device.createComputePipelineAsync(this.#describe(kernel)),
      );
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new UnsupportedError(`Cannot use WebGPU: kernel "${kernel.name}" does not compile (${why})`, {
        cause,
      });
    }
  }

  #of(name: string, make: () => Kernel): Pipeline {
    let made = this.#made.get(name);
    if (made === undefined) {
      const kernel = make();
      const { device } = this.#gpu;
      const pipeline = this.#faults.within(() => device.createComputePipeline(this.#describe(kernel)));
      made = { kernel, pipeline };
      this.#made.set(name, made);
    }
    return made;
  }

  #describe(kernel: Kernel): GPUComputePipelineDescriptor {
    const module = this.#gpu.device.createShaderModule({ label: kernel.name, code: shaderOf(kernel) });
    return {
      label: kernel.name,
      layout: this.#layouts[kernel.kind],
      compute: { module, entryPoint: "main" },
    };
  }
}

function layoutEntries(kind: KernelKind): GPUBindGroupLayoutEntry[] {
  // 4: GPUShaderStage.COMPUTE, a name that not every host defines.
  const entry = (binding: number, buffer: GPUBufferBindingLayout) => ({ binding, visibility: 4, buffer });
  return [
    entry(0, { type: "uniform", hasDynamicOffset: true, minBindingSize: PARAM_BYTES }),
    entry(1, { type: "storage" }),
    ...(kind === "weights" ? [entry(2, { type: "read-only-storage" })] : []),
    ...(kind === "kv" ? [entry(2, { type: "storage" })] : []),
  ];
}

const known = new WeakMap<GPUDevice, Pipelines>();

/** The same for all backends on a device. */
export function pipelinesOf(gpu: GpuDevice): Pipelines {
  let pipelines = known.get(gpu.device);
  if (pipelines === undefined) {
    pipelines = new Pipelines(gpu);
    known.set(gpu.device, pipelines);
  }
  return pipelines;
}
