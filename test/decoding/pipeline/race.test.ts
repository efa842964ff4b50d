import { describe, expect, it } from "vitest";
import { race } from "../../../src/decoding/pipeline/race.ts";
import { log } from "../../../src/math.ts";
import { noise } from "../../../src/philox.ts";
import { createRandom } from "../../support/random.ts";

const POSITIONS = 40_000;

function fieldOf(ids: number[], weights: number[]) {
  return {
    ids: Uint32Array.from(ids),
    weights: Float64Array.from(weights),
    count: ids.length,
    total: weights.reduce((sum, weight) => sum + weight, 0),
  };
}

/** The definition: all scores, the first of the largest. */
function winnerOf(
  { ids, weights, count, total }: ReturnType<typeof fieldOf>,
  seed: number,
  position: number,
): number {
  const scores = Array.from(
    { length: count },
    (_, i) => weights[i] / total / -log(noise(seed, position, ids[i])),
  );
  return scores.indexOf(Math.max(...scores));
}

describe("race", () => {
  it("is won by the largest score, however far the weights are apart", () => {
    const random = createRandom(1);
    for (let position = 0; position < 1500; position++) {
      const reach = [0, 3, 15, 40, 700][position % 5];
      const sparse = 1 + (position % 7);
      const ids: number[] = [];
      for (let id = random.below(sparse); ids.length < 200; id += 1 + random.below(sparse)) ids.push(id);
      const field = fieldOf(
        ids,
        ids.map(() => Math.exp(-reach * random.uniform())),
      );
      for (const seed of [position, 2 ** 53 - 1 - position]) {
        expect(race(field, seed, position)).toBe(winnerOf(field, seed, position));
      }
    }
  });

  it("draws as the weights say", () => {
    const field = fieldOf([3, 4, 5, 17, 1000, 151_935], [1, 4, 0, 2, 2.5, 0.5]);
    const counts = new Array<number>(6).fill(0);
    for (let position = 0; position < POSITIONS; position++) counts[race(field, 11, position)]++;
    expect(counts[2]).toBe(0);
    // Chi-square of 4 degrees of freedom: beyond 23.5 once in 10,000 seeds.
    const statistic = counts.reduce((sum, count, i) => {
      const expected = (field.weights[i] / field.total) * POSITIONS;
      return expected > 0 ? sum + (count - expected) ** 2 / expected : sum;
    }, 0);
    expect(statistic).toBeLessThan(23.5);
  });

  it("lets two laws agree as often as the coupling promises: (1 − TV) / (1 + TV) or more", () => {
    const ids = [0, 1, 2, 3, 4, 5, 6, 7];
    const p = fieldOf(ids, [8, 4, 2, 1, 1, 1, 1, 2]);
    const q = fieldOf(ids, [4, 8, 2, 2, 1, 1, 1, 1]);
    const distance = ids.reduce((sum, i) => sum + Math.abs(p.weights[i] - q.weights[i]) / p.total, 0) / 2;
    let agreed = 0;
    for (let position = 0; position < POSITIONS; position++) {
      if (race(p, 3, position) === race(q, 3, position)) agreed++;
    }
    const bound = (1 - distance) / (1 + distance);
    expect(agreed / POSITIONS).toBeGreaterThan(bound - 4 * Math.sqrt((bound * (1 - bound)) / POSITIONS));
    // Beyond 1 − TV no coupling can go.
    expect(agreed / POSITIONS).toBeLessThan(
      1 - distance + 4 * Math.sqrt((distance * (1 - distance)) / POSITIONS),
    );
  });

  it("is won by the lowest id of equal scores, and by nobody without a chance", () => {
    // Scores that are equal: each weight is its time, up to a common factor that is a power of two.
    const ids = [5, 6, 9];
    const times = ids.map((id) => -log(noise(1, 2, id)));
    expect(race({ ...fieldOf(ids, times), total: 1 }, 1, 2)).toBe(0);
    expect(race({ ...fieldOf(ids, [times[0] / 2, times[1], times[2]]), total: 1 }, 1, 2)).toBe(1);
    expect(race(fieldOf([], []), 1, 2)).toBe(-1);
    expect(race({ ...fieldOf([1, 2], [0, 0]), total: 1 }, 1, 2)).toBe(-1);
    expect(race(fieldOf([7], [5e-324]), 1, 2)).toBe(0);
  });
});
