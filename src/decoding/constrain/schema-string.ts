import { ALL_CHARACTERS, jsonCharacters } from "./characters.ts";
import { type Expr, NEVER, oneOf, repeat } from "./expr.ts";
import { FORMATS } from "./json-formats.ts";
import { CHARACTER, quoted, STRING } from "./json-text.ts";
import { both, without } from "./product.ts";
import { readRegex } from "./regex.ts";
import {
  type Branch,
  type Located,
  leastOf,
  mostOf,
  type SchemaContext,
  textsOf,
  unsupported,
} from "./schema-context.ts";

/** A string of a length, pattern and format. */
export function stringExpr(branch: Branch, context: SchemaContext): Expr {
  const content = stringContent(branch, context);
  return content === null ? STRING : content === NEVER ? NEVER : quoted(content);
}

/**
 * What stands between the quotation marks; null: anything.
 *
 * Beside a pattern, `format` is what the standard makes of it, a remark: it is kept where both can be.
 */
export function stringContent(branch: Branch, context: SchemaContext): Expr | null {
  const { parts, nots, path } = branch;
  const spend = (work: number) => context.spend(path, work);
  const min = leastOf(parts, "minLength");
  const max = mostOf(parts, "maxLength");
  if (max < min) return NEVER;
  const forbidden = textsOf(nots, "pattern");
  const excluded = nots.flatMap(({ schema }) => (schema.enum ?? []) as unknown[]);
  const words = excluded.filter((value) => typeof value === "string");
  const formed = parts.map((part) => formOf(part, context)).filter((form) => form !== null);
  if (formed.length + forbidden.length + words.length === 0) {
    return min === 0 && max === Infinity ? null : repeat(CHARACTER, min, max);
  }
  // Of whatever is compared there is one way to write it.
  const any = jsonCharacters(ALL_CHARACTERS);
  if (min > 0 || max < Infinity || formed.length === 0) formed.push(repeat(any, min, max));
  let content = formed.reduce((one, other) => both(one, other, path, spend));
  for (const { text, path: name } of forbidden) {
    content = without(content, matchesOf(text, name, context), name, spend);
  }
  if (words.length === 0) return content;
  return without(content, oneOf(words.map((word) => JSON.stringify(word).slice(1, -1))), path, spend);
}

/** What `pattern` and `format` of one schema make of a string; null: they are not there. */
function formOf(part: Located, context: SchemaContext): Expr | null {
  const [pattern] = textsOf([part], "pattern");
  const [format] = textsOf([part], "format");
  const isKnown = format !== undefined && Object.hasOwn(FORMATS, format.text);
  if (format !== undefined && !isKnown && pattern === undefined) {
    const got = JSON.stringify(format.text.slice(0, 40));
    unsupported(format.path, `must be one of ${Object.keys(FORMATS).join(", ")}, got ${got}`);
  }
  const matching = pattern === undefined ? null : matchesOf(pattern.text, pattern.path, context);
  if (!isKnown) return matching;
  const formed = readRegex(FORMATS[format.text], {
    write: jsonCharacters,
    isSearch: false,
    name: format.path,
  });
  if (matching === null) return formed;
  const common = both(matching, formed, format.path, (work) => context.spend(format.path, work));
  return common === NEVER ? matching : common;
}

/** The contents of strings in which a pattern is found. */
export function matchesOf(pattern: string, path: string, context: SchemaContext): Expr {
  // Each character may become a set of many.
  context.spend(path, 10 * pattern.length);
  return readRegex(pattern, { write: jsonCharacters, isSearch: true, name: path });
}
