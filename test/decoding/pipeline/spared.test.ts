/** Choosing without the row: what `sample` chooses from it, or nothing. */
import { describe, expect, test } from "vitest";
import { bestFirst } from "../../../src/decoding/pipeline/select.ts";
import { createPipeline, type SparedRow, type Step } from "../../../src/decoding/pipeline.ts";
import { createRandom } from "../../support/random.ts";

const VOCAB = 500;

function best(row: Float32Array): SparedRow {
  return {
    vocab: VOCAB,
    best(count) {
      const ids = bestFirst(row, row.length, count);
      return { ids, logits: Float32Array.from(ids, (id) => row[id]) };
    },
  };
}

function withLogits(row: Float32Array): SparedRow {
  return { ...best(row), logit: (token) => row[token] };
}

const ENOUGH: Record<string, readonly Step[]> = {
  greedy: [{ step: "temperature", temperature: 0 }],
  "greedy behind cuts": [
    { step: "top-p", p: 0.9 },
    { step: "temperature", temperature: 0 },
  ],
  "top-k": [{ step: "top-k", k: 40 }],
  "top-k with its ties": [{ step: "top-k", k: 40, ties: "all" }],
  "a place for masks, then top-k": [{ step: "bitmask" }, { step: "top-k", k: 40 }],
  "top-k, then more": [
    { step: "temperature", temperature: 0.7 },
    { step: "top-k", k: 40 },
    { step: "top-p", p: 0.9 },
    { step: "min-p", p: 0.05 },
  ],
};

/** What needs logits of single tokens too. */
const WITH_LOGITS: Record<string, readonly Step[]> = {
  "edits, then greedy": [
    { step: "logit-bias", bias: { 7: 3, 9: -100, 12: 0.5 } },
    { step: "repetition-penalty", penalty: 1.3 },
    { step: "temperature", temperature: 0 },
  ],
  "edits, then top-k": [
    { step: "bad-words", words: [[2, 5], [11]] },
    { step: "presence-penalty", penalty: 1.5 },
    { step: "dry", multiplier: 0.8, allowedLength: 1 },
    { step: "temperature", temperature: 0.7 },
    { step: "top-k", k: 30 },
  ],
  "allowed tokens": [{ step: "allowed-ids", ids: [3, 4, 77, 499, 600] }],
  "allowed tokens, then everything": [
    { step: "allowed-ids", ids: [3, 4, 9, 77, 78, 79, 120] },
    { step: "frequency-penalty", penalty: 0.4 },
    { step: "typical", p: 0.9 },
    { step: "top-p", p: 0.8 },
  ],
};

function contextAt(position: number) {
  const random = createRandom(position + 1);
  return { history: Array.from({ length: 30 }, () => random.below(20)), promptLength: 4, seed: 9, position };
}

/** Coarse ones have ties. */
function rowAt(position: number): Float32Array {
  const random = createRandom(1000 + position);
  const coarse = position % 2 === 0 ? 1 : 1000;
  return Float32Array.from({ length: VOCAB }, () => Math.round(3 * coarse * random.normal()) / coarse);
}

describe("without the row the same token is chosen", () => {
  test.each(Object.entries(ENOUGH))("from the best, of %s", (_, steps) => {
    const pipeline = createPipeline(steps);
    for (let position = 0; position < 200; position++) {
      const [row, context] = [rowAt(position), contextAt(position)];
      expect(pipeline.sampleSpared(best(row), context, 3)).toEqual(pipeline.sample(row, context, 3));
    }
  });

  test.each(Object.entries(WITH_LOGITS))("from the best and single logits, of %s", (_, steps) => {
    const pipeline = createPipeline(steps);
    for (let position = 0; position < 200; position++) {
      const [row, context] = [rowAt(position), contextAt(position)];
      expect(pipeline.sampleSpared(withLogits(row), context, 3)).toEqual(pipeline.sample(row, context, 3));
    }
  });

  test("where fewer have a chance than are kept", () => {
    const pipeline = createPipeline([{ step: "top-k", k: 5 }]);
    const row = new Float32Array(VOCAB).fill(-Infinity).fill(1, 10, 13);
    const context = contextAt(1);
    expect(pipeline.sampleSpared(best(row), context, 9)).toEqual(pipeline.sample(row, context, 9));
  });
});

