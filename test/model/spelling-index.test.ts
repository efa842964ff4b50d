import fc from "fast-check";
import { expect, it } from "vitest";
import { SpellingIndex } from "../../src/model/tokenizer/spelling-index.ts";

/** By the definition: the text split by each spelling in turn. */
function splitInTurn(text: string, spellings: readonly { id: number; text: string }[]): (string | number)[] {
  let fragments: (string | number)[] = text === "" ? [] : [text];
  for (const { id, text: spelling } of spellings) {
    fragments = fragments.flatMap((fragment) => {
      if (typeof fragment === "number") return [fragment];
      const parts = fragment.split(spelling).flatMap((part) => [id, part]);
      return parts.slice(1).filter((part) => part !== "");
    });
  }
  return fragments;
}

function splitByIndex(text: string, index: SpellingIndex): (string | number)[] {
  const fragments: (string | number)[] = [];
  let end = 0;
  for (const { position, length, id } of index.find(text)) {
    fragments.push(text.slice(end, position), id);
    end = position + length;
  }
  return [...fragments, text.slice(end)].filter((fragment) => fragment !== "");
}

/** Few letters, so that spellings overlap and begin alike. */
const letters = (maxLength: number) => fc.string({ unit: fc.constantFrom("a", "b", "é", "😀"), maxLength });

it("finds what splitting by each spelling in turn finds", () => {
  const spellings = fc.uniqueArray(letters(5), { maxLength: 12 });
  let cut = 0;
  fc.assert(
    fc.property(spellings, letters(40), (texts, text) => {
      const preferred = texts
        .filter((spelling) => spelling !== "")
        .map((spelling, id) => ({ id, text: spelling, size: new TextEncoder().encode(spelling).length }))
        .sort((a, b) => b.size - a.size || a.id - b.id);
      const expected = splitInTurn(text, preferred);
      expect(splitByIndex(text, new SpellingIndex(preferred))).toEqual(expected);
      if (expected.length > 1) cut++;
    }),
    { numRuns: 5000, seed: 8 },
  );
  expect(cut).toBeGreaterThan(2000);
});

it("takes the longest of runs, then what is left of them", () => {
  const runs = [4, 3, 2].map((count) => ({ id: count, text: "\n".repeat(count) }));
  const index = new SpellingIndex(runs);
  expect(splitByIndex("\n".repeat(4 + 4 + 3), index)).toEqual([4, 4, 3]);
  expect(splitByIndex(`x${"\n".repeat(5)}y\n`, index)).toEqual(["x", 4, "\ny\n"]);
  expect(new SpellingIndex([]).find("x")).toEqual([]);
});
