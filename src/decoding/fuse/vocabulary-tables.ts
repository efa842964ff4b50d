/**
 * vocabulary-tables: what leads from the tokens of one model to those of another, made from their texts.
 *
 *     union         all tokens of all vocabularies, each text once
 *     gather        a token of the union → the model's own; of those it does not have, the first of the tokens it spells them with
 *     projection    one token → the tokens it is spelled with over there: weights 0.9·0.1^i, normalised; same text, weight 1
 *
 * Texts are compared as bytes of the text that a token adds, leading space included: "x" and " x" are two tokens. Tokens
 * without a text of their own (bytes, control) must come as distinct names, such as "<0x0A>"; ends of text under one.
 *
 * Sources: UniTE, arXiv:2410.12777; X-Token, arXiv:2605.21699.
 */
import { LIMITS } from "./plan.ts";
import type { TableData } from "./tables.ts";

/** Text of each token, by id. */
export type TokenTexts = readonly string[];

/** Tokens that another vocabulary spells a text with; none if it cannot. */
export type Spell = (text: string) => readonly number[];

/** At most these of a spelling count. */
const LONGEST_SPELLING = 4;

/** All texts of all vocabularies, in order of first appearance. */
export function unionTexts(vocabularies: readonly TokenTexts[]): TokenTexts {
  const union = [...new Set(vocabularies.flat())];
  if (union.length > LIMITS.vocab) {
    throw new RangeError(`The union must have at most ${LIMITS.vocab} tokens, got ${union.length}`);
  }
  return union;
}

/** @param spell For texts that are no token; without it they map to nothing, which is the table "own" of a union. */
export function gatherTable(
  union: TokenTexts,
  texts: TokenTexts,
  vocabulary: string,
  spell?: Spell,
): TableData<"gather"> & { vocabulary: string } {
  const own = idsByText(texts);
  const ids = union.map((text) => own.get(text) ?? spell?.(text)[0] ?? -1);
  return { kind: "gather", vocabulary, ids };
}

/** From `texts` to the vocabulary of `target`. */
export function projectionTable(
  texts: TokenTexts,
  target: TokenTexts,
  vocabulary: string,
  spell: Spell,
): TableData<"projection"> & { vocabulary: string } {
  const own = idsByText(target);
  const offsets = [0];
  const ids: number[] = [];
  const values: number[] = [];
  for (const text of texts) {
    const same = own.get(text);
    const spelling = same === undefined ? spell(text).slice(0, LONGEST_SPELLING) : [same];
    const weights = spellingWeights(spelling.length);
    spelling.forEach((id, index) => {
      ids.push(id);
      values.push(weights[index]);
    });
    offsets.push(ids.length);
  }
  return { kind: "projection", vocabulary, vocab: target.length, offsets, ids, values };
}

/** 0.9·0.1^i, normalised: the first token says most of which text it is. */
export function spellingWeights(count: number): readonly number[] {
  const weights: number[] = [];
  for (let i = 0, weight = 0.9; i < count; i++, weight *= 0.1) weights.push(weight);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

/** Of equal texts, the lowest id. */
function idsByText(texts: TokenTexts): ReadonlyMap<string, number> {
  const ids = new Map<string, number>();
  texts.forEach((text, id) => {
    if (!ids.has(text)) ids.set(text, id);
  });
  return ids;
}
