/** generate and generateMany, as all models of this process have them: what they differ in is where rows come from. */
import type { RowMath } from "../backend/row-math.ts";
import { keepsText } from "../decoding/outcome.ts";
import { Batcher } from "./batch.ts";
import { decodeMany, textCounts } from "./many.ts";
import type {
  GenerateManyOptions,
  GenerateOptions,
  GenerateResult,
  IndexedPiece,
  Model,
  Piece,
} from "./model.ts";
import { promptOpener } from "./model-prompts.ts";
import type { OpenText } from "./prompts.ts";
import { capacityOf, readRequest, type TextRequest } from "./request.ts";
import { openSpeculation } from "./speculation.ts";
import { decodeText } from "./text.ts";

/** A model, and what decoding needs of it beside what everybody sees. */
export interface TextEngine {
  readonly model: Model;
  /** What verifiers that compare laws work with. */
  rowMath(): RowMath;
}

/** `Model.generate`. */
export async function* generateText(
  engine: TextEngine,
  prompt: string | readonly number[],
  options: GenerateOptions = {},
): AsyncGenerator<Piece, GenerateResult, void> {
  const started = performance.now();
  const request = readRequest(engine.model, prompt, options);
  const text = await openText(engine.model, request);
  let held: readonly number[] | undefined;
  try {
    const result = yield* decode(engine, request, text, started);
    held = [...request.promptTokens, ...result.tokens];
    return result;
  } finally {
    text.close(held);
  }
}

/** `Model.generateMany`. */
export async function* generateTexts(
  engine: TextEngine,
  prompt: string | readonly number[],
  options: GenerateManyOptions = {},
): AsyncGenerator<IndexedPiece, readonly GenerateResult[], void> {
  const started = performance.now();
  const request = readRequest(engine.model, prompt, options);
  const counts = textCounts(options);
  const text = await openText(engine.model, request, true);
  const { session, cachedTokens } = text;
  try {
    return yield* decodeMany(request, counts, session, (one, own) =>
      decode(engine, one, { session: own, cachedTokens }, started),
    );
  } finally {
    text.close();
  }
}

/** @param forked Whether forks of the session are called at the same time. */
async function openText(model: Model, request: TextRequest, forked = false): Promise<OpenText> {
  const { promptTokens, seed, options } = request;
  const capacity = capacityOf(request);
  const { audit, signal, lease } = options;
  const open = promptOpener(model);
  if (open !== undefined) return await open(promptTokens, capacity, { signal, lease });
  const source = forked ? new Batcher(model) : model;
  const session = source.open({ capacity, promptLength: promptTokens.length, seed, audit, signal, lease });
  return { session, cachedTokens: 0, close: () => session.close() };
}

async function* decode(
  { model, rowMath }: TextEngine,
  request: TextRequest,
  { session, cachedTokens }: Pick<OpenText, "session" | "cachedTokens">,
  started: number,
): AsyncGenerator<Piece, GenerateResult, void> {
  const { tokenizer } = model;
  const constraint = request.constraint();
  const speculation = openSpeculation(model, session, request, constraint);
  const math = speculation && !keepsText(speculation.policy) ? rowMath() : undefined;
  try {
    const result = yield* decodeText(request, {
      tokenizer,
      session,
      cachedTokens,
      started,
      speculation,
      math,
      constraint,
    });
    const audits = request.options.audit ? session.audits?.().slice(0, result.tokens.length) : undefined;
    return { ...result, ...(audits && { audits }), ...(model.known !== undefined && { known: model.known }) };
  } finally {
    speculation?.close();
  }
}
