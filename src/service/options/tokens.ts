import type { HTTPException } from "hono/http-exception";
import type { Model } from "../../engine/model.ts";
import type { Tokenizer } from "../../model/tokenizer.ts";
import { apiError, show } from "../errors.ts";
import { LONGEST_WORD } from "../schemas/values.ts";

/** What is needed of a model to read ids and texts. */
export type Vocabulary = Pick<Model, "vocab" | "tokenizer">;

/** What `logit_bias` asks for. */
export interface LogitBias {
  readonly bias: Readonly<Record<string, number>>;
  /** Tokens that must never come. */
  readonly banned: readonly number[];
}

/** OpenAI's range, and one that is as good as none, for llama.cpp's form. */
const OBJECT_LIMIT = 100;
const ARRAY_LIMIT = 1e6;
/** Pairs of llama.cpp's form: each may be a text to tokenize. */
const MAX_PAIRS = 4096;

/**
 * `logit_bias` in OpenAI's form, `{"50256": -100}`, or in llama.cpp's, `[[50256, -100], ["Once", 2.5], [13, false]]`: a
 * text stands for each of its tokens, false for never, and what is said twice adds up.
 *
 * @throws {HTTPException} 400, if it is neither.
 */
export function readLogitBias(model: Vocabulary, value: unknown): LogitBias | undefined {
  if (value === undefined || value === null || isEmpty(value)) return undefined;
  if (Array.isArray(value)) return readPairs(model, value);
  if (typeof value !== "object") {
    throw wrong(
      "logit_bias",
      `must be an object from token id to number, or an array of pairs, got ${show(value)}`,
    );
  }
  const bias: Record<string, number> = {};
  for (const [key, amount] of Object.entries(value)) {
    const token = /^\d{1,10}$/.test(key) ? Number(key) : key;
    bias[expectToken(model, "logit_bias", token)] = expectBias(
      `logit_bias.${key.slice(0, 20)}`,
      amount,
      OBJECT_LIMIT,
    );
  }
  return { bias, banned: [] };
}

function isEmpty(value: unknown): boolean {
  return typeof value === "object" && Object.keys(value as object).length === 0;
}

function readPairs(model: Vocabulary, pairs: readonly unknown[]): LogitBias {
  if (pairs.length > MAX_PAIRS) {
    throw wrong("logit_bias", `must have at most ${MAX_PAIRS} pairs, got ${pairs.length}`);
  }
  const bias: Record<string, number> = {};
  const banned: number[] = [];
  for (const [index, pair] of pairs.entries()) {
    const param = `logit_bias[${index}]`;
    if (!Array.isArray(pair) || pair.length !== 2) {
      throw wrong(param, `must be a pair of a token id or text and a number, got ${show(pair)}`);
    }
    const [what, amount] = pair as [unknown, unknown];
    const tokens =
      typeof what === "string" && what.length <= LONGEST_WORD
        ? spelling(model.tokenizer, what)
        : [expectToken(model, `${param}[0]`, what)];
    const value = amount === false ? null : expectBias(`${param}[1]`, amount, ARRAY_LIMIT);
    for (const token of tokens) {
      if (value === null) banned.push(token);
      else bias[token] = Math.min(Math.max((bias[token] ?? 0) + value, -ARRAY_LIMIT), ARRAY_LIMIT);
    }
  }
  return { bias, banned };
}

/** Token ids of a field, at least one. */
export function readTokenIds(model: Vocabulary, param: string, value: unknown): number[] | undefined {
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value) || value.length === 0) {
    throw wrong(param, `must be an array with at least one token id, got ${show(value)}`);
  }
  return value.map((token, index) => expectToken(model, `${param}[${index}]`, token));
}

/** The ways in which the tokenizer writes each text: as it stands, and as a word after a space. None comes twice. */
export function spellings(tokenizer: Tokenizer, texts: readonly string[]): number[][] {
  const found = texts
    .flatMap((text) => (text.startsWith(" ") ? [text] : [text, ` ${text}`]))
    .map((text) => spelling(tokenizer, text))
    .filter((tokens) => tokens.length > 0);
  return [...new Map(found.map((tokens) => [tokens.join(), tokens])).values()];
}

/** What a tokenizer keeps apart from what follows; more than one, as it may join them with the same. */
const BEFORE = ["\n", "a"];

/** A text's tokens in the middle of another, without what the tokenizer puts before the first word of all. */
export function spelling(tokenizer: Tokenizer, text: string): number[] {
  const encode = (whole: string) => tokenizer.encode(whole, { special: false });
  for (const before of BEFORE) {
    const start = encode(before);
    const all = encode(before + text);
    if (all.length > start.length && start.every((token, i) => all[i] === token))
      return all.slice(start.length);
  }
  return encode(text);
}

function expectToken(model: Vocabulary, param: string, value: unknown): number {
  if (!Number.isInteger(value) || (value as number) < 0 || (value as number) >= model.vocab) {
    throw wrong(param, `must be a token id from 0 to ${model.vocab - 1}, got ${show(value)}`);
  }
  return value as number;
}

function expectBias(param: string, value: unknown, limit: number): number {
  if (typeof value !== "number" || !(Math.abs(value) <= limit)) {
    throw wrong(param, `must be a number from -${limit} to ${limit}, got ${show(value)}`);
  }
  return value;
}

function wrong(param: string, message: string): HTTPException {
  return apiError(400, `"${param}" ${message}`, { param, code: "invalid_value" });
}
