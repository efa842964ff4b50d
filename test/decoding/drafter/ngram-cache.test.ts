import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { NgramCacheDrafter } from "../../../src/decoding/drafter/ngram-cache.ts";
import { NgramCounts } from "../../../src/decoding/drafter/ngram-counts.ts";
import { createRandom } from "../../support/random.ts";

const VOCAB = 100;
const draftOf = (tokens: number[], options: object = {}, gamma = 1) => {
  const drafter = new NgramCacheDrafter({ vocab: VOCAB, ...options });
  drafter.append(tokens);
  return drafter.draft(gamma);
};

/** Every (n-gram, successor) of a text, counted by search. */
function countsBySearch(tokens: readonly number[], order: number): Map<string, number> {
  const counts = new Map<string, number>();
  for (let end = 0; end < tokens.length; end++) {
    for (let n = 1; n <= order && n <= end; n++) {
      const key = tokens.slice(end - n, end + 1).join(" ");
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
  }
  return counts;
}

function expectCounts(counts: NgramCounts, expected: Map<string, number>, order: number): void {
  for (const [key, count] of expected) expect(counts.countOf(key.split(" ").map(Number)), key).toBe(count);
  for (const key of expected.keys()) {
    const ngram = key.split(" ").map(Number).slice(0, -1);
    const found = counts.successors(ngram, 1000);
    const wanted = [...expected].filter(
      ([other]) => other.split(" ").slice(0, -1).join(" ") === ngram.join(" "),
    );
    expect(new Map(found.tokens.map((token, i) => [[...ngram, token].join(" "), found.counts[i]]))).toEqual(
      new Map(wanted),
    );
  }
  expect(counts.order).toBe(order);
}

describe("n-gram counts", () => {
  const letters = fc.array(fc.nat(2), { maxLength: 40 });

  test("are what a search counts, also after taking tokens back", () => {
    fc.assert(
      fc.property(
        letters,
        fc.nat(40),
        letters,
        fc.integer({ min: 1, max: 4 }),
        (first, back, more, order) => {
          const counts = new NgramCounts({ order });
          for (const token of first) counts.push(token);
          for (let i = 0; i < Math.min(back, first.length); i++) counts.pop();
          const kept = first.slice(0, Math.max(0, first.length - back));
          expectCounts(counts, countsBySearch(kept, order), order);
          for (const token of more) counts.push(token);
          expectCounts(counts, countsBySearch([...kept, ...more], order), order);
        },
      ),
      { numRuns: 60 },
    );
  });

  test("of two texts merge to their sums", () => {
    const counts = NgramCounts.from([1, 2, 3, 1, 2], VOCAB);
    counts.merge(NgramCounts.from([2, 3, 1, 2, 4], VOCAB));
    expect(counts.countOf([1, 2])).toBe(3);
    expect(counts.countOf([2, 3, 1, 2])).toBe(2);
    expect(counts.countOf([1, 2, 4])).toBe(1);
    // No n-gram reaches from the first text into the second.
    expect(counts.countOf([2, 2])).toBe(0);
  });

  test("go on counting what they know when they are full", () => {
    const counts = new NgramCounts({ order: 1, maxNodes: 3 });
    for (const token of [1, 2, 1, 2, 3]) counts.push(token);
    expect(counts.nodes).toBe(3);
    expect(counts.countOf([1, 2])).toBe(2);
    expect(counts.countOf([2, 3])).toBe(0);
    while (counts.length > 0) counts.pop();
    expect(counts.nodes).toBe(0);
  });

  test("take bounded memory", () => {
    const random = createRandom(5);
    const counts = new NgramCounts({ maxNodes: 10_000 });
    for (let i = 0; i < 50_000; i++) counts.push(random.below(1000));
    expect(counts.nodes).toBe(10_000);
    expect(counts.bytes).toBeLessThan(2 * (10_000 * 32 + 50_000 * 4));
  });

  test("refuse tokens outside the vocabulary", () => {
    expect(() => NgramCounts.from([1, 100], VOCAB)).toThrow(
      '"tokens[1]" must be an integer from 0 to 99, got 100',
    );
    expect(() => new NgramCounts({ order: 5 })).toThrow('"order" must be an integer from 1 to 4, got 5');
  });
});

describe("n-gram cache drafter", () => {
  test("needs two samples of one or two tokens, and one of three or four", () => {
    // 1 was followed by 2 once.
    expect(draftOf([1, 2, 9, 1], { maxNgram: 1 }).tokens).toEqual([]);
    expect(draftOf([1, 2, 9, 1, 2, 8, 1], { maxNgram: 1 }).tokens).toEqual([2]);
    // 5 1 was followed by 2 once, then twice.
    expect(draftOf([5, 1, 2, 9, 5, 1], { minNgram: 2, maxNgram: 2 }).tokens).toEqual([]);
    expect(draftOf([5, 1, 2, 9, 5, 1, 2, 8, 5, 1], { minNgram: 2, maxNgram: 2 }).tokens).toEqual([2]);
    expect(draftOf([6, 5, 1, 2, 9, 6, 5, 1], { minNgram: 3, maxNgram: 3 }).tokens).toEqual([2]);
    expect(draftOf([7, 6, 5, 1, 2, 9, 7, 6, 5, 1], { minNgram: 4 }).tokens).toEqual([2]);
  });

  test("needs 66 % of one token's successors, and half of more tokens'", () => {
    const one = { maxNgram: 1 };
    // 1 is followed by 2 twice and 3 once: 66.7 %; then once more by 4: 50 %.
    expect(draftOf([1, 2, 1, 2, 1, 3, 1], one).tokens).toEqual([2]);
    expect(draftOf([1, 2, 1, 2, 1, 3, 1, 4, 1], one).tokens).toEqual([]);
    // 5 1 is followed by 2 and by 3, once each: 50 %, and the lower id.
    const two = { minNgram: 2, maxNgram: 2 };
    expect(draftOf([5, 1, 3, 5, 1, 2, 5, 1], two).tokens).toEqual([2]);
    expect(draftOf([5, 1, 3, 5, 1, 2, 5, 1, 4, 5, 1], two).tokens).toEqual([]);
  });

  test("prefers the longest n-gram and says its length", () => {
    // After 1: 2, 2, 2, but after 9 1: 3.
    const draft = draftOf([1, 2, 1, 2, 1, 2, 8, 9, 1, 3, 9, 1, 3, 9, 1]);
    expect(draft.tokens).toEqual([3]);
    expect(draft.matchLength).toBe(4);
  });

  test("drafts on from its own draft", () => {
    const tokens = [1, 2, 3, 4, 5, 6, 1, 2, 3];
    expect(draftOf(tokens, {}, 5).tokens).toEqual([4, 5, 6, 1, 2]);
  });

  test("is stricter with earlier texts: four samples and 75 % for one token", () => {
    const dynamic = (text: number[]) => ({ maxNgram: 1, dynamic: NgramCounts.from(text, VOCAB) });
    const followed = (...tokens: number[]) => tokens.flatMap((token) => [1, token]);
    expect(draftOf([8, 1], dynamic(followed(2, 2, 2))).tokens).toEqual([]);
    expect(draftOf([8, 1], dynamic(followed(2, 2, 2, 2))).tokens).toEqual([2]);
    expect(draftOf([8, 1], dynamic(followed(2, 2, 2, 3))).tokens).toEqual([2]);
    expect(draftOf([8, 1], dynamic(followed(2, 2, 2, 3, 3))).tokens).toEqual([]);
  });

  test("prefers this text to earlier ones, and those to the corpus", () => {
    const dynamic = NgramCounts.from([7, 1, 3, 7, 1, 3, 7, 1, 3], VOCAB);
    const corpus = NgramCounts.from([7, 1, 4, 7, 1, 4], VOCAB, { order: 2 });
    const all = { dynamic, static: corpus };
    expect(draftOf([7, 1, 2, 6, 7, 1, 2, 6, 7, 1], all).tokens).toEqual([2]);
    expect(draftOf([6, 7, 1], all).tokens).toEqual([3]);
    expect(draftOf([6, 7, 1], { static: corpus }).tokens).toEqual([4]);
    expect(draftOf([6, 8, 1], { static: corpus }).tokens).toEqual([]);
  });

  test("weighs what it counts by the corpus", () => {
    // After 5 1: 2 and 3, once each; the corpus has 5 1 3.
    const tokens = [5, 1, 2, 5, 1, 3, 5, 1];
    const two = { minNgram: 2, maxNgram: 2 };
    expect(draftOf(tokens, two).tokens).toEqual([2]);
    const corpus = NgramCounts.from([5, 1, 3], VOCAB, { order: 2 });
    expect(draftOf(tokens, { ...two, static: corpus }).tokens).toEqual([3]);
  });

  test("never drafts a token that only the corpus' vocabulary has", () => {
    const corpus = NgramCounts.from([1, 2, 500, 1, 2, 500], 1000, { order: 2 });
    expect(draftOf([1, 2], { static: corpus }).tokens).toEqual([]);
  });

  test("takes part in the next request by way of the dynamic cache", () => {
    const dynamic = new NgramCounts();
    const first = new NgramCacheDrafter({ vocab: VOCAB, dynamic });
    first.append([1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4]);
    dynamic.merge(first.context);
    expect(draftOf([1, 2, 3], { dynamic }).tokens).toEqual([4]);
  });
});
