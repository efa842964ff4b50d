/**
 * codebook-law: what the tokens of a code weigh together at a temperature, and which of them a number takes.
 *
 *     mass of code j  =  Σ exp((b[i] − β[j]) / T)       over its tokens that do not stand alone; β[j]: the largest b of these
 *
 * Cost      V exponentials for a temperature that is new, none for one that was asked for lately; for a code that has lost
 *           tokens the sum of the others.
 */
import { expBelow } from "../../exp-below.ts";
import { exp } from "../../math.ts";
import type { Apart } from "./codebook-edits.ts";
import type { Members } from "./codebook-members.ts";

/** Temperatures whose masses are kept, and those whose weights of single tokens are: of codes that lose some. */
const MOST_MASSES = 32;
const MOST_POWERS = 2;
/** exp of it loses nothing of a sum of normal numbers. */
const MOST_LIFT = 30;

export class CodebookLaw {
  readonly #members: Members;
  /** β of whole codes. */
  readonly #best: Float64Array;
  /** (K), by temperature. */
  readonly #masses = new Map<number, Float64Array>();
  /** exp((b − β) / T) of a whole code's tokens, by temperature and code. */
  readonly #powers = new Map<number, Map<number, Float64Array>>();
  readonly #scratch: Float64Array;

  constructor(members: Members, best: Float64Array) {
    this.#members = members;
    this.#best = best;
    this.#scratch = new Float64Array(best.length);
  }

  /** (K) of all codes. Not to be written to; stays until the next call. */
  masses(temperature: number, apart: Apart | null): Float64Array {
    const whole = recent(this.#masses, temperature, MOST_MASSES, () =>
      Float64Array.from(this.#best, (_, code) => sumOf(this.#powersOf(code, temperature, null))),
    );
    if (apart === null) return whole;
    const masses = this.#scratch;
    masses.set(whole);
    for (let i = 0; i < apart.codes.length; i++) {
      masses[apart.codes[i]] = this.#massLeft(apart.codes[i], temperature, apart);
    }
    return masses;
  }

  /** Index of the member of a code at `u` of its cumulative probability; the last if rounding leaves `u` beyond the end. */
  member(code: number, temperature: number, u: number, apart: Apart | null): number {
    const powers = this.#powersOf(code, temperature, apart);
    const goal = u * sumOf(powers);
    let sum = 0;
    let chosen = 0;
    for (let i = 0; i < powers.length && sum <= goal; i++) {
      if (powers[i] === 0) continue;
      sum += powers[i];
      chosen = i;
    }
    return this.#members.starts[code] + chosen;
  }

  #massLeft(code: number, temperature: number, apart: Apart): number {
    const best = apart.best(code) as number;
    if (best === -Infinity) return 0;
    const lift = (this.#best[code] - best) / temperature;
    if (lift > MOST_LIFT) return sumOf(this.#powersOf(code, temperature, apart));
    const byCode = recent(this.#powers, temperature, MOST_POWERS, () => new Map());
    const powers = byCode.get(code) ?? this.#powersOf(code, temperature, null);
    byCode.set(code, powers);
    const gone = apart.gone(code);
    let sum = 0;
    let at = 0;
    for (let i = 0; i <= gone.length; i++) {
      const end = i < gone.length ? gone[i] - this.#members.starts[code] : powers.length;
      for (; at < end; at++) sum += powers[at];
      at = end + 1;
    }
    return lift === 0 ? sum : sum * exp(lift);
  }

  /** exp((b − β) / T) of the members of a code, 0 for those that stand alone. */
  #powersOf(code: number, temperature: number, apart: Apart | null): Float64Array {
    const { tokens, biases, starts } = this.#members;
    const best = apart?.best(code) ?? this.#best[code];
    const powers = biases.slice(starts[code], starts[code + 1]);
    for (let i = 0; i < powers.length; i++) {
      const isAlone = apart?.isAlone(tokens[starts[code] + i]) ?? false;
      powers[i] = isAlone ? -Infinity : (powers[i] - best) / temperature;
    }
    expBelow(powers, powers, powers.length, 0);
    return powers;
  }
}

/** What belongs to a key, made anew if it is not there; of more than `most` the ones that were not asked for longest go. */
function recent<Value>(kept: Map<number, Value>, key: number, most: number, make: () => Value): Value {
  const value = kept.get(key) ?? make();
  kept.delete(key);
  kept.set(key, value);
  if (kept.size > most) kept.delete(kept.keys().next().value as number);
  return value;
}

function sumOf(values: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i];
  return sum;
}
