/** How long the definition takes: printed, never asserted, as times belong to the machine. */
import { describe, expect, it } from "vitest";
import { createPipeline, type FindBest, presetSteps, type Step } from "../../../src/decoding/pipeline.ts";
import { createRandom } from "../../support/random.ts";

const V = 151_936;
const RUNS = 25;

const random = createRandom(1);
const row = Float32Array.from({ length: V }, () => 3 * random.normal());
/** As a kernel finds them, in no time. */
const order = Uint32Array.from(row.keys()).sort((a, b) => row[b] - row[a] || a - b);
const logits = Float32Array.from(order, (id) => row[id]);
const best = (count: number) => ({ ids: order.subarray(0, count), logits: logits.subarray(0, count) });
const history = Array.from({ length: 1000 }, () => random.below(V));

describe(`over ${V} tokens`, () => {
  const llama = presetSteps("llamacpp", {
    repetitionPenalty: 1.1,
    presencePenalty: 0.1,
    frequencyPenalty: 0.1,
  });
  it.each<[string, readonly Step[], FindBest?]>([
    ["llama.cpp's chain: penalties, top-k 40, top-p, min-p, temperature, draw", llama],
    ["the same, told the best", llama, best],
    ["greedy", [{ step: "temperature", temperature: 0 }]],
    ["the whole row: draw", []],
    ["the whole row: top-p, draw", [{ step: "top-p", p: 0.9 }]],
  ])("%s", (name, steps, best) => {
    const kernels = best && { best };
    const pipeline = createPipeline(steps);
    const times: number[] = [];
    const tokens: number[] = [];
    for (let i = 0; i < RUNS; i++) {
      const start = performance.now();
      const { token } = pipeline.sample(row, { history, promptLength: 10, position: 1000, seed: 1, kernels });
      times.push(performance.now() - start);
      tokens.push(token);
    }
    expect(new Set(tokens).size).toBe(1);
    const median = times.sort((a, b) => a - b)[RUNS >> 1];
    console.log(`${name}: ${median.toFixed(2)} ms, the median of ${RUNS}`);
  });
});
