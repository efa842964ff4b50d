import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { SuffixDrafter } from "../../../src/decoding/drafter/suffix.ts";
import { createRandom } from "../../support/random.ts";
import { longestRepeat } from "./reference.ts";

/** What the drafter should say: at most `gamma` tokens, and no more than matched, from the longest repeat on. */
function expectedDraft(tokens: readonly number[], gamma: number, minMatch: number): number[] {
  const { length, end } = longestRepeat(tokens);
  if (length < minMatch) return [];
  const text = [...tokens];
  for (let i = 0; i < Math.min(gamma, length); i++) text.push(text[end + 1 + i]);
  return text.slice(tokens.length);
}

describe("suffix drafter", () => {
  test("copies from the longest repeat, also after taking tokens back", () => {
    const letters = fc.array(fc.nat(2), { maxLength: 60 });
    fc.assert(
      fc.property(letters, fc.nat(60), letters, (first, back, more) => {
        const drafter = new SuffixDrafter({ vocab: 3 });
        drafter.append(first);
        const kept = first.slice(0, Math.max(0, first.length - back));
        drafter.truncate(kept.length);
        expect(drafter.draft(9).tokens).toEqual(expectedDraft(kept, 9, 2));
        drafter.append(more);
        const tokens = [...kept, ...more];
        expect(drafter.draft(9).tokens).toEqual(expectedDraft(tokens, 9, 2));
        expect(drafter.draft(9).matchLength).toBe(
          longestRepeat(tokens).length >= 2 ? longestRepeat(tokens).length : 0,
        );
      }),
      { numRuns: 200 },
    );
  });

  test("of a full window answers as a search in it", () => {
    const letters = fc.array(fc.nat(1), { minLength: 40, maxLength: 120 });
    fc.assert(
      fc.property(letters, fc.integer({ min: 2, max: 30 }), fc.nat(20), (tokens, capacity, back) => {
        const drafter = new SuffixDrafter({ vocab: 2, capacity });
        drafter.append(tokens);
        expect(tokens.length - drafter.start).toBeLessThanOrEqual(capacity);
        expect(tokens.length - drafter.start).toBeGreaterThanOrEqual(Math.floor(capacity / 2));
        expect(drafter.draft(9).tokens).toEqual(expectedDraft(tokens.slice(drafter.start), 9, 2));
        const kept = tokens.slice(0, tokens.length - back);
        drafter.truncate(kept.length);
        expect(drafter.length).toBe(kept.length);
        expect(drafter.draft(9).tokens).toEqual(expectedDraft(kept.slice(drafter.start), 9, 2));
      }),
      { numRuns: 200 },
    );
  });

  test("goes on with a repeating text for as long as is asked", () => {
    const drafter = new SuffixDrafter({ vocab: 9, factor: 100 });
    drafter.append([1, 2, 3, 1, 2, 3]);
    expect(drafter.draft(8).tokens).toEqual([1, 2, 3, 1, 2, 3, 1, 2]);
    expect(drafter.draft(8).matchLength).toBe(3);
  });

  test("drafts as many tokens as matched, times the factor, and at least one", () => {
    const tokens = [1, 2, 3, 4, 5, 6, 7, 8, 1, 2];
    const draft = (options: object) => {
      const drafter = new SuffixDrafter({ vocab: 9, ...options });
      drafter.append(tokens);
      return drafter.draft(16).tokens;
    };
    expect(draft({})).toEqual([3, 4]);
    expect(draft({ factor: 2 })).toEqual([3, 4, 5, 6]);
    expect(draft({ factor: 0 })).toEqual([3]);
    expect(draft({ minMatch: 3 })).toEqual([]);
  });

  test("holds a long text in steps linear in it, and memory that does not grow with it", () => {
    const random = createRandom(11);
    const capacity = 4096;
    const drafter = new SuffixDrafter({ vocab: 30_000, capacity });
    let largest = 0;
    for (let i = 0; i < 100_000; i++) {
      drafter.append([Math.floor(30_000 * random.uniform() ** 6)]);
      largest = Math.max(largest, drafter.bytes);
    }
    expect(drafter.steps).toBeLessThan(2 * 10 * 100_000);
    expect(largest).toBeLessThan(1.5 * (12 + 40 + 27) * capacity);
  });
});
