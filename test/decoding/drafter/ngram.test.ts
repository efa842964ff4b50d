import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { NgramDrafter } from "../../../src/decoding/drafter/ngram.ts";
import { NgramIndex } from "../../../src/decoding/drafter/ngram-index.ts";
import { PromptLookupDrafter } from "../../../src/decoding/drafter/prompt-lookup.ts";
import { createRandom } from "../../support/random.ts";
import { firstOccurrence } from "./reference.ts";

const REPEATED = [1, 2, 3, 4, 1, 2, 3];
const MIXED = [1, 3, 6, 2, 3, 4, 1, 2, 3];

describe("n-gram drafter", () => {
  test.each<[string, number[], number, number, number, number[]]>([
    ["no 2-gram occurs before", [1, 2, 3, 4, 1, 2, 3, 5, 6], 2, 2, 2, []],
    ["no 2-gram repeats", [1, 2, 3, 4, 5], 2, 2, 2, []],
    ["a 2-gram", REPEATED, 2, 2, 3, [4, 1, 2]],
    ["a 1-gram", REPEATED, 1, 1, 2, [4, 1]],
    ["a 2-gram in a mixed text", MIXED, 2, 2, 3, [4, 1, 2]],
    ["the earliest 1-gram", MIXED, 1, 1, 2, [6, 2]],
    ["no 4-gram", REPEATED, 4, 4, 2, []],
    ["a 3-gram, as there is no 4-gram", REPEATED, 3, 4, 2, [4, 1]],
    ["a 4-gram before a 3-gram", [2, 3, 4, 5, 1, 2, 3, 4, 1, 2, 3, 4], 3, 4, 2, [1, 2]],
    ["a 4-gram before shorter ones", [3, 4, 5, 2, 3, 4, 1, 2, 3, 4], 2, 4, 2, [1, 2]],
    ["the earliest of three", [1, 2, 3, 100, 1, 2, 3, 200, 1, 2, 3, 300, 1, 2, 3], 3, 3, 2, [100, 1]],
  ])("published case: %s", (_name, tokens, minNgram, maxNgram, gamma, expected) => {
    const drafter = new NgramDrafter({ vocab: 301, minNgram, maxNgram });
    drafter.append(tokens);
    expect(drafter.draft(gamma).tokens).toEqual(expected);
  });

  test("is the search for the longest, then earliest n-gram, also after taking tokens back", () => {
    const letters = fc.array(fc.nat(2), { maxLength: 150 });
    fc.assert(
      fc.property(letters, fc.nat(150), letters, fc.integer({ min: 1, max: 3 }), (first, back, more, min) => {
        const drafter = new NgramDrafter({ vocab: 3, minNgram: min, maxNgram: 4 });
        drafter.append(first);
        const kept = first.slice(0, Math.max(0, first.length - back));
        drafter.truncate(kept.length);
        drafter.append(more);
        const tokens = [...kept, ...more];
        const n = [4, 3, 2, 1].find((order) => order >= min && firstOccurrence(tokens, order) >= 0);
        const from = n === undefined ? tokens.length : firstOccurrence(tokens, n) + 1;
        const { tokens: drafted, matchLength } = drafter.draft(6);
        expect(drafted).toEqual(tokens.slice(from, from + 6));
        expect(matchLength).toBe(n ?? 0);
      }),
      { numRuns: 200 },
    );
  });

  test("when full, knows the later half", () => {
    const drafter = new NgramDrafter({ vocab: 100, minNgram: 2, maxNgram: 2, capacity: 8 });
    drafter.append([1, 2, 3, 4, 5, 6, 7, 8]);
    drafter.append([6, 7]);
    expect(drafter.length).toBe(10);
    expect(drafter.draft(2).tokens).toEqual([8, 6]);
    drafter.append([1, 2]);
    expect(drafter.draft(2).tokens).toEqual([]);
  });

  test("goes on with an empty window where it is taken back behind it", () => {
    const drafter = new NgramDrafter({ vocab: 100, minNgram: 1, maxNgram: 2, capacity: 4 });
    drafter.append([1, 2, 3, 1, 2, 3, 1]);
    drafter.truncate(1);
    expect(drafter.draft(2).tokens).toEqual([]);
    drafter.append([5, 6, 5]);
    expect(drafter.length).toBe(4);
    expect(drafter.draft(2).tokens).toEqual([6, 5]);
  });

  test.each([
    [{ vocab: 0 }, '"vocab" must be an integer from 1 to 1048576, got 0'],
    [{ vocab: 5, minNgram: 5 }, '"minNgram" must be an integer from 1 to 4, got 5'],
    [{ vocab: 5, maxNgram: 17 }, '"maxNgram" must be an integer from 1 to 16, got 17'],
    [{ vocab: 5, capacity: 1 }, '"capacity" must be an integer from 2 to 16777216, got 1'],
  ])("refuses %o", (options, message) => {
    expect(() => new NgramDrafter(options)).toThrow(message);
  });
});

describe("n-gram index", () => {
  const N = 100_000;
  const random = createRandom(3);
  test.each([
    ["one token", () => 0],
    ["a period of 5", (i: number) => i % 5],
    ["random tokens", () => random.below(2000)],
    ["all different", (i: number) => i],
    ["tokens a power of two apart", (i: number) => (i % 16) << 16],
  ])("takes linear steps and bounded memory for %s", (_name, token) => {
    const index = new NgramIndex(1, 3);
    for (let i = 0; i < N; i++) index.push(token(i));
    expect(index.steps).toBeLessThan(3 * 4 * N);
    expect(index.bytes).toBeLessThan((8 + 3 * 16) * N);
    while (index.length > 0) index.pop();
    expect(index.steps).toBeLessThan(2 * 3 * 4 * N);
    for (const n of [1, 2, 3]) expect(index.find(n)).toBe(-1);
  });
});

describe("prompt lookup", () => {
  const lookUp = (tokens: number[], options = {}, gamma = 20) => {
    const drafter = new PromptLookupDrafter({ vocab: 100, ...options });
    drafter.append(tokens);
    return drafter.draft(gamma).tokens;
  };

  test("prefers three tokens to two to one", () => {
    expect(lookUp([3, 9, 2, 3, 8, 1, 2, 3, 7, 1, 2, 3])).toEqual([7, 1, 2, 3]);
    expect(lookUp([3, 9, 2, 3, 8, 5, 2, 3])).toEqual([8, 5, 2, 3]);
    expect(lookUp([3, 9, 5, 3])).toEqual([9, 5, 3]);
    expect(lookUp([1, 2, 3])).toEqual([]);
    expect(lookUp([3, 9, 2, 3, 8, 1, 2, 3, 7, 1, 2, 3], { maxNgram: 1 })).toEqual([
      9, 2, 3, 8, 1, 2, 3, 7, 1, 2,
    ]);
  });

  test("copies ten tokens, or as many as are asked for", () => {
    const tokens = [...Array.from({ length: 20 }, (_, i) => i), 0];
    expect(lookUp(tokens)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(lookUp(tokens, { maxTokens: 15 }).length).toBe(15);
    expect(lookUp(tokens, {}, 3)).toEqual([1, 2, 3]);
  });

  test("copies nothing after a token that ends the text", () => {
    expect(lookUp([1, 2, 99, 3, 4, 1], { endTokens: [99] })).toEqual([2, 99]);
    expect(() => lookUp([1], { endTokens: [100] })).toThrow('"endTokens[0]" must be an integer from 0 to 99');
  });
});
