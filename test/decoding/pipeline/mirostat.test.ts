import { describe, expect, it } from "vitest";
import { createPipeline, type Distribution, type Step } from "../../../src/decoding/pipeline.ts";
import { createRandom } from "../../support/random.ts";
import { context, law, rowOf, support } from "./support.ts";

const V = 200;

/** Rows as of a text: another one at each position. */
function textRows(count: number, seed: number): Float32Array[] {
  const random = createRandom(seed);
  return Array.from({ length: count }, () => Float32Array.from({ length: V }, () => 3 * random.normal()));
}

/** Probabilities, the largest first. */
function ranked(row: Float32Array): number[] {
  const weights = Array.from(row, Math.exp).sort((a, b) => b - a);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

const bits = (p: number) => -Math.log2(p);

describe("mirostat 2", () => {
  it("keeps what surprises at most by mu, and learns from what was emitted", () => {
    const [tau, eta] = [3, 0.2];
    const pipeline = createPipeline([{ step: "mirostat-2", tau, eta }]);
    let state = pipeline.start();
    let mu = 2 * tau;
    for (const [position, row] of textRows(100, 1).entries()) {
      const { ids, probabilities } = pipeline.distribution(row, context({ state, position }));
      const kept = Math.max(1, ranked(row).filter((p) => bits(p) <= mu).length);
      expect(ids.length).toBe(kept);
      const choice = pipeline.sample(row, context({ state, position }));
      mu -= eta * (bits(probabilities[ids.indexOf(choice.token)]) - tau);
      state = choice.state;
      expect(state.memory[0]).toBeCloseTo(mu, 10);
      mu = state.memory[0];
    }
  });

  it("keeps the best token however low mu is", () => {
    expect(support(rowOf(0.2, 0.5, 0.3), [{ step: "mirostat-2" }], { state: { memory: [-50] } })).toEqual([
      1,
    ]);
    expect(support(rowOf(0.2, 0.5, 0.3), [{ step: "mirostat-2" }], { state: { memory: [50] } })).toEqual([
      0, 1, 2,
    ]);
  });
});

describe("mirostat 1", () => {
  it("keeps as many as Zipf's law says", () => {
    for (const row of textRows(50, 2)) {
      for (const [mu, m] of [
        [2, 100],
        [6, 100],
        [9, 100],
        [6, 10],
      ]) {
        const p = ranked(row);
        let products = 0;
        let squares = 0;
        for (let i = 0; i < m - 1; i++) {
          const t = Math.log((i + 2) / (i + 1));
          products += t * Math.log(p[i] / p[i + 1]);
          squares += t * t;
        }
        const s = products / squares;
        const k = (((s - 1) * 2 ** mu) / (1 - V ** (1 - s))) ** (1 / s);
        const kept = Math.min(V, Math.max(1, Math.floor(k)));
        expect(support(row, [{ step: "mirostat", m }], { state: { memory: [mu] } })).toHaveLength(kept);
      }
    }
  });

  it("is defined for rows without slope, with slope 1, and of one token", () => {
    const state = { memory: [4] };
    const sizeOf = (row: Float64Array) => support(row, [{ step: "mirostat" }], { state }).length;
    expect(sizeOf(new Float64Array(100))).toBeGreaterThan(0);
    expect(sizeOf(new Float64Array(4))).toBeGreaterThan(0);
    // k = 2^mu / ln n, the limit: 16 / ln 100.
    expect(sizeOf(Float64Array.from({ length: 100 }, (_, i) => -Math.log(i + 1)))).toBe(3);
    expect(sizeOf(Float64Array.of(5))).toBe(1);
    expect(sizeOf(Float64Array.of(0, 1e38))).toBe(1);
  });
});

describe("state", () => {
  const STEPS: Step[] = [
    { step: "repetition-penalty", penalty: 1.2, lastN: 16 },
    { step: "temperature", temperature: 1.5 },
    { step: "mirostat", tau: 4 },
    { step: "mirostat-2", tau: 3, eta: 0.3 },
  ];

  it("of a clone equals that of the original after any number of tokens", () => {
    const rows = textRows(60, 3);
    const run = (
      pipeline: ReturnType<typeof createPipeline>,
      from: number,
      start: typeof first,
      to: number,
    ) => {
      let state = start;
      const history: number[] = [];
      const seen: unknown[] = [];
      for (let at = from; at < to; at++) {
        const choice = pipeline.sample(rows[at], context({ history, position: at, state }), 2);
        history.push(choice.token);
        state = choice.state;
        seen.push(choice);
      }
      return { state, seen };
    };
    const pipeline = createPipeline(STEPS);
    const first = pipeline.start();
    const middle = run(pipeline, 0, first, 30).state;
    const clone = structuredClone(middle);
    const rest = run(pipeline, 30, middle, 60);
    // Sent elsewhere as JSON, into another pipeline, after the original went on.
    expect(run(createPipeline(STEPS), 30, clone, 60)).toEqual(rest);
    expect(run(pipeline, 30, JSON.parse(JSON.stringify(clone)), 60)).toEqual(rest);
    expect(middle).toEqual(clone);
    expect(rest.state).not.toEqual(middle);
  });

  it("advances with the emitted token alone, drawn here or told", () => {
    const pipeline = createPipeline(STEPS);
    const start = pipeline.start();
    expect(start).toEqual({ memory: [8, 6] });
    const row = textRows(1, 4)[0];
    const choice = pipeline.sample(row, context({ state: start }));
    const distribution: Distribution = pipeline.distribution(row, context({ state: start }));
    expect(pipeline.after(start, distribution, choice.token)).toEqual(choice.state);
    const others = Array.from(distribution.ids).filter((id) => id !== choice.token);
    expect(pipeline.after(start, distribution, others[0])).not.toEqual(choice.state);
    // A token that this row could not give says nothing about the feedback.
    const impossible = Array.from({ length: V }, (_, id) => id).find((id) => !distribution.ids.includes(id))!;
    expect(pipeline.after(start, distribution, impossible)).toBe(start);
    expect(start).toEqual({ memory: [8, 6] });
  });

  it("is empty, and need not be given, without mirostat", () => {
    const pipeline = createPipeline([{ step: "top-k", k: 3 }]);
    expect(pipeline.start()).toEqual({ memory: [] });
    const choice = pipeline.sample(textRows(1, 5)[0], context());
    expect(choice.state).toEqual({ memory: [] });
  });

  it("must be given, and fit, with mirostat", () => {
    const pipeline = createPipeline(STEPS);
    const row = new Float32Array(3);
    expect(() => pipeline.distribution(row, context())).toThrow('"state" is needed by step "mirostat"');
    const state = { memory: [1] };
    expect(() => pipeline.distribution(row, context({ state }))).toThrow('"state" must have 2 numbers');
    expect(law(row, [{ step: "mirostat-2" }])).toHaveLength(3);
  });
});
