/** Dynamic Logits Fusion on any rows, against its definition: a softmax and two divergences for each α. */
import { describe, expect, it } from "vitest";
import { referenceKernels } from "../../../src/backend/reference/fuse.ts";
import { evaluatePlan, fusePreset } from "../../../src/decoding/fuse.ts";
import { createRandom, type Random } from "../../support/random.ts";
import { expectClose, randomRow, softmax } from "./support.ts";

type Rows = Record<string, Float64Array>;

function randomRows(random: Random, names: readonly string[], vocab: number, spread = 3): Rows {
  return Object.fromEntries(names.map((name) => [name, randomRow(random, vocab, spread)]));
}

const kl = (p: readonly number[], q: readonly number[]) =>
  p.reduce((sum, one, id) => sum + (one > 0 ? one * Math.log(one / q[id]) : 0), 0);

/** With the largest of 21 points as in the paper, by softmax and two divergences for each. */
function naiveMatch({ base, expert, anti }: Rows, alphas: readonly number[]) {
  const [p, q, tuned] = [base, anti, expert].map(softmax);
  const [c1, c2] = [kl(tuned, q), kl(q, tuned)];
  const objective = (alpha: number) => {
    const tilted = softmax(base.map((z, id) => z + alpha * (expert[id] - anti[id])));
    return (kl(tilted, p) - c1) ** 2 + (kl(p, tilted) - c2) ** 2;
  };
  const values = alphas.map(objective);
  return { alpha: alphas[values.indexOf(Math.min(...values))], values, objective };
}

const GRID = Array.from({ length: 21 }, (_, j) => j / 10);
const match = (solver: "grid21" | "continuous", rows: Rows) =>
  evaluatePlan(fusePreset("dlf", { solver }), rows, { audit: true }).audit!.matches[0];
const NAMES = ["base", "expert", "anti"];

