/** Likelihoods by tiles of the vocabulary, against rows that are whole. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type Backend, type Floats, type Matrix, stride } from "../../src/backend/backend.ts";
import { createReferenceBackend } from "../../src/backend/reference/index.ts";
import { createWasmBackend } from "../../src/backend/wasm/index.ts";
import { score } from "../../src/decoding/score.ts";
import { MemoryError } from "../../src/errors.ts";
import type { WeightType } from "../../src/format/blocks.ts";
import { Likelihood } from "../../src/model/likelihood.ts";
import { usualWeights } from "../backend/case/harness.ts";
import { createRandom } from "../support/random.ts";

const module = new WebAssembly.Module(readFileSync(new URL("../../build/simd.wasm", import.meta.url)));
const BACKENDS: readonly [string, (maxBytes?: number) => Backend][] = [
  ["wasm", (maxBytes) => createWasmBackend(module, { build: "simd", maxBytes })],
  ["reference", (maxBytes) => createReferenceBackend({ maxBytes })],
];

const HIDDEN = 64;

function headOf(backend: Backend, type: WeightType, vocab: number): Matrix {
  const writer = backend.matrix(type, vocab, HIDDEN);
  writer.write(usualWeights(type, vocab, HIDDEN, createRandom(vocab)));
  return writer.finish();
}

function statesOf(backend: Backend, count: number): Floats {
  const random = createRandom(count);
  const states = backend.floats(count * HIDDEN);
  backend.write(
    states,
    Float32Array.from({ length: count * HIDDEN }, () => 2 * random.normal()),
  );
  return states;
}

describe.each(BACKENDS)("likelihoods by tiles: %s", (_, open) => {
  it.each<[WeightType, number, number]>([
    ["Q8_0", 3, 2],
    ["Q8_0", 1023, 33],
    ["Q4_0", 1024, 1],
    ["F16", 1025, 5],
    ["Q8_0", 5003, 40],
  ])("are those of whole rows, to the last bit: %s, %i tokens, %i states", async (type, vocab, count) => {
    const backend = open();
    const head = headOf(backend, type, vocab);
    const states = statesOf(backend, count);
    const random = createRandom(7);
    const tokens = Array.from({ length: count }, (_, i) => (i === 0 ? vocab - 1 : random.below(vocab)));
    const likelihood = new Likelihood(backend, head);
    const nlls = await likelihood.nll(states, tokens);
    const rows = backend.floats(count * stride(vocab));
    backend.matmul(states, count, [{ weights: head, out: rows }]);
    const values = await backend.read(rows);
    const expected = tokens.map((token, i) => {
      const row = values.slice(i * stride(vocab), i * stride(vocab) + vocab);
      return score("nll", { row, token }).value;
    });
    expect(Array.from(nlls)).toEqual(expected);
    // In parts as well.
    const half = count >> 1;
    const rest = await likelihood.nll(
      backend.slice(states, half * HIDDEN, (count - half) * HIDDEN),
      tokens.slice(half),
    );
    expect(Array.from(rest)).toEqual(expected.slice(half));
    likelihood.close();
  });

  it("hold a tile, where there is no room for rows", async () => {
    const vocab = 16_411;
    const unlimited = open();
    headOf(unlimited, "Q8_0", vocab);
    statesOf(unlimited, 33);
    // Rows of 33 states take 2 MiB; a tile of 32 columns 128 KiB. Scratch is for 32 states and sums.
    const backend = open(unlimited.usedBytes + 180 * 1024);
    const head = headOf(backend, "Q8_0", vocab);
    const states = statesOf(backend, 33);
    expect(() => backend.floats(33 * stride(vocab))).toThrow(MemoryError);
    const before = backend.usedBytes;
    const likelihood = new Likelihood(backend, head);
    const nlls = await likelihood.nll(
      states,
      Array.from({ length: 33 }, (_, i) => i * 490),
    );
    expect(nlls.length).toBe(33);
    expect(nlls.every((nll) => nll > 0 && nll < Infinity)).toBe(true);
    expect(backend.usedBytes - before).toBeLessThanOrEqual(160 * 1024);
    likelihood.close();
    expect(backend.usedBytes - before).toBeLessThanOrEqual(32 * 1024);
    expect(Likelihood.length(vocab)).toBe(32 * 1024);
  });

  it("are errors where there are none", async () => {
    const backend = open();
    const head = headOf(backend, "F16", 1500);
    const likelihood = new Likelihood(backend, head);
    const states = backend.floats(2 * HIDDEN);
    await expect(likelihood.nll(states, [0, 1500])).rejects.toThrow(
      '"tokens[1]" must be an integer from 0 to 1499, got 1500',
    );
    await likelihood.nll(states, [0, 1]);
    const used = backend.usedBytes;
    backend.write(
      states,
      Float32Array.from({ length: 2 * HIDDEN }, (_, i) => (i < HIDDEN ? 0 : NaN)),
    );
    await expect(likelihood.nll(states, [0, 1])).rejects.toThrow(
      "Logits must be numbers below Infinity, got NaN",
    );
    // A state of zeros: all tokens alike.
    expect(Array.from(await likelihood.nll(states, [7]))[0]).toBeCloseTo(Math.log(1500), 12);
    expect(backend.usedBytes).toBe(used);
  });
});
