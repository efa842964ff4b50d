/**
 * How far log-probabilities are from the truth: bench/oracle, f64 over the dequantised weights.
 *
 * The oracle, not the reference backend, is the truth here: it shares no line with src, so that one misreading of a
 * format or an architecture cannot be on both sides. It is no slower, for whole sequences.
 */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { divergence, logSoftmax } from "../../bench/oracle/divergence.ts";
import { Oracle } from "../../bench/oracle/forward.ts";
import { parseGguf } from "../../bench/oracle/gguf.ts";
import type { LoadOptions } from "../../src/engine/load-model.ts";
import { decodeWeights, type WeightType } from "../../src/format/blocks.ts";
import { loadModel } from "../../src/node.ts";
import { type GgufTensor, ggufBytes } from "../support/gguf-writer.ts";
import { quantize } from "../support/quantize.ts";
import { syntheticModel } from "../support/synthetic-model.ts";
import {
  DIVERGENCE_TOKENS,
  randomTokens,
  STORY_MODELS,
  SYNTHETIC_CASES,
  syntheticFile,
  windowsOf,
} from "./cases.ts";
import { goldenOf, readGolden } from "./golden.ts";

/** Nats per token that each weight type may be off. Inputs of Q4_0 and Q4_K are rounded to 8 bits, of others to 14. */
const ALLOWED: Readonly<Record<string, number>> = {
  F32: 1e-5,
  F16: 1e-5,
  BF16: 1e-5,
  Q8_0: 1e-4,
  Q4_0: 4e-3,
  Q4_1: 1e-4,
  Q5_0: 1e-4,
  Q5_1: 1e-4,
  Q4_K: 4e-3,
  Q5_K: 1e-4,
  Q6_K: 1e-4,
  IQ4_NL: 1e-4,
};

/** What attention goes through before it is added to the stream, in models that have it. */
const POST_NORM = "post_attention_norm.weight";

/** llama.cpp rounds inputs of Q4_0 as we do, in blocks of 32 to 8 bits, so that only chance says whose error is smaller. */
const BY_CHANCE: Readonly<Record<string, number>> = { Q4_0: 1.15 };

const stories = readGolden("stories");
const synthetic = readGolden("synthetic");

test.each(STORY_MODELS)("%s on 512 tokens of a story", async (name) => {
  const file = new Uint8Array(readFileSync(new URL(`../../models/${name}.gguf`, import.meta.url)));
  const windows = windowsOf(stories.story, 0, 256);
  expect(windows.flat().length).toBeGreaterThanOrEqual(512);
  const type = name.slice(name.lastIndexOf("-") + 1).toUpperCase();
  expectNoWorse(type, await divergenceOf(file, windows), goldenOf(stories, name, file).meanDivergence);
});

test.each(SYNTHETIC_CASES)("synthetic $name", async (synthetics) => {
  const { name, type } = synthetics;
  const file = syntheticFile(synthetics);
  const tokens = randomTokens(name, new Oracle(parseGguf(file)).vocab, DIVERGENCE_TOKENS);
  const golden = goldenOf(synthetic, name, file);
  expectNoWorse(type, await divergenceOf(file, [tokens]), golden.meanDivergence);
});

describe.each(SYNTHETIC_CASES)("the reference backend, synthetic $name", ({ name, options }) => {
  const spec = syntheticModel(options);
  const layers = spec.tensors.filter((tensor) => tensor.name.endsWith("attn_output.weight")).length;

  test("is off by its 16-bit keys and values", async () => {
    expect(await referenceDivergence(name, ggufBytes(spec))).toBeLessThan(1.5e-8 * layers);
  });

  test("is off by nothing else", async () => {
    // What the cache rounds counts 256 times less here, and 65,536 times less in the divergence.
    const last = spec.tensors.some(({ name }) => name.endsWith(POST_NORM)) ? POST_NORM : "attn_output.weight";
    const tensors = spec.tensors.map((tensor) =>
      tensor.name.endsWith(last) ? scaled(tensor, 1 / 256) : tensor,
    );
    expect(await referenceDivergence(name, ggufBytes({ ...spec, tensors }))).toBeLessThan(1e-11 * layers);
  });
});

function referenceDivergence(name: string, file: Uint8Array): Promise<number> {
  const tokens = randomTokens(name, new Oracle(parseGguf(file)).vocab, 48);
  return divergenceOf(file, [tokens], { backend: "reference" });
}

function scaled(tensor: GgufTensor, factor: number): GgufTensor {
  const { type } = tensor;
  const pieces = function* () {
    for (const piece of tensor.data()) {
      yield quantize(
        type as WeightType,
        decodeWeights(type, piece).map((weight) => weight * factor),
      );
    }
  };
  return { ...tensor, data: pieces };
}

function expectNoWorse(type: string, mean: number, peer: number): void {
  expect(ALLOWED).toHaveProperty(type);
  expect(mean).toBeLessThanOrEqual(ALLOWED[type]);
  expect(mean).toBeLessThanOrEqual(peer * (BY_CHANCE[type] ?? 1));
}

/** Mean KL(truth || edgewise) in nats per token. */
async function divergenceOf(
  file: Uint8Array,
  windows: readonly (readonly number[])[],
  options: LoadOptions = {},
): Promise<number> {
  const oracle = new Oracle(parseGguf(file));
  const model = await loadModel(file, options);
  expect(model.vocab).toBe(oracle.vocab);
  let sum = 0;
  let count = 0;
  for (const window of windows) {
    const truth = oracle.forward(window);
    const session = model.open({ capacity: window.length });
    const rows = await session.forward(window, window.length);
    for (let index = 0; index < window.length; index++) {
      const expected = truth.subarray(index * oracle.vocab, (index + 1) * oracle.vocab);
      sum += divergence(logSoftmax(expected), logSoftmax(rows.row(index)));
      count++;
    }
    session.close();
  }
  model.close();
  return sum / count;
}
