/**
 * A model whose head draws by its own noise: what it writes has the law of its rows, is one text however it is decoded,
 * and no row is made for it.
 */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { createPipeline, presetSteps } from "../../src/decoding/pipeline.ts";
import { loadModel } from "../../src/engine/load-model.ts";
import type { GenerateOptions, Model } from "../../src/engine/model.ts";
import { ByteReader } from "../../src/format/bytes.ts";
import { readGguf } from "../../src/format/gguf.ts";
import { VqHead } from "../../src/model/head/vq-head.ts";
import { noise, STAGE, uniform } from "../../src/philox.ts";
import { modules, withHead } from "../support/compressed-model.ts";
import { createRandom } from "../support/random.ts";
import { randomPair, textOf } from "./on-off.ts";

const PROMPT = "Once upon a time, a";

/** Pipelines for which nothing but the states is looked at. */
const SPARED: Record<string, GenerateOptions> = {
  "plain sampling": { temperature: 1 },
  "a temperature": { temperature: 0.7 },
  penalties: { temperature: 0.9, repetitionPenalty: 1.2, presencePenalty: 0.4, frequencyPenalty: 0.3 },
  "bias, bad words, least tokens": {
    temperature: 0.8,
    logitBias: { 300: 4, 13: -100 },
    badWords: [[14], [100, 101]],
    minTokens: 9,
  },
  "dry and n-grams": { temperature: 0.8, dry: { multiplier: 1, allowedLength: 1 }, noRepeatNgram: 3 },
  "allowed ids": { temperature: 1, allowedIds: [13, 261, 300, 301, 302, 303, 410, 4000] },
  "top-k": { temperature: 0.8, topK: 40 },
  "top-k behind penalties": { temperature: 0.8, topK: 40, repetitionPenalty: 1.3 },
  greedy: { temperature: 0, repetitionPenalty: 1.1 },
};

