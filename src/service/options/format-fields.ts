/** The fields that say what an answer must be, as something that is kept for later. */
import type { Constraint } from "../../decoding/constraint.ts";
import type { Model } from "../../engine/model.ts";
import type { CommonBody } from "../schemas.ts";
import { readConstraint } from "./guided.ts";

const NAMES = ["response_format", "guided_json", "guided_regex", "guided_choice", "json_schema"] as const;

/** Plain data. */
export type FormatFields = Pick<CommonBody, (typeof NAMES)[number]>;

/** Those of a request that are there; undefined: the answer may be anything. */
export function formatFieldsOf(body: FormatFields): FormatFields | undefined {
  const there = NAMES.filter((name) => body[name] !== undefined && body[name] !== null);
  if (there.length === 0) return undefined;
  return Object.fromEntries(there.map((name) => [name, body[name]])) as FormatFields;
}

/**
 * A constraint for each text; undefined where the fields ask for nothing, as "text" does.
 *
 * @param beside Fields of the same request that must go together with them.
 * @throws {HTTPException} 400 that names the field.
 */
export function openFormat(
  model: Model,
  format: FormatFields,
  beside: Partial<Pick<CommonBody, "ignore_eos" | "pipeline">> = {},
): (() => Constraint) | undefined {
  const { ignore_eos, pipeline } = beside;
  return readConstraint(model, { ...format, ignore_eos, pipeline } as CommonBody);
}
