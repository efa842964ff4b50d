/** webgpu-backend: what the backend of a WebGPU device is, beyond a Backend. */
import type { WeightType } from "../../format/blocks.ts";
import type { Backend, KvShape } from "../backend.ts";
import type { DrawKernels } from "../draw-kernels.ts";
import type { LateRowKernels } from "../fuse-kernels.ts";
import type { Traffic } from "./recorder.ts";

export interface WebGpuBackendOptions {
  /** Ceiling of what is held, in bytes. Default: 64 GiB, which no device has. */
  maxBytes?: number;
  /** Most bytes of a buffer. Default: what the device can bind. */
  maxBindingBytes?: number;
  /** Whether `close` ends the device too. Default false. */
  ownsDevice?: boolean;
}

/** The backend of a device, and what only it can do. */
export interface WebGpuBackend extends Backend {
  /** Why the backend cannot be used any more; null: it can. Others on its device may still be well. */
  readonly failure: string | null;
  /** Which kernels the device is given; on another variant a sum may be rounded otherwise. */
  readonly variant: string;
  drawKernels(): DrawKernels;
  /** What fusions do with rows that lie here, or in other backends of the device; the same object each time. */
  lateFuseKernels(): LateRowKernels<object>;
  /** Whether rows of the other one can be had here without the host. */
  sharesDevice(other: WebGpuBackend): boolean;
  /** Command buffers submitted, and bytes read back, so far. */
  readonly traffic: Traffic;
  /**
   * Compiles what matrices of these types need.
   *
   * @param heads Methods of the heads that the model has beside the dense one.
   */
  prepare(
    types: Iterable<WeightType>,
    onProgress?: (ready: number, total: number) => void,
    heads?: Iterable<string>,
  ): Promise<void>;
  /** @throws {MemoryError} If this device never has keys and values of so many positions of a sequence. */
  expectKvRoom(shape: KvShape, capacity: number): void;
  /** Waits for all calls so far. @throws {UnsupportedError} If one was not possible: memory, or the device, is gone. */
  settle(): Promise<void>;
  /** Waits until it is known whether all memory is there that was taken: `failure` says it then. */
  settleMemory(): Promise<void>;
  /** After a failure: gives all memory back. Calls that still come do nothing, and those that read are refused. */
  abandon(): void;
}
