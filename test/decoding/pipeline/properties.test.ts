/** What holds for any pipeline and any row. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createPipeline, type Row, type Step } from "../../../src/decoding/pipeline.ts";
import { context, law } from "./support.ts";

const unit = fc.double({ min: 0, max: 1, noNaN: true });

const truncation: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    step: fc.constant("top-k" as const),
    k: fc.integer({ min: 1, max: 12 }),
    ties: fc.constantFrom("lowest" as const, "all" as const),
  }),
  fc.record({ step: fc.constantFrom("top-p" as const, "min-p" as const, "typical" as const), p: unit }),
  fc.record({ step: fc.constant("top-h" as const), h: unit }),
  fc.record({ step: fc.constant("top-n-sigma" as const), n: fc.double({ min: 0, max: 3, noNaN: true }) }),
  fc.record({
    step: fc.constantFrom("epsilon-cutoff" as const, "eta-cutoff" as const),
    epsilon: fc.double({ min: 0, max: 0.5, noNaN: true }),
  }),
  fc.record({ step: fc.constant("xtc" as const), probability: unit, threshold: unit }),
  fc.constant<Step>({ step: "p-less" }),
  fc.constantFrom<Step>({ step: "mirostat", tau: 2 }, { step: "mirostat-2", tau: 1 }),
);
const shaping: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    step: fc.constant("temperature" as const),
    temperature: fc.oneof(fc.constant(0), fc.double({ min: 0, max: 100, noNaN: true })),
  }),
  fc.record({
    step: fc.constant("dynamic-temperature" as const),
    temperature: fc.double({ min: 0, max: 2, noNaN: true }),
    range: fc.double({ min: 0, max: 2, noNaN: true }),
  }),
  fc.record({
    step: fc.constant("repetition-penalty" as const),
    penalty: fc.double({ min: 0.01, max: 100, noNaN: true }),
  }),
  fc.record({
    step: fc.constantFrom("presence-penalty" as const, "frequency-penalty" as const),
    penalty: fc.double({ min: -100, max: 100, noNaN: true }),
  }),
  fc.record({ step: fc.constant("dry" as const), multiplier: fc.double({ min: 0, max: 100, noNaN: true }) }),
);
const steps = fc.array(fc.oneof(truncation, shaping), { maxLength: 6 });

const anyLogit = fc.oneof(
  fc.float({ min: Math.fround(-1e30), max: Math.fround(1e30) }),
  fc.integer({ min: -3, max: 3 }),
  fc.constantFrom(NaN, Infinity, -Infinity, 0, -0, 3.4e38, -3.4e38),
);
const anyRow = fc.array(anyLogit, { minLength: 1, maxLength: 40 }).map((values) => Float32Array.from(values));

/** Logits as models give them, no two equal. */
const row = fc
  .uniqueArray(fc.integer({ min: -4000, max: 4000 }), { minLength: 2, maxLength: 40 })
  .map((values) => Float64Array.from(values, (value) => value / 400));
const history = fc.array(fc.nat(39), { maxLength: 20 });

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function supportOf(values: readonly number[]): number[] {
  return values.flatMap((p, id) => (p > 0 ? [id] : []));
}

describe("any pipeline", () => {
  it("makes a distribution over possible tokens of any row that has one", () => {
    fc.assert(
      fc.property(anyRow, steps, history, fc.nat(1000), (logits, list, before, position) => {
        const where = { history: before, position };
        if (!logits.some((value) => value > -Infinity)) {
          expect(() => law(logits, list, where)).toThrow(RangeError);
          return;
        }
        const probabilities = law(logits, list, where);
        expect(Math.abs(sum(probabilities) - 1)).toBeLessThan(1e-12);
        for (const token of supportOf(probabilities)) expect(logits[token]).toBeGreaterThan(-Infinity);
        const pipeline = createPipeline(list);
        const choice = pipeline.sample(logits, context({ ...where, state: pipeline.start() }));
        expect(probabilities[choice.token]).toBeGreaterThan(0);
        expect(choice.logProbability).toBeCloseTo(Math.log(probabilities[choice.token]), 9);
      }),
      { numRuns: 2000, seed: 1 },
    );
  });

  it("leaves the row and the history as they are, and gives the same again", () => {
    fc.assert(
      fc.property(row, steps, history, (logits, list, before) => {
        const [rowBefore, historyBefore] = [logits.slice(), before.slice()];
        const first = law(logits, list, { history: before });
        expect(law(logits, list, { history: before })).toEqual(first);
        expect(logits).toEqual(rowBefore);
        expect(before).toEqual(historyBefore);
      }),
      { numRuns: 300, seed: 2 },
    );
  });

  it("does not care how tokens are numbered", () => {
    fc.assert(
      fc.property(
        row,
        steps,
        history,
        fc.array(fc.nat(), { minLength: 40, maxLength: 40 }),
        (logits, list, before, keys) => {
          // places[id]: where the token of that id moves to. Longer histories would name tokens that are not there.
          const ids = Array.from(logits, (_, id) => id).sort((a, b) => keys[a] - keys[b]);
          const places = ids.map((_, id) => ids.indexOf(id));
          const seen = before.filter((token) => token < logits.length);
          const moved = law(
            logits.map((_, at) => logits[ids[at]]),
            list,
            { history: seen.map((id) => places[id]) },
          );
          const expected = law(logits, list, { history: seen });
          // Sums run in another order, which may tip a boundary or its neighbour; then the mass that differs is tiny.
          const back = expected.map((_, id) => moved[places[id]]);
          expect(supportOf(back)).toEqual(supportOf(expected));
          back.forEach((p, id) => {
            expect(Math.abs(p - expected[id])).toBeLessThan(1e-9);
          });
        },
      ),
      { numRuns: 1000, seed: 3 },
    );
  });

  it("survives being sent as JSON", () => {
    fc.assert(
      fc.property(row, steps, history, (logits, list, before) => {
        const sent = JSON.parse(JSON.stringify(createPipeline(list)));
        expect(law(logits, sent, { history: before })).toEqual(law(logits, list, { history: before }));
      }),
      { numRuns: 300, seed: 4 },
    );
  });
});

