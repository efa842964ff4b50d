/** Choosing from the best tokens alone: what `sample` chooses from the whole row, or nothing. */
import { expect, test } from "vitest";
import { bestFirst } from "../../../src/decoding/pipeline/select.ts";
import { createPipeline, type Step } from "../../../src/decoding/pipeline.ts";
import { createRandom } from "../../support/random.ts";

const VOCAB = 500;

function bestOf(row: Float32Array) {
  return (count: number) => {
    const ids = bestFirst(row, row.length, count);
    return { ids, logits: Float32Array.from(ids, (id) => row[id]) };
  };
}

const ENOUGH: Record<string, readonly Step[]> = {
  greedy: [{ step: "temperature", temperature: 0 }],
  "greedy behind cuts": [
    { step: "top-p", p: 0.9 },
    { step: "temperature", temperature: 0 },
  ],
  "top-k": [{ step: "top-k", k: 40 }],
  "a place for masks, then top-k": [{ step: "bitmask" }, { step: "top-k", k: 40 }],
  "top-k, then more": [
    { step: "temperature", temperature: 0.7 },
    { step: "top-k", k: 40 },
    { step: "top-p", p: 0.9 },
    { step: "min-p", p: 0.05 },
  ],
};

test.each(Object.entries(ENOUGH))("the same token, of %s", (_, steps) => {
  const random = createRandom(1);
  const pipeline = createPipeline(steps);
  for (let position = 0; position < 200; position++) {
    // Coarse ones have ties.
    const coarse = position % 2 === 0 ? 1 : 1000;
    const row = Float32Array.from({ length: VOCAB }, () => Math.round(3 * coarse * random.normal()) / coarse);
    const context = { history: [1, 2], promptLength: 1, seed: 9, position };
    const few = pipeline.sampleBest(bestOf(row), VOCAB, context, 3);
    expect(few).toEqual(pipeline.sample(row, context, 3));
  }
});

const NOT_ENOUGH: Record<string, readonly Step[]> = {
  "plain sampling": [],
  temperature: [{ step: "temperature", temperature: 0.5 }],
  "top-p": [{ step: "top-p", p: 0.5 }],
  "ties that all stay": [{ step: "top-k", k: 5, ties: "all" }],
  "a large part of the vocabulary": [{ step: "top-k", k: 300 }],
  "edits before": [
    { step: "presence-penalty", penalty: 1 },
    { step: "top-k", k: 5 },
  ],
  "allowed tokens": [
    { step: "allowed-ids", ids: [3, 4] },
    { step: "top-k", k: 1 },
  ],
};

test.each(Object.entries(NOT_ENOUGH))("the row is needed, of %s", (_, steps) => {
  const row = Float32Array.from({ length: VOCAB }, createRandom(2).normal);
  const context = { history: [1], promptLength: 1, seed: 9 };
  expect(createPipeline(steps).sampleBest(bestOf(row), VOCAB, context)).toBe(null);
});

test("the row is needed where logits are infinite, or fewer than are kept", () => {
  const pipeline = createPipeline([{ step: "top-k", k: 5 }]);
  const context = { history: [1], promptLength: 1, seed: 9 };
  const row = Float32Array.from({ length: VOCAB }, createRandom(2).normal);
  row[7] = Infinity;
  expect(pipeline.sampleBest(bestOf(row), VOCAB, context)).toBe(null);
  row.fill(-Infinity).fill(1, 10, 13);
  expect(pipeline.sampleBest(bestOf(row), VOCAB, context)).toBe(null);
  const bitmask = new Uint32Array(16).fill(-1);
  expect(pipeline.sampleBest(bestOf(row), VOCAB, { ...context, bitmask })).toBe(null);
});
