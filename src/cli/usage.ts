/** The commands and their options: what `arguments.ts` accepts and what `--help` prints, from one table. */

export interface Option {
  /** One letter, without the dash. */
  readonly short?: string;
  /** "texts" may be given several times. */
  readonly kind: "flag" | "text" | "texts" | "integer" | "number";
  /** What stands for the value in the help; none for a flag. */
  readonly value?: string;
  /** The only values allowed. */
  readonly choices?: readonly string[];
  readonly help: string;
}

export interface CommandUsage {
  readonly summary: string;
  /** What follows the command's name. */
  readonly form: string;
  readonly positionals: number;
  readonly options: Readonly<Record<string, Option>>;
}

export const COMMAND_NAMES = ["generate", "inspect", "serve"] as const;

export type CommandName = (typeof COMMAND_NAMES)[number];

const HELP: Option = { short: "h", kind: "flag", help: "print this" };
const MODEL: Option = {
  short: "m",
  kind: "text",
  value: "FILE",
  help: "a GGUF file or URL (default: the embedded story model)",
};
const CONTEXT: Option = {
  kind: "integer",
  value: "N",
  help: "positions to hold at most (default: the model's own, up to 4,096)",
};

/** llama.cpp's defaults: what users of such commands know. The library and the HTTP service have neutral ones. */
export const SAMPLING_DEFAULTS = { temperature: 0.8, topK: 40, topP: 0.95, minP: 0.05, repetitionPenalty: 1 };

export const COMMANDS: Readonly<Record<CommandName, CommandUsage>> = {
  generate: {
    summary: "continue a text",
    form: '[-m FILE] -p "Once upon a time"',
    positionals: 0,
    options: {
      model: MODEL,
      prompt: {
        short: "p",
        kind: "text",
        value: "TEXT",
        help: "the text to continue (default: an empty one)",
      },
      "prompt-file": {
        short: "f",
        kind: "text",
        value: "FILE",
        help: "read it from here; - is standard input",
      },
      chat: { kind: "flag", help: "make it a user's message, by the model's chat template" },
      "max-tokens": {
        short: "n",
        kind: "integer",
        value: "N",
        help: "stop after N tokens (default: at a full context)",
      },
      temperature: { kind: "number", value: "T", help: "0 always takes the best token (default: 0.8)" },
      "top-k": { kind: "integer", value: "K", help: "draw from the K best tokens; 0 is all (default: 40)" },
      "top-p": {
        kind: "number",
        value: "P",
        help: "draw from the best that hold P together; 1 is all (default: 0.95)",
      },
      "min-p": {
        kind: "number",
        value: "P",
        help: "drop those below P x the best one's chance; 0 is none (default: 0.05)",
      },
      "repetition-penalty": {
        kind: "number",
        value: "R",
        help: "above 1 makes seen tokens less likely (default: 1)",
      },
      seed: { kind: "integer", value: "N", help: "the same seed gives the same text (default: random)" },
      stop: { kind: "texts", value: "TEXT", help: "end before this text; may be given up to 16 times" },
      draft: {
        kind: "text",
        value: "METHOD",
        help: "guess ahead: prompt-lookup, suffix, model:FILE (default: none)",
      },
      "ignore-eos": { kind: "flag", help: "go on after the model's end of text" },
      json: { kind: "flag", help: "print one JSON object at the end instead" },
      context: CONTEXT,
      backend: {
        kind: "text",
        value: "NAME",
        choices: ["wasm", "reference"],
        help: "wasm (default) or reference",
      },
      build: {
        kind: "text",
        value: "NAME",
        choices: ["auto", "simd", "relaxed"],
        help: "which Wasm: auto (default), simd or relaxed; the text is the same",
      },
      help: HELP,
    },
  },
  inspect: {
    summary: "say what a file holds, whether it can run, and in how much memory",
    form: "FILE",
    positionals: 1,
    options: { json: { kind: "flag", help: "print one JSON object instead" }, context: CONTEXT, help: HELP },
  },
  serve: {
    summary: "serve a model over HTTP, as OpenAI's API",
    form: "[-m FILE] [--port 8787]",
    positionals: 0,
    options: {
      model: { ...MODEL, help: "a GGUF file (default: the embedded story model)" },
      port: { kind: "integer", value: "N", help: "0 takes any free one (default: 8787)" },
      host: {
        kind: "text",
        value: "ADDRESS",
        help: "where to listen (default: 127.0.0.1, this machine only)",
      },
      context: CONTEXT,
      help: HELP,
    },
  },
};

/** The help of one command, or of all. */
export function helpText(name?: CommandName): string {
  if (name === undefined) {
    const commands = COMMAND_NAMES.map((command) => [command, COMMANDS[command].summary]);
    return [
      "edgewise: decode language models on WebAssembly SIMD",
      `\nUsage: edgewise ${COMMAND_NAMES.join(" | ")} [options]\n`,
      ...columns([
        ...commands,
        ["--version", "print the version"],
        ["--help", "also after a command: its options"],
      ]),
      "",
    ].join("\n");
  }
  const { summary, form, options } = COMMANDS[name];
  const rows = Object.entries(options).map(([long, { short, value, help }]) => [
    `${short === undefined ? "   " : `-${short},`} --${long}${value === undefined ? "" : ` ${value}`}`,
    help,
  ]);
  return [`edgewise ${name}: ${summary}`, `\nUsage: edgewise ${name} ${form}\n`, ...columns(rows), ""].join(
    "\n",
  );
}

function columns(rows: readonly (readonly string[])[]): string[] {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`);
}
