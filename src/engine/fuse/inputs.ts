import type { Program } from "../../decoding/fuse.ts";
import { kindOf } from "../../decoding/pipeline/fields.ts";
import { expectInteger, grouped } from "../../errors.ts";
import type { Source } from "../source.ts";
import { ConstantSource, isRow } from "./constant.ts";

/** A source of a plan: the same one may stand under several names, each reading a text of its own before the common one. */
export interface SourceWithPrefix {
  readonly source: Source;
  /** Tokens before the text, which count as none of it. Default: none. */
  readonly prefix?: readonly number[];
}

/** What stands for a source of a plan: one that computes, or a row of logits that is the same after any tokens. */
export type GivenSource = Source | SourceWithPrefix | ArrayLike<number>;

export interface FusedInput {
  readonly name: string;
  readonly source: Source;
  readonly prefix: readonly number[];
  /** Its rows are not read back: kernels look at them where they were made. */
  readonly staysOnDevice?: boolean;
}

/**
 * What is given for each source of the plan, in its order.
 *
 * @throws {TypeError | RangeError} If one is missing or none of the plan's, or its prefix is wrong; the message names it.
 */
export function readInputs(
  program: Program,
  given: Readonly<Record<string, GivenSource>>,
): readonly FusedInput[] {
  const names = program.sources.map(({ name }) => name);
  const unknown = Object.keys(given).find((name) => !names.includes(name));
  if (unknown !== undefined) {
    throw new RangeError(`"sources" must be of ${names.join(", ")}, got "${unknown.slice(0, 64)}"`);
  }
  return names.map((name) => readInput(name, Object.hasOwn(given, name) ? given[name] : undefined));
}

function readInput(name: string, given: GivenSource | undefined): FusedInput {
  if (isRow(given)) return { name, source: new ConstantSource(`sources.${name}`, given), prefix: [] };
  const isSpec = typeof given === "object" && given !== null && "source" in given;
  const { source, prefix = [] } = isSpec ? given : { source: given };
  if (!isSource(source)) throw new TypeError(`"sources.${name}" must be a source, got ${kindOf(source)}`);
  if (!Array.isArray(prefix)) {
    throw new TypeError(`"sources.${name}.prefix" must be an array of token ids, got ${kindOf(prefix)}`);
  }
  prefix.forEach((token, index) => {
    expectInteger(`sources.${name}.prefix[${index}]`, token, 0, source.vocab - 1);
  });
  if (prefix.length >= source.contextLength) {
    throw new RangeError(
      `"sources.${name}.prefix" must be shorter than the context of its source, ${grouped(source.contextLength)} tokens, got ${grouped(prefix.length)}`,
    );
  }
  return { name, source, prefix: [...prefix] };
}

function isSource(value: unknown): value is Source {
  return typeof value === "object" && value !== null && "open" in value && "vocab" in value;
}
