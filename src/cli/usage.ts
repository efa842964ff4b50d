/** The commands and their options: what `arguments.ts` accepts and what `--help` prints, from one table. */
import { COMPRESS_HEAD_GROUPS } from "./compress-head-arguments.ts";
import { GENERATE_GROUPS } from "./generate-usage.ts";
import { CONTEXT, HELP, MODEL, type Option, type OptionGroup, type Options } from "./option.ts";
import { PLAN_OPTIONS } from "./plan-arguments.ts";
import { ROWS_GROUPS } from "./rows-usage.ts";
import { SCORE_GROUPS } from "./score-usage.ts";
import { ACCESS_GROUP } from "./serve-access.ts";

export interface CommandUsage {
  readonly summary: string;
  /** What follows the command's name. */
  readonly form: string;
  /** Null: the command reads them itself. */
  readonly positionals: number | null;
  readonly groups: readonly OptionGroup[];
}

export const COMMAND_NAMES = ["compress-head", "generate", "inspect", "rows", "score", "serve"] as const;

export type CommandName = (typeof COMMAND_NAMES)[number];

export const COMMANDS: Readonly<Record<CommandName, CommandUsage>> = {
  "compress-head": {
    summary: "add a head to a model that takes a fraction of the time",
    form: "FILE -o FILE --method vq",
    positionals: 1,
    groups: COMPRESS_HEAD_GROUPS,
  },
  generate: {
    summary: "continue a text",
    form: '[-m FILE] -p "Once upon a time"',
    positionals: 0,
    groups: GENERATE_GROUPS,
  },
  inspect: {
    summary: "say what a file holds, whether it can run, and in how much memory",
    form: "FILE",
    positionals: 1,
    groups: [
      {
        options: {
          json: { kind: "flag", help: "print one JSON object instead" },
          context: CONTEXT,
          help: HELP,
        },
      },
    ],
  },
  rows: {
    summary: "look into files of encoded logits, convert them, make them from a text",
    form: "inspect FILE | convert IN OUT -e int8 | dump [MODEL] --text TEXT -o OUT",
    positionals: null,
    groups: ROWS_GROUPS,
  },
  score: {
    summary: "say how likely a text is to a model, or how far two models are apart on it",
    form: "[-m FILE] -f text.txt [--against FILE]",
    positionals: 0,
    groups: SCORE_GROUPS,
  },
  serve: {
    summary: "serve a model over HTTP, as OpenAI's API",
    form: "[-m FILE] [--port 8787]",
    positionals: 0,
    groups: [
      {
        options: {
          model: { ...MODEL, help: "a GGUF file (default: the embedded story model)" },
          port: { kind: "integer", value: "N", help: "0 takes any free one (default: 8787)" },
          host: {
            kind: "text",
            value: "ADDRESS",
            help: "where to listen (default: 127.0.0.1, this machine only)",
          },
          ...PLAN_OPTIONS,
          plan: {
            kind: "texts",
            value: "NAME=PLAN",
            help: "serve several models, fused by a plan, under a name: a JSON file, or preset:NAME with options",
          },
          "draft-model": {
            kind: "text",
            value: "FILE",
            help: 'a smaller model that drafts for requests with "draft": "model"',
          },
          context: CONTEXT,
          runtime: {
            kind: "text",
            value: "NAME",
            choices: ["workerd", "node"],
            help: "workerd, as deployed, or node, this process (default: workerd where miniflare is installed)",
          },
          help: HELP,
        },
      },
      ACCESS_GROUP,
    ],
  },
};

/** Characters of a line of help. */
const LINE = 100;

/** All options of a command. */
export function optionsOf(name: CommandName): Options {
  return Object.assign({}, ...COMMANDS[name].groups.map(({ options }) => options));
}

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
  const { summary, form, groups } = COMMANDS[name];
  const width = Math.max(
    ...Object.entries(optionsOf(name)).map(([long, option]) => left(long, option).length),
  );
  return [
    `edgewise ${name}: ${summary}`,
    `\nUsage: edgewise ${name} ${form}`,
    ...groups.flatMap(({ title, options }) => [
      title === undefined ? "" : `\n${title}`,
      ...columns(
        Object.entries(options).map(([long, option]) => [left(long, option), option.help]),
        width,
      ),
    ]),
    "",
  ].join("\n");
}

function left(long: string, { short, value }: Option): string {
  return `${short === undefined ? "   " : `-${short},`} --${long}${value === undefined ? "" : ` ${value}`}`;
}

/** Two columns; the right one breaks between words. */
function columns(
  rows: readonly (readonly string[])[],
  width = Math.max(...rows.map(([left]) => left.length)),
): string[] {
  return rows.flatMap(([left, right]) =>
    wrapped(right, LINE - width - 4).map(
      (text, line) => `  ${(line === 0 ? left : "").padEnd(width)}  ${text}`,
    ),
  );
}

function wrapped(text: string, width: number): string[] {
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines.pop()!;
    const longer = line === "" ? word : `${line} ${word}`;
    lines.push(...(longer.length <= width || line === "" ? [longer] : [line, word]));
  }
  return lines;
}
