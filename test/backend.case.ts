/**
 * The specification of Backend: what every operation computes, how exactly, and which bits must agree.
 *
 * Results are compared with the formulas of src/backend/backend.ts, written out here in f64; no other backend is asked.
 * Rounding is a backend's own affair, so each brings its tolerances; which bits do not depend on the number of columns,
 * the chunking or the index of a vector is not, so these comparisons are exact for all.
 *
 * Padding of inputs is NaN and outputs stand between sentinels, throughout: see case/harness.ts.
 */
import { describe } from "vitest";
import type { Backend } from "../src/backend/backend.ts";
import type { WeightType } from "../src/format/blocks.ts";
import { attentionCases } from "./backend/case/attention.ts";
import { kvCases } from "./backend/case/kv.ts";
import { lawCases } from "./backend/case/law.ts";
import { layerCases } from "./backend/case/layer.ts";
import { likelihoodCases } from "./backend/case/likelihood.ts";
import { matmulCases } from "./backend/case/matmul.ts";
import { memoryCases } from "./backend/case/memory.ts";
import { rowCases } from "./backend/case/row.ts";
import { productCases, screenCases } from "./backend/case/screen.ts";

/** How far a backend may be from the formulas, beyond the rounding of the result to f32. */
export interface Tolerance {
  /**
   * Levels to which matmul over types of blocks rounds its input: 32 columns share a step of their largest magnitude / levels.
   * Infinity: it does not.
   */
  inputLevels(type: WeightType): number;
  /** The rest of its error, relative to Σ |w[k]| · max |x| over the 32 of k's block. */
  readonly quantisedMatmul: number;
  /** matmul over F32, F16 and BF16, relative to Σ |w[k] · x[k]|. */
  readonly floatMatmul: number;
  /** rmsNorm, relative. */
  readonly norm: number;
  /** rope, relative to |a| + |b| of the pair. */
  readonly rope: number;
  /** swiglu, and geglu but for its exponent, relative. */
  readonly swiglu: number;
  /** The exponent z of geglu's exp(z), relative. */
  readonly gelu: number;
  /** attention, relative to Σ p[j] · |v[j, d]|, for scores of a few dozen at most. */
  readonly attention: number;
  /** softmax, relative. */
  readonly softmax: number;
  /** logSumExp, absolute or relative, whichever allows more. */
  readonly logSumExp: number;
  /** Whether subnormal values, of the input too, may count as zero. */
  readonly flushes?: boolean;
}

/** A new backend. Left out, `maxBytes` is the backend's default. */
export type CreateBackend = (options?: { maxBytes?: number }) => Backend | Promise<Backend>;

/**
 * @param skip   Why nothing can be tested on this host.
 * @param absent Kernels that answer at once, which a backend on another device does not have.
 * @param types  Of weights that matmul is tried with. Default: all.
 */
export function describeBackend(
  name: string,
  create: CreateBackend,
  options: {
    tolerance: Tolerance;
    skip?: string;
    absent?: readonly ("law" | "screen")[];
    types?: readonly WeightType[];
  },
): void {
  const { absent = [] } = options;
  const title = options.skip === undefined ? name : `${name}: skipped, ${options.skip}`;
  describe.skipIf(options.skip !== undefined)(title, () => {
    memoryCases(create);
    matmulCases(create, options.tolerance, options.types);
    layerCases(create, options.tolerance);
    attentionCases(create, options.tolerance);
    kvCases(create);
    rowCases(create, options.tolerance);
    if (!absent.includes("law")) lawCases(create);
    if (!absent.includes("screen")) screenCases(create);
    productCases(create);
    likelihoodCases(create);
  });
}
