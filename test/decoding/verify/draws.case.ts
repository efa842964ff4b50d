/**
 * Joint law of drawn texts, with the production random numbers: what enumeration takes for granted, above all the
 * Gumbel race and Philox under its addresses.
 */
import { describe, expect, it } from "vitest";
import { referenceRowMath } from "../../../src/backend/reference/row-math.ts";
import type { RowMath, VerifyRandom } from "../../../src/backend/row-math.ts";
import { seededRandom } from "../../../src/decoding/verify/random.ts";
import type { Chance } from "./enumerate.ts";
import {
  chain,
  type Draw,
  drawAddressed,
  playRound,
  randomModel,
  type Setting,
  withPolicy,
} from "./models.ts";

const VOCAB = 3;
const COUNT = 4;

export const target = randomModel(1, VOCAB);
export const draft = randomModel(101, VOCAB);

export function chanceOf(random: VerifyRandom, math = referenceRowMath): Chance {
  return {
    random,
    math,
    pick: () => {
      throw new Error("Draws must come from the seed");
    },
  };
}

/** Rounds until there are COUNT tokens. */
export function textOf(setting: Setting, seed: number, random = seededRandom(seed)): number[] {
  const text: number[] = [];
  while (text.length < COUNT) text.push(...playRound(setting, chanceOf(random, setting.math), text).emitted);
  return text.slice(0, COUNT);
}

/** A chain of the drafter's own Gumbel choices. */
export const drawCoupled: Draw = (chance, model, committed, parents) => {
  const tokens: number[] = [];
  for (const node of parents.keys()) {
    const values = model([...committed, ...tokens]);
    const position = committed.length + node;
    tokens.push(chance.math.gumbelArgmax({ values, mass: 1 }, chance.random, position));
  }
  return tokens;
};

/** A tree of the likeliest tokens. */
export const drawBest: Draw = (_chance, model, committed, parents) => {
  const order = [...model(committed).entries()].sort(([, a], [, b]) => b - a).map(([token]) => token);
  return parents.map((_, node) => order[node % 2]);
};

/** Pearson's statistic of all texts against the target's joint law, in standard deviations of its normal approximation. */
function deviation(texts: Iterable<readonly number[]>): number {
  const counts = new Map<string, number>();
  let total = 0;
  for (const text of texts) {
    const key = text.join();
    counts.set(key, (counts.get(key) ?? 0) + 1);
    total++;
  }
  let statistic = 0;
  let cells = 0;
  const visit = (context: number[], probability: number): void => {
    if (context.length === COUNT) {
      const expected = probability * total;
      statistic += ((counts.get(context.join()) ?? 0) - expected) ** 2 / expected;
      cells++;
      return;
    }
    target(context).forEach((value, token) => {
      visit([...context, token], probability * value);
    });
  };
  visit([], 1);
  // Wilson and Hilferty: the cube root of a chi-square over its degrees of freedom is nearly normal.
  const spread = 2 / (9 * (cells - 1));
  return (Math.cbrt(statistic / (cells - 1)) - (1 - spread)) / Math.sqrt(spread);
}

/** Eight tests, each right to be above this once in 300,000 times; the seeds are fixed. */
const LIMIT = 4.5;

/** @param draws How many texts are drawn for each test. */
export function testJointLaw(math: RowMath, draws: number): void {
  const timeout = 60_000 + draws;
  function* texts(setting: Setting, randomOf = seededRandom): Generator<number[]> {
    for (let seed = 0; seed < draws; seed++) yield textOf(setting, seed, randomOf(seed));
  }

  describe(`${draws} texts`, () => {
    for (const verifier of ["token", "block", "specinfer", "sequoia", "traversal"] as const) {
      it(`of ${verifier} verification have the target's joint law`, { timeout }, () => {
        const setting = {
          target,
          draft,
          parents: chain(3),
          draw: drawAddressed(),
          math,
          run: withPolicy({ verifier }),
        };
        expect(deviation(texts(setting))).toBeLessThan(LIMIT);
      });
    }

    it("of target-only trees have the target's joint law", { timeout }, () => {
      const run = withPolicy({ verifier: "target-only" });
      const setting: Setting = {
        target,
        draft,
        parents: [-1, -1, 0, 0],
        draw: drawBest,
        law: "one-hot",
        run,
        math,
      };
      expect(deviation(texts(setting))).toBeLessThan(LIMIT);
    });

    it("of Gumbel coupling have the target's joint law, for coupled drafts", { timeout }, () => {
      const run = withPolicy({ verifier: "gumbel" });
      const setting = { target, draft, parents: chain(3), draw: drawCoupled, run, math };
      expect(deviation(texts(setting))).toBeLessThan(LIMIT);
    });

    it("show noise that does not depend on the position", { timeout }, () => {
      const run = withPolicy({ verifier: "gumbel" });
      const setting = { target, draft, parents: chain(3), draw: drawCoupled, run, math };
      const fixed = (seed: number): VerifyRandom => ({
        uniform: (_position, stage, item) => seededRandom(seed).uniform(0, stage, item),
        noise: (_position, token) => seededRandom(seed).noise(0, token),
      });
      expect(deviation(texts(setting, fixed))).toBeGreaterThan(10 * LIMIT);
    });
  });
}
