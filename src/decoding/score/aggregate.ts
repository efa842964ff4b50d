/**
 * aggregate: the mean of a score over a text, and how sure it is.
 *
 *     mean            Σx / n                        error  √( Σ(x − mean)² / (n − 1) / n )
 *     per byte        R = Σx / Σb                   error  √( n/(n − 1) · Σ(x − R·b)² ) / Σb
 *     bits per byte   R / ln 2
 *
 * n: positions, b: bytes of the text that the token of a position stands for. Errors take positions for independent,
 * which those of a text are not quite.
 *
 * The five sums are kept exactly and rounded once, at the end. So a merge of parts is, to the last bit, what adding all
 * positions to one aggregate would have given, in any order and any partition; and no variance is lost to cancellation.
 *
 * Source of the error of a ratio: Cochran 1977, Sampling Techniques, 2.11.
 */
import { expectInteger, expectNumber } from "../../errors.ts";
import { Fields } from "../pipeline/fields.ts";
import {
  type Dyadic,
  dyadic,
  minus,
  plus,
  quotient,
  reduced,
  rootOfQuotient,
  times,
  ZERO,
} from "./dyadic.ts";

export interface Estimate {
  readonly mean: number;
  /** Of the mean; null if it takes more positions, or none has it because a value is infinite. */
  readonly standardError: number | null;
}

export interface AggregateSummary extends Estimate {
  readonly positions: number;
  /** Σ of all values. */
  readonly total: number;
  /** Null unless every position came with its bytes, and some are more than 0. */
  readonly perByte: (Estimate & { readonly bytes: number; readonly bits: Estimate }) | null;
}

/** x: the value, b: the bytes of a position. */
const SUMS = ["x", "b", "xx", "xb", "bb"] as const;
type Sums = Record<(typeof SUMS)[number], Dyadic>;

const EMPTY: Sums = { x: ZERO, b: ZERO, xx: ZERO, xb: ZERO, bb: ZERO };
const MAX_COUNT = Number.MAX_SAFE_INTEGER;
/** More than products of two f64 and a count need. */
const MAX_DIGITS = 2000;
const MAX_EXPONENT = 5000;

/**
 * A running mean.
 *
 * @example
 * ```ts
 * const aggregate = new Aggregate();
 * for (const { row, token, bytes } of positions) aggregate.add(score("nll", { row, token }).value, bytes);
 * aggregate.summary().perByte?.bits.mean; // bits per byte
 * ```
 */
export class Aggregate {
  #positions = 0;
  #withBytes = 0;
  #infinite = { positive: 0, negative: 0 };
  #sums: Sums = EMPTY;

  get positions(): number {
    return this.#positions;
  }

  /**
   * One position.
   *
   * @param value May be infinite; then so is the mean.
   * @param bytes Length in UTF-8 of what the token stands for; 0 for control tokens.
   * @throws {RangeError} If the value is NaN, or bytes is no count.
   */
  add(value: number, bytes?: number): this {
    expectNumber("value", value, -Infinity, Infinity);
    if (bytes !== undefined) expectInteger("bytes", bytes, 0, 2 ** 32 - 1);
    this.#positions++;
    if (bytes !== undefined) this.#withBytes++;
    const x = Number.isFinite(value) ? dyadic(value) : ZERO;
    if (value === Infinity) this.#infinite.positive++;
    if (value === -Infinity) this.#infinite.negative++;
    const b = dyadic(bytes ?? 0);
    this.#take({ x, b, xx: times(x, x), xb: times(x, b), bb: times(b, b) });
    return this;
  }

  /** Adds all positions of another; in any order, the result is the same. */
  merge(other: Aggregate): this {
    // Read first, so that an aggregate may be merged with itself.
    const { positive, negative } = other.#infinite;
    this.#positions += other.#positions;
    this.#withBytes += other.#withBytes;
    this.#infinite.positive += positive;
    this.#infinite.negative += negative;
    this.#take(other.#sums);
    return this;
  }

