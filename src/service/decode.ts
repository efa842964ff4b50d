import { nextTask } from "../decoding/next-task.ts";
import type { Lease } from "../engine/lease.ts";
import type { GenerateResult, Model } from "../engine/model.ts";
import { MemoryError } from "../errors.ts";
import { ChoiceText, codePoints, type TextPart, type TokenEntry } from "./choice-text.ts";
import { readEcho } from "./echo.ts";
import { clientError } from "./engine-errors.ts";
import type { Job } from "./options.ts";

/** What happened to a choice: some text came, or it is finished. */
export type ChoiceEvent =
  | (TextPart & { readonly index: number; readonly result?: undefined })
  | { readonly index: number; readonly result: ChoiceResult; readonly tokens: readonly TokenEntry[] };

/** The part of a result that answers are made of. */
export type ChoiceResult = Pick<
  GenerateResult,
  "promptTokens" | "cachedTokens" | "tokens" | "finishReason" | "speculation"
>;

/** Is told how a request gets on. */
export interface Progress {
  /** On which the request's memory is: it may be cut off. */
  readonly lease: Lease;
  /** A token was computed, also one that gives no text yet. */
  token(): void;
  /** The request is alive, though it has no token to show. */
  alive(): void;
  /** Waits until other requests gave memory back; false: that is of no use. */
  memory(): Promise<boolean>;
}

const BEAT_MS = 1000;

/**
 * Decodes the choices of one prompt together. At most one token is told per event, so whoever pulls sets the pace, and
 * `return()` closes the session.
 *
 * @throws {HTTPException} 400, if the request is to blame for what the engine could not do.
 */
export async function* decode(
  model: Model,
  { first, prompt, options, echo }: Job,
  signal: AbortSignal | undefined,
  progress: Progress,
): AsyncGenerator<ChoiceEvent, void, void> {
  const { lease } = progress;
  const told = echo && (await whenItFits(() => readEcho(model, prompt, echo, { signal, lease }), progress));
  for (let index = 0; told !== undefined && index < options.n; index++)
    yield { index: first + index, ...told };
  if (options.maxTokens === 0) {
    const result: ChoiceResult = {
      promptTokens: prompt,
      cachedTokens: 0,
      tokens: [],
      finishReason: "length",
    };
    for (let i = 0; i < options.n; i++) yield { index: first + i, result, tokens: [] };
    return;
  }
  const start = codePoints(told?.text ?? "");
  const choices = Array.from({ length: options.n }, () => new ChoiceText(model.tokenizer, start));
  let pieces: ReturnType<Model["generateMany"]> | undefined;
  // All sessions are opened before the first piece comes.
  const begin = () => {
    pieces = model.generateMany(prompt, { ...options, signal, lease });
    return pieces.next();
  };
  // A step may take long: the best of several texts are known when all are done, and servers of models may be slow.
  let isComputing = true;
  const beat = setInterval(() => {
    if (isComputing) progress.alive();
  }, BEAT_MS);
  try {
    for (let step = await whenItFits(begin, progress); ; step = await pieces!.next()) {
      isComputing = false;
      if (step.done) {
        for (const [i, result] of step.value.entries()) {
          yield { index: first + i, result, tokens: choices[i].end() };
        }
        return;
      }
      progress.token();
      const { index } = step.value;
      const part = choices[index].push(step.value);
      if (part === null) await nextTask();
      else yield { index: first + index, ...part };
      isComputing = true;
    }
  } catch (error) {
    throw clientError(error);
  } finally {
    clearInterval(beat);
    await pieces?.return(undefined as never);
  }
}

/** What `attempt` gives, once there is memory for it; one that finds too little must give back all that it has. */
async function whenItFits<T>(attempt: () => Promise<T>, progress: Progress): Promise<T> {
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof MemoryError) || !(await progress.memory())) throw error;
    }
  }
}
