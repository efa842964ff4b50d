import { expectInteger, expectNumber } from "../../errors.ts";

/** Ceilings of what a request may send. */
const MAX_IDS = 1 << 20;
const MAX_NUMBERS = 1 << 16;
/** The breakers of DRY are every token that has a line break or a quotation mark in it: thousands. */
const MAX_SEQUENCES = 1 << 15;
const MAX_SEQUENCE = 256;
const MAX_TOKEN = 2 ** 31 - 1;

/** Reads the fields of one JSON object: every value is checked, and `done` refuses what nobody asked for. */
export class Fields {
  readonly #path: string;
  readonly #json: Readonly<Record<string, unknown>>;
  readonly #read = new Set<string>();

  /** @param path Names the object in messages, as in "pipeline[2]". */
  constructor(path: string, json: unknown) {
    if (typeof json !== "object" || json === null || Array.isArray(json)) {
      throw new TypeError(`"${path}" must be an object, got ${kindOf(json)}`);
    }
    this.#path = path;
    this.#json = json as Record<string, unknown>;
  }

  /** Where a field is, for messages of the caller's own. */
  path(name: string): string {
    return this.#name(name);
  }

  has(name: string): boolean {
    return this.raw(name) !== undefined;
  }

  /** The value as it came, for the caller to check. */
  raw(name: string): unknown {
    return this.#value(name);
  }

  number(name: string, min: number, max: number, missing?: number): number {
    return expectNumber(this.#name(name), this.#value(name, missing), min, max);
  }

  integer(name: string, min: number, max: number, missing?: number): number {
    return expectInteger(this.#name(name), this.#value(name, missing), min, max);
  }

  choice<Choice extends string>(name: string, choices: readonly Choice[], missing?: Choice): Choice {
    const value = this.#value(name, missing);
    const found = choices.find((choice) => choice === value);
    if (found !== undefined) return found;
    const expected = `must be one of ${choices.map((choice) => `"${choice}"`).join(", ")}`;
    if (typeof value !== "string") {
      throw new TypeError(`"${this.#name(name)}" ${expected}, got ${kindOf(value)}`);
    }
    throw new RangeError(`"${this.#name(name)}" ${expected}, got "${value.slice(0, 40)}"`);
  }

  /** Token ids, ascending, each once. */
  ids(name: string): readonly number[] {
    const tokens = expectTokens(this.#name(name), this.#value(name), MAX_IDS);
    return [...new Set(tokens)].sort((a, b) => a - b);
  }

  /** Sequences of token ids, none empty. */
  sequences(
    name: string,
    missing?: readonly (readonly number[])[],
    longest = MAX_SEQUENCE,
  ): readonly (readonly number[])[] {
    const path = this.#name(name);
    const sequences = expectArray(path, this.#value(name, missing), MAX_SEQUENCES);
    return sequences.map((sequence, index) => {
      const tokens = expectTokens(`${path}[${index}]`, sequence, longest);
      if (tokens.length === 0) throw new RangeError(`"${path}[${index}]" must have a token`);
      return tokens;
    });
  }

  /** An object from token id to number, ids ascending. */
  numbersById(name: string, min: number, max: number): Readonly<Record<string, number>> {
    const path = this.#name(name);
    const value = this.#value(name);
    const fields = new Fields(path, value);
    const keys = Object.keys(value as object);
    if (keys.length > MAX_NUMBERS) {
      throw new RangeError(`"${path}" must have at most ${MAX_NUMBERS} entries, got ${keys.length}`);
    }
    const result: Record<string, number> = {};
    for (const key of keys) {
      if (!/^(0|[1-9]\d*)$/.test(key) || Number(key) > MAX_TOKEN) {
        throw new RangeError(`"${path}" must have token ids as keys, got "${key.slice(0, 40)}"`);
      }
      // JSON objects keep such keys in ascending order.
      result[key] = fields.number(key, min, max);
    }
    return result;
  }

  /** @throws {TypeError} If there is a field that was not read. */
  done(): void {
    const unknown = Object.keys(this.#json).find((name) => !this.#read.has(name));
    if (unknown !== undefined) {
      const known = [...this.#read].map((name) => `"${name}"`).join(", ");
      throw new TypeError(`"${this.#path}" may have ${known}, got "${unknown.slice(0, 40)}"`);
    }
  }

  #name(name: string): string {
    return `${this.#path}.${name}`;
  }

  #value(name: string, missing?: unknown): unknown {
    this.#read.add(name);
    return Object.hasOwn(this.#json, name) ? (this.#json[name] ?? missing) : missing;
  }
}

function expectTokens(path: string, value: unknown, most: number): readonly number[] {
  return expectArray(path, value, most).map((token, index) =>
    expectInteger(`${path}[${index}]`, token, 0, MAX_TOKEN),
  );
}

export function expectArray(path: string, value: unknown, most: number): readonly unknown[] {
  if (!Array.isArray(value)) throw new TypeError(`"${path}" must be an array, got ${kindOf(value)}`);
  if (value.length > most) {
    throw new RangeError(`"${path}" must have at most ${most} entries, got ${value.length}`);
  }
  return value;
}

/** What a value of the wrong kind is called in messages. */
export function kindOf(value: unknown): string {
  return value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
}
