/** retokenize: tokens of a text that goes on from a place inside it. */
import type { Tokenizer } from "../../model/tokenizer.ts";

/** Tokens, and where each of them ends in the text, in bytes. */
export interface Spelled {
  readonly tokens: readonly number[];
  readonly ends: readonly number[];
}

const utf8 = new TextEncoder();

/**
 * The tokens of a text without special tokens.
 *
 * A space that the tokenizer puts before every text is not part of it: the first token then ends one byte earlier. Null
 * where tokens do not spell the text, as when a character has none.
 */
export function spell(tokenizer: Tokenizer, text: string): Spelled | null {
  const tokens = tokenizer.encode(text, { special: false });
  const length = utf8.encode(text).length;
  const sizes = tokens.map((token) => tokenizer.bytes(token).length);
  const prefix = sizes.reduce((sum, size) => sum + size, 0) - length;
  if (prefix !== 0 && prefix !== 1) return null;
  let end = -prefix;
  return { tokens, ends: sizes.map((size) => (end += size)) };
}

/** The tokens behind byte `at`, above 0; null if one lies across it. */
export function tokensFrom({ tokens, ends }: Spelled, at: number): number[] | null {
  const index = ends.lastIndexOf(at);
  return index < 0 ? null : tokens.slice(index + 1);
}

/** Stands before a text that must begin with a token of its own: hardly any token goes on from it. */
const BARRIER = "\n";

/**
 * Target tokens for text that follows other text.
 *
 * As the tokenizer would write both together, if it writes a token boundary between them. If not (" wor" was emitted and
 * "ld" follows, while the tokenizer knows " world"), as it would write the second text on a new line.
 *
 * @param behind Some of the text before.
 * @param cut Bytes at the beginning of `text` that were emitted already: half a character.
 * @returns Tokens whose bytes are those of `text` after `cut`; null where there are none.
 */
export function continuation(
  tokenizer: Tokenizer,
  behind: string,
  text: string,
  cut: number,
): number[] | null {
  const place = utf8.encode(behind).length + cut;
  const together = place === 0 ? null : spell(tokenizer, behind + text);
  const natural = together && tokensFrom(together, place);
  if (natural !== null) return natural;
  const alone = spell(tokenizer, BARRIER + text);
  return alone && tokensFrom(alone, BARRIER.length + cut);
}
