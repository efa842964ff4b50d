/**
 * fuseModels: several models are one, which decodes like any other.
 *
 * Its text is that of the base model: tokenizer, chat template and end tokens are the base's, the rows are the plan's.
 */

import { referenceRowMath } from "../backend/reference/row-math.ts";
import { compilePlan, type Plan, type Program, planFingerprint } from "../decoding/fuse.ts";
import { kindOf } from "../decoding/pipeline/fields.ts";
import { grouped } from "../errors.ts";
import { Fingerprint } from "../format/fingerprint.ts";
import type { ChatMessage } from "../model/chat-template.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import { type FusedSource, type FuseOptions, fuse } from "./fuse.ts";
import { BridgedSource } from "./fused-bridge.ts";
import type { SourceWithPrefix } from "./fused-inputs.ts";
import { generateText, generateTexts, type TextEngine } from "./generate-text.ts";
import type {
  GenerateManyOptions,
  GenerateOptions,
  GenerateResult,
  IndexedPiece,
  Model,
  Piece,
  SamplingOptions,
} from "./model.ts";
import { backendOf, setBackend } from "./model-backend.ts";
import { spellAlike } from "./model-drafter.ts";
import { openPipeline, requestFingerprint } from "./options.ts";
import type { Call, Rows, Session, SessionOptions } from "./source.ts";

/** A model of a plan: the same one may stand under several names, each reading a text of its own before the common one. */
export interface ModelWithPrefix {
  readonly source: Model;
  /** Token ids, or text, which is encoded as the beginning of a prompt is. */
  readonly prefix?: string | readonly number[];
}

export interface FuseModelsOptions extends FuseOptions {
  /** Name in the plan of the model whose text it is. Default: the first one of the plan. */
  base?: string;
  /** Default: the names of the models, joined by "+". */
  name?: string;
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
  models: Readonly<Record<string, Model | ModelWithPrefix>>,
  options: FuseModelsOptions = {},
): Model {
  const program = compilePlan(plan);
  const names = program.sources.map(({ name }) => name);
  const base = options.base ?? names[0];
  if (!names.includes(base)) throw new RangeError(`"base" must be one of ${names.join(", ")}, got "${base}"`);
  const members = Object.entries(models).map(([name, given]) => readMember(name, given));
  const model = members.find(({ name }) => name === base)?.model;
  const ofResult = (name: string) => vocabularyOf(program, name) === program.vocabularies.get(program.result);
  if (model !== undefined && !ofResult(base)) {
    throw new RangeError(`"base" must be a source whose vocabulary is that of the result, got "${base}"`);
  }
  const sources = members.map(({ name, model: other, prefix }): [string, SourceWithPrefix] => {
    if (model === undefined || ofResult(name)) return [name, { source: other, prefix }];
    return [name, { source: new BridgedSource(model.tokenizer, other), prefix }];
  });
  // Says so if a model is missing.
  const source = fuse(plan, Object.fromEntries(sources), options);
  for (const { name, model: other } of members) {
    if (!ofResult(name) || spellAlike(model!.tokenizer, other.tokenizer)) continue;
    throw new RangeError(
      `"sources.${name}" must have the tokens of "sources.${base}", or a vocabulary of its own in the plan`,
    );
  }
  if (source.vocab < model!.tokenizer.vocab) {
    throw new RangeError(
      `"sources.${base}" must have at most ${grouped(source.vocab)} tokens, as fused rows have, got ${grouped(model!.tokenizer.vocab)}`,
    );
  }
  return new FusedModel(source, model!, members, { plan, ...options });
}

interface Member {
  readonly name: string;
  readonly model: Model;
  readonly prefix: readonly number[];
}

