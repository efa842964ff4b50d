/** The sampler vectors of llama.cpp (tests/test-sampling.cpp), by id; parameters are f32 there. */
import { describe, expect, it } from "vitest";
import { Candidates } from "../../../src/decoding/pipeline/candidates.ts";
import { minP } from "../../../src/decoding/pipeline/cut-off.ts";
import type { Place } from "../../../src/decoding/pipeline/step.ts";
import type { Step } from "../../../src/decoding/pipeline.ts";
import { expectLaw, law, normalized, rowOf, smallestSet, support } from "./support.ts";

const RAMP = rowOf(0.1, 0.2, 0.3, 0.4);
const SAME = [0.1, 0.2, 0.3, 0.4];

describe("llama.cpp's vectors", () => {
  it.each<[string, Step, number[]]>([
    ["temperature 1", { step: "temperature", temperature: 1 }, SAME],
    ["temperature 0", { step: "temperature", temperature: 0 }, [0, 0, 0, 1]],
    ["temp_ext 1, 0, 1", { step: "dynamic-temperature", temperature: 1, range: 0, exponent: 1 }, SAME],
    [
      "temp_ext 0, 0, 1",
      { step: "dynamic-temperature", temperature: 0, range: 0, exponent: 1 },
      [0, 0, 0, 1],
    ],
    ["top_k 1", { step: "top-k", k: 1 }, [0, 0, 0, 1]],
    ["top_k 3", { step: "top-k", k: 3 }, [0, 0.22222, 0.33333, 0.44444]],
    ["top_k 4", { step: "top-k", k: 4 }, SAME],
    ["top_k 0", { step: "top-k", k: 0 }, SAME],
    ["top_p 0", { step: "top-p", p: 0 }, [0, 0, 0, 1]],
    // In f64 0.4 + 0.3 falls short of 0.7 by a rounding; f32's 0.7 is 0.69999999.
    ["top_p 0.7", { step: "top-p", p: Math.fround(0.7) }, [0, 0, 0.428571, 0.571429]],
    ["top_p 0.8", { step: "top-p", p: 0.8 }, [0, 0.22222, 0.33333, 0.44444]],
    ["top_p 1", { step: "top-p", p: 1 }, SAME],
    ["min_p 0", { step: "min-p", p: 0 }, SAME],
    ["min_p 0.24", { step: "min-p", p: 0.24 }, SAME],
    ["min_p 0.26", { step: "min-p", p: 0.26 }, normalized(0, 0.2, 0.3, 0.4)],
    ["min_p 0.49", { step: "min-p", p: 0.49 }, normalized(0, 0.2, 0.3, 0.4)],
    ["min_p 0.51", { step: "min-p", p: 0.51 }, normalized(0, 0, 0.3, 0.4)],
    ["min_p 0.74", { step: "min-p", p: 0.74 }, normalized(0, 0, 0.3, 0.4)],
    ["min_p 0.76", { step: "min-p", p: 0.76 }, [0, 0, 0, 1]],
    ["min_p 1", { step: "min-p", p: 1 }, [0, 0, 0, 1]],
    ["top_n_sigma 1", { step: "top-n-sigma", n: 1 }, [0, 0, 0.428571, 0.571429]],
    ["top_n_sigma 0", { step: "top-n-sigma", n: 0 }, SAME],
    ["top_n_sigma 3", { step: "top-n-sigma", n: 3 }, SAME],
  ])("%s", (_, step, expected) => expectLaw(law(RAMP, [step]), expected));

  it("min_p 1.05 leaves the best token; here it is out of range, but the step can", () => {
    const candidates = new Candidates(4);
    candidates.load(RAMP);
    minP.apply!(candidates, { step: "min-p", p: 1.05 }, {} as Place, 0, 0);
    expect(Array.from(candidates.ids.subarray(0, candidates.count))).toEqual([3]);
    expect(() => law(RAMP, [{ step: "min-p", p: 1.05 }])).toThrow(RangeError);
  });

  it.each([
    [0.09, [0, 0, 0, 1]],
    [0.19, normalized(0, 0, 0.2, 0.1)],
    [0.29, normalized(0, 0.3, 0.2, 0.1)],
    [0.39, [0.4, 0.3, 0.2, 0.1]],
  ])("xtc with threshold %f", (threshold, expected) => {
    const step: Step = { step: "xtc", probability: 0.99, threshold };
    expectLaw(law(rowOf(0.4, 0.3, 0.2, 0.1), [step]), expected);
  });

  it("typical", () => {
    const step: Step = { step: "typical", p: 0.5 };
    expectLaw(law(rowOf(0.97, 0.01, 0.01, 0.01), [step]), [1, 0, 0, 0]);
    expectLaw(law(rowOf(0.4, 0.2, 0.2, 0.2), [step]), normalized(0, 0.2, 0.2, 0.2));
  });

  it.each([
    [[0], [0, 0.25, 0.25, 0.25, 0.25]],
    [
      [0, 1, 2],
      [0, 0, 0, 0.5, 0.5],
    ],
    [
      [0, 1, 2, 0, 0],
      [0, 0, 0, 0.5, 0.5],
    ],
  ])("repetition penalty 50 after %j", (history, expected) => {
    const step: Step = { step: "repetition-penalty", penalty: 50, lastN: 64 };
    const actual = law(rowOf(0.2, 0.2, 0.2, 0.2, 0.2), [step], { history });
    // A penalized token is impossible to five digits, not forbidden.
    expected.forEach((p, id) => {
      expect(actual[id], `token ${id}`).toBeCloseTo(p, 5);
    });
  });

  it.each([
    [[0], [0.000011, 0.249997, 0.249997, 0.249997, 0.249997]],
    [
      [0, 1, 2],
      [0.000023, 0.000023, 0.000023, 0.499966, 0.499966],
    ],
    [
      [0, 1, 2, 0, 0],
      [1e-12, 0.000023, 0.000023, 0.499977, 0.499977],
    ],
  ])("frequency and presence penalty 5 after %j", (history, expected) => {
    const steps: Step[] = [
      { step: "frequency-penalty", penalty: 5, lastN: 64 },
      { step: "presence-penalty", penalty: 5, lastN: 64 },
    ];
    expectLaw(law(rowOf(0.2, 0.2, 0.2, 0.2, 0.2), steps, { history }), expected);
  });

  it.each<[number, number[], Omit<Extract<Step, { step: "dry" }>, "step">, number[]]>([
    [4, [0, 1], { multiplier: 1, base: 1.1, allowedLength: 2, lastN: 4 }, [0.25, 0.25, 0.25, 0.25]],
    [
      4,
      [0, 1, 2, 0, 1],
      { multiplier: 1, base: 1.1, allowedLength: 2, lastN: 5 },
      [0.296923, 0.296923, 0.109232, 0.296923],
    ],
    [
      5,
      [0, 1, 3, 4, 0, 1],
      { multiplier: 1, base: 1.1, allowedLength: 2, lastN: 6, breakers: [[3]] },
      [0.2, 0.2, 0.2, 0.2, 0.2],
    ],
    [
      5,
      [0, 1, 2, 0, 1],
      { multiplier: 2, base: 1.1, allowedLength: 2, lastN: 5 },
      [0.241818, 0.241818, 0.032727, 0.241818, 0.241818],
    ],
    [
      5,
      [0, 1, 2, 3, 4, 0, 1],
      { multiplier: 1, base: 1.1, allowedLength: 4, lastN: 7 },
      [0.2, 0.2, 0.2, 0.2, 0.2],
    ],
  ])("dry over %i tokens after %j", (vocab, history, options, expected) => {
    expectLaw(law(new Float64Array(vocab), [{ step: "dry", ...options }], { history }), expected);
  });

  it("p-less (pull request)", () => {
    const step: Step = { step: "p-less" };
    expectLaw(law(rowOf(0.1, 0.15, 0.2, 0.25, 0.3), [step]), [0, 0, 0, 0.45454545, 0.54545455]);
    expectLaw(law(rowOf(0.25, 0.25, 0.25, 0.25), [step]), [0.25, 0.25, 0.25, 0.25]);
  });
});

