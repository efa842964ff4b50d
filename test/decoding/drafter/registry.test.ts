import { describe, expect, test } from "vitest";
import { createDrafter, DRAFTER_NAMES, draftsTrees } from "../../../src/decoding/drafter/registry.ts";
import { forcing } from "./reference.ts";

const vocab = 40;
const TEXT = [5, 6, 7, 8, 9, 5, 6, 7, 8, 9, 5, 6];

describe("drafters by name", () => {
  test("are these", () => {
    expect(DRAFTER_NAMES).toEqual([
      "prompt-lookup",
      "ngram",
      "ngram-cache",
      "suffix",
      "recycling",
      "recycling-tree",
    ]);
    expect(DRAFTER_NAMES.filter(draftsTrees)).toEqual(["recycling-tree"]);
  });

  test.each(DRAFTER_NAMES)("%s goes on with a text that repeats itself, in bounded memory", (name) => {
    const drafter = createDrafter(name, { vocab, capacity: 64 });
    drafter.append(TEXT);
    for (let i = 0; i + 1 < TEXT.length; i++) drafter.observe?.(TEXT[i], [TEXT[i + 1]]);
    expect(drafter.draft(2).tokens).toEqual([7, 8]);
    const { bytes } = drafter;
    for (let i = 0; i < 5000; i++) drafter.append([(i * i) % vocab]);
    // Recycling keeps 4,096 tokens for going back, whatever its table holds.
    expect(drafter.bytes).toBeLessThan(bytes + 64 * 400 + 4096 * 8);
  });

  test("copies nothing after a token that ends the text, by prompt lookup", () => {
    const drafter = createDrafter("prompt-lookup", { vocab, endTokens: [8] });
    drafter.append(TEXT);
    expect(drafter.draft(9).tokens).toEqual([7, 8]);
  });

  test("follow a prediction where it matches longer", () => {
    const drafter = createDrafter("suffix", { vocab, prediction: [5, 6, 30, 31, 32], start: 10 });
    drafter.append(TEXT);
    // By the caller's word the text begins like this: worth eight tokens, beside the two that match.
    expect(drafter.draft(3).tokens).toEqual([30, 31, 32]);
    drafter.append([7, 8, 9, 5]);
    expect(drafter.draft(2).tokens).toEqual([6, 7]);
    expect(createDrafter("none", { vocab, prediction: [1, 2] })!.draft(4).tokens).toEqual([1, 2]);
  });

  test("give way to what a grammar leaves no choice in", () => {
    const constraint = forcing(vocab, (accepted) => [20, 21][accepted.length] ?? null);
    const drafter = createDrafter("suffix", { vocab, prediction: [5, 6, 30], start: 10, constraint });
    drafter.append(TEXT);
    expect(drafter.draft(9)).toMatchObject({ tokens: [20, 21], matchLength: Infinity });
    constraint.accept(20);
    constraint.accept(21);
    expect(drafter.draft(1).tokens).toEqual([30]);
  });

  test("are none where there is nothing to draft with", () => {
    expect(createDrafter("none", { vocab })).toBeNull();
  });

  test("refuse unknown names and sizes", () => {
    expect(() => createDrafter("oracle" as "suffix", { vocab })).toThrow(
      'Drafter must be one of none, prompt-lookup, ngram, ngram-cache, suffix, recycling, recycling-tree, got "oracle"',
    );
    expect(() => createDrafter("toString" as "suffix", { vocab })).toThrow(RangeError);
    expect(() => createDrafter("suffix", { vocab, capacity: 2 ** 24 })).toThrow(
      '"capacity" must be an integer from 64 to 1048576, got 16777216',
    );
    expect(() => createDrafter("suffix", { vocab, prediction: [vocab] })).toThrow(
      '"prediction[0]" must be an integer from 0 to 39, got 40',
    );
  });
});
