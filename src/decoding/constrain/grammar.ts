/**
 * grammar: a JSON schema, a regular expression or a list of texts, made ready for a vocabulary.
 *
 * What was made ready is kept with the tokenizer, so that the next request with the same schema costs nothing.
 */
import { expectInteger } from "../../errors.ts";
import type { Constraint } from "../constraint.ts";
import { utf8 } from "./characters.ts";
import { alt, type Expr, oneOf, repeat, seq } from "./expr.ts";
import { Machine, type Place } from "./machine.ts";
import { Masks } from "./masks.ts";
import { buildProgram, type Program } from "./program.ts";
import { readRegex } from "./regex.ts";
import { compileSchema } from "./schema.ts";
import { textWithout } from "./text-without.ts";
import { type SpelledVocabulary, type TokenTries, tokenTries } from "./token-trie.ts";

/** What a text must be. `name` is what it is called in errors, by default its field. */
export type GrammarSpec =
  /** JSON that is valid under the schema (an object, or true: any JSON). */
  | { readonly jsonSchema: unknown; readonly name?: string }
  /** A text that the whole expression matches, in JavaScript's words. */
  | { readonly regex: string; readonly name?: string }
  /** One of these texts. */
  | { readonly choice: readonly string[] }
  /** Any text in which this one does not occur. */
  | { readonly textWithout: string; readonly name?: string }
  /** One behind the other. */
  | { readonly sequence: readonly GrammarSpec[] }
  /** One behind the other, all alike: `min` (0) to `max` (any number) of them. */
  | { readonly repeat: GrammarSpec; readonly min?: number; readonly max?: number }
  /** Any of them. */
  | { readonly anyOf: readonly GrammarSpec[] };

/** A model, or what is needed of one. */
export interface GrammarTarget {
  /** Of its rows: what goes beyond the tokenizer's is never allowed. */
  readonly vocab: number;
  readonly tokenizer: SpelledVocabulary;
}

export interface Grammar {
  /** A constraint at the beginning of a text: each text needs one of its own. */
  open(): Constraint;
}

const MOST_REPEATED = 4096;
/** Grammars that are kept per tokenizer. */
const MOST_KEPT = 8;

const tries = new WeakMap<SpelledVocabulary, TokenTries>();
const kept = new WeakMap<SpelledVocabulary, Map<string, Grammar>>();

/**
 * What a text must be, for `GenerateOptions.constraint`. The text always parses, and ends as soon as it must; a text that
 * is cut off by `maxTokens` is a beginning of one.
 *
 * Objects have their properties in the order of the schema, and further ones only where `additionalProperties` says so.
 * Keywords that cannot be kept are refused, never ignored. Numbers have at most 15 digits before the point.
 *
 * @throws {TypeError | RangeError} If it is wrong, too large, not supported, or allows no text; the message names where.
 *
 * @example
 * ```ts
 * const grammar = compileGrammar({ jsonSchema: { type: "object", properties: { age: { type: "integer" } } } }, model);
 * model.generate("Tim: ", { constraint: () => grammar.open() });
 * ```
 */
export function compileGrammar(spec: GrammarSpec, target: GrammarTarget): Grammar {
  const { tokenizer } = target;
  const vocab = expectInteger("vocab", target.vocab, tokenizer.vocab, 2 ** 31 - 1);
  const name = nameOf(spec);
  if (tokenizer.endTokens.size === 0) {
    throw new RangeError(`"${name}" needs a model with an end token, which this one lacks`);
  }
  let grammars = kept.get(tokenizer);
  if (grammars === undefined) {
    grammars = new Map();
    kept.set(tokenizer, grammars);
  }
  const key = `${vocab} ${JSON.stringify(spec)}`;
  let grammar = grammars.get(key);
  if (grammar === undefined) {
    const program = buildProgram({ expr: readSpec(spec) }, name);
    grammar = new CompiledGrammar(program, tokenizer, vocab);
  }
  grammars.delete(key);
  grammars.set(key, grammar);
  if (grammars.size > MOST_KEPT) grammars.delete(grammars.keys().next().value!);
  return grammar;
}

