/**
 * codebook: the logits of a vocabulary that K numbers and fixed biases make, and what can be said of them in O(K).
 *
 *     logit[i]  =  s[c(i)] + b[i]                          s: scores of the codes, c(i): the code of token i
 *
 *     argmax       max over j of  s[j] + β[j]              β[j] = the largest b of code j
 *     log Z(T)     log Σ over j of exp(s[j] / T) · B[j]    B[j] = Σ exp(b[i] / T) over the tokens of code j
 *     a draw       code j with probability exp(s[j] / T) · B[j] / Z, then of its tokens i with exp(b[i] / T) / B[j]
 *
 * β is there from the beginning and B is made once for a temperature, so V is not touched again. Tokens whose logit
 * something else decides (bias, penalties, forbidden ones) leave their code and stand alone; their codes are summed anew.
 *
 * Exact     scores and biases are multiples of 2^-12 within ±2^11, so s + b has no rounding: these are the logits, the law
 *           and the order of the f32 row. Of equal logits the lowest id is first; within a code that is: the highest bias,
 *           then the lowest id.
 * Draw      codes, and tokens that stand alone as if they were codes K + id, race (pipeline/race.ts) with the noise of
 *           STAGE.code; then a number of STAGE.member takes the token of the code by its cumulative probability.
 * Cost      K exponentials for a law, and one for each token of the drawn code; K + count · log K steps for the best.
 *
 * Source    Shao, Wu 2025, "VQ-Logits", arXiv:2505.10202, for tokens that share codes.
 */
import { race } from "../../decoding/pipeline/race.ts";
import { expBelow } from "../../exp-below.ts";
import { exp, log } from "../../math.ts";
import { STAGE, uniform } from "../../philox.ts";
import { type Apart, EditedOver, EditedTokens, type LogitEdits } from "./codebook-edits.ts";
import { CodebookLaw } from "./codebook-law.ts";
import { LogitQueue, type Members, membersOf, readBias, readCodes } from "./codebook-members.ts";
import { type HeadDraw, type HeadDrawn, LEAST_TEMPERATURE } from "./head.ts";

export class Codebook {
  readonly vocab: number;
  /** K */
  readonly codes: number;
  /** (V) */
  readonly codeOf: Uint16Array;
  /** (V) on the grid of the scores. */
  readonly bias: Float32Array;
  readonly members: Members;
  /** β, (K); −∞ for codes without tokens. */
  readonly best: Float64Array;
  readonly #law: CodebookLaw;
  /** Made when tokens are first edited. */
  #placeOf: Uint32Array | null = null;
  // Working memory, (K) and more for tokens that stand alone.
  #logits = new Float64Array(0);
  #weights = new Float64Array(0);
  #items = new Uint32Array(0);

  /**
   * @param codes (V) each below `count`.
   * @param bias (V) within ±SCORE_RANGE; rounded to the grid.
   * @throws {RangeError} If a code or a bias is out of range; the message names it.
   */
  constructor(count: number, codes: ArrayLike<number>, bias: ArrayLike<number>) {
    this.vocab = codes.length;
    this.codes = count;
    this.codeOf = readCodes(codes, count);
    this.bias = readBias(bias, codes.length);
    this.members = membersOf(this.codeOf, this.bias, count);
    const { biases, starts } = this.members;
    this.best = Float64Array.from({ length: count }, (_, j) =>
      starts[j] < starts[j + 1] ? biases[starts[j]] : -Infinity,
    );
    this.#law = new CodebookLaw(this.members, this.best);
  }

