/** How JSON writes what has no structure: blanks, strings, numbers, and any value at all. */
import { PLAIN_IN_JSON, utf8 } from "./characters.ts";
import { alt, bytes, call, type Expr, literal, maybe, type Rule, repeat, seq } from "./expr.ts";

const HEX = bytes(48, 57, 65, 70, 97, 102);
const DIGIT = bytes(48, 57);

/** Spaces and tabs behind the end of a line. */
export const MOST_INDENT = 20;

/**
 * Nothing, a space, or the end of a line with what the next is indented by: a model cannot write blanks for ever, as no
 * two of these stand beside each other.
 */
export const BLANKS: Expr = call({
  expr: alt(seq(), literal(" "), seq(bytes(10, 10), repeat(bytes(9, 9, 32, 32), 0, MOST_INDENT))),
});

/** Before all: there is nothing to indent yet. */
export const FIRST_BLANK: Expr = maybe(bytes(10, 10, 32, 32));

/** A character of a string, in any way that JSON knows, but that one escape is one character: no half ones. */
export const CHARACTER: Expr = alt(
  utf8(PLAIN_IN_JSON),
  seq(
    literal("\\"),
    alt(
      bytes(...Array.from('"\\/bfnrt', (letter) => [letter.charCodeAt(0), letter.charCodeAt(0)]).flat()),
      seq(
        literal("u"),
        alt(
          seq(bytes(48, 57, 65, 67, 69, 70, 97, 99, 101, 102), HEX, HEX, HEX),
          seq(bytes(68, 68, 100, 100), bytes(48, 55), HEX, HEX),
        ),
      ),
    ),
  ),
);

export function quoted(content: Expr): Expr {
  return seq(literal('"'), content, literal('"'));
}

/** A key without escapes, so that there is one way to write it. */
export const KEY_CONTENT: Expr = repeat(utf8(PLAIN_IN_JSON), 0, Infinity);

/** Digits before the point: with as many, an f64 tells any two numbers apart. */
export const MOST_DIGITS = 15;

const POSITIVE = seq(bytes(49, 57), repeat(DIGIT, 0, MOST_DIGITS - 1));
export const INTEGER: Expr = alt(literal("0"), seq(maybe(literal("-")), POSITIVE));
export const NUMBER: Expr = seq(
  maybe(literal("-")),
  alt(literal("0"), POSITIVE),
  maybe(seq(literal("."), repeat(DIGIT, 1, MOST_DIGITS))),
  maybe(seq(bytes(69, 69, 101, 101), maybe(bytes(43, 43, 45, 45)), repeat(DIGIT, 1, 2))),
);
const BOOLEAN: Expr = alt(literal("true"), literal("false"));
const NULL: Expr = literal("null");

const stringRule: Rule = { expr: quoted(repeat(CHARACTER, 0, Infinity)) };
export const STRING: Expr = call(stringRule);

export const COMMA: Expr = seq(BLANKS, literal(","), BLANKS);
export const COLON: Expr = seq(literal(":"), BLANKS);

/** `open` … `close` with blanks inside. What it encloses brings the blanks behind it, if it is more than nothing. */
export function enclosed(open: string, content: Expr, close: string): Expr {
  return seq(literal(open), BLANKS, content, literal(close));
}

/** None or more to be enclosed, with commas between. */
export function list(item: Expr, min = 0, max = Infinity): Expr {
  if (max === 0) return seq();
  const some = seq(item, repeat(seq(COMMA, item), Math.max(0, min - 1), max - 1), BLANKS);
  return min === 0 ? maybe(some) : some;
}

const anyRule: Rule = { expr: seq() };
export const ANY: Expr = call(anyRule);
export const ANY_OBJECT: Expr = enclosed("{", list(seq(quoted(KEY_CONTENT), COLON, ANY)), "}");
export const ANY_ARRAY: Expr = enclosed("[", list(ANY), "]");
anyRule.expr = alt(ANY_OBJECT, ANY_ARRAY, STRING, NUMBER, BOOLEAN, NULL);
