/** What an option is, and those that several commands have. */

export interface Option {
  /** One letter, without the dash. */
  readonly short?: string;
  /** Other long names, those of llama.cpp for instance. */
  readonly aliases?: readonly string[];
  /** "texts" may be given several times. */
  readonly kind: "flag" | "text" | "texts" | "integer" | "number";
  /** What stands for the value in the help; none for a flag. */
  readonly value?: string;
  /** The only values allowed. */
  readonly choices?: readonly string[];
  readonly help: string;
}

/** By long name. */
export type Options = Readonly<Record<string, Option>>;

/** Options of one theme, under a title in the help. */
export interface OptionGroup {
  readonly title?: string;
  readonly options: Options;
}

export const HELP: Option = { short: "h", kind: "flag", help: "print this" };

export const MODEL: Option = {
  short: "m",
  kind: "text",
  value: "FILE",
  help: "a GGUF file or URL (default: the embedded story model)",
};

export const CONTEXT: Option = {
  kind: "integer",
  value: "N",
  help: "positions to hold at most (default: the model's own, up to 4,096)",
};