  /** @param scores (K) snapped, here and below; all −∞: no token has a chance but those that are edited. */
  argmax(scores: Float32Array, edits?: LogitEdits | Apart): number {
    const apart = this.#apart(edits);
    const { tokens, starts } = this.members;
    const logits = this.#bestLogits(scores, apart);
    let most = -Infinity;
    for (let j = 0; j < this.codes; j++) if (logits[j] > most) most = logits[j];
    const single = apart === null ? { token: this.vocab, logit: -Infinity } : bestSingle(apart);
    if (single.logit > most) return single.token;
    if (most === -Infinity) return 0;
    let winner = single.logit === most ? single.token : this.vocab;
    for (let j = 0; j < this.codes; j++) {
      if (logits[j] === most) winner = Math.min(winner, tokens[this.#next(starts[j], j, apart)]);
    }
    return winner;
  }

  /** The `count` largest logits, best first. */
  top(
    scores: Float32Array,
    count: number,
    edits?: LogitEdits | Apart,
  ): { ids: Uint32Array<ArrayBuffer>; logits: Float32Array<ArrayBuffer> } {
    const { ids, logits } = this.#top(scores, count, this.#apart(edits));
    return { ids, logits: Float32Array.from(logits) };
  }

  #top(
    scores: Float32Array,
    count: number,
    apart: Apart | null,
  ): { ids: Uint32Array<ArrayBuffer>; logits: Float64Array } {
    const { tokens, biases, starts } = this.members;
    const queue = new LogitQueue(this.codes + (apart?.tokens.length ?? 0));
    /** Where each list stands. */
    const places = new Int32Array(this.codes);
    for (let j = 0; j < this.codes; j++) {
      const at = this.#next(starts[j], j, apart);
      places[j] = at;
      if (at >= 0 && scores[j] > -Infinity) queue.add(j, scores[j] + biases[at], tokens[at]);
    }
    // Lists of one.
    for (let i = 0; apart !== null && i < apart.tokens.length; i++) {
      queue.add(this.codes + i, apart.logits[i], apart.tokens[i]);
    }
    queue.settle();
    const most = Math.min(count, this.vocab);
    const ids = new Uint32Array(most);
    const logits = new Float64Array(most);
    let found = 0;
    while (found < most && queue.size > 0) {
      const list = queue.best;
      ids[found] = queue.tokens[list];
      logits[found++] = queue.logits[list];
      const next = list < this.codes ? this.#next(places[list] + 1, list, apart) : -1;
      if (next < 0) queue.drop();
      else {
        places[list] = next;
        queue.replace(scores[list] + biases[next], tokens[next]);
      }
    }
    return { ids: ids.slice(0, found), logits: logits.slice(0, found) };
  }

  /** The codes of the `count` largest s[j] + β[j], of equal ones the lowest; no code without tokens. */
  bestCodes(scores: Float32Array, count: number): Uint32Array {
    const best = this.best;
    const codes = new Uint32Array(count);
    const logits = new Float64Array(count).fill(-Infinity);
    let found = 0;
    for (let j = 0; j < best.length; j++) {
      const logit = scores[j] + best[j];
      if (!(logit > logits[count - 1])) continue;
      let at = Math.min(found, count - 1);
      for (; at > 0 && logits[at - 1] < logit; at--) {
        logits[at] = logits[at - 1];
        codes[at] = codes[at - 1];
      }
      logits[at] = logit;
      codes[at] = j;
      if (found < count) found++;
    }
    return codes.subarray(0, found);
  }

  /** log Σ exp(logit / temperature); −∞ if no token is left. */
  logPartition(scores: Float32Array, temperature: number, edits?: LogitEdits | Apart): number {
    const { most, total } = this.#weigh(scores, temperature, this.#apart(edits));
    return most === -Infinity ? most : most / temperature + log(total);
  }

  /** @throws {RangeError} If no token is left. */
  draw(scores: Float32Array, draw: Required<HeadDraw>, edits?: LogitEdits | Apart): number {
    if (draw.temperature < LEAST_TEMPERATURE) {
      const [best] = this.#top(scores, 1, this.#apart(edits)).ids;
      return best ?? nothingLeft(draw.position);
    }
    return this.drawTold(scores, draw, 0, edits)?.token ?? nothingLeft(draw.position);
  }

  /**
   * The same draw, and what is known of its law.
   *
   * @param draw With a temperature above 0.
   * @param top Most likely tokens to tell.
   * @returns null if no token is left.
   */
  drawTold(
    scores: Float32Array,
    draw: Required<HeadDraw>,
    top: number,
    edits?: LogitEdits | Apart,
  ): HeadDrawn | null {
    const { temperature, seed, position } = draw;
    const apart = this.#apart(edits);
    const { most, total, count } = this.#weigh(scores, temperature, apart);
    const field = { ids: this.#items, weights: this.#weights, count, total };
    const winner = race(field, seed, position, STAGE.code);
    if (winner < 0) return null;
    const drawn = this.#winner(winner, scores, draw, apart);
    const partition = log(total);
    const told = (token: number, logit: number) => ({
      token,
      logProbability: (logit - most) / temperature - partition,
    });
    if (top === 0) return { ...told(drawn.token, drawn.logit), top: [] };
    const best = this.#top(scores, top, apart);
    return {
      ...told(drawn.token, drawn.logit),
      top: Array.from(best.ids, (token, i) => told(token, best.logits[i])).filter(hasChance),
    };
  }

  /** The token of a winner of the race of the codes. */
  #winner(
    winner: number,
    scores: Float32Array,
    { temperature, seed, position }: Required<HeadDraw>,
    apart: Apart | null,
  ): { token: number; logit: number } {
    const single = winner - this.codes;
    if (single >= 0) return { token: apart!.tokens[single], logit: apart!.logits[single] };
    const u = uniform(seed, position, STAGE.member, winner);
    const at = this.#law.member(winner, temperature, u, apart);
    return { token: this.members.tokens[at], logit: scores[winner] + this.members.biases[at] };
  }

  /** Fills working memory with the weights of the codes, then of single tokens, up to a common factor. */
  #weigh(
    scores: Float32Array,
    temperature: number,
    apart: Apart | null,
  ): { most: number; total: number; count: number } {
    const { codes } = this;
    const count = codes + (apart?.tokens.length ?? 0);
    this.#makeRoom(count);
    const logits = this.#bestLogits(scores, apart);
    const weights = this.#weights;
    const masses = this.#law.masses(temperature, apart);
    let most = -Infinity;
    for (let j = 0; j < codes; j++) if (logits[j] > most) most = logits[j];
    for (let i = codes; i < count; i++) {
      logits[i] = apart!.logits[i - codes];
      if (logits[i] > most) most = logits[i];
      this.#items[i] = codes + apart!.tokens[i - codes];
    }
    if (most === -Infinity) return { most, total: 0, count: 0 };
    for (let i = 0; i < count; i++) logits[i] = (logits[i] - most) / temperature;
    expBelow(weights, logits, count, 0);
    let total = 0;
    for (let j = 0; j < codes; j++) {
      weights[j] *= masses[j];
      total += weights[j];
    }
    for (let i = codes; i < count; i++) total += weights[i];
    return { most, total, count };
  }

