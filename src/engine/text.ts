import type { RowMath } from "../backend/row-math.ts";
import type { Constraint } from "../decoding/constraint.ts";
import { generate } from "../decoding/generate.ts";
import { nextTask } from "../decoding/next-task.ts";
import type { Choice } from "../decoding/pipeline.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import type {
  FinishReason,
  GenerateManyOptions,
  GenerateResult,
  Piece,
  Timings,
  TokenAlternatives,
} from "./model.ts";
import type { TextRequest } from "./request.ts";
import type { Session } from "./source.ts";
import { type OpenSpeculation, summarize } from "./speculation.ts";
import { StopMatcher } from "./stop-matcher.ts";

/** Milliseconds between two turns for everything else in the process. */
const TURN_MS = 8;

export interface TextParts {
  readonly tokenizer: Tokenizer;
  /** Holds nothing, or the prompt but for its last token. Not closed here. */
  readonly session: Session;
  /** Tokens of the prompt that were there when the session was opened, and when that was. */
  readonly cachedTokens: number;
  readonly started: number;
  readonly speculation?: OpenSpeculation;
  /** What verifiers that compare laws work with. */
  readonly math?: RowMath;
  readonly constraint?: Constraint;
}

/** But for what the model knows of it. */
export type DecodedText = Omit<GenerateResult, "backend" | "fallback" | "audits" | "known">;

/** Decodes one text: from the tokens of `decoding/generate.ts` to pieces of text, up to a stop text or an end. */
export async function* decodeText(
  request: TextRequest,
  { tokenizer, session, cachedTokens, started, speculation, math, constraint }: TextParts,
): AsyncGenerator<Piece, DecodedText, void> {
  const { promptTokens, maxTokens, pipeline, seed, endTokens, logProbabilities, fingerprint } = request;
  const { signal, bestOf }: GenerateManyOptions = request.options;
  // The best of several texts are those with the highest log-probability.
  const isRanked = bestOf !== undefined;
  const stops = new StopMatcher(request.stops);
  const decoder = tokenizer.stream();
  const tokens: number[] = [];
  const alternatives: TokenAlternatives[] = [];
  let logProbability = 0;
  let text = "";
  let decoding = started;
  let turn = started;
  let finishReason: FinishReason = "length";
  let held: Piece | null = null;
  const steps = generate(session, promptTokens, {
    pipeline,
    seed,
    constraint,
    top: logProbabilities ?? (isRanked ? 0 : null),
    maxTokens,
    endTokens,
    signal,
    speculation,
    math,
  });
  for (;;) {
    const step = await steps.next();
    const now = performance.now();
    if (tokens.length === 0) decoding = now;
    if (step.done) {
      if (step.value === "end") finishReason = "stop";
      break;
    }
    const { token } = step.value;
    tokens.push(token);
    logProbability += step.value.logProbability;
    if (logProbabilities !== undefined) alternatives.push(alternativesOf(step.value));
    if (held !== null) {
      yield held;
      signal?.throwIfAborted();
    }
    // Rows that only pad the embedding have no token in the vocabulary, hence no text.
    const spelled = token < tokenizer.vocab ? decoder.push(token) : "";
    const piece: Piece = {
      token,
      text: stops.push(spelled),
      ...(logProbabilities !== undefined && alternativesOf(step.value)),
    };
    text += piece.text;
    // Should this be the last token, its piece must take along what is held back, so it waits.
    held = decoder.holding || stops.holding ? piece : null;
    if (held === null) yield piece;
    if (stops.stopped) {
      finishReason = "stop";
      break;
    }
    if (now - turn > TURN_MS) {
      await nextTask();
      turn = performance.now();
    }
  }
  const tail = stops.stopped ? "" : stops.push(decoder.end()) + stops.end();
  if (stops.stopped) finishReason = "stop";
  text += tail;
  if (held !== null) yield { ...held, text: held.text + tail };
  const ended = performance.now();
  return {
    promptTokens,
    cachedTokens,
    tokens,
    text,
    finishReason,
    logProbability,
    timings: timings(promptTokens.length, decoding - started, tokens.length, ended - decoding),
    fingerprint,
    seed,
    ...(logProbabilities !== undefined && { logProbabilities: alternatives }),
    ...(speculation && { speculation: summarize(speculation) }),
  };
}

function alternativesOf({ token, logProbability, top }: Choice): TokenAlternatives {
  return { token, logProbability, top };
}

/** The first token counts to the prompt: it comes out of the same forward pass. */
function timings(promptTokens: number, promptMs: number, tokens: number, decodeMs: number): Timings {
  const perSecond = (count: number, ms: number) => (count > 0 && ms > 0 ? round((count * 1000) / ms) : 0);
  return {
    prompt_ms: round(promptMs),
    prompt_tokens_per_second: perSecond(promptTokens, promptMs),
    decode_ms: round(decodeMs),
    tokens_per_second: perSecond(tokens - 1, decodeMs),
  };
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}