function nameOf(spec: GrammarSpec): string {
  if ("name" in spec && spec.name !== undefined) return spec.name;
  const parts: readonly GrammarSpec[] =
    "sequence" in spec ? spec.sequence : "anyOf" in spec ? spec.anyOf : "repeat" in spec ? [spec.repeat] : [];
  return parts.length > 0 ? nameOf(parts[0]) : Object.keys(spec)[0];
}

function readSpec(spec: GrammarSpec): Expr {
  if ("jsonSchema" in spec) return compileSchema(spec.jsonSchema, nameOf(spec));
  if ("regex" in spec) return readRegex(spec.regex, { write: utf8, isSearch: false, name: nameOf(spec) });
  if ("choice" in spec) return oneOf(spec.choice);
  if ("textWithout" in spec) return textWithout(spec.textWithout, nameOf(spec));
  if ("repeat" in spec) return repeated(spec);
  if ("sequence" in spec) return seq(...spec.sequence.map(readSpec));
  return alt(...spec.anyOf.map(readSpec));
}

function repeated({
  repeat: spec,
  min = 0,
  max = Infinity,
}: Extract<GrammarSpec, { repeat: unknown }>): Expr {
  const least = expectInteger("min", min, 0, MOST_REPEATED);
  return repeat(
    readSpec(spec),
    least,
    max === Infinity ? max : expectInteger("max", max, least, MOST_REPEATED),
  );
}

function triesOf(tokenizer: SpelledVocabulary): TokenTries {
  let made = tries.get(tokenizer);
  if (made === undefined) {
    made = tokenTries(tokenizer);
    tries.set(tokenizer, made);
  }
  return made;
}

class CompiledGrammar implements Grammar {
  readonly #vocab: number;
  readonly #tokenizer: SpelledVocabulary;
  readonly #machine: Machine;
  readonly #masks: Masks;

  constructor(program: Program, tokenizer: SpelledVocabulary, vocab: number) {
    const vocabulary = triesOf(tokenizer);
    const { short, long } = vocabulary;
    this.#vocab = vocab;
    this.#tokenizer = tokenizer;
    this.#machine = new Machine(program, Math.max(short.longestToken, long.longestToken), short.longestToken);
    this.#masks = new Masks(this.#machine, vocabulary, vocab, [...tokenizer.endTokens]);
    // What is too much to follow is found before anything is decoded.
    this.#masks.of(this.#machine.start);
  }

  open(): Constraint {
    return new GrammarConstraint(this.#vocab, this.#tokenizer, this.#machine, this.#masks);
  }
}

/** Places never change, so to go back is to forget the last ones. */
class GrammarConstraint implements Constraint {
  readonly vocab: number;
  readonly #tokenizer: SpelledVocabulary;
  readonly #machine: Machine;
  readonly #masks: Masks;
  /** From the beginning to where the text stands; null: it has ended. */
  readonly #path: (Place | null)[];

  constructor(vocab: number, tokenizer: SpelledVocabulary, machine: Machine, masks: Masks) {
    this.vocab = vocab;
    this.#tokenizer = tokenizer;
    this.#machine = machine;
    this.#masks = masks;
    this.#path = [machine.start];
  }

  mask(): Uint32Array {
    const place = this.#place();
    return place === null ? new Uint32Array(Math.ceil(this.vocab / 32)) : this.#masks.of(place).words;
  }

  accept(token: number): void {
    expectInteger("token", token, 0, this.vocab - 1);
    const place = this.#place();
    if (this.#tokenizer.endTokens.has(token)) {
      if (!place?.isEnd) throw new RangeError(`"token" must continue the text, got the end token ${token}`);
      this.#path.push(null);
      return;
    }
    const bytes = token < this.#tokenizer.vocab ? this.#tokenizer.bytes(token) : [];
    let next = bytes.length > 0 ? place : null;
    for (const byte of bytes) next = next && this.#machine.step(next, byte);
    if (next === null) throw new RangeError(`"token" must be one that may follow, got ${token}`);
    this.#path.push(next);
  }

  rollback(count: number): void {
    this.#path.length -= expectInteger("count", count, 0, this.#path.length - 1);
  }

  onlyToken(): number | null {
    const place = this.#place();
    return place === null ? null : this.#masks.of(place).only;
  }

  #place(): Place | null {
    return this.#path[this.#path.length - 1];
  }
}