describe("the row is needed", () => {
  const NOT_ENOUGH: Record<string, readonly Step[]> = {
    "plain sampling": [],
    temperature: [{ step: "temperature", temperature: 0.5 }],
    "top-p": [{ step: "top-p", p: 0.5 }],
    "a large part of the vocabulary": [{ step: "top-k", k: 300 }],
  };

  test.each(Object.entries(NOT_ENOUGH))("of %s", (_, steps) => {
    const pipeline = createPipeline(steps);
    expect(pipeline.sampleSpared(withLogits(rowAt(2)), contextAt(2))).toBe(null);
  });

  test.each(Object.entries(WITH_LOGITS))("if there are no single logits, of %s", (_, steps) => {
    expect(createPipeline(steps).sampleSpared(best(rowAt(2)), contextAt(2))).toBe(null);
  });

  test("where the best logit is infinite, a grammar looks at tokens, or nothing is left", () => {
    const pipeline = createPipeline([{ step: "bitmask" }, { step: "top-k", k: 5 }]);
    const row = rowAt(3);
    const bitmask = new Uint32Array(16).fill(-1);
    expect(pipeline.sampleSpared(best(row), { ...contextAt(3), bitmask })).toBe(null);
    row[7] = Infinity;
    expect(pipeline.sampleSpared(best(row), contextAt(3))?.token ?? 7).toBe(7);
    row.fill(-Infinity);
    expect(pipeline.sampleSpared(best(row), contextAt(3))).toBe(null);
  });
});

describe("a head that draws", () => {
  const row = rowAt(1);
  const asked: { temperature: number; tokens: number[]; top: number }[] = [];
  const drawing: SparedRow = {
    ...withLogits(row),
    draw({ temperature, edits, position }, top) {
      asked.push({ temperature, tokens: Array.from(edits.tokens), top });
      return position === 0 ? null : { token: 42, logProbability: -1, top: [] };
    },
  };

  test.each<[string, readonly Step[], number]>([
    ["nothing", [], 1],
    ["a temperature", [{ step: "temperature", temperature: 0.3 }], 0.3],
    ["a place for masks", [{ step: "bitmask" }, { step: "temperature", temperature: 2 }], 2],
  ])("is asked by a pipeline of %s", (_, steps, temperature) => {
    asked.length = 0;
    const pipeline = createPipeline(steps);
    const state = pipeline.start();
    expect(pipeline.sampleSpared(drawing, contextAt(5), 2)).toEqual({
      token: 42,
      logProbability: -1,
      top: [],
      state,
    });
    expect(asked).toEqual([{ temperature, tokens: [], top: 2 }]);
    expect(pipeline.sampleSpared(drawing, contextAt(0))).toBe(null);
  });

  test("is told what edits make of the tokens that they touch", () => {
    const pipeline = createPipeline([
      { step: "logit-bias", bias: { 300: 2, 5: -1 } },
      { step: "bad-words", words: [[17]] },
      { step: "temperature", temperature: 0.5 },
    ]);
    let edits: unknown;
    const draw: SparedRow["draw"] = (law) => {
      edits = { tokens: [...Array.from(law.edits.tokens)], logits: [...Array.from(law.edits.logits)] };
      return { token: 1, logProbability: 0, top: [] };
    };
    pipeline.sampleSpared({ ...drawing, draw }, contextAt(5));
    expect(edits).toEqual({ tokens: [5, 17, 300], logits: [row[5] - 1, NaN, row[300] + 2] });
  });

  test.each<[string, readonly Step[]]>([
    ["top-p", [{ step: "top-p", p: 0.5 }]],
    [
      "edits behind the temperature",
      [
        { step: "temperature", temperature: 0.5 },
        { step: "logit-bias", bias: { 3: 1 } },
      ],
    ],
    ["two temperatures", [0.5, 2].map((temperature) => ({ step: "temperature", temperature }))],
  ])("is not asked by %s", (_, steps) => {
    asked.length = 0;
    expect(createPipeline(steps).sampleSpared(drawing, contextAt(5))).toBe(null);
    expect(asked).toEqual([]);
  });

  test("is not asked where the tokens are named, or few: these race as from the row", () => {
    asked.length = 0;
    for (const steps of [ENOUGH.greedy, ENOUGH["top-k"], WITH_LOGITS["allowed tokens"]]) {
      const pipeline = createPipeline(steps);
      expect(pipeline.sampleSpared(drawing, contextAt(5))).toEqual(pipeline.sample(row, contextAt(5)));
    }
    expect(asked).toEqual([]);
  });
});
