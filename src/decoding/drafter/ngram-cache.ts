/**
 * ngram-cache: the token that most often followed, by three caches, as in llama.cpp's lookup decoding.
 *
 *     context   this text                      n 1 … 4, lax thresholds
 *     dynamic   earlier texts                  n 1 … 4, strict thresholds
 *     static    a corpus, counted beforehand   n = 2, lax thresholds
 *
 * The first cache that is sure gives the token, its longest n-gram first; then the same again after that token. In the
 * first two a token's count is weighed by its count in the static cache. Of equal tokens the lowest id is taken, where
 * llama.cpp leaves it to the order of a hash map.
 */
import { expectInteger } from "../../errors.ts";
import { chain, expectGamma, type LookupDraft } from "./drafter.ts";
import { MAX_ORDER, NgramCounts, type Successors } from "./ngram-counts.ts";
import { TokenWindow, type WindowOptions } from "./window.ts";
import { WindowDrafter } from "./window-drafter.ts";

export interface NgramCacheOptions extends WindowOptions {
  /** Tokens that must agree, default 1. */
  readonly minNgram?: number;
  /** Tokens that are compared at most, default 4. */
  readonly maxNgram?: number;
  /** Counts of earlier texts; read only. `merge` the drafter's `context` into it at the end of a request. */
  readonly dynamic?: NgramCounts;
  /** Counts of a corpus; read only. */
  readonly static?: NgramCounts;
}

/** Per n: how many successors must have been seen, and what share of them the chosen one must have. */
interface Thresholds {
  readonly samples: readonly number[];
  readonly percent: readonly number[];
}

const LAX: Thresholds = { samples: [2, 2, 1, 1], percent: [66, 50, 50, 50] };
const STRICT: Thresholds = { samples: [4, 3, 2, 2], percent: [75, 66, 66, 66] };

const STATIC_NGRAM = 2;
/** What a count in the static cache is worth; a token that is not in it has weight 1. */
const STATIC_WEIGHT = 100;
/** An n-gram that was followed by more different tokens predicts none of them. */
const MAX_SUCCESSORS = 256;

export class NgramCacheDrafter extends WindowDrafter<NgramCounts> {
  readonly #minNgram: number;
  readonly #maxNgram: number;
  readonly #dynamic: NgramCounts | undefined;
  readonly #static: NgramCounts | undefined;

  constructor(options: NgramCacheOptions) {
    const { minNgram = 1, maxNgram = MAX_ORDER, dynamic, static: corpus, ...window } = options;
    expectInteger("maxNgram", maxNgram, 1, MAX_ORDER);
    expectInteger("minNgram", minNgram, 1, maxNgram);
    super(new TokenWindow(new NgramCounts({ order: maxNgram, maxNodes: 1 << 26 }), window));
    this.#maxNgram = maxNgram;
    this.#minNgram = minNgram;
    this.#dynamic = dynamic;
    this.#static = corpus;
  }

  /** Counts of this text. */
  get context(): NgramCounts {
    return this.window.index;
  }

  draft(gamma: number): LookupDraft {
    expectGamma(gamma);
    const { context } = this;
    const known = Math.min(context.length, MAX_ORDER);
    const recent = Array.from({ length: known }, (_, i) => context.at(context.length - known + i));
    if (known < STATIC_NGRAM) return chain([], 0);
    const tokens: number[] = [];
    let matchLength = 0;
    while (tokens.length < gamma) {
      const next = this.#next([...recent, ...tokens].slice(-MAX_ORDER));
      if (next === null) break;
      if (tokens.length === 0) matchLength = next.matchLength;
      tokens.push(next.token);
    }
    return chain(tokens, matchLength);
  }

  #next(recent: readonly number[]): { token: number; matchLength: number } | null {
    const bigram = recent.slice(-STATIC_NGRAM);
    const weight = (token: number) => STATIC_WEIGHT * (this.#static?.countOf([...bigram, token]) ?? 0) || 1;
    return (
      this.#longest(this.context, recent, weight, LAX) ??
      (this.#dynamic ? this.#longest(this.#dynamic, recent, weight, STRICT) : null) ??
      (this.#static ? this.#sure(this.#static, bigram, () => 1, LAX) : null)
    );
  }

  #longest(
    counts: NgramCounts,
    recent: readonly number[],
    weight: (token: number) => number,
    thresholds: Thresholds,
  ): { token: number; matchLength: number } | null {
    const longest = Math.min(this.#maxNgram, counts.order, recent.length);
    for (let n = longest; n >= this.#minNgram; n--) {
      const found = this.#sure(counts, recent.slice(-n), weight, thresholds);
      if (found !== null) return found;
    }
    return null;
  }

  /** The successor with the largest weighted count, where it has been seen often enough. */
  #sure(
    counts: NgramCounts,
    ngram: readonly number[],
    weight: (token: number) => number,
    { samples, percent }: Thresholds,
  ): { token: number; matchLength: number } | null {
    const successors = counts.successors(ngram, MAX_SUCCESSORS);
    const best = heaviest(successors, weight);
    if (best < 0 || successors.tokens[best] >= this.vocab) return null;
    const seen = successors.counts.reduce((sum, count) => sum + count, 0);
    const index = ngram.length - 1;
    if (seen < samples[index] || 100 * successors.counts[best] < percent[index] * seen) return null;
    return { token: successors.tokens[best], matchLength: ngram.length };
  }
}

/** Index of the largest weighted count, of equal ones that of the lowest token; −1 of none. */
function heaviest({ tokens, counts }: Successors, weight: (token: number) => number): number {
  let best = -1;
  let most = 0;
  for (let i = 0; i < tokens.length; i++) {
    const score = counts[i] * weight(tokens[i]);
    if (score > most || (score === most && tokens[i] < tokens[best])) {
      best = i;
      most = score;
    }
  }
  return best;
}
