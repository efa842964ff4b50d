/** The same tokens as llama.cpp, greedily, and the same log-probabilities as far as its rounding goes. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { logSoftmax } from "../../bench/oracle/divergence.ts";
import type { Model } from "../../src/engine/model.ts";
import { loadModel } from "../../src/node.ts";
import {
  DIVERGENCE_TOKENS,
  randomTokens,
  STORY_MODELS,
  SYNTHETIC_CASES,
  syntheticFile,
  windowsOf,
} from "./cases.ts";
import { type Continuation, type Golden, goldenOf, type KeyRow, readGolden } from "./golden.ts";
import { PROMPTS, STORY } from "./story.ts";

/** Rounded to six decimals in the file. */
const WRITTEN = 1e-6;

/** Types whose inputs are rounded to 8 bits. */
const COARSE = ["Q4_0", "Q4_K"];

const stories = readGolden("stories");
const synthetic = readGolden("synthetic");

describe.each(STORY_MODELS)("%s", (name) => {
  const file = new Uint8Array(readFileSync(new URL(`../../models/${name}.gguf`, import.meta.url)));

  test("reads prompts and the story as the same tokens", async () => {
    const model = await loadModel(file);
    const { greedy } = goldenOf(stories, name, file);
    expect(greedy.map(({ prompt }) => prompt)).toEqual(PROMPTS);
    for (const { prompt, promptTokens } of greedy) {
      expect(model.tokenizer.encode(prompt!)).toEqual(promptTokens);
    }
    expect(model.tokenizer.encode(STORY)).toEqual(stories.story);
    model.close();
  });

  test("continues prompts with the same tokens", async () => {
    const model = await loadModel(file);
    const golden = goldenOf(stories, name, file);
    for (const continuation of golden.greedy) {
      await expectSameTokens(model, continuation, name.endsWith("q4_0"));
    }
    // Only activations that are rounded to 8 bits make steps unsafe.
    if (name.endsWith("f16")) expect(golden.greedy.flatMap(({ unsafe }) => unsafe)).toEqual([]);
    model.close();
  });

  test("gives the same log-probabilities", async () => {
    const model = await loadModel(file);
    const [window] = windowsOf(stories.story, model.tokenizer.bos!, model.contextLength);
    await expectSameRows(model, window, goldenOf(stories, name, file).rows);
    model.close();
  });
});

describe.each(SYNTHETIC_CASES)("synthetic $name", (synthetics) => {
  const { name, type } = synthetics;
  const file = syntheticFile(synthetics);

  test("continues a prompt with the same tokens, and gives the same log-probabilities", async () => {
    const golden: Golden = goldenOf(synthetic, name, file);
    const model = await loadModel(file);
    expect(model.architecture).toBe(synthetics.options.architecture ?? "llama");
    await expectSameTokens(model, golden.greedy[0], COARSE.includes(type));
    if (type === "F16" || type === "F32") expect(golden.greedy[0].unsafe).toEqual([]);
    await expectSameRows(model, randomTokens(name, model.vocab, DIVERGENCE_TOKENS), golden.rows);
    model.close();
  });
});

/**
 * All safe steps after llama.cpp's own tokens, and those before the first unsafe one as `generate` gives them. Where we round
 * inputs as coarsely as llama.cpp, steps at which our two best are closer than its error are not safe either.
 */
async function expectSameTokens(model: Model, continuation: Continuation, coarse: boolean): Promise<void> {
  const { promptTokens, tokens, error } = continuation;
  const session = model.open({ capacity: promptTokens.length + tokens.length });
  const rows = await session.forward([...promptTokens, ...tokens.slice(0, -1)], tokens.length);
  const unsafe = tokens.flatMap((token, step) => {
    const row = rows.row(step);
    const close = coarse && Math.abs(row[rows.argmax(step)] - row[token]) < 2 * error;
    return continuation.unsafe.includes(step) || (close && rows.argmax(step) !== token) ? [step] : [];
  });
  expect(tokens.length - unsafe.length).toBeGreaterThanOrEqual(tokens.length / 2);
  const safe = tokens.map((token, step) => (unsafe.includes(step) ? null : token));
  expect(safe.map((token, step) => (token === null ? null : rows.argmax(step)))).toEqual(safe);
  session.close();

  const generated: number[] = [];
  const maxTokens = unsafe[0] ?? tokens.length;
  const steps = model.generate(promptTokens, { temperature: 0, ignoreEos: true, maxTokens });
  for await (const { token } of steps) generated.push(token);
  expect(generated).toEqual(tokens.slice(0, maxTokens));
}

/** llama.cpp is `error` away from the truth, and ours must be no further. */
async function expectSameRows(model: Model, tokens: readonly number[], expected: readonly KeyRow[]) {
  const session = model.open({ capacity: tokens.length });
  const rows = await session.forward(tokens, tokens.length);
  expect(expected.length).toBeGreaterThan(0);
  for (const { position, ids, logProbabilities, error } of expected) {
    const row = logSoftmax(rows.row(position));
    ids.forEach((id, rank) => {
      const distance = Math.abs(row[id] - logProbabilities[rank]);
      expect(distance, `token ${id} after position ${position}`).toBeLessThan(2 * error + WRITTEN);
    });
    expect(ids.length).toBe(50);
  }
  session.close();
}
