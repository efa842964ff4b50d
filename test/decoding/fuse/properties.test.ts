/** Laws that hold for any rows, against definitions written anew. */
import { describe, expect, it } from "vitest";
import type { StatisticName } from "../../../src/decoding/fuse/plan.ts";
import {
  evaluatePlan,
  type FusePresetName,
  fusePreset,
  type Plan,
  type Support,
} from "../../../src/decoding/fuse.ts";
import { createRandom, type Random } from "../../support/random.ts";
import { expectClose, lawOf, randomRow, share, softmax } from "./support.ts";

type Rows = Record<string, Float64Array>;

function randomRows(random: Random, names: readonly string[], vocab: number, spread = 3): Rows {
  return Object.fromEntries(names.map((name) => [name, randomRow(random, vocab, spread)]));
}

const kl = (p: readonly number[], q: readonly number[]) =>
  p.reduce((sum, one, id) => sum + (one > 0 ? one * Math.log(one / q[id]) : 0), 0);

const NAMES = ["base", "expert", "anti"];

describe("sums of logits", () => {
  const invariant: [FusePresetName, string[]][] = [
    ["proxy-tuning", NAMES],
    ["dexperts", NAMES],
    ["dlf", NAMES],
    ["trimix", ["large", "tuned", "small"]],
    ["uld", ["base", "assistant"]],
    ["contrastive", ["expert", "amateur"]],
    ["contrastive-logits", ["expert", "amateur"]],
    ["cfg", ["prompted", "plain"]],
    ["cad", ["informed", "plain"]],
    ["align-distil", ["tuned", "reverse"]],
    ["product", ["a", "b"]],
    ["mixture", ["a", "b"]],
    ["memory-decoder", ["base", "memory"]],
    ["nudging", ["base", "tuned"]],
  ];
  it.each(invariant)("%s: a constant on a row changes nothing", (name, sources) => {
    const random = createRandom(6);
    for (let round = 0; round < 20; round++) {
      const rows = randomRows(random, sources, 30, 1.5);
      const moved = Object.fromEntries(sources.map((source) => [source, rows[source].map((z) => z + 7)]));
      const [law, other] = [rows, moved].map((given) => lawOf(fusePreset(name), given));
      expectClose(other, law, 1e-10);
    }
  });

  it("guidance, context and contrast without a cut are one rule", () => {
    const random = createRandom(7);
    for (let round = 0; round < 50; round++) {
      const [one, two] = [randomRow(random, 33), randomRow(random, 33)];
      const gamma = 1 + 2 * random.uniform();
      const guided = lawOf(fusePreset("cfg", { gamma }), { prompted: one, plain: two });
      const informed = lawOf(fusePreset("cad", { alpha: gamma - 1 }), { informed: one, plain: two });
      const contrast = fusePreset("contrastive-logits", { beta: gamma - 1, plausibility: 1e-12 });
      expectClose(informed, guided, 1e-12);
      expectClose(lawOf(contrast, { expert: one, amateur: two }), guided, 1e-9);
      expectClose(
        lawOf(fusePreset("proxy-tuning", { alpha: gamma - 1 }), { base: one, expert: one, anti: two }),
        guided,
        1e-12,
      );
    }
  });

  it("a weight of 0 asks for no row, whatever it holds", () => {
    const plan = fusePreset("proxy-tuning", { alpha: 0 });
    const nothing = Float64Array.of(NaN, NaN);
    expect(Array.from(evaluatePlan(plan, { base: [1, 2], expert: nothing, anti: nothing }).row)).toEqual([
      1, 2,
    ]);
    const mix = fusePreset("mixture", { weights: [1, 0] });
    expectClose(lawOf(mix, { a: [1, 2], b: nothing }), softmax([1, 2]), 1e-12);
  });

  it("−∞ forbids from above, is nothing from below", () => {
    const weights = [1, 0.5, -0.5, -1];
    const values = [-Infinity, 3];
    for (const first of weights) {
      for (const second of weights) {
        for (const a of values) {
          for (const b of values) {
            const plan: Plan = {
              sources: ["a", "b"],
              lin: [
                { source: "a", weight: first },
                { source: "b", weight: second },
              ],
            };
            // A second token, so that no row is empty.
            const { row } = evaluatePlan(plan, { a: [a, 0], b: [b, 0] });
            const term = (weight: number, z: number) =>
              z === -Infinity ? (weight > 0 ? -Infinity : 0) : weight * z;
            expect(row[0]).toBe(term(first, a) + term(second, b));
          }
        }
      }
    }
  });

  it("a mixture is the sum of laws, a product their weighted geometric mean", () => {
    const random = createRandom(8);
    for (let round = 0; round < 30; round++) {
      const rows = randomRows(random, ["a", "b", "c"], 1 + random.below(50), 4);
      const weights = share(random.uniform(), random.uniform(), random.uniform());
      const sources = ["a", "b", "c"];
      const laws = sources.map((source) => softmax(rows[source]));
      const mixed = laws[0].map((_, id) =>
        laws.reduce((sum, law, index) => sum + weights[index] * law[id], 0),
      );
      const { row } = evaluatePlan(fusePreset("mixture", { sources, weights }), rows);
      expectClose(row, mixed.map(Math.log), 1e-12);
      const multiplied = laws[0].map((_, id) =>
        laws.reduce((product, law, index) => product * law[id] ** weights[index], 1),
      );
      expectClose(lawOf(fusePreset("product", { sources, weights }), rows), share(...multiplied), 1e-12);
    }
  });
});

