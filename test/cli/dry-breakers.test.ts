import { describe, expect, it } from "vitest";
import { breakerTokens } from "../../src/cli/dry-breakers.ts";
import type { Tokenizer } from "../../src/node.ts";

/** Takes the longest word that fits, and puts a space before a text as SentencePiece files do. */
function tokenizer(words: readonly string[], prefix = ""): Tokenizer {
  const encoder = new TextEncoder();
  const encode = (text: string) => {
    const tokens: number[] = [];
    for (let rest = prefix + text; rest !== ""; ) {
      const fitting = words.filter((word) => word !== "" && rest.startsWith(word));
      const word = fitting.reduce((longest, next) => (next.length > longest.length ? next : longest));
      tokens.push(words.indexOf(word));
      rest = rest.slice(word.length);
    }
    return tokens;
  };
  const bytes = (token: number) => encoder.encode(words[token]);
  return { vocab: words.length, encode, bytes } as Partial<Tokenizer> as Tokenizer;
}

describe("breakerTokens", () => {
  it("finds every token that holds the text", () => {
    const words = ["", "a", ".\n", "\n", "b\n\nc", " "];
    expect(breakerTokens(tokenizer(words), ["\n"])).toEqual([[2], [3], [4]]);
    expect(breakerTokens(tokenizer(words), ["\n", "a"])).toEqual([[2], [3], [4], [1]]);
    expect(breakerTokens(tokenizer(words), ["x"])).toEqual([]);
    expect(breakerTokens(tokenizer(words), [])).toEqual([]);
  });

  it.each(["", " "])(
    "finds tokens that end with its beginning, and what must follow, with the prefix %j",
    (prefix) => {
      const words = [" ", "\n", "U", "S", "E", "R", ":", "USER:", "ER", "xUS", "ER:", "R:U"];
      const found = breakerTokens(tokenizer(words, prefix), ["USER:"]);
      // Each spells the breaker at its end, or holds it.
      const spelled = found.map((tokens) => tokens.map((token) => words[token]));
      expect(spelled).toEqual([["U", "S", "ER:"], ["USER:"], ["xUS", "ER:"], ["R:U", "S", "ER:"]]);
    },
  );

  it("has both where a token ends with two beginnings", () => {
    const words = ["\n", "-", "--", "a--"];
    expect(breakerTokens(tokenizer(words), ["---"]).map((tokens) => tokens.join())).toEqual([
      "1,2",
      "2,2",
      "2,1",
      "3,2",
      "3,1",
    ]);
  });

  it("keeps a breaker to what the step takes", () => {
    const words = ["\n", "a", "b"];
    const [tokens] = breakerTokens(tokenizer(words), [`a${"b".repeat(40)}`]);
    expect(tokens).toEqual([1, ...Array(19).fill(2)]);
  });

  it("compares bytes, so half a character is part of it", () => {
    const words = ["\n", "é", "è"];
    const split: Tokenizer = {
      ...tokenizer(words),
      vocab: 4,
      bytes: (token) => (token === 3 ? Uint8Array.of(0xc3) : new TextEncoder().encode(words[token])),
      encode: () => [],
    };
    expect(breakerTokens(split, ["é"])).toEqual([[1], [3]]);
  });
});
