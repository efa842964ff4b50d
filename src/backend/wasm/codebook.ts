/** CodebookKernels by assembly/head/codebook.ts. */
import { type Floats, stride } from "../backend.ts";
import type { CodebookKernels, CodeMap } from "../head-kernels.ts";
import type { Arena } from "./arena.ts";
import type { Exports } from "./exports.ts";

/** A bias per token, then a code. */
interface PlacedCodeMap extends CodeMap {
  readonly address: number;
}

/** @param addressOf Of the floats of the arena's backend. */
export function createWasmCodebookKernels(
  kernels: Exports,
  arena: Arena,
  addressOf: (x: Floats) => number,
): CodebookKernels {
  const biasBytes = (vocab: number) => stride(vocab) * 4;
  const mapBytes = (vocab: number) => biasBytes(vocab) + vocab * 2;
  return {
    mapBytes,

    map(codes, bias): PlacedCodeMap {
      const vocab = codes.length;
      const address = arena.allocate(mapBytes(vocab));
      const { buffer } = kernels.memory;
      new Float32Array(buffer, address, vocab).set(bias.subarray(0, vocab));
      new Uint16Array(buffer, address + biasBytes(vocab), vocab).set(codes);
      return { vocab, address };
    },

    snap(scores, count) {
      kernels.codebook_snap(addressOf(scores), stride(count));
    },

    row(out, scores, map) {
      const { vocab, address } = map as PlacedCodeMap;
      kernels.codebook_row(addressOf(scores), address + biasBytes(vocab), address, addressOf(out), vocab);
    },

    free(map) {
      arena.free((map as PlacedCodeMap).address);
    },
  };
}
