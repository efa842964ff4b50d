import { describe, expect, it } from "vitest";
import { referenceRowMath } from "../../../src/backend/reference/row-math.ts";
import { matching, testLossless } from "./lossless.case.ts";
import { BINARY, chain, compareRound, drawBy, randomModel, STAR, withPolicy } from "./models.ts";

testLossless(referenceRowMath, 1e-12);

describe("acceptance", () => {
  const measure = (verifier: "token" | "block" | "specinfer" | "sequoia" | "traversal", parents: number[]) =>
    [1, 2, 3].map((seed) => {
      const drawing = verifier === "specinfer" ? "independent" : "distinct";
      return compareRound({
        target: randomModel(seed, 3),
        draft: randomModel(seed + 100, 3),
        parents,
        draw: drawBy(drawing),
        run: withPolicy({ verifier }),
      }).accepted;
    });

  it("of block verification is above that of token verification", () => {
    const token = measure("token", chain(3));
    measure("block", chain(3)).forEach((accepted, model) => {
      expect(accepted).toBeGreaterThan(token[model]);
    });
  });

  it("of traversal is that of block verification on a chain, and above rejection one by one in a tree", () => {
    const block = measure("block", chain(3));
    measure("traversal", chain(3)).forEach((accepted, model) => {
      expect(accepted).toBeCloseTo(block[model], 12);
    });
    const sequoia = measure("sequoia", BINARY);
    measure("traversal", BINARY).forEach((accepted, model) => {
      expect(accepted).toBeGreaterThan(sequoia[model]);
    });
  });

  it("of siblings without replacement is above that of siblings with it", () => {
    const specinfer = measure("specinfer", STAR);
    measure("sequoia", STAR).forEach((accepted, model) => {
      expect(accepted).toBeGreaterThan(specinfer[model]);
    });
  });

  it("of a chosen token is the same for matching and for token verification", () => {
    const [target, draft] = [randomModel(1, 3), randomModel(101, 3)];
    const setting = { target, draft, parents: chain(3), draw: drawBy("best"), law: "one-hot" } as const;
    const token = compareRound({ ...setting, run: withPolicy({ verifier: "token" }) });
    expect(compareRound({ ...setting, run: matching }).accepted).toBeCloseTo(token.accepted, 12);
  });

  it("of two tokens, p = (1/3, 2/3), q = (2/3, 1/3), is 10/9 by token and 11/9 by block", () => {
    const setting = {
      target: () => Float64Array.of(1 / 3, 2 / 3),
      draft: () => Float64Array.of(2 / 3, 1 / 3),
      parents: chain(2),
      draw: drawBy("independent"),
    };
    expect(compareRound({ ...setting, run: withPolicy({ verifier: "token" }) }).accepted).toBeCloseTo(
      10 / 9,
      12,
    );
    expect(compareRound({ ...setting, run: withPolicy({ verifier: "block" }) }).accepted).toBeCloseTo(
      11 / 9,
      12,
    );
  });

  it("of a draft with the target's own law is complete", () => {
    const target = randomModel(1, 3, 0.3);
    for (const verifier of ["token", "block", "specinfer", "sequoia", "traversal"] as const) {
      const setting = { target, draft: target, parents: chain(3), draw: drawBy("distinct") };
      expect(compareRound({ ...setting, run: withPolicy({ verifier }) }).accepted).toBeCloseTo(3, 12);
    }
  });
});