describe("steps that commute", () => {
  const kept = (logits: Row, list: Step[]) => supportOf(law(logits, list));

  it("are top-k, min-p and the temperature, in any order; so top-k may come first", () => {
    const values = fc.record({
      k: fc.integer({ min: 1, max: 10 }),
      p: unit,
      t: fc.double({ min: 0.1, max: 5, noNaN: true }),
    });
    fc.assert(
      fc.property(row, values, (logits, { k, p, t }) => {
        const top: Step = { step: "top-k", k };
        const min: Step = { step: "min-p", p };
        const heat: Step = { step: "temperature", temperature: t };
        // A pipeline per step, so that none can be moved.
        const literal = (...list: Step[]) => {
          let current: Row = logits;
          for (const step of list) current = Float64Array.from(law(current, [step]), Math.log);
          return supportOf(Array.from(current, Math.exp));
        };
        expect(kept(logits, [min, top])).toEqual(kept(logits, [top, min]));
        expect(kept(logits, [heat, top])).toEqual(kept(logits, [top, heat]));
        expect(kept(logits, [heat, top])).toEqual(literal(heat, top));
        expect(kept(logits, [min, top])).toEqual(literal(min, top));
      }),
      { numRuns: 300, seed: 5 },
    );
  });

  it("are penalties that subtract", () => {
    const list: Step[] = [
      { step: "presence-penalty", penalty: 0.5 },
      { step: "frequency-penalty", penalty: 0.25 },
      { step: "logit-bias", bias: { 1: 2, 3: -1 } },
    ];
    fc.assert(
      fc.property(row, history, fc.shuffledSubarray(list, { minLength: 3 }), (logits, before, shuffled) => {
        const expected = law(logits, list, { history: before });
        law(logits, shuffled, { history: before }).forEach((p, id) => {
          expect(Math.abs(p - expected[id])).toBeLessThan(1e-12);
        });
      }),
      { numRuns: 300, seed: 6 },
    );
  });

  it("are not top-p and the temperature: a sharper row reaches the share earlier", () => {
    const cool: Step = { step: "temperature", temperature: 0.5 };
    const share: Step = { step: "top-p", p: 0.75 };
    const logits = Float64Array.of(0.4, 0.3, 0.2, 0.1).map(Math.log);
    expect(kept(logits, [cool, share])).toEqual([0, 1]);
    expect(kept(logits, [share, cool])).toEqual([0, 1, 2]);
  });
});

describe("truncation", () => {
  it("only removes, and what is left keeps its proportions", () => {
    fc.assert(
      fc.property(row, truncation, (logits, step) => {
        const all = law(logits, []);
        const left = law(logits, [step]);
        const tokens = supportOf(left);
        const mass = sum(tokens.map((token) => all[token]));
        for (const token of tokens) expect(left[token]).toBeCloseTo(all[token] / mass, 10);
      }),
      { numRuns: 1000, seed: 7 },
    );
  });

  it("keeps the most likely tokens, but for typical and xtc", () => {
    fc.assert(
      fc.property(row, truncation, (logits, step) => {
        if (step.step === "typical" || step.step === "xtc") return;
        const left = supportOf(law(logits, [step]));
        const order = Array.from(logits, (_, id) => id).sort((a, b) => logits[b] - logits[a]);
        expect(order.slice(0, left.length).sort((a, b) => a - b)).toEqual(left);
      }),
      { numRuns: 1000, seed: 8 },
    );
  });
});
