import type { GpuDevice } from "../../../src/backend/webgpu/index.ts";
import type { WeightType } from "../../../src/format/blocks.ts";
import type { Tolerance } from "../../backend.case.ts";

/** Half an f32 ulp at 1: the most that one operation adds. WGSL lets a quotient or a root be off by some. */
const ROUNDING = 2 ** -24;

/** Half a half's ulp at 1. */
const HALF_ROUNDING = 2 ** -11;

/** Levels of whole numbers, where they are not 8191. */
const LEVELS: Partial<Record<WeightType, number>> = { Q4_0: 127, Q4_1: 127, Q4_K: 127, IQ4_NL: 127 };

/** How far kernels on a device may be off; a string, why there is none, stands for one of f32 alone. */
export function toleranceOf(gpu: GpuDevice | string): Tolerance {
  const products = typeof gpu === "string" ? "plain" : gpu.products;
  return {
    inputLevels: (type) => (products === "packed" ? (LEVELS[type] ?? 8191) : Number.POSITIVE_INFINITY),
    // A thread's sum of every 8th or 32nd unit, in order of k; then the sums of these. Halves: an input, and eight sums one
    // after the other, whose errors go either way.
    quantisedMatmul: products === "f16" ? 2 * HALF_ROUNDING : 64 * ROUNDING,
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
