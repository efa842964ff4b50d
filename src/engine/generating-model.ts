/** generate and generateMany, as all models have them: what they differ in is where rows come from. */
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
  SamplingOptions,
} from "./model.ts";
import { backendOf } from "./model-backend.ts";
import { promptOpener } from "./model-prompts.ts";
import { openPipeline, requestFingerprint } from "./options.ts";
import type { OpenText } from "./prompts.ts";
import { capacityOf, readRequest, type TextRequest } from "./request.ts";
import { openSpeculation } from "./speculation.ts";
import { decodeText } from "./text.ts";

/** What models do with their rows. Who extends it is a `Model`. */
export abstract class GeneratingModel {
  generate(
    this: Model,
    prompt: string | readonly number[],
    options?: GenerateOptions,
  ): AsyncGenerator<Piece, GenerateResult, void> {
    return generateText(this, prompt, options);
  }

  generateMany(
    this: Model,
    prompt: string | readonly number[],
    options?: GenerateManyOptions,
  ): AsyncGenerator<IndexedPiece, readonly GenerateResult[], void> {
    return generateTexts(this, prompt, options);
  }

  requestFingerprint(this: Model, options: SamplingOptions = {}): string {
    return requestFingerprint(this.fingerprint, openPipeline(options, this.tokenizer.endTokens));
  }
}

async function* generateText(
  model: Model,
  prompt: string | readonly number[],
  options: GenerateOptions = {},
): AsyncGenerator<Piece, GenerateResult, void> {
  const started = performance.now();
  const request = readRequest(model, prompt, options);
  const text = await openText(model, request);
  let held: readonly number[] | undefined;
  try {
    const result = yield* decode(model, request, text, started);
    held = [...request.promptTokens, ...result.tokens];
    return result;
  } finally {
    text.close(held);
  }
}

async function* generateTexts(
  model: Model,
  prompt: string | readonly number[],
  options: GenerateManyOptions = {},
): AsyncGenerator<IndexedPiece, readonly GenerateResult[], void> {
  const started = performance.now();
  const request = readRequest(model, prompt, options);
  const counts = textCounts(options);
  const text = await openText(model, request, true);
  const { session, cachedTokens } = text;
  try {
    return yield* decodeMany(request, counts, session, (one, own) =>
      decode(model, one, { session: own, cachedTokens }, started),
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
  model: Model,
  request: TextRequest,
  { session, cachedTokens }: Pick<OpenText, "session" | "cachedTokens">,
  started: number,
): AsyncGenerator<Piece, GenerateResult, void> {
  const { tokenizer } = model;
  const constraint = request.constraint();
  const speculation = openSpeculation(model, session, request, constraint);
  const math = speculation && !keepsText(speculation.policy) ? backendOf(model)?.rowMath() : undefined;
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
    const { backend, fallback, known } = model;
    return {
      ...result,
      backend,
      ...(fallback !== undefined && { fallback }),
      ...(audits && { audits }),
      ...(known !== undefined && { known }),
    };
  } finally {
    speculation?.close();
  }
}
