/** Pipelines that look at a part of the row only give what they would make of all of it, bit for bit. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Candidates } from "../../../src/decoding/pipeline/candidates.ts";
import { Occurrences } from "../../../src/decoding/pipeline/history.ts";
import { kindOf, readSteps } from "../../../src/decoding/pipeline/steps.ts";
import {
  createPipeline,
  denseProbabilities,
  type FindBest,
  gumbelArgmax,
  PRESET_NAMES,
  type PresetOptions,
  presetSteps,
  type SamplingContext,
  type Step,
  topLogProbabilities,
} from "../../../src/decoding/pipeline.ts";
import { log } from "../../../src/math.ts";
import { createRandom } from "../../support/random.ts";
import { referenceKernels, wasmKernels } from "../../support/sampling-kernels.ts";
import { context } from "./support.ts";

/** What a kernel finds: sorted, NaN and −∞ left out. */
function bestOf(row: Float32Array, calls: number[] = []): FindBest {
  const order = Array.from(row.keys()).filter((id) => row[id] > -Infinity);
  order.sort((a, b) => row[b] - row[a] || a - b);
  return (count) => {
    calls.push(count);
    const ids = Uint32Array.from(order.slice(0, count));
    return { ids, logits: Float32Array.from(ids, (id) => row[id]) };
  };
}

/** The definition: every step on every token, in the order of the pipeline. Null if nothing is left. */
function lawOfAll(row: Float32Array, steps: readonly Step[], where: SamplingContext): number[] | null {
  const list = readSteps(steps);
  const candidates = new Candidates(row.length);
  candidates.load(row);
  const occurrences = new Occurrences();
  occurrences.reset(where.history, row.length);
  const place = { bitmask: undefined, position: where.history.length, ...where, occurrences };
  const memory = createPipeline(steps).start().memory[0] ?? 0;
  for (const [index, step] of list.entries()) {
    if (candidates.count === 0) return null;
    const kind = kindOf(step);
    if (kind.edit) kind.edit(candidates, step, place);
    else kind.apply!(candidates, step, place, index, memory);
  }
  if (candidates.count === 0) return null;
  const weights = candidates.weights();
  const result = new Array<number>(row.length).fill(0);
  for (let i = 0; i < candidates.count; i++) result[candidates.ids[i]] = weights[i] / candidates.total();
  return result;
}

const V = 600;
const inWasm = wasmKernels(V);

const MOST = 3.4028234663852886e38;
const ODD = [NaN, Infinity, Infinity, -Infinity, MOST, MOST, -MOST, -0, 1e30];

/** Few values, so that boundaries are full of ties; one value; all different. And what does not belong there. */
const anyRow = fc
  .record({
    seed: fc.nat(),
    kind: fc.constantFrom("few", "one", "different", "different"),
    odd: fc.constantFrom(0, 0, 3, 30),
    rest: fc.constantFrom(undefined, undefined, NaN, -Infinity),
  })
  .map(({ seed, kind, odd, rest }) => {
    const random = createRandom(seed);
    const values = { few: () => random.below(7) - 3, one: () => 1, different: () => 3 * random.normal() };
    const row = Float32Array.from({ length: V }, (_, id) =>
      rest !== undefined && id % 50 > 2 ? rest : values[kind](),
    );
    for (let i = 0; i < odd; i++) row[random.below(V)] = ODD[random.below(ODD.length)];
    return row;
  });

