/** The command line as a command: every option known, of its kind and in range before anything is loaded. */
import { textCounts } from "../engine/many.ts";
import { stopTexts } from "../engine/options.ts";
import type { CompressHeadArguments } from "./compress-head.ts";
import { compressHeadArguments } from "./compress-head-arguments.ts";
import { draftArguments } from "./draft-arguments.ts";
import { formatArguments } from "./format-arguments.ts";
import type { GenerateArguments } from "./generate.ts";
import type { InspectArguments } from "./inspect.ts";
import { namedPlanArguments, planArguments } from "./plan-arguments.ts";
import type { RowsArguments } from "./rows.ts";
import { rowsArguments } from "./rows-arguments.ts";
import { samplingArguments, withOptionNames } from "./sampling-arguments.ts";
import type { ScoreArguments } from "./score.ts";
import { scoreRequests } from "./score-arguments.ts";
import type { ServeOptions } from "./serve.ts";
import { accessArguments } from "./serve-access.ts";
import { COMMAND_NAMES, COMMANDS, type CommandName, optionsOf } from "./usage.ts";
import { readValues, type Values } from "./values.ts";

export type Command =
  | { name: "help"; of?: CommandName }
  | { name: "version" }
  | { name: "compress-head"; options: CompressHeadArguments }
  | { name: "generate"; options: GenerateArguments }
  | { name: "inspect"; options: InspectArguments }
  | { name: "rows"; options: RowsArguments }
  | { name: "score"; options: ScoreArguments }
  | { name: "serve"; options: ServeOptions };

const MOST = 2 ** 31 - 1;

/** Alternatives per token that the engine tells at most. */
const MAX_TOP = 256;

/** What may be read from standard input, one of them. */
const FILES = ["prompt-file", "prediction", "pipeline", "plan", "file", "json-schema"];

/**
 * Reads the arguments that follow the program's name.
 *
 * @throws {TypeError | RangeError} If they are wrong; the message names the option.
 */
export function parseCommand(args: readonly string[]): Command {
  const [first, ...rest] = args;
  if (first === "--help" || first === "-h" || first === "help") return { name: "help" };
  if (first === "--version") return { name: "version" };
  const name = COMMAND_NAMES.find((command) => command === first);
  if (name === undefined) {
    const got = first === undefined ? "none" : `"${first}"`;
    throw new RangeError(
      `A command must be one of ${COMMAND_NAMES.join(", ")}, got ${got}; see edgewise --help`,
    );
  }
  const { values, positionals } = readValues(name, optionsOf(name), rest);
  if (values.has("help")) return { name: "help", of: name };
  expectPositionals(name, positionals);
  switch (name) {
    case "compress-head":
      return { name, options: compressHeadArguments(values, positionals) };
    case "generate":
      return { name, options: generateArguments(values) };
    case "inspect":
      return { name, options: { model: positionals[0], json: values.has("json"), ...contextOption(values) } };
    case "rows":
      return { name, options: rowsArguments(values, positionals) };
    case "score":
      return { name, options: scoreArguments(values) };
    case "serve":
      return { name, options: serveOptions(values) };
  }
}

function generateArguments(values: Values): GenerateArguments {
  if (values.has("prompt") && values.has("prompt-file")) {
    throw new TypeError('"--prompt" and "--prompt-file" must not be given both');
  }
  expectOneInput(values);
  values.expectBeside(["logprobs", "audit"], ["json"]);
  values.expectBeside(["audit", "explain"], ["plan"]);
  const plan = planArguments(values);
  const { sampling, ...sources } = samplingArguments(values);
  const { speculation, ...draft } = draftArguments(values);
  const logProbabilities = values.integer("logprobs", 0, MAX_TOP);
  return {
    model: values.text("model"),
    ...(plan !== undefined && { plan, explain: values.has("explain") }),
    prompt: values.text("prompt") ?? "",
    promptFile: values.text("prompt-file"),
    chat: values.has("chat"),
    json: values.has("json"),
    load: {
      backend: values.text("backend"),
      build: values.text("build"),
      ...contextOption(values),
    },
    ...sources,
    ...draft,
    ...formatArguments(values),
    ...(values.has("n") || values.has("best-of") ? { texts: textsOption(values) } : {}),
    decode: {
      maxTokens: values.integer("max-tokens", 0, MOST),
      ignoreEos: values.has("ignore-eos"),
      stop: withOptionNames(values, () => stopTexts(values.texts("stop"))),
      ...(logProbabilities !== undefined && { logProbabilities }),
      ...(values.has("audit") && { audit: true }),
      ...speculation,
      ...sampling,
    },
  };
}

function textsOption(values: Values): { n: number; bestOf: number } {
  return withOptionNames(values, () =>
    textCounts({ n: values.number("n"), bestOf: values.number("best-of") }),
  );
}

function scoreArguments(values: Values): ScoreArguments {
  const file = values.text("file");
  if (file === undefined) throw new TypeError('"--file" must be given: the text to score');
  expectOneInput(values);
  return {
    file,
    model: values.text("model"),
    plan: planArguments(values),
    against: values.text("against"),
    scores: scoreRequests(values),
    json: values.has("json"),
    ...contextOption(values),
  };
}

function expectOneInput(values: Values): void {
  const [first, second] = FILES.filter((name) => values.text(name) === "-");
  if (second === undefined) return;
  throw new TypeError(`"--${first}" and "--${second}" must not both be standard input`);
}

function serveOptions(values: Values): ServeOptions {
  return {
    model: values.text("model"),
    host: values.text("host"),
    port: values.integer("port", 0, 65_535),
    plans: namedPlanArguments(values),
    ...(values.has("draft-model") && { draftModel: values.text("draft-model") }),
    ...(values.has("runtime") && { runtime: values.text("runtime") }),
    ...contextOption(values),
    ...accessArguments(values),
  };
}

function contextOption(values: Values): { contextLength?: number } {
  const contextLength = values.integer("context", 1, MOST);
  return contextLength === undefined ? {} : { contextLength };
}

function expectPositionals(name: CommandName, positionals: readonly string[]): void {
  const { positionals: count, form } = COMMANDS[name];
  if (count === null || positionals.length === count) return;
  const got = positionals.length === 0 ? "nothing" : positionals.map((text) => `"${text}"`).join(" ");
  const expected = count === 0 ? "must have options only" : `must be "edgewise ${name} ${form}"`;
  throw new TypeError(`Arguments of ${name} ${expected}, got ${got}`);
}
