/**
 * Joint law of drawn texts, with the production random numbers: what enumeration takes for granted, above all the
 * Gumbel race and Philox under its addresses.
 *
 * EDGEWISE_DRAWS=1000000 npx vitest run test/decoding/verify/draws.test.ts      draws that many texts, not 8,000
 */
import { describe, expect, it } from "vitest";
import { seededRandom, type VerifyRandom } from "../../../src/decoding/verify/random.ts";
import type { Policy } from "../../../src/decoding/verify/registry.ts";
import { referenceRowMath } from "../../../src/decoding/verify/row-math.ts";
import { verify } from "../../../src/decoding/verify/verify.ts";
import { STAGE } from "../../../src/philox.ts";
import type { Chance } from "./enumerate.ts";
import {
  chain,
  type Draw,
  drawAddressed,
  type Model,
  playRound,
  type RoundRequest,
  randomModel,
  type Setting,
} from "./models.ts";

const DRAWS = Number(process.env.EDGEWISE_DRAWS ?? 8000);
const TIMEOUT = 60_000 + DRAWS;
const VOCAB = 3;
const COUNT = 4;

const target = randomModel(1, VOCAB);
const draft = randomModel(101, VOCAB);

function chanceOf(random: VerifyRandom): Chance {
  return {
    random,
    math: referenceRowMath,
    pick: () => {
      throw new Error("Draws must come from the seed");
    },
  };
}

/** Rounds until there are COUNT tokens. */
function textOf(setting: Setting, seed: number, random = seededRandom(seed)): number[] {
  const text: number[] = [];
  while (text.length < COUNT) text.push(...playRound(setting, chanceOf(random), text).emitted);
  return text.slice(0, COUNT);
}

/** A chain of the drafter's own Gumbel choices. */
const drawCoupled: Draw = (chance, model, committed, parents) => {
  const tokens: number[] = [];
  for (const node of parents.keys()) {
    const values = model([...committed, ...tokens]);
    const position = committed.length + node;
    tokens.push(chance.math.gumbelArgmax({ values, mass: 1 }, chance.random, position));
  }
  return tokens;
};

