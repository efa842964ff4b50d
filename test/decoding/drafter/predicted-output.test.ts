import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { PredictedOutputDrafter } from "../../../src/decoding/drafter/predicted-output.ts";
import { longestSuffixIn } from "./reference.ts";

const VOCAB = 1000;
const prediction = Array.from({ length: 40 }, (_, i) => 100 + i);
const draftAfter = (tokens: number[], options: object = {}, gamma = 3) => {
  const drafter = new PredictedOutputDrafter({ vocab: VOCAB, prediction, ...options });
  drafter.append(tokens);
  return drafter.draft(gamma).tokens;
};

describe("predicted output", () => {
  test("is drafted from its first token on, once the prompt is over", () => {
    expect(draftAfter([])).toEqual([100, 101, 102]);
    expect(draftAfter([7, 100, 101], { start: 3 })).toEqual([100, 101, 102]);
    expect(draftAfter([7, 100], { start: 3 })).toEqual([]);
    expect(draftAfter([7, 8, 9, 100, 101], { start: 3 })).toEqual([102, 103, 104]);
  });

  test("goes on after a token was replaced, left out or inserted", () => {
    const begin = [100, 101, 102];
    expect(draftAfter([...begin, 5])).toEqual([]);
    expect(draftAfter([...begin, 5, 104, 105])).toEqual([106, 107, 108]);
    expect(draftAfter([...begin, 104, 105])).toEqual([106, 107, 108]);
    expect(draftAfter([...begin, 5, 6, 103, 104])).toEqual([105, 106, 107]);
    expect(draftAfter([...begin, 5, 104], { minMatch: 1 })).toEqual([105, 106, 107]);
  });

  test("prefers the nearest place ahead to the first one", () => {
    const text = [1, 2, 3, 10, 11, 12, 1, 2, 4, 20, 21, 1, 2, 5];
    // 11 12 left out, then 20 21: the text goes on with the next 1 2, though there is one before.
    expect(draftAfter([1, 2, 3, 10, 1, 2], { prediction: text })).toEqual([4, 20, 21]);
    expect(draftAfter([1, 2, 3, 10, 1, 2, 4, 1, 2], { prediction: text })).toEqual([5]);
    // Nothing ahead: the first one.
    expect(draftAfter([1, 2, 3, 10, 1, 2, 4, 1, 2, 5, 1, 2], { prediction: text })).toEqual([3, 10, 11]);
  });

  test("goes back where the text does", () => {
    expect(draftAfter([100, 101, 102, 103, 9, 100, 101])).toEqual([102, 103, 104]);
  });

  test("ends with the prediction", () => {
    expect(draftAfter([137, 138])).toEqual([139]);
    expect(draftAfter([138, 139])).toEqual([]);
    expect(draftAfter([], { prediction: [] })).toEqual([]);
  });

  test("copies whole blocks of an edited text", () => {
    const edited = [
      ...prediction.slice(0, 10),
      1,
      2,
      3,
      ...prediction.slice(15, 30),
      ...prediction.slice(33),
    ];
    const drafter = new PredictedOutputDrafter({ vocab: VOCAB, prediction });
    let hits = 0;
    for (const token of edited) {
      if (drafter.draft(1).tokens[0] === token) hits++;
      drafter.append([token]);
    }
    // All but the three new tokens, and one or two more at each of the two places where the text goes on.
    expect(hits).toBeGreaterThanOrEqual(edited.length - 3 - 4);
  });

  test("says how many tokens agree, and copies what follows an occurrence of them", () => {
    const letters = fc.array(fc.nat(2), { maxLength: 40 });
    fc.assert(
      fc.property(letters, letters, fc.nat(40), letters, (predicted, first, back, more) => {
        const drafter = new PredictedOutputDrafter({ vocab: 3, prediction: predicted, minMatch: 1 });
        drafter.append(first);
        const kept = first.slice(0, Math.max(0, first.length - back));
        drafter.truncate(kept.length);
        drafter.append(more);
        const text = [...kept, ...more];
        const { tokens, matchLength } = drafter.draft(4);
        if (tokens.length === 0) return;
        const matched = longestSuffixIn(predicted, text);
        const asPredicted = text.every((token, i) => token === predicted[i]);
        expect(matchLength).toBe(matched + (asPredicted ? 8 : 0));
        expect(longestSuffixIn(predicted, [...text, ...tokens])).toBeGreaterThanOrEqual(
          matched + tokens.length,
        );
      }),
      { numRuns: 300 },
    );
  });

  test("finds its place again after going back further than it remembers", () => {
    const long = Array.from({ length: 10_000 }, (_, i) => i);
    const drafter = new PredictedOutputDrafter({ vocab: 10_000, prediction: long });
    drafter.append(long);
    drafter.truncate(5000);
    expect(drafter.length).toBe(5000);
    expect(drafter.draft(2).tokens).toEqual([]);
    drafter.append([5000, 5001]);
    expect(drafter.draft(2).tokens).toEqual([5002, 5003]);
    drafter.append(long);
    drafter.truncate(0);
    expect(drafter.draft(2).tokens).toEqual([0, 1]);
  });

  test("refuses a prediction outside the vocabulary, and one without end", () => {
    expect(() => draftAfter([], { prediction: [1, VOCAB] })).toThrow(
      '"prediction[1]" must be an integer from 0 to 999, got 1000',
    );
    expect(() => draftAfter([], { prediction: { length: 2 ** 21 } })).toThrow(
      '"prediction.length" must be an integer from 0 to 1048576, got 2097152',
    );
  });
});
