/** LikelihoodKernels over tiles that are read back: sums in f64, which WGSL does not have. */
import type { Backend, Floats } from "../backend.ts";
import { stride } from "../backend.ts";
import type { LikelihoodKernels } from "../likelihood-kernels.ts";
import { referenceLikelihoodKernels } from "../reference/likelihood.ts";
import { HeldFloats, Memory } from "../reference/memory.ts";

export function gpuLikelihoodKernels(backend: Pick<Backend, "read" | "slice">): LikelihoodKernels {
  return {
    async add(x: Floats, count: number, columns: number, sums: Float64Array): Promise<number> {
      const length = columns === 0 ? 0 : (columns - 1) * stride(count) + count;
      const values = await backend.read(backend.slice(x, 0, length));
      const held = HeldFloats.allocate(new Memory(Number.MAX_SAFE_INTEGER), columns * stride(count));
      held.values.set(values);
      return await referenceLikelihoodKernels.add(held, count, columns, sums);
    },
  };
}
