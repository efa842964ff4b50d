import { describe, expect, test } from "vitest";
import { TokenRecyclingDrafter } from "../../../src/decoding/drafter/token-recycling.ts";

const VOCAB = 50;

function drafterWith(rows: Record<number, number[]>, options: object = {}): TokenRecyclingDrafter {
  const drafter = new TokenRecyclingDrafter({ vocab: VOCAB, ...options });
  for (const [token, successors] of Object.entries(rows)) drafter.observe(Number(token), successors);
  return drafter;
}

/** Tokens from the committed one to node `index`. */
function path(
  { tokens, parents }: { tokens: readonly number[]; parents?: readonly number[] },
  index: number,
): number[] {
  return index < 0 ? [] : [...path({ tokens, parents }, parents![index]), tokens[index]];
}

describe("token recycling", () => {
  test("chains best successors until one is unknown", () => {
    const drafter = drafterWith({ 1: [2, 9], 2: [3, 8], 3: [4] });
    drafter.append([7, 1]);
    expect(drafter.draft(8).tokens).toEqual([2, 3, 4]);
    expect(drafter.draft(2).tokens).toEqual([2, 3]);
    expect(drafter.draft(8).parents).toBeUndefined();
    drafter.append([4]);
    expect(drafter.draft(8).tokens).toEqual([]);
  });

  test("follows the committed token back", () => {
    const drafter = drafterWith({ 1: [2], 5: [6] });
    drafter.append([1, 5]);
    expect(drafter.draft(1).tokens).toEqual([6]);
    drafter.truncate(1);
    expect(drafter.draft(1).tokens).toEqual([2]);
    drafter.truncate(0);
    expect(drafter.draft(1).tokens).toEqual([]);
  });

  test("goes in circles no longer than its depth", () => {
    const drafter = drafterWith({ 1: [1] }, { maxDepth: 5 });
    drafter.append([1]);
    expect(drafter.draft(64).tokens).toEqual([1, 1, 1, 1, 1]);
  });

  test("keeps the latest row, without padding ids and repetitions", () => {
    const drafter = drafterWith({ 1: [2, 3, 4] });
    drafter.observe(1, [VOCAB, 9, 9, -1, 8, 0.5, 7, 6, 5, 4, 3, 2, 1]);
    const tree = drafterWith({}, { shape: "tree" });
    tree.observe(1, [VOCAB, 9, 9, -1, 8, 0.5, 7, 6, 5, 4, 3, 2, 1]);
    drafter.append([1]);
    tree.append([1]);
    expect(drafter.draft(1).tokens).toEqual([9]);
    expect(tree.draft(80).tokens.slice(0, 8)).toEqual([9, 8, 7, 6, 5, 4, 3, 2]);
    expect(() => drafter.observe(VOCAB, [1])).toThrow('"token" must be an integer from 0 to 49, got 50');
  });

  test("draws a tree of the successors of successors, best paths first", () => {
    const drafter = drafterWith({ 1: [2, 3], 2: [4, 5], 3: [6], 4: [7] }, { shape: "tree" });
    drafter.append([1]);
    const draft = drafter.draft(80);
    const paths = draft.tokens.map((_, index) => path(draft, index).join(" "));
    expect(new Set(paths)).toEqual(new Set(["2", "3", "2 4", "2 5", "3 6", "2 4 7"]));
    expect(paths[0]).toBe("2");
    for (const gamma of [1, 2, 3, 4, 5]) {
      const { tokens, parents } = drafter.draft(gamma);
      expect(tokens).toEqual(draft.tokens.slice(0, gamma));
      expect(parents).toEqual(draft.parents!.slice(0, gamma));
    }
  });

  test("of full rows has 80 nodes and depth 6", () => {
    const drafter = new TokenRecyclingDrafter({ vocab: VOCAB, shape: "tree" });
    for (let token = 0; token < VOCAB; token++) {
      drafter.observe(
        token,
        Array.from({ length: 8 }, (_, rank) => (token * 7 + rank * 3 + 1) % VOCAB),
      );
    }
    drafter.append([0]);
    const draft = drafter.draft(256);
    expect(draft.tokens.length).toBe(80);
    const depths = draft.tokens.map((_, index) => path(draft, index).length);
    expect(Math.max(...depths)).toBe(6);
    expect(depths.filter((depth) => depth === 1).length).toBe(8);
    const flat = new TokenRecyclingDrafter({ vocab: VOCAB, shape: "tree", maxDepth: 1 });
    flat.observe(0, [1, 2, 3]);
    flat.observe(1, [4]);
    flat.append([0]);
    expect(flat.draft(256)).toMatchObject({ tokens: [1, 2, 3], parents: [-1, -1, -1] });
  });

  test("needs a table of the vocabulary and no more", () => {
    const drafter = new TokenRecyclingDrafter({ vocab: 151_936 });
    for (let i = 0; i < 20_000; i++) drafter.append([i]);
    expect(drafter.length).toBe(20_000);
    expect(drafter.bytes).toBeLessThan(151_936 * 32 + 4096 * 8);
    expect(() => new TokenRecyclingDrafter({ vocab: 2 ** 21 })).toThrow(
      '"vocab" must be an integer from 1 to 1048576, got 2097152',
    );
    expect(() => new TokenRecyclingDrafter({ vocab: 5, shape: "bush" as "tree" })).toThrow(
      '"shape" must be "chain" or "tree", got "bush"',
    );
  });
});
