/** Supports: which tokens stay. */
import { expectArray, Fields } from "../../pipeline/fields.ts";
import { LIMITS, type Support } from "../plan.ts";
import { oneWord } from "./read-value.ts";
import type { Reader } from "./reader.ts";

const WORDS = ["minP", "topK", "topP", "relTop", "any", "allow", "forbid", "bitmask"] as const;
const MAX_SUPPORTS = 8;
const TIES = ["keep", "drop"] as const;

/** All of a list must hold; one may come without its list. */
export function readSupports(reader: Reader, path: string, json: unknown, depth: number): readonly Support[] {
  if (!Array.isArray(json)) return Object.freeze([readSupport(reader, path, json, depth)]);
  const list = expectArray(path, json, MAX_SUPPORTS);
  return Object.freeze(
    list.map((support, index) => readSupport(reader, `${path}[${index}]`, support, depth)),
  );
}

function readSupport(reader: Reader, path: string, json: unknown, depth: number): Support {
  reader.enter(path, depth);
  const fields = new Fields(path, json);
  const support = readWord(reader, fields, oneWord(fields, path, WORDS), depth);
  fields.done();
  return Object.freeze(support);
}

function readWord(reader: Reader, fields: Fields, word: (typeof WORDS)[number], depth: number): Support {
  switch (word) {
    case "minP":
      return {
        minP: fields.number("minP", 1e-12, 1),
        ...judge(reader, fields),
        ties: fields.choice("ties", TIES, "keep"),
      };
    case "topK":
      return { topK: fields.integer("topK", 1, LIMITS.vocab), ...judge(reader, fields) };
    case "topP":
      return { topP: fields.number("topP", 0, 1), ...judge(reader, fields) };
    case "relTop":
      return {
        relTop: fields.number("relTop", 1e-12, 1),
        ...judge(reader, fields),
        compat: flag(fields, "compat"),
      };
    case "any": {
      const path = fields.path("any");
      const list = expectArray(path, fields.raw("any"), MAX_SUPPORTS);
      if (list.length === 0) throw new RangeError(`"${path}" must have a support`);
      const any = list.map((support, index) => readSupport(reader, `${path}[${index}]`, support, depth + 1));
      return { any: Object.freeze(any) };
    }
    case "allow":
      return { allow: Object.freeze(fields.ids("allow")) };
    case "forbid":
      return { forbid: Object.freeze(fields.ids("forbid")) };
    case "bitmask":
      if (!flag(fields, "bitmask"))
        throw new RangeError(`"${fields.path("bitmask")}" must be true, got false`);
      return { bitmask: true };
  }
}

function judge(reader: Reader, fields: Fields): { of?: string } {
  return fields.has("of") ? { of: reader.rowName(fields, "of") } : {};
}

function flag(fields: Fields, name: string): boolean {
  const value = fields.raw(name) ?? false;
  if (typeof value === "boolean") return value;
  throw new TypeError(`"${fields.path(name)}" must be true or false, got ${typeof value}`);
}
