/** The enumeration sees that verifiers which say they are lossy are. */
import { describe, expect, it } from "vitest";
import type { RowMath } from "../../../src/backend/row-math.ts";
import { type Policy, VERIFIERS } from "../../../src/decoding/verify/registry.ts";
import {
  BINARY,
  chain,
  compareRound,
  drawBy,
  type Model,
  randomModel,
  type Setting,
  withPolicy,
} from "./models.ts";

const SEEDS = [1, 2, 3, 4, 5];

export type Play = Omit<Setting, "target" | "draft"> & { readonly claim?: (draft: Model) => Model };

/** The largest distance from the target's law over several models; some happen not to show a defect. */
export function distanceOf({ claim, ...play }: Play): number {
  const distances = SEEDS.map((seed) => {
    const draft = randomModel(seed + 100, 3);
    return compareRound({ ...play, target: randomModel(seed, 3), draft, claimed: claim?.(draft) }).distance;
  });
  return Math.max(...distances);
}

/** @param limit On what a lossless verifier may show by this measure. */
export function testLossyVerifiers(math: RowMath, limit: number): void {
  describe("lossy verifiers", () => {
    const policies: readonly Policy[] = [
      { verifier: "target-only-threshold", acceptThreshold: 0.9, singleThreshold: 1 },
      { verifier: "target-only-threshold", acceptThreshold: 1, singleThreshold: 0.5 },
      { verifier: "threshold", threshold: 0.5 },
      { verifier: "typical" },
      { verifier: "relaxed" },
      { verifier: "reverse", threshold: 0.1 },
    ];

    it("are all here", () => {
      const lossy = Object.entries(VERIFIERS).filter(([, { lossless }]) => !lossless);
      expect([...new Set(policies.map(({ verifier }) => verifier))].sort()).toEqual(
        lossy.map(([name]) => name).sort(),
      );
    });

    for (const policy of policies) {
      it(`change the law: ${JSON.stringify(policy)}`, () => {
        const parents = VERIFIERS[policy.verifier].shape === "tree" ? BINARY : chain(3);
        const distance = distanceOf({
          math,
          parents,
          draw: drawBy("best"),
          law: "one-hot",
          run: withPolicy(policy),
        });
        expect(distance).toBeGreaterThan(0.01);
      });
    }

    it("of target-only with both thresholds at 1 is exact", () => {
      const policy = { verifier: "target-only-threshold", acceptThreshold: 1, singleThreshold: 1 } as const;
      const distance = distanceOf({
        math,
        parents: BINARY,
        draw: drawBy("best"),
        law: "one-hot",
        run: withPolicy(policy),
      });
      expect(distance).toBeLessThan(limit);
    });
  });
}