describe.each([0, 16])("a vq model with %i bytes of residual codes", (residual) => {
  let model: Model;
  let rows: ReturnType<typeof vi.spyOn>;
  beforeAll(async () => {
    model = await loadModel(await withHead({ method: "vq", codes: 256, residual, replace: true }), {
      modules,
    });
    rows = vi.spyOn(VqHead.prototype, "rows");
  });
  afterAll(() => {
    rows.mockRestore();
    model.close();
  });

  async function rowAfter(tokens: readonly number[]): Promise<Float32Array> {
    const session = model.open();
    const row = (await session.forward(tokens)).row(0).slice();
    session.close();
    return row;
  }

  test.each(Object.entries(SPARED))("makes no row for %s, with drafts and without", async (_, options) => {
    const asked = { ...options, maxTokens: 40, seed: 11, ignoreEos: true };
    rows.mockClear();
    const plain = await textOf(model, PROMPT, asked);
    const speculation = { adaptive: false, gamma: 4 };
    const drafted = await textOf(model, PROMPT, { ...asked, draft: "ngram", speculation });
    expect(rows).not.toHaveBeenCalled();
    expect(drafted.tokens).toEqual(plain.tokens);
    expect(drafted.logProbability).toBe(plain.logProbability);
    expect(new Set(plain.tokens).size).toBeGreaterThan(3);
  });

  test("makes a row where the pipeline looks at all of it", async () => {
    rows.mockClear();
    await textOf(model, PROMPT, { temperature: 0.8, topP: 0.9, maxTokens: 5, seed: 1, ignoreEos: true });
    expect(rows).toHaveBeenCalledTimes(5);
  });

  test("writes one text: alone, in company, cut otherwise, with log-probabilities or without", async () => {
    const asked = { temperature: 0.9, repetitionPenalty: 1.1, maxTokens: 30, seed: 21, ignoreEos: true };
    const { tokens, logProbability } = await textOf(model, PROMPT, asked);
    const told = await textOf(model, PROMPT, { ...asked, logProbabilities: 3 });
    expect(told.tokens).toEqual(tokens);
    expect(told.logProbability).toBe(logProbability);
    const others = Array.from({ length: 3 }, (_, i) =>
      textOf(model, `${PROMPT} ${"big ".repeat(i)}dog`, { ...asked, seed: i }),
    );
    const [crowded] = await Promise.all([textOf(model, PROMPT, asked), ...others]);
    expect(crowded.tokens).toEqual(tokens);
    const prompt = [...model.tokenizer.encode(PROMPT), ...tokens.slice(0, 10)];
    const whole = await textOf(model, prompt, {
      ...asked,
      maxTokens: 20,
    });
    expect(whole.tokens).toEqual(tokens.slice(10));
  });

  test("tells log-probabilities of the law that the pipeline makes of the row", async () => {
    const options = { temperature: 0.8, repetitionPenalty: 1.2, logitBias: { 300: 3 } };
    const result = await textOf(model, PROMPT, {
      ...options,
      maxTokens: 12,
      seed: 5,
      logProbabilities: 5,
      ignoreEos: true,
    });
    const history = model.tokenizer.encode(PROMPT);
    const promptLength = history.length;
    const pipeline = createPipeline(presetSteps("edgewise", options));
    for (const { token, logProbability, top } of result.logProbabilities!) {
      const law = pipeline.distribution(await rowAfter(history), { history, promptLength, seed: 5 });
      const chances = new Map(Array.from(law.ids, (id, i) => [id, law.probabilities[i]]));
      expect(logProbability).toBeCloseTo(Math.log(chances.get(token)!), 9);
      const expected = [...chances].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, 5);
      expect(top.map((one) => one.token)).toEqual(expected.map(([id]) => id));
      for (const [i, one] of top.entries()) {
        expect(one.logProbability).toBeCloseTo(Math.log(expected[i][1]), 9);
      }
      history.push(token);
    }
  });

  test("draws with the law of the row: thousands of first tokens against it", async () => {
    const session = model.open();
    const prompt = model.tokenizer.encode(PROMPT);
    const answer = await session.forward(prompt);
    const pipeline = createPipeline(
      presetSteps("edgewise", { temperature: 1.1, repetitionPenalty: 1.3, logitBias: { 300: 6, 500: 5 } }),
    );
    const context = { history: prompt, promptLength: prompt.length };
    const spared = answer.spared!(0);
    const counts = new Map<number, number>();
    const draws = residual === 0 ? 20_000 : 4000;
    for (let seed = 0; seed < draws; seed++) {
      const { token } = pipeline.sampleSpared(spared, { ...context, seed })!;
      counts.set(token, (counts.get(token) ?? 0) + 1);
    }
    const law = pipeline.distribution(answer.row(0), { ...context, seed: 0 });
    let [sum, cells, rest, restCount] = [0, 0, 1, draws];
    for (const [i, id] of law.ids.entries()) {
      const expected = law.probabilities[i] * draws;
      if (expected < 8) continue;
      const count = counts.get(id) ?? 0;
      sum += (count - expected) ** 2 / expected;
      cells++;
      rest -= law.probabilities[i];
      restCount -= count;
    }
    sum += (restCount - rest * draws) ** 2 / (rest * draws);
    session.close();
    expect(cells).toBeGreaterThan(10);
    // 99.99 % of the chi-square distribution, by Wilson and Hilferty.
    const spread = 2 / (9 * cells);
    expect(sum).toBeLessThan(cells * (1 - spread + 3.719 * Math.sqrt(spread)) ** 3);
  });

  test("is accepted as often as it agrees: drafts of its own head always", async () => {
    const { speculation } = await textOf(model, PROMPT, {
      temperature: 0.9,
      repetitionPenalty: 1.1,
      maxTokens: 40,
      seed: 3,
      ignoreEos: true,
      draft: "self",
      speculation: { adaptive: false, gamma: 4 },
    });
    expect(speculation!.drafted).toBeGreaterThan(20);
    expect(speculation!.accepted).toBe(speculation!.tested);
  });

  test("writes with every drafter what it writes without", async () => {
    const random = createRandom(33 + residual);
    const accepted = new Set<string>();
    for (let trial = 0; trial < 60; trial++) {
      const { what, plain, drafted } = await randomPair(model, [model], random);
      expect([drafted.tokens, drafted.text, drafted.error], what).toEqual([
        plain.tokens,
        plain.text,
        plain.error,
      ]);
      if (drafted.speculation?.accepted) accepted.add(drafted.speculation.drafter);
    }
    expect(accepted.size).toBeGreaterThan(5);
  });
});

/** The code of each token, from the file. */
async function codesOf(file: Uint8Array): Promise<Uint16Array> {
  const { tensors } = await readGguf(ByteReader.from(file));
  const { offset, bytes } = tensors.find(({ name }) => name === "output_vq.codes")!;
  return new Uint16Array(file.slice(offset, offset + bytes).buffer);
}

test("the draw is the published one: codes race, then a number takes the member", async () => {
  const bytes = await withHead({ method: "vq", codes: 64, replace: true });
  const model = await loadModel(bytes, { modules });
  const [seed, temperature] = [2 ** 33 + 5, 0.9];
  const { tokens } = await textOf(model, PROMPT, { temperature, seed, maxTokens: 25, ignoreEos: true });
  const codes = await codesOf(bytes);
  const text = model.tokenizer.encode(PROMPT);
  for (const token of tokens) {
    const own = model.open();
    const row = (await own.forward(text)).row(0);
    const most = row.reduce((x, y) => Math.max(x, y));
    const weights = Array.from(row, (logit) => Math.exp((logit - most) / temperature));
    const mass = new Float64Array(64);
    for (const [i, weight] of weights.entries()) mass[codes[i]] += weight;
    const scores = Array.from(mass, (one, j) => one / -Math.log(noise(seed, text.length, j, STAGE.code)));
    const winner = scores.indexOf(Math.max(...scores));
    const goal = uniform(seed, text.length, STAGE.member, winner) * mass[winner];
    const members = [...row.keys()].filter((i) => codes[i] === winner);
    members.sort((x, y) => row[y] - row[x] || x - y);
    let sum = 0;
    const expected = members.find((i) => {
      sum += weights[i];
      return sum > goal;
    });
    expect(token).toBe(expected);
    text.push(token);
    own.close();
  }
  model.close();
});