  /** The largest logit of each code, in working memory. */
  #bestLogits(scores: Float32Array, apart: Apart | null): Float64Array {
    this.#makeRoom(this.codes);
    const [logits, best] = [this.#logits, this.best];
    for (let j = 0; j < best.length; j++) logits[j] = scores[j] + best[j];
    if (apart === null) return logits;
    for (let i = 0; i < apart.codes.length; i++) {
      const code = apart.codes[i];
      logits[code] = scores[code] + (apart.best(code) as number);
    }
    return logits;
  }

  /** Index of the first member of a code from `at` on that does not stand alone; −1: there is none. */
  #next(at: number, code: number, apart: Pick<Apart, "isAlone"> | null): number {
    const { tokens, starts } = this.members;
    const end = starts[code + 1];
    if (apart !== null) while (at < end && apart.isAlone(tokens[at])) at++;
    return at < end ? at : -1;
  }

  #apart(edits: LogitEdits | Apart | undefined): Apart | null {
    if (edits === undefined) return null;
    if ("isAlone" in edits) return edits;
    const { over } = edits;
    if (edits.tokens.length === 0) return over ?? null;
    this.#placeOf ??= placesOf(this.members);
    const edited = new EditedTokens(edits, { ...this, placeOf: this.#placeOf });
    return over === undefined ? edited : new EditedOver(edited, over);
  }

  #makeRoom(count: number): void {
    if (this.#logits.length >= count) return;
    this.#logits = new Float64Array(count);
    this.#weights = new Float64Array(count);
    this.#items = Uint32Array.from({ length: count }, (_, i) => i);
  }
}

function bestSingle({ tokens, logits }: Apart): { token: number; logit: number } {
  let [token, logit] = [0, -Infinity];
  for (let i = 0; i < tokens.length; i++) {
    if (!(logits[i] > logit || (logits[i] === logit && tokens[i] < token))) continue;
    token = tokens[i];
    logit = logits[i];
  }
  return { token, logit };
}

/** Whether a probability is above 0 in f64. */
function hasChance({ logProbability }: { readonly logProbability: number }): boolean {
  return exp(logProbability) > 0;
}

/** Index of each token among the members, (V). */
function placesOf({ tokens }: Members): Uint32Array {
  const places = new Uint32Array(tokens.length);
  for (const [place, token] of tokens.entries()) places[token] = place;
  return places;
}

function nothingLeft(position: number): never {
  throw new RangeError(`Cannot sample the token at position ${position}: no logit is above −∞`);
}