const token = fc.nat(V - 1);
const option = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined, freq: 2 });
const unit = fc.double({ min: 0, max: 1, noNaN: true });
const common = {
  temperature: fc.constantFrom(0, 0.7, 1, 3),
  topP: option(unit),
  repetitionPenalty: option(fc.constantFrom(0.5, 1.1, 50)),
  logitBias: option(fc.dictionary(token.map(String), fc.integer({ min: -9, max: 9 }), { maxKeys: 5 })),
  badWords: option(fc.array(fc.array(token, { minLength: 1, maxLength: 1 }), { maxLength: 3 })),
  allowedIds: fc.option(fc.array(fc.nat(V + 20), { maxLength: 30 }), { nil: undefined, freq: 8 }),
  minTokens: option(fc.nat(30)),
  endTokens: fc.array(token, { maxLength: 3 }),
  confidenceLimit: option(fc.record({ maxProbability: fc.constantFrom(0.3, 0.8) })),
};
const topK = fc.option(fc.integer({ min: 1, max: 60 }), { nil: undefined, freq: 8 });
const minP = option(unit);
const subtracted = {
  presencePenalty: option(fc.constantFrom(-2, 0.5, 9)),
  frequencyPenalty: option(fc.constantFrom(-1, 1, 3)),
};
const xtc = option(fc.record({ probability: unit, threshold: fc.constantFrom(0.05, 0.3) }));
const dry = option(fc.record({ multiplier: fc.constantFrom(0.8, 4), allowedLength: fc.constantFrom(1, 2) }));
const OPTIONS: Record<(typeof PRESET_NAMES)[number], fc.Arbitrary<PresetOptions>> = {
  edgewise: fc.record({ ...common, ...subtracted, topK, minP, xtc, dry, typicalP: option(unit) }),
  llamacpp: fc.record({ ...common, ...subtracted, topK, minP, xtc, dry, topNSigma: option(fc.constant(2)) }),
  vllm: fc.record({ ...common, ...subtracted, topK, minP }),
  hf: fc.record({ ...common, topK, minP, noRepeatNgram: option(fc.constantFrom(1, 2)) }),
  webllm: fc.record({ ...common, ...subtracted }),
};

/** Sparse, dense, or none. */
const bitmask = fc.option(
  fc.tuple(fc.constantFrom(0.01, 0.5, 0.98), fc.nat()).map(([share, seed]) => {
    const random = createRandom(seed);
    const mask = new Uint32Array(Math.ceil(V / 32) + 1);
    for (let id = 0; id < 32 * mask.length; id++) {
      if (random.uniform() < share) mask[id >>> 5] |= 1 << (id & 31);
    }
    return mask;
  }),
  { nil: undefined },
);
const OUTSIDE = [V, V + 7, -1, 1.5];
const history = fc
  .tuple(fc.nat(), fc.constantFrom(0, 5, 64, 200), fc.constantFrom(9, V))
  .map(([seed, length, below]) => {
    const random = createRandom(seed);
    return Array.from({ length }, () =>
      random.below(20) === 0 ? OUTSIDE[random.below(4)] : random.below(below),
    );
  });

describe.each(PRESET_NAMES)("preset %s", (name) => {
  it("gives what it makes of the whole row, with and without a search for the best", () => {
    const cases = fc.record({ row: anyRow, options: OPTIONS[name], history, bitmask, k: fc.nat(1000) });
    fc.assert(
      fc.property(cases, ({ row, options, history, bitmask, k }) => {
        const steps = presetSteps(name, options);
        const pipeline = createPipeline(steps);
        const where = context({ history, promptLength: history.length >> 1, bitmask, seed: k });
        const expected = lawOfAll(row, steps, where);
        for (const kernels of [undefined, { best: bestOf(row) }, referenceKernels(row), inWasm(row)]) {
          if (expected === null) {
            expect(() => pipeline.distribution(row, { ...where, kernels })).toThrow(RangeError);
            continue;
          }
          const law = pipeline.distribution(row, { ...where, kernels });
          expect(Array.from(denseProbabilities(law))).toEqual(expected);
          const choice = pipeline.sample(row, { ...where, kernels }, 7);
          expect(choice.token).toBe(gumbelArgmax(law, k, history.length));
          expect(choice.logProbability).toBe(log(expected[choice.token]));
          expect(choice.top).toEqual(topLogProbabilities(law, 7));
        }
      }),
      { numRuns: 400, seed: 1 },
    );
  });
});

