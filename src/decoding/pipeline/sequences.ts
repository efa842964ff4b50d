/**
 * Sequences that must not be completed.
 *
 *     bad-words          the last token of a word is forbidden where the text ends with the tokens before it
 *     no-repeat-ngram    so is one that would complete an n-gram that occurred before     Paulus et al. 2017, arXiv:1705.04304
 *
 * vLLM matches bad words in the output alone, Hugging Face in prompt and output.
 */
import { readScope, type Scope, scopeStart } from "./history.ts";
import type { StepKind } from "./step.ts";

export interface BadWordsStep extends Scope {
  step: "bad-words";
  /** Token sequences; a word that can be spelled in several ways needs each. */
  words: readonly (readonly number[])[];
}

export interface NoRepeatNgramStep extends Scope {
  step: "no-repeat-ngram";
  /** n, 1 … 64; 0 switches off. */
  size: number;
}

export const badWords: StepKind<Required<BadWordsStep>> = {
  read: (fields) => ({ step: "bad-words", words: fields.sequences("words"), ...readScope(fields) }),
  isNeutral: ({ words }) => words.length === 0,
  edit(tokens, values, place) {
    const { history } = place;
    const start = scopeStart(values, place);
    const completed = values.words.filter((word) => {
      const prefix = word.length - 1;
      const from = history.length - prefix;
      if (from < start) return false;
      for (let i = 0; i < prefix; i++) if (history[from + i] !== word[i]) return false;
      return true;
    });
    tokens.forbid(completed.map((word) => word[word.length - 1]));
  },
};

export const noRepeatNgram: StepKind<Required<NoRepeatNgramStep>> = {
  read: (fields) => ({
    step: "no-repeat-ngram",
    size: fields.integer("size", 0, 64),
    ...readScope(fields),
  }),
  isNeutral: ({ size }) => size === 0,
  edit(tokens, values, place) {
    const { history } = place;
    const prefix = values.size - 1;
    const from = history.length - prefix;
    const forbidden = new Set<number>();
    for (let at = scopeStart(values, place); at < from; at++) {
      let same = 0;
      while (same < prefix && history[at + same] === history[from + same]) same++;
      if (same === prefix) forbidden.add(history[at + prefix]);
    }
    tokens.forbid(forbidden);
  },
};
