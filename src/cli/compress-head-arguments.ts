import { COMPRESS_METHODS } from "../compress/methods.ts";
import { MOST_RESIDUAL_BYTES } from "../model/head/residual-codes.ts";
import type { HeadMethod } from "../model/head/stored-head.ts";
import type { CompressHeadArguments } from "./compress-head.ts";
import { HELP, type OptionGroup } from "./option.ts";
import type { Values } from "./values.ts";

const METHODS = COMPRESS_METHODS.map(({ name }) => name);

/** The options of `edgewise compress-head`. */
export const COMPRESS_HEAD_GROUPS: readonly OptionGroup[] = [
  {
    options: {
      out: { short: "o", kind: "text", value: "FILE", help: "the file to write" },
      method: {
        kind: "text",
        value: "NAME",
        choices: METHODS,
        help: COMPRESS_METHODS.map(({ name, summary }) => `${name}: ${summary}`).join("; "),
      },
      codes: { kind: "integer", value: "N", help: "codewords of vq (default: 2,048)" },
      residual: {
        kind: "integer",
        value: "N",
        help: "bytes a token for an order within vq's codes (default: 0; 32 is plenty)",
      },
      calibrate: {
        kind: "text",
        value: "FILE",
        help: "text of the kind that will be written (default: what the model writes)",
      },
      states: { kind: "integer", value: "N", help: "positions of it to look at (default: 4,096)" },
      seed: { kind: "integer", value: "N", help: "of what is drawn on the way (default: 1)" },
      replace: { kind: "flag", help: "make it the model's head, and leave the dense one out" },
      json: { kind: "flag", help: "print one JSON object instead" },
      help: HELP,
    },
  },
];

/** @throws {TypeError | RangeError} If an option is missing or out of range. */
export function compressHeadArguments(values: Values, [model]: readonly string[]): CompressHeadArguments {
  const out = values.text("out");
  if (out === undefined) throw new TypeError('"--out" must be given: the file to write');
  const method = values.text<HeadMethod>("method");
  if (method === undefined) throw new TypeError(`"--method" must be given: one of ${METHODS.join(", ")}`);
  return {
    model,
    out,
    calibrate: values.text("calibrate"),
    head: {
      method,
      codes: values.integer("codes", 1, 65_536),
      residual: values.integer("residual", 0, MOST_RESIDUAL_BYTES),
      states: values.integer("states", 64, 2 ** 20),
      seed: values.integer("seed", 0, Number.MAX_SAFE_INTEGER),
      replace: values.has("replace"),
    },
    json: values.has("json"),
  };
}
