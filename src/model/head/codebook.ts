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
 * Draw      two races and philox.ts: codes (and single tokens) race with the noise of STAGE.code, and a number of
 *           STAGE.member takes the token of the code by its cumulative probability.
 * Cost      K exponentials for a law, and one for each token of the drawn code; K + count · log K steps for the best.
 *
 * Source    Shao, Wu 2025, "VQ-Logits", arXiv:2505.10202, for tokens that share codes.
 */
import { race } from "../../decoding/pipeline/race.ts";
import { expBelow } from "../../exp-below.ts";
import { log } from "../../math.ts";
import { STAGE, uniform } from "../../philox.ts";
import { type Apart, EditedTokens, type LogitEdits } from "./codebook-edits.ts";
import { LogitQueue, type Members, membersOf, readBias, readCodes } from "./codebook-members.ts";
import { type HeadDraw, LEAST_TEMPERATURE } from "./head.ts";

/** Laws that are kept, of the temperatures that were asked for last. */
const MOST_LAWS = 4;

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
  readonly #best: Float64Array;
  /** B · exp(−β / T), (K), by temperature. */
  readonly #laws = new Map<number, Float64Array>();
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
    this.#best = Float64Array.from({ length: count }, (_, j) =>
      starts[j] < starts[j + 1] ? biases[starts[j]] : -Infinity,
    );
  }

  /** @param scores (K) snapped, here and below. */
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
    const apart = this.#apart(edits);
    const { tokens, biases, starts } = this.members;
    const queue = new LogitQueue(this.codes + (apart?.tokens.length ?? 0));
    /** Where each list stands. */
    const places = new Int32Array(this.codes);
    for (let j = 0; j < this.codes; j++) {
      const at = apart?.best(j, 0) === -Infinity ? -1 : this.#next(starts[j], j, apart);
      places[j] = at;
      if (at >= 0) queue.add(j, scores[j] + biases[at], tokens[at]);
    }
    // Lists of one.
    for (let i = 0; apart !== null && i < apart.tokens.length; i++) {
      queue.add(this.codes + i, apart.logits[i], apart.tokens[i]);
    }
    queue.settle();
    const most = Math.min(count, this.vocab);
    const ids = new Uint32Array(most);
    const logits = new Float32Array(most);
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
    const best = this.#best;
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
    const { temperature, seed, position } = draw;
    const apart = this.#apart(edits);
    if (temperature < LEAST_TEMPERATURE) {
      const [best] = this.top(scores, 1, edits).ids;
      return best ?? nothingLeft(position);
    }
    const { total, count } = this.#weigh(scores, temperature, apart);
    const field = { ids: this.#items, weights: this.#weights, count, total };
    const winner = race(field, seed, position, STAGE.code);
    if (winner < 0) return nothingLeft(position);
    if (winner >= this.codes) return apart!.tokens[winner - this.codes];
    return this.#member(winner, temperature, uniform(seed, position, STAGE.member, winner), apart);
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
    const law = this.#law(temperature);
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
      const mass = apart?.has(j) ? sumOf(this.#powers(j, temperature, apart)) : law[j];
      weights[j] *= mass;
      total += weights[j];
    }
    for (let i = codes; i < count; i++) total += weights[i];
    return { most, total, count };
  }

  /** The largest logit of each code, in working memory. */
  #bestLogits(scores: Float32Array, apart: Apart | null): Float64Array {
    this.#makeRoom(this.codes);
    const [logits, best] = [this.#logits, this.#best];
    if (apart === null) for (let j = 0; j < best.length; j++) logits[j] = scores[j] + best[j];
    else for (let j = 0; j < best.length; j++) logits[j] = scores[j] + apart.best(j, best[j]);
    return logits;
  }

  /** Σ exp((b − β) / T) over the members of each code. */
  #law(temperature: number): Float64Array {
    let law = this.#laws.get(temperature);
    if (law === undefined) {
      law = Float64Array.from({ length: this.codes }, (_, j) => sumOf(this.#powers(j, temperature, null)));
      const [oldest] = this.#laws.keys();
      if (this.#laws.size >= MOST_LAWS) this.#laws.delete(oldest);
      this.#laws.set(temperature, law);
    }
    return law;
  }

  /** exp((b − β) / T) of the members of a code, 0 for those that stand alone. */
  #powers(code: number, temperature: number, apart: Apart | null): Float64Array {
    const { tokens, biases, starts } = this.members;
    const best = apart === null ? this.#best[code] : apart.best(code, this.#best[code]);
    const powers = biases.slice(starts[code], starts[code + 1]);
    for (let i = 0; i < powers.length; i++) {
      const isAlone = apart?.isAlone(tokens[starts[code] + i]) ?? false;
      powers[i] = isAlone ? -Infinity : (powers[i] - best) / temperature;
    }
    expBelow(powers, powers, powers.length, 0);
    return powers;
  }

  /** The member of a code at `u` of its cumulative probability; the last one if rounding leaves `u` beyond the end. */
  #member(code: number, temperature: number, u: number, apart: Apart | null): number {
    const powers = this.#powers(code, temperature, apart);
    const goal = u * sumOf(powers);
    let sum = 0;
    let chosen = 0;
    for (let i = 0; i < powers.length && sum <= goal; i++) {
      if (powers[i] === 0) continue;
      sum += powers[i];
      chosen = i;
    }
    return this.members.tokens[this.members.starts[code] + chosen];
  }

  /** Index of the first member of a code from `at` on that does not stand alone; −1: there is none. */
  #next(at: number, code: number, apart: Pick<Apart, "isAlone"> | null): number {
    const { tokens, starts } = this.members;
    const end = starts[code + 1];
    if (apart !== null) while (at < end && apart.isAlone(tokens[at])) at++;
    return at < end ? at : -1;
  }

  #apart(edits: LogitEdits | Apart | undefined): Apart | null {
    if (edits === undefined || edits.tokens.length === 0) return null;
    if ("isAlone" in edits) return edits;
    return new EditedTokens(edits, this.codeOf, (code, isAlone) => {
      const at = this.#next(this.members.starts[code], code, { isAlone });
      return at < 0 ? -Infinity : this.members.biases[at];
    });
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

function sumOf(values: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i];
  return sum;
}

function nothingLeft(position: number): never {
  throw new RangeError(`Cannot sample the token at position ${position}: no logit is above −∞`);
}
