/** A model with a certified head writes what it wrote with its dense one, and makes rows only where they are looked at. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { compressHead } from "../../src/compress/compress-head.ts";
import { loadModel } from "../../src/engine/load-model.ts";
import type { GenerateOptions, Model } from "../../src/engine/model.ts";
import { editGguf, openGguf } from "../../src/format/gguf-write.ts";

const modules = {
  simd: new WebAssembly.Module(readFileSync(new URL("../../build/simd.wasm", import.meta.url))),
};
const dense = new Uint8Array(
  readFileSync(new URL("../../models/edgewise-stories-q8_0.gguf", import.meta.url)),
);
const compressed = withHead("certified");
const drafted = withHead("pq");

/** The file with another head. */
async function withHead(method: "certified" | "pq"): Promise<Uint8Array> {
  const edit = await compressHead(dense, modules, { method, states: 256 });
  const source = await openGguf(async (from, to) => dense.subarray(from, to), dense.length);
  const pieces: Uint8Array[] = [];
  for await (const piece of editGguf(source, edit)) pieces.push(piece);
  return new Uint8Array(await new Blob(pieces as BlobPart[]).arrayBuffer());
}

async function models(): Promise<[Model, Model]> {
  return [await loadModel(dense, { modules }), await loadModel(await compressed, { modules })];
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
      expect(lazy.isLazy).toBe(true);
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
  const one = await loadModel(dense, { modules });
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
