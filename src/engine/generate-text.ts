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
import { capacityOf, readRequest, type TextRequest } from "./request.ts";
import type { Session, Source } from "./source.ts";
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
  const request = readRequest(engine.model, prompt, options);
  const session = openFor(request, engine.model);
  try {
    return yield* decode(engine, request, session);
  } finally {
    session.close();
  }
}

/** `Model.generateMany`. */
export async function* generateTexts(
  engine: TextEngine,
  prompt: string | readonly number[],
  options: GenerateManyOptions = {},
): AsyncGenerator<IndexedPiece, readonly GenerateResult[], void> {
  const request = readRequest(engine.model, prompt, options);
  const counts = textCounts(options);
  const base = openFor(request, new Batcher(engine.model));
  try {
    return yield* decodeMany(request, counts, base, (one, session) => decode(engine, one, session));
  } finally {
    base.close();
  }
}

function openFor(request: TextRequest, source: Source): Session {
  const { promptTokens, seed, options } = request;
  const { audit } = options;
  return source.open({ capacity: capacityOf(request), promptLength: promptTokens.length, seed, audit });
}

async function* decode(
  { model, rowMath }: TextEngine,
  request: TextRequest,
  session: Session,
): AsyncGenerator<Piece, GenerateResult, void> {
  const { tokenizer } = model;
  const constraint = request.constraint();
  const speculation = openSpeculation(model, session, request, constraint);
  const math = speculation && !keepsText(speculation.policy) ? rowMath() : undefined;
  try {
    const result = yield* decodeText(request, { tokenizer, session, speculation, math, constraint });
    const audits = request.options.audit ? session.audits?.().slice(0, result.tokens.length) : undefined;
    return { ...result, ...(audits && { audits }) };
  } finally {
    speculation?.close();
  }
}
