/** Looks at a server's answer, of which nothing is believed: every error names the field, and what came. */
import { grouped, RemoteError } from "../../errors.ts";
import { exp } from "../../math.ts";
import type { KnownTokens } from "./server.ts";

/** Servers write −∞ as a number that JSON has: −9,999, or the lowest f32. */
const IMPOSSIBLE = -9000;
/** What rounding may add to a sum of probabilities, or to a logarithm. */
const SLACK = 1e-3;

/** A value of an answer, and where it stands. */
export class Field {
  readonly value: unknown;
  readonly #path: string;
  /** What errors call the server. */
  readonly #name: string;

  constructor(name: string, value: unknown, path = "") {
    this.#name = name;
    this.value = value;
    this.#path = path;
  }

  get isAbsent(): boolean {
    return this.value === undefined || this.value === null;
  }

  /** A field of an object. */
  at(key: string): Field {
    const { value } = this;
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw this.wrong("an object");
    const found = Object.hasOwn(value, key) ? (value as Record<string, unknown>)[key] : undefined;
    return new Field(this.#name, found, this.#path === "" ? key : `${this.#path}.${key}`);
  }

  /** The elements of an array. */
  list(most: number): Field[] {
    const { value } = this;
    if (!Array.isArray(value)) throw this.wrong("an array");
    if (value.length > most) throw this.wrong(`an array of at most ${grouped(most)}`);
    return value.map((one, index) => new Field(this.#name, one, `${this.#path}[${index}]`));
  }

  /** Names and values of an object, in its order. */
  entries(most: number): (readonly [string, Field])[] {
    const { value } = this;
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw this.wrong("an object");
    const keys = Object.keys(value);
    if (keys.length > most) throw this.wrong(`an object of at most ${grouped(most)} fields`);
    return keys.map((key) => [key, this.at(key)]);
  }

  text(most = 1000): string {
    if (typeof this.value === "string" && this.value.length <= most) return this.value;
    throw this.wrong(`a text of at most ${grouped(most)} characters`);
  }

  integer(min: number, max: number): number {
    const { value } = this;
    if (Number.isInteger(value) && (value as number) >= min && (value as number) <= max)
      return value as number;
    throw this.wrong(`an integer from ${grouped(min)} to ${grouped(max)}`);
  }

  /** ln p, −∞ where the server says that with a number. */
  logProbability(): number {
    const { value } = this;
    if (typeof value !== "number" || !(value <= SLACK)) throw this.wrong("a log-probability, at most 0");
    return value < IMPOSSIBLE ? -Infinity : Math.min(0, value);
  }

  wrong(expected: string): RemoteError {
    const what = this.#path === "" ? "its answer" : `"${this.#path}"`;
    return new RemoteError(
      `Cannot read rows of ${this.#name}: ${what} must be ${expected}, got ${show(this.value)}`,
    );
  }
}

/**
 * Token ids and log-probabilities of a row as the server told them; the `most` likeliest, so that a token which it only
 * names because it drew it changes no row. The lowest id wins ties.
 *
 * @param field What errors name.
 */
export function knownTokens(
  field: Field,
  found: readonly (readonly [id: number, logProbability: number])[],
  most: number,
): KnownTokens {
  const sorted = [...found].sort(([a, p], [b, q]) => (p === q ? a - b : q - p));
  const ids = sorted.map(([id]) => id);
  if (new Set(ids).size < ids.length) throw field.wrong("of tokens that are named once each");
  const best = sorted.slice(0, most);
  const logProbabilities = best.map(([, value]) => value);
  if (logProbabilities.reduce((sum, value) => sum + exp(value), 0) > 1 + SLACK)
    throw field.wrong("of probabilities that are 1 together, or less");
  if (best.length === 0 || logProbabilities[0] === -Infinity)
    throw field.wrong("of at least one token that has a chance");
  return { ids: ids.slice(0, most), logProbabilities };
}

/** A value for an error: short, on one line. */
function show(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (Array.isArray(value)) return `an array of ${grouped(value.length)}`;
  if (typeof value === "object") return "an object";
  if (typeof value === "string") return JSON.stringify(value.slice(0, 40)).replace(/[\p{Cc}\p{Cf}]+/gu, " ");
  return String(value);
}
