/** A fused row as the target of a draft, and the rules for draft and target of the catalogue, by verifiers that are run. */
import { describe, expect, it } from "vitest";
import { fusePreset } from "../../../src/decoding/fuse.ts";
import type { Policy } from "../../../src/decoding/verify/registry.ts";
import { verify } from "../../../src/decoding/verify/verify.ts";
import { STAGE } from "../../../src/philox.ts";
import { lawOf, ln } from "./support.ts";

const STEPS = 4000;

/**
 * What becomes of each token that may be drafted: how often it survives, and the law of what ends the round where it does
 * not, both by going through evenly spread numbers in place of random ones.
 */
function outcomes(target: readonly number[], draft: readonly number[], policy: Policy) {
  const run = (token: number, coin: number, u: number) =>
    verify({
      rows: { count: 2, vocab: target.length, row: () => Float64Array.from(target) },
      draft: {
        tokens: [token],
        law: { rows: { count: 1, vocab: draft.length, row: () => Float64Array.from(draft) } },
      },
      start: 0,
      random: { uniform: (_position, stage) => (stage === STAGE.accept ? coin : u), noise: () => 0.5 },
      policy,
    });
  return draft.map((_, token) => {
    let accepted = 0;
    const law = target.map(() => 0);
    for (let i = 0; i < STEPS; i++) {
      const u = (i + 0.5) / STEPS;
      if (run(token, u, 0.5).accepted.length === 1) accepted += 1 / STEPS;
      // The least coin that could be tossed is accepted if any is.
      const rejected = run(token, 1 - 2 ** -53, u);
      if (rejected.accepted.length === 0) law[rejected.emitted[0]] += 1 / STEPS;
    }
    return { accepted, law };
  });
}

const expectNear = (found: readonly number[], expected: readonly number[]) => {
  found.forEach((value, i) => {
    expect(Math.abs(value - expected[i]), `[${i}]: ${value} for ${expected[i]}`).toBeLessThanOrEqual(
      1 / STEPS,
    );
  });
};

describe("verification", () => {
  it("of a draft by its target (specdec)", () => {
    const [target, draft] = [
      [0.5, 0.3, 0.2],
      [0.7, 0.005, 0.295],
    ];
    const found = outcomes(target, draft, { verifier: "token" });
    expectNear(
      found.map(({ accepted }) => accepted),
      [0.7142857143, 1, 0.6779661017],
    );
    const rate = found.reduce((sum, { accepted }, token) => sum + draft[token] * accepted, 0);
    expect(rate).toBeCloseTo(0.705, 3);
    expectNear(found[0].law, [0, 1, 0]);
    expectNear(found[2].law, [0, 1, 0]);
  });

  it("of an amateur's draft by the contrast with it (spec_contrastive)", () => {
    const rows = { expert: ln(50, 30, 15, 4, 1), amateur: ln(60, 10, 5, 5, 20) };
    const target = lawOf(fusePreset("contrastive", { amateurTemperature: 1 }), rows);
    const draft = [0.6, 0.1, 0.05, 0.05, 0.2];
    const found = outcomes(target, draft, { verifier: "token" });
    expectNear(
      found.map(({ accepted }) => accepted),
      [0.2032520325, 1, 1, 0, 0],
    );
    const rate = found.reduce((sum, { accepted }, token) => sum + draft[token] * accepted, 0);
    expect(rate).toBeCloseTo(0.2719512195, 3);
    for (const token of [0, 3, 4]) expectNear(found[token].law, [0, 0.4656616415, 0.5343383585, 0, 0]);
  });

  it("of a teacher by its student (rsd)", () => {
    const teacher = [0.5, 0.3, 0.2];
    const student = [0.7, 0.005, 0.295];
    const found = outcomes(student, teacher, { verifier: "reverse", threshold: 0.01 });
    expect(found.map(({ accepted }) => Math.round(accepted))).toEqual([1, 0, 1]);
    const law = teacher.map((_, token) =>
      found.reduce(
        (sum, { accepted, law: rejected }, drafted) =>
          sum + teacher[drafted] * (drafted === token ? accepted : 0) + teacher[drafted] * rejected[token],
        0,
      ),
    );
    expectNear(law, [0.71, 0.0015, 0.2885]);
  });
});
