/**
 * device: a WebGPU device with what the kernels can use, and word of its end.
 *
 * Nothing here knows where a `GPU` comes from: a page has `navigator.gpu`, Node has the one of the npm package `webgpu`.
 */
import { UnsupportedError } from "../../errors.ts";
import { PACKED_FEATURE } from "./wgsl/round.ts";
import type { Variant } from "./wgsl/variant.ts";

/** The part of `navigator.gpu` that is needed. */
export interface GpuProvider extends Pick<GPU, "requestAdapter"> {
  /** What the shader language has beyond its first version; none where a host does not say. */
  readonly wgslLanguageFeatures?: Pick<WGSLLanguageFeatures, "has">;
}

export interface GpuOptions {
  /**
   * Whether inputs of products with quantised types are rounded to 14 or 8 bits, as on Wasm, and multiplied as whole numbers.
   * Default: where the hardware is known to have instructions for that.
   */
  packed?: boolean;
  /**
   * Whether inputs of products with quantised types are rounded to 11 bits and multiplied as half floats. Default: where there
   * are half floats, and the hardware is known to have no instructions for dot products of bytes.
   */
  f16?: boolean;
  /** Whether lanes add up without memory. Default: where there are subgroups that always have as many lanes. */
  subgroups?: boolean;
}

export interface GpuDevice {
  readonly device: GPUDevice;
  /** What the adapter calls itself; for reports. */
  readonly name: string;
  /** Lanes that can add up without memory; null where there are no subgroups, or not always as many. */
  readonly subgroupSize: number | null;
  /** How products with quantised weights are made: in f32, of whole numbers or in half floats. */
  readonly products: Variant;
  /** Which kernels are used, of those for the same: results may differ between variants by what each rounds. */
  readonly variant: string;
  readonly hasTimestamps: boolean;
  /** Most bytes that one binding, hence one buffer, may have. */
  readonly maxBindingBytes: number;
  /** Why none of its users can rely on what was computed since; null: all is well. It does not become well again. */
  readonly failure: string | null;
  /** Ends the device: all its memory is given back. */
  close(): void;
}

/** Limits that are asked for as high as the adapter has them. */
const WANTED_LIMITS = ["maxBufferSize", "maxStorageBufferBindingSize"] as const;

/** Makers of GPUs with dot products of bytes; elsewhere they are emulated, at more than they save. */
const MAKERS_WITH_DOTS: readonly string[] = ["nvidia", "amd", "intel", "qualcomm"];
/** Makers of GPUs that have none, but half floats two at a time, or in half of the registers. */
const MAKERS_WITH_HALVES: readonly string[] = ["apple", "arm", "img-tec"];
const HALVES_FEATURE = "shader-f16";
/** Makers by the number they have on a PCI bus, which some hosts tell in place of the name. */
const MAKERS: Readonly<Record<string, string>> = {
  4098: "amd",
  4112: "img-tec",
  4203: "apple",
  4318: "nvidia",
  5045: "arm",
  20803: "qualcomm",
  32902: "intel",
};

/**
 * Opens the adapter's device.
 *
 * @throws {UnsupportedError} If there is no WebGPU, no adapter, no device or not what `options` want; the message says which.
 * @throws {RangeError} If they want both ways of products.
 */
export async function openDevice(gpu: GpuProvider | undefined, options: GpuOptions = {}): Promise<GpuDevice> {
  if (gpu === undefined) throw new UnsupportedError("Cannot use WebGPU: this host has none");
  const adapter = await adapterOf(gpu);
  if (adapter === null) throw new UnsupportedError("Cannot use WebGPU: there is no adapter");
  const products = productsOf(gpu, adapter, options);
  const features = (["subgroups", "timestamp-query", HALVES_FEATURE] as const).filter((name) =>
    adapter.features.has(name),
  );
  const requiredLimits = Object.fromEntries(WANTED_LIMITS.map((name) => [name, adapter.limits[name]]));
  let device: GPUDevice;
  try {
    device = await adapter.requestDevice({ requiredFeatures: features, requiredLimits });
  } catch (cause) {
    throw new UnsupportedError("Cannot use WebGPU: the adapter gives no device", { cause });
  }
  return new OpenDevice(adapter.info, device, products, options.subgroups);
}

