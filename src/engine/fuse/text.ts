/** text: whose tokens the text of a fused model is of, and how each of its models reads them. */
import type { Program, Table } from "../../decoding/fuse.ts";
import { kindOf } from "../../decoding/pipeline/fields.ts";
import type { Tokenizer } from "../../model/tokenizer.ts";
import type { FuseOptions } from "../fuse.ts";
import type { Model } from "../model.ts";
import type { Source } from "../source.ts";
import { BridgedSource } from "./bridge.ts";
import { isRow } from "./constant.ts";
import { createTokenReader } from "./reader.ts";
import { isUnion, spokenTables, unionOf } from "./tables.ts";

/** A model of a plan: the same one may stand under several names, each reading a text of its own before the common one. */
export interface ModelWithPrefix {
  readonly source: Model;
  /** Token ids, or text, which is encoded as the beginning of a prompt is. */
  readonly prefix?: string | readonly number[];
}

/** What stands for a source of a plan: a model, or a row of logits that is the same after any tokens. */
export type GivenModel = Model | ModelWithPrefix | ArrayLike<number>;

/** A source of the plan: a model, or a row that is always the same. */
export type Member =
  | { readonly name: string; readonly model: Model; readonly prefix: readonly number[] }
  | { readonly name: string; readonly row: ArrayLike<number> };
export type ModelMember = Extract<Member, { model: Model }>;

export function readMember(name: string, given: GivenModel): Member {
  if (isRow(given)) return { name, row: given };
  const isSpec = typeof given === "object" && given !== null && "source" in given;
  const { source: model, prefix = [] } = isSpec ? given : { source: given };
  if (typeof model !== "object" || model === null || !("tokenizer" in model)) {
    throw new TypeError(`"sources.${name}" must be a model, got ${kindOf(model)}`);
  }
  return { name, model, prefix: typeof prefix === "string" ? model.tokenizer.encode(prefix) : prefix };
}

/** Whose tokens a text is of, and how the others read it. */
export interface FusedText {
  readonly tokenizer: Tokenizer;
  /** The base. */
  readonly model: Model;
  /** Tables that follow from the tokenizers. */
  readonly tables: Readonly<Record<string, Table>>;
  isOfResult(name: string): boolean;
  /** A member as a source of what reads the text. */
  reading(member: ModelMember): Source;
}

/** Undefined if the base is missing. */
export function textOf(
  program: Program,
  members: readonly Member[],
  base: string,
  { tables = {} }: FuseOptions,
): FusedText | undefined {
  const result = program.vocabularies.get(program.result);
  const isOfResult = (name: string) =>
    program.sources.find((source) => source.name === name)?.vocabulary === result;
  const spoken = members.filter((member): member is ModelMember => "model" in member);
  const found = spoken.find(({ name }) => name === base);
  if (found === undefined) return undefined;
  const speakers = spoken
    .filter(({ name }) => program.sources.some((source) => source.name === name))
    .map(({ name, model: { tokenizer, vocab } }) => ({ name, tokenizer, vocab }));
  const union = isUnion(program) ? unionOf(program, speakers, base, tables) : null;
  const tokenizer = union ?? found.model.tokenizer;
  if (union === null && !isOfResult(base)) {
    throw new RangeError(`"base" must be a source whose vocabulary is that of the result, got "${base}"`);
  }
  return {
    tokenizer,
    model: found.model,
    tables: spokenTables(program, speakers, base, union, tables),
    isOfResult,
    reading: ({ name, model }) => {
      if (isOfResult(name)) return model;
      const isBase = model.tokenizer === found.model.tokenizer;
      const shared = union !== null && isBase ? (token: number) => union.control(token) : undefined;
      return new BridgedSource(createTokenReader(tokenizer, model.tokenizer, { shared }), model);
    },
  };
}
