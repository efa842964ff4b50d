/**
 * device: a WebGPU device with what the kernels can use, and word of its end.
 *
 * Nothing here knows where a `GPU` comes from: a page has `navigator.gpu`, Node has the one of the npm package `webgpu`.
 */
import { UnsupportedError } from "../../errors.ts";

/** The part of `navigator.gpu` that is needed. */
export type GpuProvider = Pick<GPU, "requestAdapter">;

export interface GpuDevice {
  readonly device: GPUDevice;
  /** What the adapter calls itself; for reports. */
  readonly name: string;
  /** Lanes that can add up without memory; null where there are no subgroups, or not always as many. */
  readonly subgroupSize: number | null;
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

/**
 * Opens the adapter's device.
 *
 * @throws {UnsupportedError} If there is no WebGPU, no adapter, or no device to be had; the message says which.
 */
export async function openDevice(gpu: GpuProvider | undefined): Promise<GpuDevice> {
  if (gpu === undefined) throw new UnsupportedError("Cannot use WebGPU: this host has none");
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  if (adapter === null) throw new UnsupportedError("Cannot use WebGPU: there is no adapter");
  const features = (["subgroups", "timestamp-query"] as const).filter((name) => adapter.features.has(name));
  const requiredLimits = Object.fromEntries(WANTED_LIMITS.map((name) => [name, adapter.limits[name]]));
  let device: GPUDevice;
  try {
    device = await adapter.requestDevice({ requiredFeatures: features, requiredLimits });
  } catch (cause) {
    throw new UnsupportedError("Cannot use WebGPU: the adapter gives no device", { cause });
  }
  return new OpenDevice(adapter.info, device);
}

class OpenDevice implements GpuDevice {
  readonly device: GPUDevice;
  readonly name: string;
  readonly subgroupSize: number | null;
  #failure: string | null = null;

  constructor(info: GPUAdapterInfo, device: GPUDevice) {
    this.device = device;
    this.name = [info.vendor, info.architecture, info.description].filter(Boolean).join(" ") || "unknown";
    const { subgroupMinSize, subgroupMaxSize } = info;
    const fixed = subgroupMinSize === subgroupMaxSize && device.features.has("subgroups");
    this.subgroupSize = fixed ? subgroupMaxSize : null;
    device.lost.then(({ reason, message }) => this.#fail(`device lost (${reason}: ${message})`));
    device.addEventListener("uncapturederror", ({ error }) => {
      this.#fail(isOutOfMemory(error) ? `out of memory (${error.message})` : error.message);
    });
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
