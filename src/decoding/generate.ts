/**
 * generate: the main path. Prompt in, tokens out, one at a time.
 *
 *     rows  =  forward(prompt)
 *     repeat:  token = sample(row);  yield token;  row = forward([token])
 */
import { nextTask } from "./next-task.ts";
import { type PipelineSettings, sampleToken } from "./pipeline.ts";

/** What is needed of a session here; engine/source.ts has the whole. */
interface Forward {
  readonly length: number;
  readonly capacity: number;
  forward(tokens: ArrayLike<number>, rows?: number): Promise<{ row(index: number): Float32Array }>;
}

export interface GenerateSettings {
  readonly sampling: PipelineSettings;
  /** Tokens to emit at most. */
  readonly maxTokens: number;
  /** Tokens that end the text; they are not emitted. */
  readonly endTokens: ReadonlySet<number>;
  readonly signal?: AbortSignal;
}

export type TokenFinish = "end" | "length";

/** Prompt tokens between two looks at the signal. Where a prompt is cut does not change a bit of the result. */
const PROMPT_PIECE = 64;

/** @throws {DOMException} AbortError, when the signal fires. */
export async function* generate(
  session: Forward,
  prompt: readonly number[],
  settings: GenerateSettings,
): AsyncGenerator<number, TokenFinish, void> {
  const { sampling, maxTokens, endTokens, signal } = settings;
  const history = [...prompt];
  if (maxTokens === 0) return "length";
  for (let at = 0; at + PROMPT_PIECE < prompt.length; at += PROMPT_PIECE) {
    await session.forward(prompt.slice(at, at + PROMPT_PIECE), 0);
    await nextTask();
    signal?.throwIfAborted();
  }
  let tokens: readonly number[] = prompt.slice(session.length);
  for (let emitted = 0; emitted < maxTokens; emitted++) {
    signal?.throwIfAborted();
    const rows = await session.forward(tokens, 1);
    const token = sampleToken(rows.row(0), history, session.length, sampling);
    if (endTokens.has(token)) return "end";
    history.push(token);
    yield token;
    if (session.length === session.capacity) return "length";
    tokens = [token];
  }
  return "length";
}
