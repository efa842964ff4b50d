/** head-needs: which kernels stored heads take beside those of their weights, so that they can be compiled before. */
import type { WeightType } from "../../format/blocks.ts";
import type { Kernel } from "./kernel.ts";
import { residualRow, residualTable, residualTops } from "./wgsl/codebook.ts";
import { fuseFloor } from "./wgsl/measure.ts";
import { productLogits, productTable, rescoreKernel } from "./wgsl/product.ts";

/**
 * @param methods Of heads, as files name them.
 * @param types   Of the model's matrices, one of which makes the best tokens exactly.
 */
export function headKernelsFor(methods: Iterable<string>, types: readonly WeightType[]): readonly Kernel[] {
  const needs = new Map<string, () => readonly Kernel[]>([
    ["vq", () => [residualTops, residualTable, residualRow, fuseFloor]],
    ["pq", () => [productTable, productLogits, fuseFloor, ...types.map(rescoreKernel)]],
  ]);
  return [...methods].flatMap((method) => needs.get(method)?.() ?? []);
}
