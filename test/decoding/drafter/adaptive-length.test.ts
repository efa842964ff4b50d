/** The parts of the controller, each by its rules. */
import { describe, expect, test } from "vitest";
import { AdaptiveLength } from "../../../src/decoding/drafter/adaptive-length.ts";
import { CostCurve } from "../../../src/decoding/drafter/cost-curve.ts";
import { Rest } from "../../../src/decoding/drafter/rest.ts";

describe("adaptive length", () => {
  const full = (accepted: number, cost: number) => ({
    accepted,
    tested: Math.max(accepted, 1),
    emitted: accepted + 1,
    cost,
  });
  const create = (initial: number) => new AdaptiveLength({ min: 1, max: 16, initial });

  test("goes up after two accepted rounds, keeps the probe after two more, and waits one", () => {
    const adaptive = create(4);
    const lengths: number[] = [];
    for (let round = 0; round < 9; round++) {
      adaptive.record(full(adaptive.length, 1));
      lengths.push(adaptive.length);
    }
    expect(lengths).toEqual([4, 5, 5, 5, 5, 6, 6, 6, 6]);
  });

  test("never passes its ends", () => {
    const up = create(16);
    const down = create(1);
    for (let round = 0; round < 50; round++) {
      up.record(full(16, 1));
      down.record(full(0, 1));
      expect([up.length, down.length]).toEqual([16, 1]);
    }
    expect(create(99).length).toBe(16);
  });

  test("goes down where less than half is accepted", () => {
    const adaptive = create(4);
    adaptive.record(full(0, 2));
    adaptive.record(full(0, 2));
    expect(adaptive.length).toBe(3);
    adaptive.record(full(0, 1.7));
    adaptive.record(full(0, 1.7));
    adaptive.record(full(0, 1.7));
    adaptive.record(full(0, 1.7));
    expect(adaptive.length).toBe(2);
  });

  test("drops a probe at once below 80 % of the throughput before, and waits six rounds", () => {
    const adaptive = create(4);
    for (let round = 0; round < 2; round++) adaptive.record(full(4, 1));
    expect(adaptive.length).toBe(5);
    adaptive.record(full(0, 1));
    expect(adaptive.length).toBe(4);
    for (let round = 0; round < 6; round++) {
      adaptive.record(full(4, 1));
      expect(adaptive.length).toBe(4);
    }
    adaptive.record(full(4, 1));
    expect(adaptive.length).toBe(5);
  });

  test("keeps a probe at 97 % of the throughput before, and not below", () => {
    const probe = (ratio: number) => {
      const adaptive = create(4);
      for (let round = 0; round < 2; round++) adaptive.record(full(4, 5));
      for (let round = 0; round < 2; round++) adaptive.record(full(5, 6 / ratio));
      return adaptive.length;
    };
    expect(probe(0.98)).toBe(5);
    expect(probe(0.96)).toBe(4);
  });

  test("does not try a slower length again, until it may have been an accident", () => {
    const adaptive = create(4);
    for (let round = 0; round < 2; round++) adaptive.record(full(4, 1));
    adaptive.record(full(5, 9));
    let rounds = 0;
    while (adaptive.length === 4) {
      adaptive.record(full(4, 1));
      rounds++;
    }
    expect(adaptive.length).toBe(5);
    expect(rounds).toBe(6 + 100);
  });

  test("beyond 8 goes up by an eighth, by half where nothing is rejected, and down by an eighth", () => {
    const next = (tested: number, accepted: number) => {
      const adaptive = new AdaptiveLength({ min: 1, max: 64, initial: 32 });
      for (let i = 0; i < 2; i++) adaptive.record({ accepted, tested, emitted: accepted + 1, cost: 1 });
      return adaptive.length;
    };
    expect([next(10, 8), next(32, 32), next(10, 2), next(10, 6)]).toEqual([36, 48, 28, 32]);
  });

  test("of trees goes by the throughput that a size had, not by a formula for chains", () => {
    const adaptive = new AdaptiveLength({ min: 1, max: 64, initial: 4, shape: "tree" });
    // Five nodes give more tokens a call than four, at twice the cost.
    for (let i = 0; i < 2; i++) adaptive.record({ accepted: 2, tested: 2, emitted: 3, cost: 3 });
    expect(adaptive.length).toBe(5);
    adaptive.record({ accepted: 3, tested: 3, emitted: 4, cost: 6 });
    let rounds = 0;
    while (adaptive.length === 4) {
      adaptive.record({ accepted: 2, tested: 2, emitted: 3, cost: 3 });
      rounds++;
    }
    expect(rounds).toBe(6 + 100);
  });

  test("retreats to half, and to no less than the shortest", () => {
    const adaptive = create(9);
    const lengths = Array.from({ length: 5 }, () => {
      adaptive.retreat();
      return adaptive.length;
    });
    expect(lengths).toEqual([4, 2, 1, 1, 1]);
    // And waits six rounds.
    for (let round = 0; round < 6; round++) adaptive.record(full(1, 1));
    expect(adaptive.length).toBe(1);
    adaptive.record(full(1, 1));
    expect(adaptive.length).toBe(2);
  });
});

describe("rest", () => {
  test("follows three rounds without an accepted token at the shortest length", () => {
    const rest = new Rest();
    rest.recordRound(0, 1, true);
    rest.recordRound(0, 1, true);
    rest.recordRound(0, 1, false);
    rest.recordRound(0, 1, true);
    rest.recordRound(0, 1, true);
    expect(rest.left).toBe(0);
    rest.recordRound(0, 1, true);
    expect(rest.left).toBe(1);
    rest.recordPlainSteps(1);
    expect(rest.left).toBe(0);
    rest.recordPlainSteps(1);
    expect(rest.left).toBe(0);
  });

  test("doubles up to 64 while rounds fail, and starts over after one that pays", () => {
    const rest = new Rest();
    const lefts: number[] = [];
    for (let round = 0; round < 11; round++) {
      rest.recordRound(0, 0.5, true);
      lefts.push(rest.left);
      while (rest.left > 0) rest.recordPlainSteps(1);
    }
    expect(lefts).toEqual([0, 0, 1, 2, 4, 8, 16, 32, 64, 64, 64]);
    for (let round = 0; round < 8; round++) rest.recordRound(1, 2, true);
    expect(rest.losing).toBe(false);
    while (rest.left > 0) rest.recordPlainSteps(1);
    while (!rest.losing) rest.recordRound(0, 0.5, true);
    expect(rest.left).toBeLessThanOrEqual(2);
  });
});

describe("cost curve", () => {
  test("bounds unknown sizes by known ones", () => {
    const curve = new CostCurve();
    expect(curve.bound(3, 2)).toBe(6);
    curve.record(1, 2);
    curve.record(4, 5);
    expect(curve.bound(1, 2)).toBe(2);
    expect(curve.bound(2, 2)).toBe(4);
    expect(curve.bound(3, 2)).toBe(5);
    expect(curve.bound(6, 2)).toBe(9);
    curve.record(4, 9);
    expect(curve.mean(4)).toBe(6);
    // Less than half: what came before was cold code.
    curve.record(4, 2);
    expect(curve.mean(4)).toBe(2);
    expect(curve.mean(5)).toBeUndefined();
  });
});
