/**
 * EDGEWISE_DRAWS=1000000 npx vitest run test/decoding/verify/draws.test.ts      draws that many texts, not 8,000
 */
import { describe, expect, it } from "vitest";
import { referenceRowMath } from "../../../src/backend/reference/row-math.ts";
import { seededRandom } from "../../../src/decoding/verify/random.ts";
import type { Policy } from "../../../src/decoding/verify/registry.ts";
import { STAGE } from "../../../src/philox.ts";
import { chanceOf, draft, drawBest, drawCoupled, target, testJointLaw, textOf } from "./draws.case.ts";
import { chain, type Draw, drawAddressed, type Model, playRound, randomModel, withPolicy } from "./models.ts";

testJointLaw(referenceRowMath, Number(process.env.EDGEWISE_DRAWS ?? 8000));

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
    for (const model of [draft, randomModel(102, 3), randomModel(103, 3)]) {
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