describe("llama.cpp's sampler queues", () => {
  const N = 10_000;
  /** In f32, as there; token 0 has probability 0. */
  const ROW = Float32Array.from({ length: N }, (_, id) => Math.log(id));

  /** By definition: `kept` is how many of the most likely, which are the last ids, are left. */
  function expectedSize(order: string, k: number, p: number, m: number): number {
    let kept = N;
    for (const sampler of order) {
      const weights = Array.from({ length: kept }, (_, i) => N - 1 - i);
      if (sampler === "k") kept = Math.min(kept, k);
      else if (sampler === "m") kept = Math.max(1, weights.filter((w) => w >= m * (N - 1) && w > 0).length);
      else {
        const goal = p * weights.reduce((sum, w) => sum + w, 0);
        kept = smallestSet([...weights.keys()], weights, goal).length;
      }
    }
    // Whatever they keep, a token without mass is none.
    return Math.min(kept, N - 1);
  }

  const STEPS: Record<string, (k: number, p: number, m: number) => Step> = {
    k: (k) => ({ step: "top-k", k }),
    p: (_, p) => ({ step: "top-p", p }),
    m: (_k, _p, m) => ({ step: "min-p", p: m }),
  };
  const HIGH = 9997.9 / 9999;

  it.each<[order: string, k: number, p: number, m: number]>([
    ["k", 10_000, 1, 1],
    ["k", 1, 1, 1],
    ["k", 100, 1, 1],
    ["p", 10_000, 1, 1],
    ["p", 10_000, 0, 1],
    ["p", 10_000, 0.0003, 1],
    ["p", 10_000, 0.8, 1],
    ["m", 10_000, 1, 1],
    ["m", 10_000, 1, 1e-12],
    ["m", 10_000, 1, HIGH],
    ["m", 10_000, 1, 0.1],
    ["kp", 100, 0.8, 0.1],
    ["km", 100, 0.8, 0.1],
    ["pk", 100, 0.8, 0.1],
    ["pm", 100, 0.8, 0.1],
    ["mk", 100, 0.8, 0.1],
    ["mp", 100, 0.8, HIGH],
    ["mp", 100, 0.8, 0.1],
    ["kpm", 100, 0.8, 0.1],
    ["kmp", 100, 0.8, 0.1],
    ["pkm", 100, 0.8, 0.1],
    ["pmk", 100, 0.8, 0.1],
    ["mkp", 100, 0.8, 0.1],
    ["mpk", 100, 0.8, 0.1],
  ])("%s with k %i, p %f, m %f", (order, k, p, m) => {
    const steps = [...order].map((sampler) => STEPS[sampler](k, p, m));
    const size = expectedSize(order, k, p, m);
    expect(support(ROW, steps)).toEqual(Array.from({ length: size }, (_, i) => N - size + i));
  });
});