describe("the search for the best", () => {
  const random = createRandom(2);
  const row = Float32Array.from({ length: 5000 }, () => 3 * random.normal());
  const history = Array.from({ length: 3000 }, () => random.below(5000));

  it("is asked for k and as many as were edited, and again only where that does not decide", () => {
    const asked = (steps: Step[], where: Partial<SamplingContext> = {}, logits = row) => {
      const calls: number[] = [];
      createPipeline(steps).sample(logits, context({ ...where, kernels: { best: bestOf(logits, calls) } }));
      return calls;
    };
    const penalty: Step = { step: "repetition-penalty", penalty: 1.2, lastN: 64 };
    const topK: Step = { step: "top-k", k: 40 };
    const recent = new Set(history.slice(-64)).size;
    expect(asked([topK])).toEqual([40]);
    expect(asked([{ step: "temperature", temperature: 0 }])).toEqual([1]);
    expect(
      asked([
        { step: "top-p", p: 0.9 },
        { step: "temperature", temperature: 0 },
      ]),
    ).toEqual([1]);
    expect(asked([penalty, { step: "temperature", temperature: 0.5 }, topK], { history })).toEqual([
      40 + recent,
    ]);
    // Ties at the boundary are all kept; the list must reach beyond them.
    const even = Float32Array.from(row, (logit, id) => (id % 50 === 0 ? 20 : logit));
    expect(asked([{ step: "top-k", k: 40, ties: "all" }], {}, even)).toEqual([80, 320]);
    expect(asked([topK], {}, even)).toEqual([40]);
    // Steps that need the law of all tokens.
    expect(asked([{ step: "top-p", p: 0.9 }])).toEqual([]);
    expect(asked([{ step: "top-n-sigma", n: 1 }, topK])).toEqual([]);
  });

  it("goes on behind the best if all of them were edited", () => {
    const order = Array.from(row.keys()).sort((a, b) => row[b] - row[a]);
    const calls: number[] = [];
    const steps: Step[] = [
      { step: "presence-penalty", penalty: 100 },
      { step: "temperature", temperature: 0 },
    ];
    const where = context({ history: order.slice(0, 80), kernels: { best: bestOf(row, calls) } });
    expect(createPipeline(steps).sample(row, where).token).toBe(order[80]);
    expect(calls).toEqual([65, 260]);
  });

  it("does not decide where an infinite logit comes before the largest finite one, which counts as much", () => {
    const logits = new Float32Array(5000);
    logits.set([0, MOST, Infinity]);
    for (const steps of [[{ step: "top-k", k: 1 }], [{ step: "temperature", temperature: 0 }]] as Step[][]) {
      const law = createPipeline(steps).distribution(logits, context({ kernels: { best: bestOf(logits) } }));
      expect(Array.from(law.ids)).toEqual([1]);
    }
  });

  it("is not needed where the tokens are named", () => {
    const calls: number[] = [];
    const bitmask = new Uint32Array(157);
    bitmask[3] = 6;
    const law = createPipeline([{ step: "bitmask" }, { step: "top-k", k: 40 }]).distribution(
      row,
      context({ bitmask, kernels: { best: bestOf(row, calls) } }),
    );
    expect(Array.from(law.ids)).toEqual([97, 98]);
    expect(calls).toEqual([]);
  });

  it("may be longer than what is left: fewer alternatives than asked for, the token among them", () => {
    const pipeline = createPipeline(presetSteps("llamacpp", { topK: 3, minP: 0, topP: 1 }));
    for (let position = 0; position < 50; position++) {
      const choice = pipeline.sample(row, context({ position, kernels: { best: bestOf(row) } }), 20);
      expect(choice.top).toHaveLength(3);
      expect(choice.top.map(({ token }) => token)).toContain(choice.token);
      expect(Number.isFinite(choice.logProbability)).toBe(true);
    }
  });
});
