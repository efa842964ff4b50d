/**
 * A command line, cut up: every option known and of its kind.
 *
 * `parseArgs` only finds the pieces: what it accepts and how it complains differs between Node, Deno and Bun.
 */
import { parseArgs } from "node:util";
import { expectInteger } from "../errors.ts";
import type { Option, Options } from "./option.ts";

type Value = string | readonly string[] | number | true;

interface Given {
  readonly value: Value;
  /** The name to use in messages: the long one, or the alias that was typed. */
  readonly label: string;
}

/** The options that were given, by long name. */
export class Values {
  readonly #given: ReadonlyMap<string, Given>;

  constructor(given: ReadonlyMap<string, Given>) {
    this.#given = given;
  }

  has(name: string): boolean {
    return this.#given.has(name);
  }

  /** Of an option of the kind "text", whose choices are those of `Choice`. */
  text<Choice extends string>(name: string): Choice | undefined {
    return this.#given.get(name)?.value as Choice | undefined;
  }

  texts(name: string): readonly string[] {
    return (this.#given.get(name)?.value ?? []) as readonly string[];
  }

  number(name: string): number | undefined {
    return this.#given.get(name)?.value as number | undefined;
  }

  /** @throws {RangeError} If it is not in [min, max]. */
  integer(name: string, min: number, max: number): number | undefined {
    const value = this.number(name);
    return value === undefined ? undefined : expectInteger(this.label(name), value, min, max);
  }

  /** As it was typed, with its dashes. */
  label(name: string): string {
    return this.#given.get(name)?.label ?? `--${name}`;
  }

  /** @throws {TypeError} If one of `names` is there and none of `needed` is. */
  expectBeside(names: readonly string[], needed: readonly string[]): void {
    const alone = names.find((name) => this.has(name));
    if (alone === undefined || needed.some((name) => this.has(name))) return;
    const others = needed.map((name) => `"--${name}"`).join(" or ");
    throw new TypeError(`"${this.label(alone)}" needs ${others} beside it`);
  }
}

/**
 * @param command Named in messages.
 * @throws {TypeError | RangeError} If an option is unknown, or its value missing or of the wrong kind.
 */
export function readValues(
  command: string,
  options: Options,
  args: readonly string[],
): { values: Values; positionals: string[] } {
  const names = longNames(options);
  const { tokens, positionals } = parseArgs({
    args: [...args],
    strict: false,
    tokens: true,
    options: Object.fromEntries(
      [...names].map(([typed, long]) => {
        const { short, kind } = options[long];
        const type = kind === "flag" ? ("boolean" as const) : ("string" as const);
        return [typed, { type, ...(short && typed === long && { short }) }];
      }),
    ),
  });
  const given = new Map<string, Given>();
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    const long = names.get(token.name);
    if (long === undefined) {
      throw new TypeError(`Option "${token.rawName}" is unknown; see edgewise ${command} --help`);
    }
    const value = readValue(options, options[long], token);
    const before = given.get(long)?.value as readonly string[] | undefined;
    given.set(long, {
      label: `--${token.name}`,
      value: options[long].kind === "texts" ? [...(before ?? []), value as string] : value,
    });
  }
  return { values: new Values(given), positionals };
}

/** From every long name and alias to the long name. */
function longNames(options: Options): Map<string, string> {
  return new Map(
    Object.entries(options).flatMap(([long, { aliases = [] }]) =>
      [long, ...aliases].map((typed): [string, string] => [typed, long]),
    ),
  );
}

interface OptionToken {
  readonly name: string;
  readonly value?: string;
  readonly inlineValue?: boolean;
}

function readValue(options: Options, { kind, choices }: Option, token: OptionToken): string | number | true {
  const { value } = token;
  const label = `--${token.name}`;
  if (kind === "flag") {
    if (value !== undefined) throw new TypeError(`"${label}" must have no value, got "${value}"`);
    return true;
  }
  if (value === undefined) throw new TypeError(`"${label}" must have a value, got nothing`);
  if (isForgotten(options, value) && !token.inlineValue) {
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

/** A text may begin with a dash, but one that is an option's name is a value forgotten. */
function isForgotten(options: Options, value: string): boolean {
  return Object.entries(options).some(
    ([long, { short, aliases = [] }]) =>
      (short !== undefined && value === `-${short}`) ||
      [long, ...aliases].some((name) => value === `--${name}`),
  );
}
