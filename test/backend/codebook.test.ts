import { describe, expect, it } from "vitest";
import { snapped } from "../../src/backend/head-kernels.ts";
import { createReferenceBackend } from "../../src/backend/reference/index.ts";
import { createWasmBackend } from "../../src/backend/wasm/index.ts";
import { kernelModules } from "../../src/node.ts";
import { createRandom } from "../support/random.ts";
import { expectSame, guarded, LENGTHS, load } from "./case/harness.ts";

const { simd, relaxed } = await kernelModules();

/** By hand: the nearest whole number of 1/4096, halves to the even one. */
function nearest(x: number): number {
  if (Number.isNaN(x)) return -2048;
  const scaled = x * 4096;
  const below = Math.floor(scaled);
  const isUpper = scaled - below > 0.5 || (scaled - below === 0.5 && below % 2 !== 0);
  return Math.max(-2048, Math.min(2048, (isUpper ? below + 1 : below) / 4096));
}

describe.each([
  ["reference", () => createReferenceBackend()],
  ["wasm simd", () => createWasmBackend(simd)],
  ...(relaxed === undefined
    ? []
    : ([["wasm relaxed", () => createWasmBackend(relaxed, { build: "relaxed" })]] as const)),
] as const)("codebook kernels of %s", (_, create) => {
  it("round scores to the grid, halves to even, and bound them", async () => {
    const backend = create();
    const values = Float32Array.of(
      ...[0, 0.1, -0.1, 1 / 8192, 3 / 8192, -1 / 8192, -3 / 8192, 5 / 8192, 1000.1234, -2047.99999],
      ...[2048, 2048.5, -2049, 1e30, -1e30, Infinity, -Infinity, NaN, 3.4e38, 1e-40],
    );
    const scores = guarded(backend, values.length, values);
    backend.codebookKernels().snap(scores.floats, values.length);
    const read = await scores.read();
    // Where nothing is left, the sign of a zero is not looked at: x + 0 is the same for both.
    expect(Array.from(read, (x) => x + 0)).toEqual(Array.from(values, (x) => nearest(x) + 0));
    expect(Array.from(values, (x) => snapped(x) + 0)).toEqual(Array.from(values, (x) => nearest(x) + 0));
  });

  it("make rows of any length", async () => {
    const backend = create();
    const kernels = backend.codebookKernels();
    for (const vocab of [...LENGTHS, 5001]) {
      const random = createRandom(vocab);
      const count = Math.min(vocab, 300);
      const codes = Uint16Array.from({ length: vocab }, () => random.below(count));
      const bias = Float32Array.from({ length: vocab }, () => snapped(4 * random.normal()));
      const values = Float32Array.from({ length: count }, () => snapped(8 * random.normal()));
      const before = backend.usedBytes;
      const map = kernels.map(codes, bias);
      expect(backend.usedBytes - before).toBeGreaterThanOrEqual(kernels.mapBytes(vocab));
      const scores = load(backend, values);
      const out = guarded(backend, vocab);
      kernels.row(out.floats, scores, map);
      const expected = Float32Array.from(codes, (code, i) => values[code] + bias[i]);
      expectSame(await out.read(), expected, `${vocab} tokens`);
      kernels.free(map);
      backend.free(scores);
    }
  });

  it("take the largest code there is", async () => {
    const backend = create();
    const kernels = backend.codebookKernels();
    const values = new Float32Array(65_536);
    values[65_535] = 7;
    values[32_768] = -3;
    const map = kernels.map(
      Uint16Array.of(65_535, 0, 32_768, 65_535, 65_535),
      Float32Array.of(1, 2, 3, 4, 5),
    );
    const out = guarded(backend, 5);
    kernels.row(out.floats, load(backend, values), map);
    expect(Array.from(await out.read())).toEqual([8, 2, 0, 11, 12]);
  });
});