describe("statistics", () => {
  const definitions: Record<StatisticName, (row: number[], p: number[]) => number> = {
    vocab: (row) => row.length,
    max: (row) => Math.max(...row),
    argmax: (row) => row.indexOf(Math.max(...row)),
    mean: (row) => mean(row.filter(Number.isFinite)),
    deviation: (row) => deviation(row.filter(Number.isFinite)),
    logPartition: (row) => Math.log(row.reduce((sum, z) => sum + Math.exp(z), 0)),
    entropy: (_, p) => entropy(p),
    maxProbability: (_, p) => Math.max(...p),
    minProbability: (_, p) => Math.min(...p),
    margin: (_, p) => {
      const [first, second = 0] = [...p].sort((a, b) => b - a);
      return first - second;
    },
    squareEntropy: (_, p) => entropy(share(...p.map((one) => one * one))),
    probabilityDeviation: (_, p) => deviation(p),
    probabilityKurtosis: (_, p) => {
      const scale = deviation(p);
      return scale < 1e-15 ? 1 : mean(p.map((one) => ((one - mean(p)) / scale) ** 4));
    },
    probabilityEnergy: (_, p) => 2 * Math.log(p.reduce((sum, one) => sum + Math.exp(one / 2), 0)),
  };
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const deviation = (values: number[]) =>
    values.length < 2
      ? 0
      : Math.sqrt(values.reduce((sum, value) => sum + (value - mean(values)) ** 2, 0) / (values.length - 1));
  const entropy = (p: number[]) => p.reduce((sum, one) => sum - (one > 0 ? one * Math.log(one) : 0), 0);

  it.each(Object.keys(definitions) as StatisticName[])("%s", (stat) => {
    const random = createRandom(9);
    for (let round = 0; round < 40; round++) {
      const row = Array.from(randomRow(random, 1 + random.below(20), 2));
      if (round % 3 === 0) row.push(-Infinity);
      if (round % 4 === 0) row.push(...row);
      const temperature = round % 2 === 0 ? 1 : 0.5;
      const value = { mul: [1e-3, { stat, of: "a", temperature }] };
      const plan: Plan = { sources: ["a"], lin: [{ source: "a", weight: value }, { source: "a" }] };
      const [got] = evaluatePlan(plan, { a: row }, { audit: true }).audit!.weights[0].weights;
      const scaled = row.map((z) => z / temperature);
      expectClose([got * 1e3], [definitions[stat](scaled, softmax(scaled))], 1e-9);
    }
  });

  it("of two rows", () => {
    const random = createRandom(10);
    for (let round = 0; round < 40; round++) {
      const rows = randomRows(random, ["a", "b"], 1 + random.below(40), 2);
      const [p, q] = [softmax(rows.a), softmax(rows.b)];
      const value = (stat: "kl" | "l1") => ({ stat, of: "a", to: "b" });
      const plan: Plan = {
        sources: ["a", "b"],
        lin: [{ source: "a", weight: value("kl") }, { source: "b", weight: value("l1") }, { source: "a" }],
      };
      const [got] = evaluatePlan(plan, rows, { audit: true }).audit!.weights;
      expectClose(
        got.weights,
        [kl(p, q), p.reduce((sum, one, id) => sum + Math.abs(one - q[id]), 0), 1],
        1e-11,
      );
    }
  });
});

