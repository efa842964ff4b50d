import { ALL_CHARACTERS, jsonCharacters } from "./characters.ts";
import { type Expr, NEVER, repeat } from "./expr.ts";
import { FORMATS } from "./json-formats.ts";
import { CHARACTER, quoted, STRING } from "./json-text.ts";
import { both } from "./product.ts";
import { readRegex } from "./regex.ts";
import { countOf, type Located, type SchemaContext, textOf, unsupported } from "./schema-context.ts";

/**
 * A string of a length, pattern and format. Beside a pattern, `format` is what the standard makes of it, a remark: it is
 * kept where both can be.
 */
export function stringExpr(place: Located, context: SchemaContext): Expr {
  const { path } = place;
  const min = countOf(place, "minLength", 0);
  const max = countOf(place, "maxLength", Infinity);
  if (max < min) return NEVER;
  const pattern = textOf(place, "pattern");
  const format = textOf(place, "format");
  const known = format !== undefined && Object.hasOwn(FORMATS, format) ? FORMATS[format] : undefined;
  if (format !== undefined && known === undefined && pattern === undefined) {
    unsupported(
      `${path}.format`,
      `must be one of ${Object.keys(FORMATS).join(", ")}, got ${JSON.stringify(format)}`,
    );
  }
  if (pattern === undefined && known === undefined) {
    return min === 0 && max === Infinity ? STRING : quoted(repeat(CHARACTER, min, max));
  }
  const spend = (work: number) => context.spend(path, work);
  // Each character may become a set of many.
  spend(10 * (pattern?.length ?? 0));
  let content = contentOf(pattern, known, path, spend);
  if (min > 0 || max < Infinity) {
    const lengths = repeat(jsonCharacters(ALL_CHARACTERS), min, max);
    content = both(content, lengths, path, spend);
  }
  return content === NEVER ? NEVER : quoted(content);
}

function contentOf(
  pattern: string | undefined,
  format: string | undefined,
  path: string,
  spend: (work: number) => void,
): Expr {
  const formatted =
    format && readRegex(format, { write: jsonCharacters, isSearch: false, name: `${path}.format` });
  if (pattern === undefined) return formatted || NEVER;
  const matched = readRegex(pattern, { write: jsonCharacters, isSearch: true, name: `${path}.pattern` });
  if (!formatted) return matched;
  const common = both(matched, formatted, path, spend);
  return common === NEVER ? matched : common;
}
