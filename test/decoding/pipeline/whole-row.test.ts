/** Pipelines that look at every token give the same with kernels as without, bit for bit. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { LawKernels } from "../../../src/backend/law-kernels.ts";
import {
  type Choice,
  createPipeline,
  type Distribution,
  type SamplingContext,
  type SamplingKernels,
  type Step,
} from "../../../src/decoding/pipeline.ts";
import { createRandom } from "../../support/random.ts";
import { referenceKernels, wasmKernels } from "../../support/sampling-kernels.ts";
import { context } from "./support.ts";

const LARGE = 151_936;
const inWasm = wasmKernels(LARGE);

const MOST = 3.4028234663852886e38;
const ODD = [NaN, Infinity, -Infinity, MOST, -MOST, -0, 1e-45, 1e30];

/** Rows as models give them, and rows full of ties, of one value, of what does not belong there. */
const ROWS: Record<string, (random: ReturnType<typeof createRandom>) => (id: number) => number> = {
  normal: (random) => () => 3 * random.normal(),
  peaked: (random) => () => (random.below(300) === 0 ? 12 + random.normal() : 2 * random.normal()),
  coarse: (random) => () => Math.round(4 * random.normal()) / 2,
  constant: () => () => -1.5,
  ascending: () => (id) => id / 64,
  tiny: (random) => () => 1e-38 * random.normal(),
  wide: (random) => () => 300 * random.normal(),
  "far away": (random) => () => 1e6 + 40 * random.normal(),
  odd: (random) => () => (random.below(9) === 0 ? ODD[random.below(ODD.length)] : random.normal()),
  sparse: (random) => () => (random.below(20) === 0 ? random.normal() : -Infinity),
};

function rowOf(kind: string, length: number, seed: number): Float32Array {
  const value = ROWS[kind](createRandom(seed));
  return Float32Array.from({ length }, (_, id) => value(id));
}

interface Outcome {
  readonly choice?: Choice;
  readonly law?: Distribution;
  readonly error?: string;
}

function outcomeOf(run: () => Outcome): Outcome {
  try {
    return run();
  } catch (error) {
    return { error: String(error) };
  }
}

/** What is drawn, and of what law, with these kernels. */
function outcomes(
  row: Float32Array,
  steps: readonly Step[],
  where: SamplingContext,
  kernels: SamplingKernels | undefined,
): Outcome[] {
  const pipeline = createPipeline(steps);
  const at = { state: pipeline.start(), ...where, kernels };
  return [
    ...[0, 1, 20].map((top) => outcomeOf(() => ({ choice: pipeline.sample(row, at, top) }))),
    outcomeOf(() => ({ law: pipeline.distribution(row, at) })),
  ];
}

const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: [] as never, freq: 2 });
const one = (step: fc.Arbitrary<Step>) => maybe(step.map((step) => [step]));
const share = fc.oneof(fc.double({ min: 0, max: 1, noNaN: true }), fc.constantFrom(0, 0.9, 0.999, 1));

/** Edits, a mask, a temperature, a cut, and what may follow. */
const chain = fc
  .tuple(
    one(fc.constant({ step: "bitmask" })),
    one(fc.record({ step: fc.constant("presence-penalty" as const), penalty: fc.constantFrom(-3, 2) })),
    one(
      fc.record({
        step: fc.constant("logit-bias" as const),
        bias: fc.dictionary(fc.nat(300).map(String), fc.constantFrom(-100, -1, 5, 1e6), { maxKeys: 5 }),
      }),
    ),
    one(
      fc.record({
        step: fc.constant("temperature" as const),
        temperature: fc.constantFrom(0.01, 0.7, 1.3, 40, 1e-60),
      }),
    ),
    one(
      fc.oneof(
        fc.record({ step: fc.constant("top-p" as const), p: share }),
        fc.record({ step: fc.constant("min-p" as const), p: share }),
      ),
    ),
    one(
      fc.constantFrom<Step>(
        { step: "temperature", temperature: 2 },
        { step: "top-p", p: 0.5 },
        { step: "min-p", p: 0.2 },
        { step: "typical", p: 0.8 },
        { step: "mirostat-2", tau: 3, eta: 0.1 },
        { step: "xtc", probability: 0.5, threshold: 0.1 },
      ),
    ),
  )
  .map((steps) => steps.flat() as Step[]);

const mask = (vocab: number, density: number, seed: number) => {
  const random = createRandom(seed);
  return Uint32Array.from({ length: Math.ceil(vocab / 32) }, () => {
    let word = 0;
    for (let bit = 0; bit < 32; bit++) if (random.uniform() < density) word |= 1 << bit;
    return word;
  });
};

