/** A device on which things go wrong: it has no memory for some buffers, or tells late of errors. */
import process from "node:process";

/** Has errors arrive some time after what was made of them, as they may. */
export function delayErrors(device: GPUDevice): void {
  const pop = device.popErrorScope.bind(device);
  device.popErrorScope = async () => {
    const error = await pop();
    await new Promise((resolve) => setTimeout(resolve, 2));
    return error;
  };
}

/** Bytes of the buffers that were created since, and not destroyed. */
export function countBytes(device: GPUDevice): { bytes: number; end(): void } {
  const create = device.createBuffer;
  const count = {
    bytes: 0,
    end: () => {
      device.createBuffer = create;
    },
  };
  device.createBuffer = (descriptor) => {
    const buffer = create.call(device, descriptor);
    const destroy = buffer.destroy.bind(buffer);
    let held = descriptor.size;
    count.bytes += held;
    buffer.destroy = () => {
      count.bytes -= held;
      held = 0;
      destroy();
    };
    return buffer;
  };
  return count;
}

/**
 * Has the device fail to create buffers.
 *
 * SwiftShader gives no buffer of a GiB, which is then a real lack of memory; other devices may, so there it is a usage that no buffer
 * can have: an error all the same.
 *
 * @param isStarved Whether one is not to be had.
 * @returns How many were not.
 */
export function starve(
  device: GPUDevice,
  isStarved: (size: number, usage: number) => boolean,
): { refused: number; end(): void } {
  const create = device.createBuffer;
  const unusable = process.env.EDGEWISE_GPU === undefined ? { size: 2 ** 30 } : { usage: 1 | 0x80 };
  const starving = {
    refused: 0,
    end: () => {
      device.createBuffer = create;
    },
  };
  device.createBuffer = (descriptor) => {
    if (!isStarved(descriptor.size, descriptor.usage)) return create.call(device, descriptor);
    starving.refused++;
    return create.call(device, { ...descriptor, ...unusable });
  };
  return starving;
}