  #take(more: Sums): void {
    const { x, b, xx, xb, bb } = this.#sums;
    this.#sums = {
      x: plus(x, more.x),
      b: plus(b, more.b),
      xx: plus(xx, more.xx),
      xb: plus(xb, more.xb),
      bb: plus(bb, more.bb),
    };
  }

  /** @throws {RangeError} If there is no position yet. */
  summary(): AggregateSummary {
    if (this.#positions === 0) throw new RangeError("Cannot summarize an aggregate of no positions");
    const infinite = this.#infiniteTotal();
    const { x, b } = this.#sums;
    const positions = this.#positions;
    const bytes = quotient(b, dyadic(1));
    const byBytes = this.#withBytes === positions && bytes > 0;
    if (infinite !== null) {
      const estimate: Estimate = { mean: infinite, standardError: null };
      const perByte = byBytes ? { bytes, ...estimate, bits: estimate } : null;
      return { positions, total: infinite, ...estimate, perByte };
    }
    return {
      positions,
      total: quotient(x, dyadic(1)),
      ...this.#perPosition(),
      perByte: byBytes ? { bytes, ...this.#perByte() } : null,
    };
  }

  /** Null if all values are finite. Both infinities together have no sum. */
  #infiniteTotal(): number | null {
    const { positive, negative } = this.#infinite;
    if (positive > 0 && negative > 0) {
      throw new RangeError("Cannot summarize an aggregate that has both Infinity and -Infinity");
    }
    if (positive > 0) return Infinity;
    return negative > 0 ? -Infinity : null;
  }

  /** Σ(x − mean)² = (n·Σx² − (Σx)²) / n */
  #perPosition(): Estimate {
    const n = this.#positions;
    const { x, xx } = this.#sums;
    const spread = minus(times(dyadic(n), xx), times(x, x));
    const divisor = times(times(dyadic(n), dyadic(n)), dyadic(n - 1));
    return {
      mean: quotient(x, dyadic(n)),
      standardError: n < 2 ? null : rootOfQuotient(spread, divisor),
    };
  }

  /** Σ(x − R·b)² · (Σb)² = Σx²·(Σb)² − 2·Σx·Σb·Σxb + (Σx)²·Σb² */
  #perByte(): Estimate & { bits: Estimate } {
    const n = this.#positions;
    const { x, b, xx, xb, bb } = this.#sums;
    const cross = times(times(x, b), xb);
    const spread = minus(plus(times(xx, times(b, b)), times(times(x, x), bb)), plus(cross, cross));
    const squareOfB = times(b, b);
    const divisor = times(times(squareOfB, squareOfB), dyadic(n - 1));
    const mean = quotient(x, b);
    const standardError = n < 2 ? null : rootOfQuotient(times(dyadic(n), spread), divisor);
    const bits = {
      mean: mean / Math.LN2,
      standardError: standardError === null ? null : standardError / Math.LN2,
    };
    return { mean, standardError, bits };
  }

  /** Plain data of some hundred bytes; `Aggregate.fromJSON` reads it. Equal for the same positions in any order. */
  toJSON(): AggregateJson {
    const sums = Object.fromEntries(
      SUMS.map((name) => {
        const { mantissa, exponent } = reduced(this.#sums[name]);
        return [name, `${mantissa.toString(16)}p${exponent}`];
      }),
    ) as AggregateJson["sums"];
    const { positive, negative } = this.#infinite;
    return { positions: this.#positions, withBytes: this.#withBytes, positive, negative, sums };
  }

  /** @throws {TypeError | RangeError} If it is not what `toJSON` gives; names the field. */
  static fromJSON(json: unknown): Aggregate {
    const fields = new Fields("aggregate", json);
    const result = new Aggregate();
    result.#positions = fields.integer("positions", 0, MAX_COUNT);
    result.#withBytes = fields.integer("withBytes", 0, result.#positions);
    const positive = fields.integer("positive", 0, result.#positions);
    const negative = fields.integer("negative", 0, result.#positions - positive);
    result.#infinite = { positive, negative };
    const { sums } = json as AggregateJson;
    new Fields("aggregate.sums", sums);
    const read = (name: (typeof SUMS)[number]) => readDyadic(`aggregate.sums.${name}`, sums[name]);
    result.#sums = { x: read("x"), b: read("b"), xx: read("xx"), xb: read("xb"), bb: read("bb") };
    result.#expectPossible();
    return result;
  }

  /** Sums of squares, and what Cauchy and Schwarz say of them, so that no root is of a negative number. */
  #expectPossible(): void {
    const { x, b, xx, xb, bb } = this.#sums;
    const n = dyadic(this.#positions);
    const parts = {
      b,
      xx: minus(times(n, xx), times(x, x)),
      bb: minus(times(n, bb), times(b, b)),
      xb: minus(times(xx, bb), times(xb, xb)),
    };
    for (const [name, part] of Object.entries(parts)) {
      if (part.mantissa < 0n) {
        throw new RangeError(`"aggregate.sums.${name}" must be possible beside the other sums, is not`);
      }
    }
  }
}

/** Sums are "mantissa p exponent": mantissa · 2^exponent, the mantissa in hexadecimal. */
export interface AggregateJson {
  readonly positions: number;
  readonly withBytes: number;
  /** Positions whose value is Infinity, and −Infinity. */
  readonly positive: number;
  readonly negative: number;
  readonly sums: Readonly<Record<(typeof SUMS)[number], string>>;
}

function readDyadic(path: string, value: unknown): Dyadic {
  if (typeof value !== "string") throw new TypeError(`"${path}" must be a string, got ${typeof value}`);
  const match = value.length <= MAX_DIGITS ? /^(-?)([0-9a-f]+)p(-?\d{1,4})$/.exec(value) : null;
  if (match === null) {
    throw new RangeError(`"${path}" must be a number like "-1fp-52", got "${value.slice(0, 40)}"`);
  }
  const [, sign, digits, exponent] = match;
  const size = BigInt(`0x${digits}`);
  const power = expectInteger(`${path} exponent`, Number(exponent), -MAX_EXPONENT, MAX_EXPONENT);
  return { mantissa: sign === "-" ? -size : size, exponent: power };
}