describe("supports", () => {
  const kept = (row: ArrayLike<number>, support: Support[]) =>
    Array.from(evaluatePlan({ sources: ["a"], source: "a", support }, { a: row }).row).flatMap((z, id) =>
      z > -Infinity ? [id] : [],
    );

  it("keep what their definitions say", () => {
    const random = createRandom(11);
    for (let round = 0; round < 200; round++) {
      // Small integers, so that there are ties.
      const row = Array.from({ length: 1 + random.below(100) }, () => random.below(6));
      const p = softmax(row);
      const order = row.map((_, id) => id).sort((a, b) => row[b] - row[a] || a - b);
      const ascending = (ids: number[]) => [...ids].sort((a, b) => a - b);
      const k = 1 + random.below(row.length + 3);
      expect(kept(row, [{ topK: k }])).toEqual(ascending(order.slice(0, k)));
      const goal = random.uniform();
      let mass = 0;
      const nucleus = order.filter((id) => {
        const inside = mass < goal;
        mass += p[id];
        return inside;
      });
      expect(kept(row, [{ topP: goal }])).toEqual(ascending(nucleus));
      // Between the ratios e^-1, e^-2, … that such rows have.
      const least = Math.exp(-random.below(6) - 0.5);
      const likely = row.flatMap((_, id) => (p[id] >= least * Math.max(...p) ? [id] : []));
      expect(kept(row, [{ minP: least }])).toEqual(likely);
      expect(kept(row, [{ any: [{ topK: k }, { minP: least }] }]).length).toBe(
        Math.max(likely.length, Math.min(k, row.length)),
      );
      expect(kept(row, [{ topK: k }, { minP: least }]).length).toBe(
        Math.min(likely.length, Math.min(k, row.length)),
      );
      const nth = row[order[Math.max(1, Math.floor(least * row.length)) - 1]];
      const relative = row.flatMap((z, id) => (z >= nth || p[id] >= least * Math.max(...p) ? [id] : []));
      expect(kept(row, [{ relTop: least }])).toEqual(relative);
    }
  });

  it("keep or drop ties as told", () => {
    const row = [3, 3, 1];
    expect(kept(row, [{ minP: 1 }])).toEqual([0, 1]);
    expect(() => kept(row, [{ minP: 1, ties: "drop" }])).toThrow(
      "Cannot fuse: the plan leaves no token above −∞",
    );
  });
});

describe("rows", () => {
  const plan = fusePreset("contrastive", { plausibility: 1e-9 });
  it.each([1, 2, 3, 5, 17, 1000, 4099])("of %i tokens", (vocab) => {
    const random = createRandom(vocab);
    const rows = randomRows(random, ["expert", "amateur"], vocab);
    const law = lawOf(plan, rows);
    expect(law.length).toBe(vocab);
    const [p, q] = [softmax(rows.expert), softmax(rows.amateur.map((z) => 2 * z))];
    expectClose(law, share(...p.map((one, id) => one / q[id])), 1e-10);
  });

  it("may be constant, huge, or all but one impossible", () => {
    const rows = (expert: number[]) => ({ expert, amateur: [0, 0, 0] });
    expectClose(lawOf(plan, rows([1, 1, 1])), [1 / 3, 1 / 3, 1 / 3], 1e-12);
    expectClose(lawOf(plan, rows([1e4, -1e4, 0])), [1, 0, 0], 0);
    expectClose(lawOf(plan, rows([-Infinity, -1e4, -Infinity])), [0, 1, 0], 0);
    for (const name of ["amu", "standardized", "mixture", "align-distil"] as const) {
      const sources = {
        amu: ["base", "helper"],
        standardized: ["a", "b"],
        mixture: ["a", "b"],
        "align-distil": ["tuned", "reverse"],
      }[name];
      const constant = Object.fromEntries(sources.map((source) => [source, [2, 2, 2, 2]]));
      expectClose(lawOf(fusePreset(name), constant), [0.25, 0.25, 0.25, 0.25], 1e-12);
    }
  });

  it("f32 and f64 rows of the same numbers give the same", () => {
    const random = createRandom(12);
    const rows = randomRows(random, ["expert", "amateur"], 100);
    const single = Object.fromEntries(
      Object.entries(rows).map(([name, row]) => [name, Float32Array.from(row)]),
    );
    const same = Object.fromEntries(
      Object.entries(single).map(([name, row]) => [name, Float64Array.from(row)]),
    );
    expect(evaluatePlan(plan, single).row).toEqual(evaluatePlan(plan, same).row);
  });
});
