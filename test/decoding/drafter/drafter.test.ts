/** What holds for every drafter. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BestOfDrafter } from "../../../src/decoding/drafter/best-of.ts";
import { type LocalDrafter, type LookupDraft, MAX_GAMMA } from "../../../src/decoding/drafter/drafter.ts";
import { JumpForwardDrafter } from "../../../src/decoding/drafter/jump-forward.ts";
import { NgramDrafter } from "../../../src/decoding/drafter/ngram.ts";
import { NgramCacheDrafter } from "../../../src/decoding/drafter/ngram-cache.ts";
import { NgramCounts } from "../../../src/decoding/drafter/ngram-counts.ts";
import { PredictedOutputDrafter } from "../../../src/decoding/drafter/predicted-output.ts";
import { PromptLookupDrafter } from "../../../src/decoding/drafter/prompt-lookup.ts";
import { SuffixDrafter } from "../../../src/decoding/drafter/suffix.ts";
import { TokenRecyclingDrafter } from "../../../src/decoding/drafter/token-recycling.ts";
import { forcing } from "./reference.ts";

const VOCAB = 5;
const CAPACITY = 24;
const PREDICTION = [0, 1, 2, 3, 4, 0, 2, 4, 1, 3];

const drafters: Record<string, () => LocalDrafter> = {
  "prompt lookup": () => new PromptLookupDrafter({ vocab: VOCAB, capacity: CAPACITY, endTokens: [4] }),
  "n-gram": () => new NgramDrafter({ vocab: VOCAB, capacity: CAPACITY }),
  "n-gram cache": () =>
    new NgramCacheDrafter({
      vocab: VOCAB,
      capacity: CAPACITY,
      dynamic: NgramCounts.from([0, 1, 2, 0, 1, 2, 0, 1, 2], VOCAB),
      static: NgramCounts.from([3, 4, 3, 4, 3], VOCAB, { order: 2 }),
    }),
  suffix: () => new SuffixDrafter({ vocab: VOCAB, capacity: CAPACITY, minMatch: 1, factor: 4 }),
  "token recycling, chain": () => recycling("chain"),
  "token recycling, tree": () => recycling("tree"),
  "predicted output": () => new PredictedOutputDrafter({ vocab: VOCAB, prediction: PREDICTION, minMatch: 1 }),
  "jump forward": () =>
    new JumpForwardDrafter({ constraint: forcing(VOCAB, (drafted) => (drafted.length < 3 ? 2 : null)) }),
  "best of": () =>
    new BestOfDrafter([
      new SuffixDrafter({ vocab: VOCAB, capacity: CAPACITY }),
      recycling("chain"),
      new PredictedOutputDrafter({ vocab: VOCAB, prediction: PREDICTION }),
    ]),
};

function recycling(shape: "chain" | "tree"): TokenRecyclingDrafter {
  const drafter = new TokenRecyclingDrafter({ vocab: VOCAB, shape });
  for (let token = 0; token < VOCAB; token++) drafter.observe(token, [(token * 2) % VOCAB, 1, 7, 3, -1, 4]);
  return drafter;
}

const tokensOf = (maxLength: number) => fc.array(fc.nat(VOCAB - 1), { maxLength });
const edits = fc.array(fc.record({ back: fc.nat(30), more: tokensOf(30) }), { maxLength: 6 });
const gammas = [0, 1, 3, 16, MAX_GAMMA];

function expectSoundDraft(draft: LookupDraft, gamma: number): void {
  expect(draft.law).toBe("one-hot");
  expect(draft.tokens.length).toBeLessThanOrEqual(gamma);
  for (const token of draft.tokens) {
    expect(Number.isInteger(token) && token >= 0 && token < VOCAB, `token ${token}`).toBe(true);
  }
  if (draft.tokens.length > 0) expect(draft.matchLength).toBeGreaterThan(0);
  if (draft.parents === undefined) return;
  expect(draft.parents.length).toBe(draft.tokens.length);
  draft.parents.forEach((parent, i) => {
    expect(parent).toBeGreaterThanOrEqual(-1);
    expect(parent).toBeLessThan(i);
  });
  const siblings = draft.tokens.map((token, i) => `${draft.parents![i]}:${token}`);
  expect(new Set(siblings).size, "siblings differ").toBe(siblings.length);
}

describe.each(Object.entries(drafters))("%s", (_name, create) => {
  test("drafts at most gamma tokens of the vocabulary, after any history", () => {
    fc.assert(
      fc.property(edits, (steps) => {
        const drafter = create();
        let length = 0;
        for (const { back, more } of steps) {
          length = Math.max(0, length - back);
          drafter.truncate(length);
          for (const gamma of gammas) expectSoundDraft(drafter.draft(gamma), gamma);
          drafter.append(more);
          length += more.length;
          expect(drafter.length).toBe(length);
          for (const gamma of gammas) expectSoundDraft(drafter.draft(gamma), gamma);
        }
      }),
      { numRuns: 60 },
    );
  });

  test("is not changed by drafting", () => {
    fc.assert(
      fc.property(tokensOf(40), tokensOf(10), (tokens, more) => {
        const [asked, silent] = [create(), create()];
        asked.append(tokens);
        silent.append(tokens);
        expect(asked.draft(8)).toEqual(asked.draft(8));
        asked.append(more);
        silent.append(more);
        expect(asked.draft(8)).toEqual(silent.draft(8));
      }),
      { numRuns: 60 },
    );
  });

  test("is as if what was taken back had never come", () => {
    fc.assert(
      // All within the capacity: beyond it, when older tokens are forgotten depends on the way.
      fc.property(tokensOf(12), tokensOf(12), tokensOf(12), (kept, undone, more) => {
        const [back, straight] = [create(), create()];
        back.append(kept);
        back.append(undone);
        back.truncate(kept.length);
        expect(back.length).toBe(kept.length);
        straight.append(kept);
        expect(back.draft(8)).toEqual(straight.draft(8));
        back.append(more);
        straight.append(more);
        expect(back.draft(8)).toEqual(straight.draft(8));
      }),
      { numRuns: 100 },
    );
  });

  test("takes tokens one by one or all at once", () => {
    fc.assert(
      fc.property(tokensOf(60), (tokens) => {
        const [single, whole] = [create(), create()];
        for (const token of tokens) single.append([token]);
        whole.append(Int32Array.from(tokens));
        expect(single.draft(8)).toEqual(whole.draft(8));
      }),
      { numRuns: 40 },
    );
  });

  test("refuses what it cannot take, and stays as it was", () => {
    const drafter = create();
    drafter.append([0, 1, 2, 0, 1]);
    const before = drafter.draft(4);
    expect(() => drafter.append([1, VOCAB])).toThrow('"tokens[1]" must be an integer from 0 to 4, got 5');
    expect(() => drafter.append([-1])).toThrow(RangeError);
    expect(() => drafter.append([0.5])).toThrow(RangeError);
    expect(() => drafter.append([Number.NaN])).toThrow(RangeError);
    expect(() => drafter.append(["1" as unknown as number])).toThrow(TypeError);
    expect(() => drafter.truncate(6)).toThrow('"length" must be an integer from 0 to 5, got 6');
    expect(() => drafter.truncate(-1)).toThrow(RangeError);
    expect(() => drafter.draft(-1)).toThrow('"gamma" must be an integer from 0 to 256, got -1');
    expect(() => drafter.draft(MAX_GAMMA + 1)).toThrow(RangeError);
    expect(drafter.length).toBe(5);
    expect(drafter.draft(4)).toEqual(before);
  });
});
