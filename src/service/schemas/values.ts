/**
 * Kinds of values that fields have. All may be null, which means absent, as clients send it.
 *
 * Made of Zod's functions: its methods are a third of what a worker reads before its first request.
 */
import * as z from "zod/mini";
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
  if (min === undefined || max === undefined) return z.nullish(z.number(expects("a number")));
  const message = expects(`a number from ${min} to ${max}`);
  return z.nullish(z.number(message).check(z.gte(min, message), z.lte(max, message)));
}

export const integer = (min: number, max: number) => z.nullish(givenInteger(min, max));

/** One that must be there. */
export function givenInteger(min: number, max: number) {
  const message = expects(max === ANY ? `an integer from ${min}` : `an integer from ${min} to ${max}`);
  return z.int(message).check(z.gte(min, message), z.lte(max, message));
}

/** Largest integer that JSON carries: where the engine, or the model, has a limit of its own. */
export const ANY = Number.MAX_SAFE_INTEGER;

export const boolean = () => z.nullish(z.boolean(expects("true or false")));

export function oneOf<const Names extends readonly [string, ...string[]]>(names: Names) {
  return z.nullish(z.enum(names, expects(`one of ${names.join(", ")}`)));
}

/** Characters of a text that stands for single tokens. */
export const LONGEST_WORD = 100;

/** A text, or an array of `most` texts, none of them empty; read as an array. Both bound what it takes to tokenize them. */
export function texts(most: number, longest: number) {
  const list = expects(`a text, or an array of up to ${most} texts`);
  const one = expects(`a text of 1 to ${longest} characters`);
  return z.optional(
    z.pipe(
      z.transform((value) => (typeof value === "string" ? [value] : value)),
      z.nullish(listOf(text(longest, one), most, list)),
    ),
  );
}

/** A text of 1 to `longest` characters. */
export const text = (longest: number, message: ReturnType<typeof expects>) =>
  z.string(message).check(z.minLength(1, message), z.maxLength(longest, message));

export const listOf = <T extends z.core.SomeType>(
  item: T,
  most: number,
  message: ReturnType<typeof expects>,
) => z.array(item, message).check(z.maxLength(most, message));

/** Content as clients send it: a text, or parts of text; read as parts. */
export function textParts() {
  const part = z.looseObject(
    { type: z.literal("text", expects('"text"')), text: z.string(expects("a text")) },
    expects("an object with a type"),
  );
  return z.pipe(
    z.transform((value) => (typeof value === "string" ? [{ type: "text", text: value }] : value)),
    z.array(part, expects("a text or an array of text parts")),
  );
}
