/**
 * pipelines: shaders compiled once per device; at load all at once and without blocking, else when first needed.
 */
import { UnsupportedError } from "../../errors.ts";
import type { WeightType } from "../../format/blocks.ts";
import type { GpuDevice } from "./device.ts";
import { type Kernel, type KernelKind, PARAM_BYTES, shaderOf } from "./kernel.ts";
import { attentionKernels } from "./wgsl/attention.ts";
import { codebookKernels } from "./wgsl/codebook.ts";
import { drawKernels } from "./wgsl/draw.ts";
import { layerKernels } from "./wgsl/layer.ts";
import { COLUMN_VARIANTS, type ColumnVariant, embedKernel, matmulKernel } from "./wgsl/matmul.ts";
import { rowKernels } from "./wgsl/row.ts";

export interface Pipeline {
  readonly kernel: Kernel;
  readonly pipeline: GPUComputePipeline;
}

const KINDS: readonly KernelKind[] = ["floats", "weights", "kv"];

const KERNELS: Readonly<Record<string, Kernel>> = {
  ...layerKernels,
  ...attentionKernels,
  ...rowKernels,
  ...codebookKernels,
  ...drawKernels,
};

export class Pipelines {
  /** Of each kind of kernel. */
  readonly groupLayouts: Readonly<Record<KernelKind, GPUBindGroupLayout>>;
  readonly #gpu: GpuDevice;
  readonly #layouts: Readonly<Record<KernelKind, GPUPipelineLayout>>;
  readonly #made = new Map<string, Pipeline>();

  constructor(gpu: GpuDevice) {
    this.#gpu = gpu;
    const { device } = gpu;
    const each = <T>(make: (kind: KernelKind) => T) =>
      Object.fromEntries(KINDS.map((kind) => [kind, make(kind)])) as Record<KernelKind, T>;
    this.groupLayouts = each((kind) => device.createBindGroupLayout({ entries: layoutEntries(kind) }));
    this.#layouts = each((kind) =>
      device.createPipelineLayout({ bindGroupLayouts: [this.groupLayouts[kind]] }),
    );
  }

  named(name: string): Pipeline {
    return this.#of(name, () => KERNELS[name]);
  }

  /** Of the variant for so many columns: the next larger one, or the largest. */
  matmul(type: WeightType, columns: number): Pipeline & { readonly columns: ColumnVariant } {
    const variant = COLUMN_VARIANTS.find((some) => some >= columns) ?? COLUMN_VARIANTS.at(-1)!;
    const { subgroupSize } = this.#gpu;
    const made = this.#of(`matmul ${type} ${variant}`, () => matmulKernel(type, variant, subgroupSize));
    return { ...made, columns: variant };
  }

  embed(type: WeightType): Pipeline {
    return this.#of(`embed ${type}`, () => embedKernel(type));
  }

  /**
   * Compiles what models with these types of weights need, in parallel.
   *
   * @param onProgress Called as pipelines are ready.
   * @throws {UnsupportedError} If the device does not take one.
   */
  async prepare(
    types: Iterable<WeightType>,
    onProgress: (ready: number, total: number) => void = () => {},
  ): Promise<void> {
    const { subgroupSize } = this.#gpu;
    const kernels = new Map(Object.entries(KERNELS));
    for (const type of types) {
      kernels.set(`embed ${type}`, embedKernel(type));
      for (const columns of COLUMN_VARIANTS) {
        kernels.set(`matmul ${type} ${columns}`, matmulKernel(type, columns, subgroupSize));
      }
    }
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

  async #compile(kernel: Kernel): Promise<GPUComputePipeline> {
    try {
      return await this.#gpu.device.createComputePipelineAsync(this.#describe(kernel));
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
      made = { kernel, pipeline: this.#gpu.device.createComputePipeline(this.#describe(kernel)) };
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
