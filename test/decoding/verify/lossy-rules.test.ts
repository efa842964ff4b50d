/** What the lossy verifiers accept, by hand. */
import { describe, expect, it } from "vitest";
import type { DraftLaw } from "../../../src/decoding/draft.ts";
import type { Policy } from "../../../src/decoding/verify/registry.ts";
import { verify } from "../../../src/decoding/verify/verify.ts";
import { STAGE } from "../../../src/philox.ts";

/** The same row everywhere; the token that ends the round is drawn at u = 0. */
function play(
  values: number[],
  tokens: number[],
  policy: Policy,
  parents?: number[],
  law: DraftLaw = "one-hot",
) {
  return verify({
    rows: { count: tokens.length + 1, vocab: values.length, row: () => Float64Array.from(values) },
    draft: { tokens, parents, law },
    start: 0,
    random: { uniform: (_position, stage) => (stage === STAGE.residual ? 0 : 0.5), noise: () => 0.5 },
    policy,
  });
}

describe("typical acceptance", () => {
  it("asks for more than epsilon where the target is sure", () => {
    // Entropy 0.19 nats: δ·e^−H is 0.25, above ε.
    const accepted = (token: number) => play([0.96, 0.035, 0.005], [token], { verifier: "typical" }).accepted;
    expect([0, 1, 2].map(accepted)).toEqual([[0], [], []]);
    const loose = { verifier: "typical", epsilon: 0.03 } as const;
    expect(play([0.96, 0.035, 0.005], [1], loose).accepted).toEqual([0]);
  });

  it("asks for δ·e^−H where the target is undecided", () => {
    // 20 equal tokens: e^−H is 1/20, and each has just that.
    const flat = Array(20).fill(0.05);
    expect(play(flat, [3], { verifier: "typical" }).accepted).toEqual([0]);
    expect(play(flat, [3], { verifier: "typical", delta: 0.99 }).accepted).toEqual([0]);
    expect(play(flat, [3], { verifier: "typical", delta: 1, epsilon: 0.05 }).accepted).toEqual([]);
  });

  it("takes the longest path, and the likelier of equally long ones", () => {
    const values = [0.5, 0.3, 0.15, 0.05];
    const policy = { verifier: "typical", epsilon: 0.1 } as const;
    // The likeliest first token leads nowhere.
    expect(play(values, [0, 1, 3, 2], policy, [-1, -1, 0, 1]).accepted).toEqual([1, 3]);
    expect(play(values, [2, 1, 0, 0], policy, [-1, -1, 0, 1]).accepted).toEqual([1, 3]);
    expect(play(values, [1, 2, 0, 0], policy, [-1, -1, 0, 1]).accepted).toEqual([0, 2]);
    expect(play(values, [0, 0], policy, [-1, -1]).accepted).toEqual([0]);
  });
});

describe("reverse speculative decoding", () => {
  it("keeps what the student finds likely enough, and lets it speak after that", () => {
    const values = [0.5, 0.3, 0.2];
    const policy = { verifier: "reverse", threshold: 0.3 } as const;
    expect(play(values, [1, 0, 2, 0], policy)).toMatchObject({ accepted: [0, 1], emitted: [1, 0, 0] });
  });
});

describe("constant threshold", () => {
  const values = [0.5, 0.3, 0.2];
  const law = (token: number, q: number): DraftLaw => ({
    rows: {
      count: 1,
      vocab: 3,
      row: () => Float64Array.from(values, (_, id) => (id === token ? q : (1 - q) / 2)),
    },
  });

  it("accepts from p/q above it, and corrects from the residual", () => {
    const accepted = (threshold: number) =>
      play(values, [2], { verifier: "threshold", threshold }, undefined, law(2, 0.4));
    expect(accepted(0.49)).toMatchObject({ accepted: [0], emitted: [2, 0] });
    expect(accepted(0.51)).toMatchObject({ accepted: [], emitted: [0] });
  });

  it("leaves corrections pending of a law of scalars", () => {
    const verdict = play(values, [0, 2], { verifier: "threshold", threshold: 0.9 }, undefined, {
      scalars: [0.5, 0.4],
    });
    expect(verdict).toMatchObject({ accepted: [0], emitted: [0], pending: 1 });
  });
});

describe("target-only thresholds", () => {
  const values = [0.4, 0.3, 0.2, 0.1];
  const play2 = (acceptThreshold: number, singleThreshold: number) =>
    play(values, [3, 2], { verifier: "target-only-threshold", acceptThreshold, singleThreshold }, [-1, -1])
      .accepted;

  it("scale the coin, 0.5 here, against the sum over children", () => {
    expect(play2(1, 1)).toEqual([]);
    expect(play2(0.61, 1)).toEqual([]);
    expect(play2(0.59, 1)).toEqual([1]);
    expect(play2(0.19, 1)).toEqual([0]);
    expect(play2(0, 1)).toEqual([0]);
  });
  it("accept a single child that is likely enough", () => {
    expect(play2(1, 0.2)).toEqual([1]);
    expect(play2(1, 0.1)).toEqual([0]);
  });
});
