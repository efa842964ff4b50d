/**
 * shared-device: one device for all who ask a provider for one at the same time, so that what one of them computes another can
 * use without the host, and kernels are compiled once. It ends with its last user; what happens to it happens to all.
 */
import { type GpuDevice, type GpuProvider, openDevice } from "./device.ts";

interface Shared {
  readonly device: GpuDevice;
  users: number;
}

const shared = new WeakMap<GpuProvider, Promise<Shared>>();

/** @throws {UnsupportedError} As `openDevice`. */
export async function openSharedDevice(gpu: GpuProvider | undefined): Promise<GpuDevice> {
  if (gpu === undefined) return await openDevice(gpu);
  for (;;) {
    const known = shared.get(gpu);
    const opening = known ?? openDevice(gpu).then((device) => ({ device, users: 0 }));
    if (known === undefined) shared.set(gpu, opening);
    try {
      const one = await opening;
      if (one.device.failure === null) {
        one.users++;
        return new DeviceUser(one);
      }
    } catch (error) {
      forget(gpu, opening);
      throw error;
    }
    forget(gpu, opening);
  }
}

function forget(gpu: GpuProvider, opening: Promise<Shared>): void {
  if (shared.get(gpu) === opening) shared.delete(gpu);
}

/** A user's part of a device. */
class DeviceUser implements GpuDevice {
  readonly #shared: Shared;
  #isClosed = false;

  constructor(one: Shared) {
    this.#shared = one;
  }

  get device() {
    return this.#shared.device.device;
  }

  get name() {
    return this.#shared.device.name;
  }

  get subgroupSize() {
    return this.#shared.device.subgroupSize;
  }

  get products() {
    return this.#shared.device.products;
  }

  get variant() {
    return this.#shared.device.variant;
  }

  get hasTimestamps() {
    return this.#shared.device.hasTimestamps;
  }

  get maxBindingBytes() {
    return this.#shared.device.maxBindingBytes;
  }

  get failure() {
    return this.#isClosed ? "device closed" : this.#shared.device.failure;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (--this.#shared.users === 0) this.#shared.device.close();
  }
}