function readMember(name: string, given: Model | ModelWithPrefix): Member {
  const isSpec = typeof given === "object" && given !== null && "source" in given;
  const { source: model, prefix = [] } = isSpec ? given : { source: given };
  if (typeof model !== "object" || model === null || !("tokenizer" in model)) {
    throw new TypeError(`"sources.${name}" must be a model, got ${kindOf(model)}`);
  }
  return { name, model, prefix: typeof prefix === "string" ? model.tokenizer.encode(prefix) : prefix };
}

function vocabularyOf(program: Program, name: string): string | undefined {
  return program.sources.find((source) => source.name === name)?.vocabulary;
}

class FusedModel implements Model {
  readonly name: string;
  readonly architecture = "fusion";
  readonly tokenizer: Tokenizer;
  readonly backend: Model["backend"];
  readonly build: Model["build"];
  readonly vocab: number;
  readonly contextLength: number;
  readonly fingerprint: string;
  /** Of all models, each once. */
  readonly weightBytes: number;
  readonly loadMs: number;
  readonly #source: FusedSource;
  readonly #base: Model;
  readonly #engine: TextEngine;

  constructor(
    source: FusedSource,
    base: Model,
    members: readonly Member[],
    options: FuseModelsOptions & { readonly plan: Plan },
  ) {
    const models = [...new Set(members.map(({ model }) => model))];
    this.name = options.name ?? [...new Set(models.map(({ name }) => name))].join("+");
    this.tokenizer = base.tokenizer;
    this.backend = base.backend;
    this.build = base.build;
    this.vocab = source.vocab;
    this.contextLength = source.contextLength;
    this.fingerprint = fingerprintOf(members, options);
    this.weightBytes = models.reduce((sum, { weightBytes }) => sum + weightBytes, 0);
    this.loadMs = models.reduce((sum, { loadMs }) => sum + loadMs, 0);
    this.#source = source;
    this.#base = base;
    const backend = backendOf(base);
    if (backend !== undefined) setBackend(this, backend);
    this.#engine = { model: this, rowMath: () => backend?.rowMath() ?? referenceRowMath };
  }

  open(options?: SessionOptions): Session {
    return this.#source.open(options);
  }

  async forwardAll(calls: readonly Call[]): Promise<Rows[]> {
    return await this.#source.forwardAll(calls);
  }

  generate(
    prompt: string | readonly number[],
    options?: GenerateOptions,
  ): AsyncGenerator<Piece, GenerateResult, void> {
    return generateText(this.#engine, prompt, options);
  }

  generateMany(
    prompt: string | readonly number[],
    options?: GenerateManyOptions,
  ): AsyncGenerator<IndexedPiece, readonly GenerateResult[], void> {
    return generateTexts(this.#engine, prompt, options);
  }

  requestFingerprint(options: SamplingOptions = {}): string {
    return requestFingerprint(this.fingerprint, openPipeline(options, this.tokenizer.endTokens));
  }

  chatPrompt(messages: readonly ChatMessage[]): number[] {
    return this.#base.chatPrompt(messages);
  }

  /** The models belong to who loaded them. */
  close(): void {}
}

/** Of the plan, the models, and what comes with them. */
function fingerprintOf(
  members: readonly Member[],
  { plan, inputs, tables, kernels, backend }: FuseModelsOptions & { readonly plan: Plan },
): string {
  const hash = new Fingerprint();
  hash.addText(
    `fuse 1 ${planFingerprint(plan)} ${backend?.name ?? ""} ${kernels === undefined ? "" : "kernels"}`,
  );
  for (const { name, model, prefix } of [...members].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    hash.addText(`${name} ${model.fingerprint} ${prefix.join()}`);
  }
  // Of a function nothing is known but that it is there.
  hash.addText(JSON.stringify([typeof inputs === "function" ? "function" : inputs, tables], plainNumbers));
  return `ew-${hash}`;
}

/** Typed arrays as arrays, so that equal numbers are equal texts. */
function plainNumbers(_: string, value: unknown): unknown {
  return ArrayBuffer.isView(value) ? Array.from(value as Float64Array) : value;
}
