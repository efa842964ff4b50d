import { describe, expect, test } from "vitest";
import { Acceptance } from "../../../src/decoding/drafter/acceptance.ts";
import { Allowance } from "../../../src/decoding/drafter/allowance.ts";
import { CostCurve } from "../../../src/decoding/drafter/cost-curve.ts";
import { expectedTokens } from "../../../src/decoding/drafter/expected-length.ts";
import { Rest } from "../../../src/decoding/drafter/rest.ts";
import { RoundCosts } from "../../../src/decoding/drafter/round-costs.ts";
import { createRandom } from "../../support/random.ts";

describe("acceptance", () => {
  test("of chains comes to the chance of a token, and expects what the formula says", () => {
    for (const chance of [0.3, 0.6, 0.9]) {
      const random = createRandom(4);
      const acceptance = new Acceptance(0.75, "chain");
      let sum = 0;
      for (let round = 0; round < 400; round++) {
        let accepted = 0;
        while (accepted < 4 && random.uniform() < chance) accepted++;
        acceptance.record(4, accepted, Math.min(accepted + 1, 4));
        if (round >= 100) sum += acceptance.rate / 300;
      }
      // It is of some 96 tests, fewer after a row of bad luck, and the prior counts two.
      expect(Math.abs(sum - chance)).toBeLessThan(0.08);
      const expected = acceptance.expected([1, 3, 7]);
      for (const [i, length] of [1, 3, 7].entries()) {
        expect(expected[i]).toBeCloseTo(expectedTokens(acceptance.rate, length), 12);
      }
    }
  });

  test("begins with its prior, and is told anew after every round", () => {
    const acceptance = new Acceptance(0.75, "chain");
    const lengths = [2];
    expect(acceptance.expected(lengths)[0]).toBe(1 + 0.75 + 0.75 ** 2);
    acceptance.record(2, 2, 2);
    // (2 · 0.75 + 2) / (2 + 2)
    expect(acceptance.rate).toBe(0.875);
    expect(acceptance.expected(lengths)[0]).toBe(1 + 0.875 + 0.875 ** 2);
    expect(acceptance.most(5)).toBe(6);
  });

  test("forgets what was before two drafts that were surely right and are wrong", () => {
    const acceptance = new Acceptance(0.75, "chain");
    for (let round = 0; round < 30; round++) acceptance.record(15, 15, 15);
    acceptance.record(15, 0, 1);
    expect(acceptance.rate).toBeGreaterThan(0.95);
    acceptance.record(15, 0, 1);
    expect(acceptance.rate).toBeLessThan(0.9);
    for (let round = 0; round < 6; round++) acceptance.record(3, 0, 1);
    expect(acceptance.rate).toBeLessThan(0.55);
  });

  test("of trees takes the logarithm of their size", () => {
    const acceptance = new Acceptance(0.5, "tree");
    for (let round = 0; round < 200; round++) acceptance.record(4, 2, 2);
    // 1 + 1/2 + 1/3 + 1/4 = 25/12
    expect(acceptance.rate).toBeCloseTo(2 / (25 / 12), 1);
    const [four, eight] = acceptance.expected([4, 8]);
    expect(four).toBeCloseTo(3, 1);
    expect(eight - four).toBeCloseTo(acceptance.rate * (1 / 5 + 1 / 6 + 1 / 7 + 1 / 8), 12);
  });
});

