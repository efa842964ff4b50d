import { CONTEXT, HELP, MODEL, type OptionGroup } from "./option.ts";

/** What `edgewise rows` does, and the files each needs. */
export const ROWS_ACTIONS = {
  inspect: "FILE",
  convert: "IN OUT --encoding int8",
  dump: "[MODEL.gguf] --text TEXT -o OUT",
  codebook: "IN OUT",
} as const;

export type RowsAction = keyof typeof ROWS_ACTIONS;

/** Encodings that `--encoding` names. */
export const ENCODING_CHOICES = ["f32", "f16", "int8", "int4", "vq", "top-k", "lattice", "ids"] as const;

/** The options of `edgewise rows`. */
export const ROWS_GROUPS: readonly OptionGroup[] = [
  {
    options: {
      encoding: {
        short: "e",
        kind: "text",
        value: "NAME",
        choices: ENCODING_CHOICES,
        help: `how rows are written: ${ENCODING_CHOICES.join(", ")} (default: f16)`,
      },
      clip: {
        kind: "number",
        value: "NATS",
        help: "int8, int4: how far below a block's best logits are told apart",
      },
      count: { kind: "integer", value: "N", help: "top-k, lattice, ids: tokens that are kept" },
      precision: {
        kind: "text",
        value: "TYPE",
        choices: ["f16", "f32"],
        help: "top-k: of log-probabilities",
      },
      resolution: {
        kind: "integer",
        value: "N",
        help: "lattice: probabilities are multiples of 1/N (default: 1000)",
      },
      codebook: { kind: "text", value: "FILE", help: "vq: a file that `edgewise rows codebook` made" },
      json: { kind: "flag", help: "inspect: print one JSON object instead" },
      help: HELP,
    },
  },
  {
    title: "Rows of a model after each token of a text (dump)",
    options: {
      model: MODEL,
      text: { kind: "text", value: "TEXT", help: "the text" },
      file: { short: "f", kind: "text", value: "FILE", help: "read the text from here; - is standard input" },
      output: { short: "o", kind: "text", value: "FILE", help: "where the rows go" },
      context: CONTEXT,
    },
  },
  {
    title: "A codebook learned from rows (codebook)",
    options: {
      codes: { kind: "integer", value: "N", help: "codewords of a stage (default: 256)" },
      dim: { kind: "integer", value: "N", help: "tokens of a codeword, a multiple of 4 (default: 8)" },
      stages: { kind: "integer", value: "N", help: "codewords that are added up (default: 1)" },
      seed: { kind: "integer", value: "N", help: "of its starting points (default: 0)" },
    },
  },
];
