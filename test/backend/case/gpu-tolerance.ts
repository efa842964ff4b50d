import type { GpuDevice } from "../../../src/backend/webgpu/index.ts";
import type { Tolerance } from "../../backend.case.ts";

/** Half an f32 ulp at 1: the most that one operation adds. WGSL lets a quotient or a root be off by some. */
const ROUNDING = 2 ** -24;

/** How far kernels on a device may be off; a string, why there is none, stands for one of f32 alone. */
export function toleranceOf(gpu: GpuDevice | string): Tolerance {
  const isPacked = typeof gpu !== "string" && gpu.packed;
  const levels: Partial<Record<string, number>> = isPacked
    ? { Q8_0: 8191, Q5_K: 8191, Q6_K: 8191, Q4_0: 127, Q4_K: 127 }
    : {};
  return {
    inputLevels: (type) => levels[type] ?? Number.POSITIVE_INFINITY,
    // A thread's sum of every 8th or 32nd unit, in order of k; then the sums of these.
    quantisedMatmul: 64 * ROUNDING,
    floatMatmul: 64 * ROUNDING,
    // Sums of squares of 64 threads, a quotient, a root, two products.
    norm: 24 * ROUNDING,
    rope: 4 * ROUNDING,
    swiglu: 12 * ROUNDING,
    gelu: 8 * ROUNDING,
    // f32 sums over headDim, whose errors exp multiplies by up to the score, and over the positions.
    attention: 128 * ROUNDING,
    softmax: 32 * ROUNDING,
    // The log of a sum of up to 64 · 256 parts.
    logSumExp: 2e-6,
    flushes: true,
  };
}
