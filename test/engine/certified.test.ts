/** A model with a certified head writes what it wrote with its dense one, and makes rows only where they are looked at. */
import { describe, expect, test, vi } from "vitest";
import { loadModel } from "../../src/engine/load-model.ts";
import type { GenerateOptions, GenerateResult, Model } from "../../src/engine/model.ts";
import { CertifiedHead } from "../../src/model/head/certified-head.ts";
import { modules, stories, withHead } from "../support/compressed-model.ts";

const compressed = withHead({ method: "certified" });
const drafted = withHead({ method: "pq" });

async function models(): Promise<[Model, Model]> {
  return [await loadModel(stories, { modules }), await loadModel(await compressed, { modules })];
}

async function resultOf(model: Model, options: GenerateOptions): Promise<GenerateResult> {
  const text = model.generate("Once upon a time, a", options);
  for (;;) {
    const step = await text.next();
    if (step.done) return step.value;
  }
}

async function textOf(model: Model, options: GenerateOptions) {
  const tokens: { token: number; logProbability?: number }[] = [];
  for await (const { token, logProbability } of model.generate("Once upon a time, a", {
    maxTokens: 40,
    logProbabilities: 0,
    ...options,
  })) {
    tokens.push({ token, logProbability });
  }
  return tokens;
}

describe("a model with a certified head", () => {
  test.each<[string, GenerateOptions]>([
    ["greedy", { temperature: 0 }],
    ["top-k", { temperature: 0.9, topK: 40, seed: 5 }],
    ["plain temperature", { temperature: 1, topK: 0, topP: 1, seed: 6 }],
    ["top-p and penalties", { temperature: 0.8, topP: 0.9, repetitionPenalty: 1.2, seed: 7 }],
    ["with drafts of its own layers", { temperature: 0, draft: "self", speculation: { adaptive: false } }],
  ])("writes the same text, %s", async (_, options) => {
    const [one, other] = await models();
    const [expected, got] = [await textOf(one, options), await textOf(other, options)];
    expect(got).toEqual(expected);
    expect(got.length).toBeGreaterThan(0);
    one.close();
    other.close();
  });

  test("has rows, answers and likelihoods of the same bits, in any order", async () => {
    const [one, other] = await models();
    const prompt = one.tokenizer.encode("The little dog ran to the park and saw a big red ball.");
    for (const order of ["top first", "row first"]) {
      const [a, b] = [one.open(), other.open()];
      const [rows, lazy] = [await a.forward(prompt), await b.forward(prompt)];
      expect(lazy.spared).toBeDefined();
      const check = {
        top: () => expect(lazy.top(0, 12)).toEqual(rows.top(0, 12)),
        argmax: () => expect(lazy.argmax(0)).toBe(rows.argmax(0)),
        row: () => expect([...lazy.row(0)]).toEqual([...rows.row(0)]),
        sum: () => expect(lazy.logSumExp(0)).toBe(rows.logSumExp(0)),
      };
      const asked = [check.top, check.argmax, check.row, check.sum];
      for (const ask of order === "row first" ? asked.reverse() : asked) ask();
      expect(() => lazy.row(1)).toThrow(/"index"/);
      const [nextRows, next] = [await a.forward([5, 6, 7], 2), await b.forward([5, 6, 7], 2)];
      expect([...next.row(0), ...next.row(1)]).toEqual([...nextRows.row(0), ...nextRows.row(1)]);
      expect(() => lazy.top(0, 1)).toThrow(/called again/);
      const [nlls, others] = [await a.nll?.([1, 2, 3], [2, 3, 4]), await b.nll?.([1, 2, 3], [2, 3, 4])];
      expect(others).toEqual(nlls);
      expect(nlls).toBeDefined();
      b.close();
      expect(() => next.row(0)).toThrow(/closed/);
      a.close();
    }
    one.close();
    other.close();
  });
});

test("a model that drafts with product codes writes the same text", async () => {
  const one = await loadModel(stories, { modules });
  const other = await loadModel(await drafted, { modules });
  for (const options of [{ temperature: 0 }, { temperature: 0.8, topK: 40, seed: 2 }]) {
    const expected = await textOf(one, options);
    expect(await textOf(other, { ...options, draft: "self", speculation: { adaptive: false } })).toEqual(
      expected,
    );
  }
  one.close();
  other.close();
});

test("draws of a certified head take no row where nobody asks how likely they are, and are the dense head's", async () => {
  const [one, other] = await models();
  const rows = vi.spyOn(CertifiedHead.prototype, "rows");
  const asked = { temperature: 0.7, seed: 8, maxTokens: 40, ignoreEos: true };
  const expected = await resultOf(one, asked);
  const got = await resultOf(other, asked);
  const { length } = rows.mock.calls;
  // Where the screen cannot tell, rows are made.
  expect(length).toBeLessThan(20);
  expect(got.tokens).toEqual(expected.tokens);
  expect(got.logProbability).toBeNaN();
  expect((await resultOf(other, { ...asked, logProbabilities: 0 })).logProbability).toBe(
    expected.logProbability,
  );
  expect(rows.mock.calls.length).toBeGreaterThanOrEqual(length + 40);
  const best = other.generateMany("Once upon a time, a", { ...asked, maxTokens: 8, n: 1, bestOf: 3 });
  for (;;) {
    const step = await best.next();
    if (!step.done) continue;
    expect(step.value[0].logProbability).toBeLessThan(0);
    break;
  }
  rows.mockRestore();
  one.close();
  other.close();
});
