/** The roofline R: how fast this engine reads memory in a straight line. No kernel is faster on data that no cache holds. */
import type { Exports } from "../src/backend/wasm/exports.ts";
import { instantiate } from "../src/backend/wasm/instantiate.ts";
import { kernelModules } from "../src/node.ts";
import type { Candidate } from "./harness.ts";

export const ROOFLINE = "R, streaming read";

/**
 * Calls walk through this much memory, so that what a call reads was last touched a gigabyte of traffic ago: server
 * processors have caches that hold a whole head.
 */
export const COLD_BYTES = 2 ** 30;

const PAGE = 65_536;

interface ColdMemory {
  readonly kernels: Exports;
  readonly start: number;
}

let coldMemory: Promise<ColdMemory> | undefined;

/**
 * R as a candidate, for the same rounds as what is compared with it.
 *
 * @param bytes Read by one call: as many as the kernels read, rounded down to 64. At most COLD_BYTES.
 */
export async function streamingRead(bytes: number): Promise<Candidate> {
  coldMemory ??= makeColdMemory();
  const { kernels, start } = await coldMemory;
  const windowBytes = bytes - (bytes % 64);
  const windows = Math.floor(COLD_BYTES / windowBytes);
  if (windows === 0) throw new RangeError(`bytes must be at most ${COLD_BYTES}, got ${bytes}`);
  let call = 0;
  return {
    name: ROOFLINE,
    bytes: windowBytes,
    run: () => void kernels.stream_read(start + (call++ % windows) * windowBytes, windowBytes),
  };
}

async function makeColdMemory(): Promise<ColdMemory> {
  const kernels = instantiate((await kernelModules()).simd, "simd");
  const start = Math.ceil(kernels.heap_base() / 64) * 64;
  kernels.memory.grow(Math.ceil((start + COLD_BYTES) / PAGE));
  // Pages that were never written all map to one page of zeros, which would be read from the cache.
  new Uint32Array(kernels.memory.buffer, start, COLD_BYTES >> 2).fill(0x9e3779b9);
  return { kernels, start };
}
