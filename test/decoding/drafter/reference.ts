/** Definitions by search, and stand-ins, for the tests of drafters. */
import type { Constraint } from "../../../src/decoding/constraint.ts";

/** A grammar of which only the forced tokens are known: what must follow those accepted. */
export function forcing(
  vocab: number,
  onlyToken: (accepted: readonly number[]) => number | null,
): Constraint & { readonly accepted: readonly number[] } {
  const accepted: number[] = [];
  return {
    vocab,
    accepted,
    mask: () => new Uint32Array(Math.ceil(vocab / 32)).fill(0xffffffff),
    accept: (token) => {
      accepted.push(token);
    },
    rollback: (count) => {
      accepted.length -= count;
    },
    onlyToken: () => onlyToken(accepted),
  };
}

/** End of the first occurrence of the last n tokens that is not at the end of the text; −1 if there is none. */
export function firstOccurrence(tokens: readonly number[], n: number): number {
  if (n > tokens.length) return -1;
  const suffix = tokens.slice(tokens.length - n);
  for (let end = n - 1; end < tokens.length - 1; end++) {
    if (suffix.every((token, i) => tokens[end - n + 1 + i] === token)) return end;
  }
  return -1;
}

/** Length of the longest suffix that occurs earlier, and where its first occurrence ends. */
export function longestRepeat(tokens: readonly number[]): { length: number; end: number } {
  for (let length = tokens.length - 1; length > 0; length--) {
    const end = firstOccurrence(tokens, length);
    if (end >= 0) return { length, end };
  }
  return { length: 0, end: -1 };
}

/** Length of the longest suffix of `text` that occurs anywhere in `corpus`. */
export function longestSuffixIn(corpus: readonly number[], text: readonly number[]): number {
  for (let length = Math.min(text.length, corpus.length); length > 0; length--) {
    const suffix = text.slice(text.length - length);
    for (let start = 0; start + length <= corpus.length; start++) {
      if (suffix.every((token, i) => corpus[start + i] === token)) return length;
    }
  }
  return 0;
}
