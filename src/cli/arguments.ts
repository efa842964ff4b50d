/**
 * The command line as a command: every option known, of its kind and in range before anything is loaded.
 *
 * `parseArgs` only cuts it up: what it accepts and how it complains differs between Node, Deno and Bun.
 */
import { parseArgs } from "node:util";
import { samplingSettings, stopTexts } from "../engine/options.ts";
import { expectInteger } from "../errors.ts";
import type { GenerateArguments } from "./generate.ts";
import type { InspectArguments } from "./inspect.ts";
import type { ServeOptions } from "./serve.ts";
import { COMMAND_NAMES, COMMANDS, type CommandName, type Option, SAMPLING_DEFAULTS } from "./usage.ts";

export type Command =
  | { name: "help"; of?: CommandName }
  | { name: "version" }
  | { name: "generate"; options: GenerateArguments }
  | { name: "inspect"; options: InspectArguments }
  | { name: "serve"; options: ServeOptions };

/** By long name. */
type Values = ReadonlyMap<string, string | readonly string[] | number | true>;

const MOST = 2 ** 31 - 1;

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
  const { values, positionals } = readValues(name, rest);
  if (values.has("help")) return { name: "help", of: name };
  expectPositionals(name, positionals);
  switch (name) {
    case "generate":
      return { name, options: generateArguments(values) };
    case "inspect":
      return { name, options: { model: positionals[0], json: values.has("json"), ...contextOption(values) } };
    case "serve":
      return { name, options: serveOptions(values) };
  }
}

function generateArguments(values: Values): GenerateArguments {
  const text = (name: string) => values.get(name) as string | undefined;
  const number = (name: string) => values.get(name) as number | undefined;
  if (values.has("prompt") && values.has("prompt-file")) {
    throw new TypeError('"--prompt" and "--prompt-file" must not be given both');
  }
  const maxTokens = number("max-tokens");
  const stop = (values.get("stop") ?? []) as readonly string[];
  return {
    model: text("model"),
    prompt: text("prompt") ?? "",
    promptFile: text("prompt-file"),
    draft: text("draft"),
    chat: values.has("chat"),
    json: values.has("json"),
    load: {
      backend: text("backend") as "wasm" | "reference" | undefined,
      build: text("build") as "auto" | "simd" | "relaxed" | undefined,
      ...contextOption(values),
    },
    decode: {
      maxTokens: maxTokens === undefined ? undefined : expectInteger("--max-tokens", maxTokens, 0, MOST),
      ignoreEos: values.has("ignore-eos"),
      stop: withOptionNames(() => stopTexts(stop)),
      ...withOptionNames(() =>
        samplingSettings({
          temperature: number("temperature") ?? SAMPLING_DEFAULTS.temperature,
          topK: number("top-k") ?? SAMPLING_DEFAULTS.topK,
          topP: number("top-p") ?? SAMPLING_DEFAULTS.topP,
          minP: number("min-p") ?? SAMPLING_DEFAULTS.minP,
          repetitionPenalty: number("repetition-penalty") ?? SAMPLING_DEFAULTS.repetitionPenalty,
          seed: number("seed"),
        }),
      ),
    },
  };
}

function serveOptions(values: Values): ServeOptions {
  const port = values.get("port") as number | undefined;
  return {
    model: values.get("model") as string | undefined,
    host: values.get("host") as string | undefined,
    port: port === undefined ? undefined : expectInteger("--port", port, 0, 65_535),
    ...contextOption(values),
  };
}

function contextOption(values: Values): { contextLength?: number } {
  const context = values.get("context") as number | undefined;
  return context === undefined ? {} : { contextLength: expectInteger("--context", context, 1, MOST) };
}

/** The engine checks ranges and names what is wrong as in a program: "topP" is "--top-p" here. */
function withOptionNames<T>(check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (error instanceof Error) {
      error.message = error.message.replace(
        /^"([a-zA-Z]+)/,
        (_, name: string) => `"--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`,
      );
    }
    throw error;
  }
}

function expectPositionals(name: CommandName, positionals: readonly string[]): void {
  const { positionals: count, form } = COMMANDS[name];
  if (positionals.length === count) return;
  const got = positionals.length === 0 ? "nothing" : positionals.map((text) => `"${text}"`).join(" ");
  const expected = count === 0 ? "must have options only" : `must be "edgewise ${name} ${form}"`;
  throw new TypeError(`Arguments of ${name} ${expected}, got ${got}`);
}

function readValues(name: CommandName, args: readonly string[]): { values: Values; positionals: string[] } {
  const { options } = COMMANDS[name];
  const { tokens, positionals } = parseArgs({
    args: [...args],
    strict: false,
    tokens: true,
    options: Object.fromEntries(
      Object.entries(options).map(([long, { short, kind }]) => [
        long,
        { type: kind === "flag" ? "boolean" : "string", ...(short && { short }) } as const,
      ]),
    ),
  });
  const values = new Map<string, string | string[] | number | true>();
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    if (!Object.hasOwn(options, token.name)) {
      throw new TypeError(`Option "${token.rawName}" is unknown; see edgewise ${name} --help`);
    }
    const option = options[token.name];
    const value = readValue(options, token);
    if (option.kind === "texts") {
      values.set(token.name, [...((values.get(token.name) as string[] | undefined) ?? []), value as string]);
    } else values.set(token.name, value);
  }
  return { values, positionals };
}

interface OptionToken {
  readonly name: string;
  readonly value?: string;
  readonly inlineValue?: boolean;
}

function readValue(options: Readonly<Record<string, Option>>, token: OptionToken): string | number | true {
  const { kind, choices } = options[token.name];
  const { value } = token;
  const label = `--${token.name}`;
  if (kind === "flag") {
    if (value !== undefined) throw new TypeError(`"${label}" must have no value, got "${value}"`);
    return true;
  }
  if (value === undefined) throw new TypeError(`"${label}" must have a value, got nothing`);
  // A text may begin with a dash, but one that is an option's name is a value forgotten.
  const forgotten = Object.entries(options).some(
    ([long, { short }]) => value === `--${long}` || value === `-${short}`,
  );
  if (forgotten && !token.inlineValue) {
    throw new TypeError(
      `"${label}" must have a value, got the option "${value}"; write ${label}=${value} to mean it`,
    );
  }
  if (choices !== undefined && !choices.includes(value)) {
    throw new RangeError(`"${label}" must be one of ${choices.join(", ")}, got "${value}"`);
  }
  if (kind !== "integer" && kind !== "number") return value;
  const number = Number(value);
  if (value.trim() === "" || Number.isNaN(number) || (kind === "integer" && !Number.isInteger(number))) {
    throw new TypeError(
      `"${label}" must be ${kind === "integer" ? "an integer" : "a number"}, got "${value}"`,
    );
  }
  return number;
}
