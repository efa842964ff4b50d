import { describe, expect, test } from "vitest";
import { SpeculationStats } from "../../../src/decoding/drafter/stats.ts";

describe("speculation statistics", () => {
  test("count per place in the draft what was tested and accepted", () => {
    const stats = new SpeculationStats();
    // A plain step, a draft that holds, one that fails at its third token, one at its first; a tree of nine nodes.
    stats.record({ drafted: 0, tested: 0, accepted: 0, emitted: 1, ms: { target: 2 } });
    stats.record({ drafted: 2, tested: 2, accepted: 2, emitted: 3, ms: { target: 3, draft: 1 } });
    stats.record({
      drafted: 4,
      tested: 3,
      accepted: 2,
      emitted: 3,
      ms: { target: 4, draft: 1, sample: 0.5 },
    });
    stats.record({ drafted: 1, tested: 1, accepted: 0, emitted: 1 });
    stats.record({ drafted: 9, tested: 4, accepted: 4, emitted: 5 });
    stats.spend({ draft: 0.25, target: Number.NaN, sample: -1 });
    expect(JSON.parse(JSON.stringify(stats))).toEqual({
      drafted: 16,
      tested: 10,
      accepted: 8,
      emitted: 13,
      targetCalls: 5,
      tokensPerCall: 13 / 5,
      acceptanceRate: 0.8,
      testedAt: [4, 3, 2, 1],
      acceptedAt: [3, 3, 1, 1],
      ms: { draft: 2.25, target: 9, sample: 0.5 },
    });
  });

  test("of places that were never accepted say 0", () => {
    const stats = new SpeculationStats();
    stats.record({ drafted: 3, tested: 1, accepted: 0, emitted: 1 });
    expect(stats.toJSON()).toMatchObject({ testedAt: [1], acceptedAt: [0], acceptanceRate: 0 });
  });

  test("of nothing are those of plain decoding", () => {
    expect(new SpeculationStats().toJSON()).toMatchObject({
      tokensPerCall: 1,
      acceptanceRate: 0,
      testedAt: [],
    });
  });

  test("refuse rounds that cannot be, and stay as they were", () => {
    const stats = new SpeculationStats();
    const round = { drafted: 3, tested: 2, accepted: 1, emitted: 2 };
    expect(() => stats.record({ ...round, tested: 4 })).toThrow(
      '"tested" must be an integer from 0 to 3, got 4',
    );
    expect(() => stats.record({ ...round, accepted: 3 })).toThrow(
      '"accepted" must be an integer from 0 to 2, got 3',
    );
    expect(() => stats.record({ ...round, emitted: 3 })).toThrow(
      '"emitted" must be an integer from 1 to 2, got 3',
    );
    expect(() => stats.record({ ...round, drafted: 257 })).toThrow(RangeError);
    expect(stats).toEqual(new SpeculationStats());
  });
});
