/**
 * predicted-output: the caller says what the text will probably be, as with OpenAI's `prediction`, and it is copied for
 * as long as it holds.
 *
 * The generated text is followed in the prediction by its longest suffix that occurs there. While the next token is the
 * expected one the place moves on by one; at any other token it moves to where the suffix goes on, looking a little
 * ahead of the old place first (something was left out or replaced), then from the start of the prediction. A token
 * that the prediction does not have leaves the place as it is (something was inserted).
 */
import { expectInteger } from "../../errors.ts";
import {
  chain,
  expectGamma,
  expectTokens,
  expectVocab,
  type LocalDrafter,
  type LookupDraft,
  NO_DRAFT,
} from "./drafter.ts";
import { ROOT, SuffixAutomaton } from "./suffix-automaton.ts";

export interface PredictedOutputOptions {
  readonly vocab: number;
  /** At most 1,048,576 tokens. */
  readonly prediction: ArrayLike<number>;
  /** Position at which the predicted text begins, which is the prompt's length. Default 0. */
  readonly start?: number;
  /** Tokens that must agree after a mismatch before the copy goes on, default 2. */
  readonly minMatch?: number;
}

const MAX_PREDICTION = 1 << 20;
/** What the caller's word that the text begins like this is worth, in matched tokens. */
const HEAD_START = 8;
/** Tokens ahead of the old place that are searched first, and the matched tokens that are compared there. */
const LOOK_AHEAD = 64;
const MAX_COMPARED = 32;
/** Places that are remembered for going back. */
const HISTORY = 4096;

/** Where the text is in the prediction. */
interface Place {
  /** Of the automaton: the longest suffix of the text that occurs in the prediction, */
  readonly state: number;
  /** its length, */
  readonly matched: number;
  /** and the position after the occurrence that is being copied. */
  readonly next: number;
  /** HEAD_START while all tokens were the predicted ones, then 0. */
  readonly headStart: number;
}

const BEGINNING: Place = { state: ROOT, matched: 0, next: 0, headStart: HEAD_START };
const LOST: Place = { ...BEGINNING, headStart: 0 };

export class PredictedOutputDrafter implements LocalDrafter {
  readonly vocab: number;
  readonly #automaton = new SuffixAutomaton();
  readonly #start: number;
  readonly #minMatch: number;
  #length = 0;
  /** Before the first generated token and after each one; of these the latest, at least one and at most HISTORY. */
  #places: Place[] = [BEGINNING];

  constructor({ vocab, prediction, start = 0, minMatch = 2 }: PredictedOutputOptions) {
    this.vocab = expectVocab(vocab);
    expectInteger("prediction.length", prediction.length, 0, MAX_PREDICTION);
    expectTokens("prediction", prediction, vocab);
    this.#start = expectInteger("start", start, 0, Number.MAX_SAFE_INTEGER);
    this.#minMatch = expectInteger("minMatch", minMatch, 1, MAX_COMPARED);
    for (let i = 0; i < prediction.length; i++) this.#automaton.push(prediction[i]);
  }

  get length(): number {
    return this.#length;
  }

  /** Memory of the automaton over the prediction. */
  get bytes(): number {
    return this.#automaton.bytes;
  }

  append(tokens: ArrayLike<number>): void {
    expectTokens("tokens", tokens, this.vocab);
    for (let i = 0; i < tokens.length; i++) {
      if (this.#length++ < this.#start) continue;
      if (this.#places.length === HISTORY) this.#places = this.#places.slice(HISTORY / 2);
      this.#places.push(this.#follow(this.#place, tokens[i]));
    }
  }

  /** Further back than the last 2,048 tokens the place is lost, and found again by the text that follows. */
  truncate(length: number): void {
    expectInteger("length", length, 0, this.#length);
    const removed = this.#length - length;
    this.#length = length;
    if (length <= this.#start) this.#places = [BEGINNING];
    else if (removed < this.#places.length) this.#places.length -= removed;
    else this.#places = [LOST];
  }

  draft(gamma: number): LookupDraft {
    expectGamma(gamma);
    if (this.#length < this.#start) return NO_DRAFT;
    const { matched, next, headStart } = this.#place;
    const matchLength = matched + headStart;
    if (matchLength < this.#minMatch) return NO_DRAFT;
    const count = Math.min(gamma, this.#automaton.length - next);
    return chain(
      Array.from({ length: count }, (_, i) => this.#automaton.at(next + i)),
      matchLength,
    );
  }

  get #place(): Place {
    return this.#places[this.#places.length - 1];
  }

  #follow(place: Place, token: number): Place {
    const { state, matched } = this.#longestSuffix(place, token);
    if (place.next < this.#automaton.length && this.#automaton.at(place.next) === token) {
      return { ...place, state, matched, next: place.next + 1 };
    }
    if (matched === 0) return { ...LOST, next: place.next };
    const end = this.#automaton.firstEnd(state);
    return { state, matched, next: (this.#ahead(place.next, end, matched) ?? end) + 1, headStart: 0 };
  }

  #longestSuffix({ state, matched }: Place, token: number): { state: number; matched: number } {
    const automaton = this.#automaton;
    let at = state;
    let length = matched;
    while (at !== ROOT && automaton.step(at, token) < 0) {
      at = automaton.link(at);
      length = automaton.longest(at);
    }
    const target = automaton.step(at, token);
    return target < 0 ? { state: ROOT, matched: 0 } : { state: target, matched: length + 1 };
  }

  /** The first place from `from` on, within LOOK_AHEAD, where the tokens that end at `end` end too. */
  #ahead(from: number, end: number, matched: number): number | null {
    const automaton = this.#automaton;
    const compared = Math.min(matched, MAX_COMPARED);
    const limit = Math.min(from + LOOK_AHEAD, automaton.length);
    for (let at = Math.max(from, compared - 1); at < limit; at++) {
      let same = 0;
      while (same < compared && automaton.at(at - same) === automaton.at(end - same)) same++;
      if (same === compared) return at;
    }
    return null;
  }
}