describe("cost curve", () => {
  test("bounds unknown sizes by known ones", () => {
    const curve = new CostCurve(1, 1.5);
    expect(curve.bound(3, 2)).toBe(6);
    curve.record(1, 2);
    curve.record(4, 5);
    expect(curve.bound(1, 2)).toBe(2);
    expect(curve.bound(2, 2)).toBe(4);
    expect(curve.bound(3, 2)).toBe(5);
    expect(curve.bound(6, 2)).toBe(5 + 4);
    expect(curve.bound(9, 2)).toBe(5 + 5 + 2);
  });

  test("guesses unknown sizes low, so that they are tried", () => {
    const curve = new CostCurve(0.5, 1.5);
    curve.record(1, 2);
    expect(curve.estimate(3, 1)).toBe(2 + 2 * 0.5);
    curve.record(3, 6);
    // Items cost 2 so far, further ones are taken for 1; between known sizes a straight line if that is less.
    expect(curve.estimate(7, 1)).toBe(6 + 4);
    expect(curve.estimate(2, 1)).toBe(2.5);
    curve.record(7, 8);
    expect(curve.estimate(5, 1)).toBe(7);
    expect(curve.estimate(7, 1)).toBe(8);
  });

  test("is a mean, without hiccups and without what cold code took", () => {
    const curve = new CostCurve(1, 1.5);
    expect(curve.record(4, 12)).toBe(12);
    // Less than half: what came before was cold code.
    expect(curve.record(4, 4)).toBe(4);
    expect(curve.mean(4)).toBe(4);
    expect(curve.record(4, 5)).toBe(5);
    expect(curve.mean(4)).toBe(4.5);
    expect(curve.record(4, 1000)).toBe(6.75);
    expect(curve.mean(4)).toBe((4 + 5 + 6.75) / 3);
    expect(curve.mean(5)).toBeUndefined();
    // What a first call takes beyond the given most is spent, and not expected again.
    expect(curve.record(8, 50, 20)).toBe(50);
    expect(curve.mean(8)).toBe(20);
  });

  test("guesses anew what was measured long ago", () => {
    const curve = new CostCurve(1, 1.5);
    curve.record(1, 1);
    curve.record(4, 9);
    expect(curve.estimate(4, 1)).toBe(9);
    for (let call = 0; call < 300; call++) curve.record(1, 1);
    expect(curve.estimate(4, 1)).toBe(4);
    // It may have been a busy moment: four single ones cost no more than 4.
    expect(curve.bound(4, 1)).toBe(4);
    curve.record(4, 3);
    expect(curve.estimate(4, 1)).toBeLessThan(9);
  });

  test("measures twice as late each time that it was right", () => {
    const curve = new CostCurve(1, 1.5);
    curve.record(1, 1);
    curve.record(4, 9);
    curve.record(4, 9);
    const steps: number[] = [];
    for (let round = 0; round < 4; round++) {
      for (let count = 0; ; count++) {
        if (curve.estimate(4, 1) !== curve.mean(4)) {
          steps.push(count);
          break;
        }
        curve.record(1, 1);
      }
      // The third time it is another one: from then on it is as new.
      curve.record(4, round === 2 ? 6 : 9);
    }
    expect(steps).toEqual([257, 513, 1025, 257]);
  });

  test("guesses that items of further groups cost nearly what those of a whole one do", () => {
    const curve = new CostCurve(0.5, 1.5);
    curve.record(1, 1);
    curve.record(4, 4);
    expect(curve.estimate(8, 1)).toBe(4 + 4 * 0.5);
    curve.record(8, 8);
    expect(curve.estimate(16, 1)).toBeCloseTo(8 + 8 * 0.85, 12);
  });
});

describe("round costs", () => {
  const plain = { target: 1, draft: 0, overhead: 0 };

  test("do not expect of a round what it took to tell the drafter of many tokens", () => {
    const costs = new RoundCosts(0, 0);
    costs.record(0, 0, 0, plain);
    for (let ask = 0; ask < 50; ask++) {
      for (let step = 0; step < 20; step++) costs.record(0, 0, 0, plain);
      costs.record(0, 4, 0, { target: 1, draft: 0, overhead: 2 });
    }
    expect(costs.probable(0, 4)).toBe(1);
  });

  test("forget what drafting took after 512 plain steps, as nobody asks what is too dear", () => {
    const costs = new RoundCosts(0, 0);
    costs.record(0, 0, 0, plain);
    for (let ask = 0; ask < 50; ask++) costs.record(0, 4, 0, { target: 1, draft: 0, overhead: 2 });
    expect(costs.probable(0, 4)).toBeGreaterThan(2);
    for (let step = 0; step < 512; step++) costs.record(0, 0, 0, plain);
    expect(costs.probable(0, 4)).toBeGreaterThan(2);
    costs.record(0, 0, 0, plain);
    expect(costs.probable(0, 4)).toBe(1);
  });
});

describe("rest", () => {
  test("doubles while tries fail, until they cost half a hundredth", () => {
    const rest = new Rest();
    const lefts: number[] = [];
    for (let round = 0; round < 8; round++) {
      rest.begin(0.5);
      lefts.push(rest.left);
      rest.recordPlainSteps(rest.left);
      expect(rest.left).toBe(0);
    }
    expect(lefts).toEqual([1, 2, 4, 8, 16, 32, 64, 100]);
    rest.begin(0.001);
    expect(rest.left).toBe(0);
    rest.begin(1e9);
    expect(rest.left).toBe(256);
    rest.end();
    expect(rest.left).toBe(0);
  });
});

describe("allowance", () => {
  test("is five quarters of a plain step, then 2.5 %, and what was saved up to 32 steps", () => {
    const allowance = new Allowance();
    expect(allowance.affords(2.25, 1)).toBe(true);
    expect(allowance.affords(2.26, 1)).toBe(false);
    // 2.5 % of 80 tokens are two steps.
    expect(allowance.stepsUntil(3, 1)).toBe(79);
    for (let step = 0; step < 79; step++) allowance.recordPlainStep(0);
    expect(allowance.affords(3, 1)).toBe(true);
    for (let round = 0; round < 20; round++) allowance.recordDraft(2, 8, 1);
    expect(allowance.affords(32 + 1 + 0.025 * 240 - 0.01, 1)).toBe(true);
    expect(allowance.affords(32 + 1 + 0.025 * 240 + 0.01, 1)).toBe(false);
  });

  test("counts tokens, so that a plain step may turn out to be shorter", () => {
    const allowance = new Allowance();
    allowance.recordDraft(4, 4, 4);
    // By steps of 4 it is 12 ahead; by steps of 1 it is level.
    expect(allowance.affords(16 + 5, 4)).toBe(true);
    expect(allowance.affords(2.25, 1)).toBe(true);
    expect(allowance.affords(2.26, 1)).toBe(false);
  });
});
