/** Several rounds after each other: the addresses of random numbers keep rounds independent. */
import { describe, expect, it } from "vitest";
import { verify } from "../../../src/decoding/verify/verify.ts";
import { STAGE } from "../../../src/philox.ts";
import { enumerate } from "./enumerate.ts";
import {
  chain,
  compare,
  type Draw,
  drawAddressed,
  drawBy,
  playRound,
  randomModel,
  type Setting,
  withPolicy,
} from "./models.ts";

const COUNT = 4;
const byRound = drawAddressed();
const byPosition = drawAddressed((committed, node) => [committed + node, 0]);

/** Rounds until there are COUNT tokens. */
function distanceOfText(seed: number, run: Setting["run"], draw: Draw): number {
  const target = randomModel(seed, 2);
  const draft = randomModel(seed + 100, 2);
  const setting = { target, draft, parents: chain(2), draw, run };
  const law = enumerate((chance) => {
    const text: number[] = [];
    while (text.length < COUNT) text.push(...playRound(setting, chance, text).emitted);
    return text.slice(0, COUNT).join();
  });
  return compare(law, target, COUNT).distance;
}

const SEEDS = [1, 2, 3];

const largestDistance = (run: Setting["run"], draw: Draw) =>
  Math.max(...SEEDS.map((seed) => distanceOfText(seed, run, draw)));

describe("rounds", () => {
  for (const verifier of ["token", "block", "specinfer", "sequoia", "traversal"] as const) {
    it(`of ${verifier} verification together give the target's law`, () => {
      for (const seed of SEEDS) {
        expect(distanceOfText(seed, withPolicy({ verifier }), byRound)).toBeLessThan(1e-12);
      }
    });
  }

  it("whose drafts use numbers of the position, not the round, bias block verification", () => {
    const run = withPolicy({ verifier: "block" });
    expect(largestDistance(run, byPosition)).toBeGreaterThan(0.001);
  });

  it("whose coins are those of the position, not the round, bias block verification", () => {
    const run: Setting["run"] = (request) => {
      const random = {
        ...request.random,
        uniform: (position: number, stage: number, item: number) =>
          stage === STAGE.accept
            ? request.random.uniform(position + item - 1, stage, 0)
            : request.random.uniform(position, stage, item),
      };
      return verify({ ...request, random, policy: { verifier: "block" } });
    };
    expect(largestDistance(run, drawBy("independent"))).toBeGreaterThan(0.001);
  });
});