describe("with kernels and without", () => {
  it("chooses the same and knows as much of it, of small vocabularies", () => {
    const cases = fc.record({
      kind: fc.constantFrom(...Object.keys(ROWS)),
      vocab: fc.oneof(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 300, max: 1500 })),
      steps: chain,
      seed: fc.nat(),
      position: fc.nat(2 ** 31),
      density: fc.constantFrom(0, 0.3, 0.95, 1),
    });
    fc.assert(
      fc.property(cases, ({ kind, vocab, steps, seed, position, density }) => {
        const row = rowOf(kind, vocab, seed);
        const random = createRandom(seed);
        const where = context({
          history: Array.from({ length: 40 }, () => random.below(vocab)),
          promptLength: 10,
          position,
          seed: seed * 4001,
          bitmask: steps.some(({ step }) => step === "bitmask") ? mask(vocab, density, seed) : undefined,
        });
        const expected = outcomes(row, steps, where, undefined);
        expect(outcomes(row, steps, where, inWasm(row))).toEqual(expected);
        expect(outcomes(row, steps, where, referenceKernels(row))).toEqual(expected);
      }),
      { numRuns: 500, seed: 1 },
    );
  });

  it.each([8193, 32_000, LARGE])("chooses the same of %d tokens", (vocab) => {
    const chains: Step[][] = [
      [],
      [{ step: "temperature", temperature: 0.8 }],
      [{ step: "top-p", p: 0.9 }],
      [{ step: "bitmask" }, { step: "temperature", temperature: 1.2 }, { step: "top-p", p: 0.95 }],
      [
        { step: "top-p", p: 0.4 },
        { step: "min-p", p: 0.1 },
      ],
      [{ step: "min-p", p: 0.05 }],
    ];
    for (const [index, kind] of Object.keys(ROWS).entries()) {
      const row = rowOf(kind, vocab, vocab + index);
      const kernels = inWasm(row);
      const steps = chains[index % chains.length];
      for (const chain of [steps, chains[(index + 2) % chains.length]]) {
        const bitmask = chain.some(({ step }) => step === "bitmask") ? mask(vocab, 0.9, index) : undefined;
        const where = context({ position: index, seed: vocab, bitmask });
        const [pipeline, other] = [createPipeline(chain), createPipeline(chain)];
        const expected = pipeline.sample(row, where, 5);
        expect(other.sample(row, { ...where, kernels }, 5), `${kind}, ${JSON.stringify(chain)}`).toEqual(
          expected,
        );
        expect(other.sample(row, { ...where, kernels }).logProbability).toBe(expected.logProbability);
      }
    }
  });
});

describe("kernels", () => {
  const random = createRandom(3);
  const row = Float32Array.from({ length: 3000 }, () => 3 * random.normal());

  /** The calls that a pipeline makes of them. */
  function callsOf(
    steps: readonly Step[],
    use: "sample" | "distribution",
    where: Partial<SamplingContext> = {},
  ) {
    const { best, law } = referenceKernels(row);
    const calls: string[] = [];
    const noted = new Proxy(law as LawKernels, {
      get: (target, name: keyof LawKernels) => {
        calls.push(name);
        return target[name];
      },
    });
    createPipeline(steps)[use](row, context({ ...where, kernels: { best, law: noted } }));
    return calls;
  }

  it("do the whole of a draw, and of top-p", () => {
    expect(callsOf([], "sample")).toEqual(["range", "contest"]);
    expect(callsOf([{ step: "temperature", temperature: 2 }], "sample")).toEqual(["range", "contest"]);
    const topP: Step = { step: "top-p", p: 0.9 };
    expect(callsOf([topP], "sample")).toEqual(["range", "buckets", "within", "contest"]);
    expect(callsOf([topP, { step: "min-p", p: 0.1 }], "sample")).toEqual([
      "range",
      "buckets",
      "within",
      "within",
    ]);
    expect(callsOf([topP], "distribution")).toEqual(["range", "buckets", "within", "within"]);
    expect(callsOf([{ step: "min-p", p: 0.1 }], "sample")).toEqual(["range", "within"]);
  });

  it("are told of edited and forbidden tokens", () => {
    const steps: Step[] = [{ step: "bitmask" }, { step: "presence-penalty", penalty: 1 }];
    const where = { history: [1, 2, 3], promptLength: 0, bitmask: mask(3000, 0.9, 1) };
    expect(callsOf(steps, "sample", where)).toEqual(["range", "contest"]);
  });

  it("are not asked where the law of all tokens is wanted, or steps look at all of them", () => {
    expect(callsOf([], "distribution")).toEqual([]);
    expect(callsOf([{ step: "typical", p: 0.5 }], "sample")).toEqual([]);
    expect(callsOf([{ step: "top-k", k: 9 }], "sample")).toEqual([]);
    const many = Array.from({ length: 2000 }, (_, id) => id);
    expect(callsOf([{ step: "presence-penalty", penalty: 1 }], "sample", { history: many })).toEqual([]);
  });
});
