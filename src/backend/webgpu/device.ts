/**
 * device: a WebGPU device with what the kernels can use, and word of its end.
 *
 * Nothing here knows where a `GPU` comes from: a page has `navigator.gpu`, Node has the one of the npm package `webgpu`.
 */
import { UnsupportedError } from "../../errors.ts";
import { PACKED_FEATURE } from "./wgsl/round.ts";

/** The part of `navigator.gpu` that is needed. */
export interface GpuProvider extends Pick<GPU, "requestAdapter"> {
  /** What the shader language has beyond its first version; none where a host does not say. */
  readonly wgslLanguageFeatures?: Pick<WGSLLanguageFeatures, "has">;
}

export interface GpuOptions {
  /**
   * Whether inputs of products with Q8_0, Q4_0 and K types are rounded to 14 or 8 bits, as on Wasm, and multiplied as whole
   * numbers. Default: where the hardware is known to have instructions for that.
   */
  packed?: boolean;
  /** Whether lanes add up without memory. Default: where there are subgroups that always have as many lanes. */
  subgroups?: boolean;
}

export interface GpuDevice {
  readonly device: GPUDevice;
  /** What the adapter calls itself; for reports. */
  readonly name: string;
  /** Lanes that can add up without memory; null where there are no subgroups, or not always as many. */
  readonly subgroupSize: number | null;
  /** Whether products with weights that allow it are made of whole numbers: wgsl/packed.ts. */
  readonly packed: boolean;
  /** Which kernels are used, of those for the same: results may differ between variants by what each rounds. */
  readonly variant: string;
  readonly hasTimestamps: boolean;
  /** Most bytes that one binding, hence one buffer, may have. */
  readonly maxBindingBytes: number;
  /** Why nothing that was computed since can be relied on; null: all is well. */
  readonly failure: string | null;
  /** Ends the device: all its memory is given back. */
  close(): void;
}

/** Limits that are asked for as high as the adapter has them. */
const WANTED_LIMITS = ["maxBufferSize", "maxStorageBufferBindingSize"] as const;

/** Makers of GPUs with dot products of bytes; elsewhere they are emulated, at more than they save. */
const MAKERS_WITH_DOTS: readonly string[] = ["nvidia", "amd", "intel", "qualcomm"];

/**
 * Opens the adapter's device.
 *
 * @throws {UnsupportedError} If there is no WebGPU, no adapter, no device or not what `options` want; the message says which.
 */
export async function openDevice(gpu: GpuProvider | undefined, options: GpuOptions = {}): Promise<GpuDevice> {
  if (gpu === undefined) throw new UnsupportedError("Cannot use WebGPU: this host has none");
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  if (adapter === null) throw new UnsupportedError("Cannot use WebGPU: there is no adapter");
  const hasDots = gpu.wgslLanguageFeatures?.has(PACKED_FEATURE) ?? false;
  if (options.packed && !hasDots) {
    throw new UnsupportedError(
      `Cannot use WebGPU: "packed" needs ${PACKED_FEATURE}, which this host does not have`,
    );
  }
  const { packed = hasDots && MAKERS_WITH_DOTS.includes(adapter.info.vendor) } = options;
  const features = (["subgroups", "timestamp-query"] as const).filter((name) => adapter.features.has(name));
  const requiredLimits = Object.fromEntries(WANTED_LIMITS.map((name) => [name, adapter.limits[name]]));
  let device: GPUDevice;
  try {
    device = await adapter.requestDevice({ requiredFeatures: features, requiredLimits });
  } catch (cause) {
    throw new UnsupportedError("Cannot use WebGPU: the adapter gives no device", { cause });
  }
  return new OpenDevice(adapter.info, device, packed, options.subgroups);
}

class OpenDevice implements GpuDevice {
  readonly device: GPUDevice;
  readonly name: string;
  readonly subgroupSize: number | null;
  readonly packed: boolean;
  #failure: string | null = null;

  constructor(info: GPUAdapterInfo, device: GPUDevice, packed: boolean, subgroups = true) {
    this.device = device;
    this.name = [info.vendor, info.architecture, info.description].filter(Boolean).join(" ") || "unknown";
    const { subgroupMinSize, subgroupMaxSize } = info;
    const fixed = subgroupMinSize === subgroupMaxSize && device.features.has("subgroups");
    this.subgroupSize = subgroups && fixed ? subgroupMaxSize : null;
    this.packed = packed;
    device.lost.then(({ reason, message }) => this.#fail(`device lost (${reason}: ${message})`));
    device.addEventListener("uncapturederror", ({ error }) => {
      this.#fail(isOutOfMemory(error) ? `out of memory (${error.message})` : error.message);
    });
  }

  get variant(): string {
    return [this.packed ? "packed" : "plain", ...(this.subgroupSize === null ? [] : ["subgroups"])].join(" ");
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

function isOutOfMemory(error: GPUError): boolean {
  return error.constructor.name === "GPUOutOfMemoryError";
}

/** @throws {UnsupportedError} If the device has failed. */
export function expectWell({ failure }: Pick<GpuDevice, "failure">): void {
  if (failure !== null) throw new UnsupportedError(`Cannot go on with WebGPU: ${failure}`);
}
