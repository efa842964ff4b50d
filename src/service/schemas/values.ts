/** Kinds of values that fields have. All may be null, which means absent, as clients send it. */
import * as z from "zod";
import { show } from "../errors.ts";

interface Issue {
  code?: string;
  input?: unknown;
}

/** What a wrong value is told; `check` puts the field's name before it. */
export function expects(what: string) {
  return {
    error: ({ code, input }: Issue) =>
      code === "unrecognized_keys" ? "is not a field that is known" : `must be ${what}, got ${show(input)}`,
  };
}

export function number(min?: number, max?: number) {
  if (min === undefined || max === undefined) return z.number(expects("a number")).nullish();
  const message = expects(`a number from ${min} to ${max}`);
  return z.number(message).min(min, message).max(max, message).nullish();
}

export function integer(min: number, max: number) {
  const message = expects(max === ANY ? `an integer from ${min}` : `an integer from ${min} to ${max}`);
  return z.number(message).int(message).min(min, message).max(max, message).nullish();
}

/** Largest integer that JSON carries: where the engine, or the model, has a limit of its own. */
export const ANY = Number.MAX_SAFE_INTEGER;

export const boolean = () => z.boolean(expects("true or false")).nullish();

export function oneOf<const Names extends readonly [string, ...string[]]>(names: Names) {
  return z.enum(names, expects(`one of ${names.join(", ")}`)).nullish();
}

/** Characters of a text that stands for single tokens. */
export const LONGEST_WORD = 100;

/** A text, or an array of `most` texts, none of them empty; read as an array. Both bound what it takes to tokenize them. */
export function texts(most: number, longest: number) {
  const list = expects(`a text, or an array of up to ${most} texts`);
  const one = expects(`a text of 1 to ${longest} characters`);
  return z
    .preprocess(
      (value) => (typeof value === "string" ? [value] : value),
      z.array(z.string(one).min(1, one).max(longest, one), list).max(most, list).nullish(),
    )
    .optional();
}

/** Content as clients send it: a text, or parts of text; read as parts. */
export function textParts() {
  const part = z.looseObject(
    { type: z.literal("text", expects('"text"')), text: z.string(expects("a text")) },
    expects("an object with a type"),
  );
  return z.preprocess(
    (value) => (typeof value === "string" ? [{ type: "text", text: value }] : value),
    z.array(part, expects("a text or an array of text parts")),
  );
}