/** A tree of the likeliest tokens. */
const drawBest: Draw = (_chance, model, committed, parents) => {
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

function* texts(setting: Setting, randomOf = seededRandom): Generator<number[]> {
  for (let seed = 0; seed < DRAWS; seed++) yield textOf(setting, seed, randomOf(seed));
}

const withPolicy = (policy: Policy) => (request: RoundRequest) => verify({ ...request, policy });

/** Eight tests, each right to be above this once in 300,000 times; the seeds are fixed. */
const LIMIT = 4.5;

describe(`${DRAWS} texts`, () => {
  for (const verifier of ["token", "block", "specinfer", "sequoia", "traversal"] as const) {
    it(`of ${verifier} verification have the target's joint law`, { timeout: TIMEOUT }, () => {
      const setting = {
        target,
        draft,
        parents: chain(3),
        draw: drawAddressed(),
        run: withPolicy({ verifier }),
      };
      expect(deviation(texts(setting))).toBeLessThan(LIMIT);
    });
  }

  it("of target-only trees have the target's joint law", { timeout: TIMEOUT }, () => {
    const run = withPolicy({ verifier: "target-only" });
    const setting: Setting = { target, draft, parents: [-1, -1, 0, 0], draw: drawBest, law: "one-hot", run };
    expect(deviation(texts(setting))).toBeLessThan(LIMIT);
  });

  it("of Gumbel coupling have the target's joint law, for coupled drafts", { timeout: TIMEOUT }, () => {
    const run = withPolicy({ verifier: "gumbel" });
    const setting = { target, draft, parents: chain(3), draw: drawCoupled, run };
    expect(deviation(texts(setting))).toBeLessThan(LIMIT);
  });

  it("show noise that does not depend on the position", { timeout: TIMEOUT }, () => {
    const run = withPolicy({ verifier: "gumbel" });
    const setting = { target, draft, parents: chain(3), draw: drawCoupled, run };
    const fixed = (seed: number): VerifyRandom => ({
      uniform: (_position, stage, item) => seededRandom(seed).uniform(0, stage, item),
    });
    expect(deviation(texts(setting, fixed))).toBeGreaterThan(10 * LIMIT);
  });
});

describe("the text", () => {
  /** One token after the other, without a draft. */
  const plain = (policy: Policy) => ({
    target,
    draft,
    parents: [],
    draw: () => [],
    law: "one-hot" as const,
    run: withPolicy(policy),
  });
  const sample = (seed: number): Policy => ({
    verifier: "match",
    sample: (values, position) => {
      const u = seededRandom(seed).uniform(position, 0, 0);
      return referenceRowMath.draw({ values, mass: 1 }, u);
    },
  });

  it("of greedy, match and gumbel verification does not depend on the draft", () => {
    for (let seed = 0; seed < 300; seed++) {
      for (const policy of [sample(seed), { verifier: "gumbel" }, { verifier: "greedy" }] as const) {
        const expected = textOf(plain(policy), seed);
        const run = withPolicy(policy);
        const drafts: { draw: Draw; parents: number[] }[] = [
          { draw: drawCoupled, parents: chain(1) },
          { draw: drawCoupled, parents: chain(4) },
          { draw: drawAddressed(), parents: chain(2) },
          { draw: drawBest, parents: [-1, -1, 0, 0, 1, 3] },
        ];
        for (const { draw, parents } of drafts) {
          expect(textOf({ target, draft, parents, draw, law: "one-hot", run }, seed)).toEqual(expected);
        }
      }
    }
  });

  it("depends on the draft for verifiers that are not marked reproducible", () => {
    const run = withPolicy({ verifier: "block" });
    const differs = Array.from({ length: 50 }, (_, seed) => {
      const [one, three] = [1, 3].map((gamma) =>
        textOf({ target, draft, parents: chain(gamma), draw: drawAddressed(), run }, seed).join(),
      );
      return one !== three;
    });
    expect(differs).toContain(true);
  });
});

describe("Gumbel coupling", () => {
  it("accepts at least (1 − TV)/(1 + TV) of coupled drafts, and more than of independent ones", () => {
    const draws = 4000;
    const accepted = (draw: Draw, model: Model): number => {
      const setting = {
        target,
        draft: model,
        parents: chain(1),
        draw,
        run: withPolicy({ verifier: "gumbel" }),
      };
      let sum = 0;
      for (let seed = 0; seed < draws; seed++) {
        sum += playRound(setting, chanceOf(seededRandom(seed)), []).accepted.length;
      }
      return sum / draws;
    };
    for (const model of [draft, randomModel(102, VOCAB), randomModel(103, VOCAB)]) {
      const [p, q] = [target([]), model([])];
      const distance = p.reduce((sum, value, token) => sum + Math.abs(value - q[token]) / 2, 0);
      const rate = accepted(drawCoupled, model);
      // Three standard errors.
      expect(rate).toBeGreaterThan((1 - distance) / (1 + distance) - 0.024);
      expect(rate).toBeGreaterThan(accepted(drawAddressed(), model) + 0.05);
    }
  });

  it("agrees always with a drafter that has the target's law", () => {
    const run = withPolicy({ verifier: "gumbel" });
    const setting = { target, draft: target, parents: chain(3), draw: drawCoupled, run };
    for (let seed = 0; seed < 100; seed++) {
      expect(playRound(setting, chanceOf(seededRandom(seed)), []).accepted).toEqual([0, 1, 2]);
    }
  });
});

describe("seededRandom", () => {
  it("gives each address its own number in [0, 1), the same each time", () => {
    const random = seededRandom(5);
    const seen = new Set<number>();
    for (const stage of [STAGE.accept, STAGE.residual, STAGE.draft, STAGE.gumbel]) {
      for (let position = 0; position < 20; position++) {
        for (let item = 0; item < 20; item++) {
          const u = random.uniform(position, stage, item);
          expect(u).toBe(seededRandom(5).uniform(position, stage, item));
          expect(u >= 0 && u < 1).toBe(true);
          seen.add(u);
        }
      }
    }
    expect(seen.size).toBe(4 * 20 * 20);
  });
});