/** @throws {UnsupportedError} If what is wanted is not there. */
function productsOf(
  gpu: GpuProvider,
  { features, info: { vendor } }: Pick<GPUAdapter, "features" | "info">,
  options: GpuOptions,
): Variant {
  const maker = MAKERS[vendor] ?? vendor;
  const hasDots = gpu.wgslLanguageFeatures?.has(PACKED_FEATURE) ?? false;
  const hasHalves = features.has(HALVES_FEATURE);
  if (options.packed && options.f16) {
    throw new RangeError('"f16" must be false where "packed" is true, got true');
  }
  if (options.packed && !hasDots) {
    throw new UnsupportedError(
      `Cannot use WebGPU: "packed" needs ${PACKED_FEATURE}, which this host does not have`,
    );
  }
  if (options.f16 && !hasHalves) {
    throw new UnsupportedError(
      `Cannot use WebGPU: "f16" needs ${HALVES_FEATURE}, which this adapter does not have`,
    );
  }
  if (options.packed ?? (!options.f16 && hasDots && MAKERS_WITH_DOTS.includes(maker))) return "packed";
  return (options.f16 ?? (hasHalves && MAKERS_WITH_HALVES.includes(maker))) ? "f16" : "plain";
}

async function adapterOf(gpu: GpuProvider): Promise<GPUAdapter | null> {
  try {
    return await gpu.requestAdapter({ powerPreference: "high-performance" });
  } catch (cause) {
    throw new UnsupportedError("Cannot use WebGPU: the host gives no adapter", { cause });
  }
}

class OpenDevice implements GpuDevice {
  readonly device: GPUDevice;
  readonly name: string;
  readonly subgroupSize: number | null;
  readonly products: Variant;
  #failure: string | null = null;

  constructor(info: GPUAdapterInfo, device: GPUDevice, products: Variant, subgroups = true) {
    this.device = device;
    this.name = [info.vendor, info.architecture, info.description].filter(Boolean).join(" ") || "unknown";
    const { subgroupMinSize, subgroupMaxSize } = info;
    const fixed = subgroupMinSize === subgroupMaxSize && device.features.has("subgroups");
    this.subgroupSize = subgroups && fixed ? subgroupMaxSize : null;
    this.products = products;
    device.lost.then(({ reason, message }) => this.#fail(`device lost (${reason}: ${message})`));
    // What nobody asked for: errors of a backend's calls are its own, faults.ts.
    device.addEventListener("uncapturederror", ({ error }) => this.#fail(reasonOf(error)));
  }

  get variant(): string {
    return [this.products, ...(this.subgroupSize === null ? [] : ["subgroups"])].join(" ");
  }

  get hasTimestamps(): boolean {
    return this.device.features.has("timestamp-query");
  }

  get maxBindingBytes(): number {
    const { maxBufferSize, maxStorageBufferBindingSize } = this.device.limits;
    // Offsets into a buffer are words in 32 bits.
    return Math.min(maxBufferSize, maxStorageBufferBindingSize, 2 ** 33);
  }

  get failure(): string | null {
    return this.#failure;
  }

  close(): void {
    this.#fail("device closed");
    this.device.destroy();
  }

  /** The first reason is the one that says something. */
  #fail(reason: string): void {
    this.#failure ??= reason.trim();
  }
}

/** What an error says, on one line: below it are calls and places within the driver. */
export function reasonOf(error: GPUError): string {
  const { name } = error.constructor;
  const message = error.message.trim().split("\n", 1)[0].trim() || name;
  return name === "GPUOutOfMemoryError" ? `out of memory (${message})` : message;
}

/** @throws {UnsupportedError} If the device has failed. */
export function expectWell({ failure }: Pick<GpuDevice, "failure">): void {
  if (failure !== null) throw new UnsupportedError(`Cannot go on with WebGPU: ${failure}`);
}
