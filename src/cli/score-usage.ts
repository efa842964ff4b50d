import { CONTEXT, HELP, MODEL, type OptionGroup } from "./option.ts";
import { PLAN_OPTIONS } from "./plan-arguments.ts";

/** The options of `edgewise score`. */
export const SCORE_GROUPS: readonly OptionGroup[] = [
  {
    options: {
      file: { short: "f", kind: "text", value: "FILE", help: "the text; - is standard input" },
      scores: {
        kind: "text",
        value: "NAMES",
        help: "which, with options as in nll,energy:temperature=2 (default: nll; with --against also kl, \
total-variation and top-k-agreement)",
      },
      model: MODEL,
      ...PLAN_OPTIONS,
      against: {
        kind: "text",
        value: "FILE",
        help: "a second model of the same vocabulary: the reference of scores that compare",
      },
      context: { ...CONTEXT, help: "tokens of a chunk, each read anew (default: the model's context)" },
      json: { kind: "flag", help: "print one JSON object instead" },
      help: HELP,
    },
  },
];
