/** Texts that end a repetition, as tokens: DRY works on tokens, and a text can be part of many. */
import type { Tokenizer } from "../node.ts";

/** Longest breaker, in tokens, that the step takes. */
const MAX_TOKENS = 20;

/**
 * Token sequences after which a repetition begins anew: every token that holds the text, and every token that ends with
 * its beginning, followed by the tokens of the rest. So does llama.cpp.
 *
 * @example
 * ```ts
 * breakerTokens(tokenizer, ["\n"]); // [[13], [271], …]: all tokens with a line break in them
 * ```
 */
export function breakerTokens(tokenizer: Tokenizer, texts: readonly string[]): number[][] {
  const breakers = new Map<string, number[]>();
  const words = Array.from({ length: tokenizer.vocab }, (_, token) => latin(tokenizer.bytes(token)));
  for (const text of texts) {
    const breaker = latin(new TextEncoder().encode(text));
    if (breaker === "") continue;
    const rests = Array.from({ length: breaker.length }, (_, at) =>
      restTokens(tokenizer, words, breaker, at),
    );
    for (const [token, word] of words.entries()) {
      const ends = word.includes(breaker) ? [0] : overlaps(word, breaker);
      for (const at of ends) {
        const tokens = [token, ...(at === 0 ? [] : rests[at])].slice(0, MAX_TOKENS);
        breakers.set(tokens.join(), tokens);
      }
    }
  }
  return [...breakers.values()];
}

/** Lengths of those beginnings of `breaker` that `word` ends with. */
function overlaps(word: string, breaker: string): number[] {
  const lengths: number[] = [];
  for (let length = 1; length < Math.min(breaker.length, word.length + 1); length++) {
    if (word.endsWith(breaker.slice(0, length))) lengths.push(length);
  }
  return lengths;
}

/** The tokens of what follows byte `at` of the breaker, in the middle of a text: without the space some put first. */
function restTokens(tokenizer: Tokenizer, words: readonly string[], breaker: string, at: number): number[] {
  const rest = breaker.slice(at);
  if (at === 0 || rest === "") return [];
  const encode = (text: string) => tokenizer.encode(utf8(text), { special: false });
  const after = encode(`\n${rest}`);
  for (let start = 1; start < after.length; start++) {
    const tail = after.slice(start);
    if (tail.map((token) => words[token]).join("") === rest) return tail;
  }
  return encode(rest);
}

/** Bytes as a string of them, to be searched like one. */
function latin(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}

function utf8(bytes: string): string {
  return new TextDecoder().decode(Uint8Array.from(bytes, (byte) => byte.charCodeAt(0)));
}