describe("dynamic logits fusion", () => {
  it("is what 21 softmaxes give", () => {
    const random = createRandom(1);
    for (let round = 0; round < 150; round++) {
      const rows = randomRows(random, NAMES, 1 + random.below(60), 1 + 2 * random.uniform());
      const naive = naiveMatch(rows, GRID);
      const { alpha, objective } = match("grid21", rows);
      expect(Math.abs(objective - Math.min(...naive.values))).toBeLessThan(1e-11 * (1 + objective));
      // A tie may go either way in the last bit.
      expect(naive.objective(alpha) - Math.min(...naive.values)).toBeLessThan(1e-11 * (1 + objective));
    }
  });

  it.each([
    ["an offset of +100", 2, 100],
    ["an offset of −100", 2, -100],
    ["an offset of 1e6", 2, 1e6],
    ["differences as large as 50", 16, 0],
    ["differences as large as 1000", 300, 0],
  ])("survives %s", (_, spread, offset) => {
    const random = createRandom(2);
    for (let round = 0; round < 30; round++) {
      const rows = randomRows(random, NAMES, 40, spread);
      const { alpha, objective } = match("grid21", rows);
      const moved = match("grid21", { ...rows, expert: rows.expert.map((z) => z + offset) });
      expect(Number.isFinite(objective)).toBe(true);
      expect(moved.alpha).toBeCloseTo(alpha, 9);
      const relative = Math.abs(moved.objective - objective) / (1 + objective);
      expect(relative).toBeLessThan(1e-8);
    }
  });

  it("does not see tokens that one of the rows does not have", () => {
    const random = createRandom(3);
    const rows = randomRows(random, NAMES, 20);
    const with3 = (at: number) =>
      Object.fromEntries(
        NAMES.map((name, index) => [
          name,
          Float64Array.of(...rows[name], ...[0, 1, 2].map((hole) => (hole === index ? -Infinity : at))),
        ]),
      );
    expect(match("grid21", with3(2))).toEqual(match("grid21", rows));
    expect(match("continuous", with3(-1))).toEqual(match("continuous", rows));
    const nothing = {
      base: Float64Array.of(1, -Infinity),
      expert: Float64Array.of(-Infinity, 1),
      anti: Float64Array.of(0, 0),
    };
    expect(match("grid21", nothing)).toMatchObject({ alpha: 0, objective: 0 });
  });

  it("the divergences are those of the cumulant function", () => {
    const random = createRandom(14);
    for (let round = 0; round < 100; round++) {
      const { base, expert, anti } = randomRows(random, NAMES, 1 + random.below(40), 1 + random.uniform());
      const p = softmax(base);
      const [start, ...laws] = referenceKernels.tilt(base, expert, anti, 0, 0.25, 9);
      laws.forEach(({ logMass, mean, variance }, j) => {
        const alpha = (j + 1) / 4;
        const d = base.map((_, id) => expert[id] - anti[id]);
        const tilted = softmax(base.map((z, id) => z + alpha * d[id]));
        expectClose(
          [alpha * mean - logMass, logMass - alpha * start.mean],
          [kl(tilted, p), kl(p, tilted)],
          1e-11,
        );
        const first = tilted.reduce((sum, one, id) => sum + one * d[id], 0);
        const second = tilted.reduce((sum, one, id) => sum + one * (d[id] - first) ** 2, 0);
        expectClose([mean, variance], [first, second], 1e-11);
      });
    }
  });

  it("continuous: between the two roots", () => {
    const random = createRandom(15);
    for (let round = 0; round < 2000; round++) {
      const rows = randomRows(random, NAMES, 2 + random.below(12), 0.5 + 2 * random.uniform());
      const { alpha, targets } = match("continuous", rows);
      const p = softmax(rows.base);
      // Both divergences grow with α, so the roots lie on both sides of it if one is too small and one too large.
      const excess = (at: number) => {
        const tilted = softmax(rows.base.map((z, id) => z + at * (rows.expert[id] - rows.anti[id])));
        return [kl(tilted, p) - targets[0].forward, kl(p, tilted) - targets[0].backward];
      };
      const [before, after] = [excess(Math.max(0, alpha - 1e-6)), excess(Math.min(2, alpha + 1e-6))];
      if (alpha > 0) expect(Math.min(...before)).toBeLessThanOrEqual(1e-12);
      if (alpha < 2) expect(Math.max(...after)).toBeGreaterThanOrEqual(-1e-12);
    }
  });

  it("continuous: nowhere is it better", () => {
    const random = createRandom(4);
    for (let round = 0; round < 300; round++) {
      const rows = randomRows(random, NAMES, 2 + random.below(30), 0.5 + 2 * random.uniform());
      const { alpha, objective } = match("continuous", rows);
      expect(objective).toBeLessThanOrEqual(match("grid21", rows).objective);
      const { objective: at } = naiveMatch(rows, []);
      for (const near of [alpha - 1e-3, alpha + 1e-3, alpha - 0.02, alpha + 0.02]) {
        if (near >= 0 && near <= 2) expect(at(near)).toBeGreaterThanOrEqual(at(alpha) - 1e-13);
      }
    }
  });

  it("several experts: the best pair of expert and α", () => {
    const random = createRandom(5);
    for (let round = 0; round < 40; round++) {
      const names = ["base", "expert1", "expert2", "anti"];
      const rows = randomRows(random, names, 20, 2);
      const [p, q] = [softmax(rows.base), softmax(rows.anti)];
      const tuned = [softmax(rows.expert1), softmax(rows.expert2)];
      const all = [rows.expert1, rows.expert2].map((expert) =>
        GRID.map((alpha) => {
          const tilted = softmax(rows.base.map((z, id) => z + alpha * (expert[id] - rows.anti[id])));
          return tuned.reduce(
            (sum, t) => sum + (kl(tilted, p) - kl(t, q)) ** 2 + (kl(p, tilted) - kl(q, t)) ** 2,
            0,
          );
        }),
      );
      const { expert, objective } = evaluatePlan(fusePreset("dlf-multi"), rows, { audit: true }).audit!
        .matches[0];
      const least = Math.min(...all.flat());
      expect(Math.abs(objective - least)).toBeLessThan(1e-11 * (1 + least));
      expect(Math.min(...all[expert])).toBeLessThan(least + 1e-11);
    }
  });
});
