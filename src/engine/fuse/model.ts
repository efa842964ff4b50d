/**
 * fuseModels: several models are one, which decodes like any other.
 *
 * Its text is that of the base model: tokenizer, chat template and end tokens are the base's, the rows are the plan's. Where
 * the plan's rows are over the tokens of all its models together, the tokens are those, and prompts are written as the base
 * writes them. Tables between vocabularies come from the models' tokenizers unless they are given.
 */

import { compilePlan, type Plan, planFingerprint } from "../../decoding/fuse.ts";
import { grouped } from "../../errors.ts";
import { Fingerprint } from "../../format/fingerprint.ts";
import type { ChatMessage, ChatOptions } from "../../model/chat-template.ts";
import type { Tokenizer } from "../../model/tokenizer.ts";
import { type FusedSource, type FuseOptions, fuse } from "../fuse.ts";
import { GeneratingModel } from "../generating-model.ts";
import type { Model } from "../model.ts";
import { backendOf, setBackend } from "../model-backend.ts";
import { spellAlike } from "../model-drafter.ts";
import type { Call, Rows, Session, SessionOptions } from "../source.ts";
import type { GivenSource } from "./inputs.ts";
import { type GivenModel, type Member, readMember, textOf } from "./text.ts";
import { UnionTokenizer } from "./union.ts";

export interface FuseModelsOptions extends FuseOptions {
  /**
   * Name in the plan of the model whose text it is: its tokenizer, chat template and end tokens. Default: the first one of
   * the plan.
   */
  base?: string;
  /** Default: the names of the models, joined by "+". */
  name?: string;
  /** Tells apart what the model's fingerprint cannot see: what a function in `inputs` depends on. */
  fingerprint?: string;
}

/**
 * A Model of fused rows: generate, speculation with every drafter, stop texts and the service work on it as on any other.
 * It holds nothing but its sessions, so closing it closes no model.
 *
 * @throws {TypeError | RangeError} As `fuse`; or if a model of the base's vocabulary has other tokens than the base.
 *
 * @example
 * ```ts
 * const model = fuseModels(fusePreset("dlf"), { base: large, expert: tuned, anti: small });
 * for await (const { text } of model.generate("Once upon a time", { draft: small })) print(text);
 * ```
 */
export function fuseModels(
  plan: Plan,
  models: Readonly<Record<string, GivenModel>>,
  options: FuseModelsOptions = {},
): Model {
  const program = compilePlan(plan);
  const names = program.sources.map(({ name }) => name);
  const members = Object.entries(models).map(([name, given]) => readMember(name, given));
  const base =
    options.base ?? names.find((name) => !members.some((one) => one.name === name && "row" in one));
  if (base === undefined || !names.includes(base))
    throw new RangeError(`"base" must be one of ${names.join(", ")}, got "${base}"`);
  const text = textOf(program, members, base, options);
  const sources = members.map((member): [string, GivenSource] => {
    if ("row" in member) return [member.name, member.row];
    const { name, model, prefix } = member;
    const source = text === undefined ? model : text.reading(member);
    return [name, { source, prefix }];
  });
  // Says so if a model is missing.
  const given = { ...options, tables: { ...options.tables, ...text?.tables } };
  const source = fuse(plan, Object.fromEntries(sources), given);
  const { tokenizer, model } = text!;
  for (const member of members) {
    if ("row" in member || !text!.isOfResult(member.name)) continue;
    if (spellAlike(tokenizer, member.model.tokenizer)) continue;
    throw new RangeError(
      `"sources.${member.name}" must have the tokens of "sources.${base}", or a vocabulary of its own in the plan`,
    );
  }
  if (source.vocab < tokenizer.vocab) {
    throw new RangeError(
      `"sources.${base}" must have at most ${grouped(source.vocab)} tokens, as fused rows have, got ${grouped(tokenizer.vocab)}`,
    );
  }
  return new FusedModel(source, { tokenizer, base: model }, members, { plan, ...options });
}

class FusedModel extends GeneratingModel implements Model {
  readonly name: string;
  readonly architecture = "fusion";
  readonly tokenizer: Tokenizer;
  readonly backend: Model["backend"];
  readonly build: Model["build"];
  readonly vocab: number;
  readonly contextLength: number;
  readonly known?: number;
  readonly fingerprint: string;
  /** Of all models, each once. */
  readonly weightBytes: number;
  readonly loadMs: number;
  readonly #source: FusedSource;
  readonly #base: Model;

  constructor(
    source: FusedSource,
    { tokenizer, base }: { readonly tokenizer: Tokenizer; readonly base: Model },
    members: readonly Member[],
    options: FuseModelsOptions & { readonly plan: Plan },
  ) {
    super();
    const models = [...new Set(members.flatMap((member) => ("model" in member ? [member.model] : [])))];
    this.name = options.name ?? [...new Set(models.map(({ name }) => name))].join("+");
    this.tokenizer = tokenizer;
    this.backend = base.backend;
    this.build = base.build;
    this.vocab = source.vocab;
    this.contextLength = source.contextLength;
    if (source.known !== undefined) this.known = source.known;
    this.fingerprint = fingerprintOf(members, options);
    this.weightBytes = models.reduce((sum, { weightBytes }) => sum + weightBytes, 0);
    this.loadMs = models.reduce((sum, { loadMs }) => sum + loadMs, 0);
    this.#source = source;
    this.#base = base;
    // Where the rows are.
    setBackend(this, backendOf(source)!);
  }

  open(options?: SessionOptions): Session {
    return this.#source.open(options);
  }

  async forwardAll(calls: readonly Call[]): Promise<Rows[]> {
    return await this.#source.forwardAll(calls);
  }

  chatPrompt(messages: readonly ChatMessage[], options?: ChatOptions): number[] {
    const tokens = this.#base.chatPrompt(messages, options);
    return this.tokenizer instanceof UnionTokenizer ? this.tokenizer.fromBase(tokens) : tokens;
  }

  chatText(messages: readonly ChatMessage[], options?: ChatOptions): string {
    return this.#base.chatText(messages, options);
  }

  /** The models belong to who loaded them. */
  close(): void {}
}

/** Of the plan, the models, and what comes with them. */
function fingerprintOf(
  members: readonly Member[],
  {
    plan,
    inputs,
    tables,
    kernels,
    backend,
    fingerprint = "function",
  }: FuseModelsOptions & { readonly plan: Plan },
): string {
  const hash = new Fingerprint();
  hash.addText(
    `fuse 1 ${planFingerprint(plan)} ${backend?.name ?? ""} ${kernels === undefined ? "" : "kernels"}`,
  );
  for (const member of [...members].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const { name } = member;
    if ("row" in member) hash.addText(`${name} ${JSON.stringify(Array.from(member.row))}`);
    else hash.addText(`${name} ${member.model.fingerprint} ${member.prefix.join()}`);
  }
  hash.addText(JSON.stringify([typeof inputs === "function" ? fingerprint : inputs, tables], plainNumbers));
  return `ew-${hash}`;
}

/** Typed arrays as arrays, so that equal numbers are equal texts. */
function plainNumbers(_: string, value: unknown): unknown {
  return ArrayBuffer.isView(value) ? Array.from(value as Float64Array) : value;
}
