/** LikelihoodKernels by assembly/sample/likelihood.ts. */
import { type Floats, stride } from "../backend.ts";
import type { LikelihoodKernels } from "../likelihood-kernels.ts";
import type { Arena } from "./arena.ts";
import type { Exports } from "./exports.ts";
import { Scratch } from "./scratch.ts";

/** @param address Of a buffer. */
export function createWasmLikelihoodKernels(
  kernels: Exports,
  arena: Arena,
  address: (x: Floats) => number,
): LikelihoodKernels {
  const scratch = new Scratch(kernels.memory, arena);
  return {
    add(x, count, columns, sums) {
      const state = scratch.of(columns * 16);
      const states = new Float64Array(kernels.memory.buffer, state, columns * 2);
      states.set(sums.subarray(0, columns * 2));
      let first = -1;
      for (let column = 0; column < columns; column++) {
        const at = column * stride(count);
        const wrong = kernels.likelihood_add(address(x) + at * 4, count, state + column * 16);
        if (wrong >= 0 && first < 0) first = at + wrong;
      }
      sums.set(states);
      return first;
    },
  };
}
