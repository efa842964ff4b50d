import type { Model } from "./model.ts";
import type { OpenText } from "./prompts.ts";

type OpenPrompt = (prompt: readonly number[], capacity: number, signal?: AbortSignal) => Promise<OpenText>;

const openers = new WeakMap<Model, OpenPrompt>();

/** Says how a model opens sessions that begin with what other texts began with too; users need not know. */
export function setPromptOpener(model: Model, open: OpenPrompt): void {
  openers.set(model, open);
}

/** How it does; absent: a session of it begins with nothing. */
export function promptOpener(model: Model): OpenPrompt | undefined {
  return openers.get(model);
}

/** A session that holds a beginning of the prompt where the model keeps such, but never all of it; else nothing. */
export async function openPrompt(
  model: Model,
  prompt: readonly number[],
  capacity: number,
  signal?: AbortSignal,
): Promise<OpenText> {
  const open = openers.get(model);
  if (open !== undefined) return await open(prompt, capacity, signal);
  const session = model.open({ capacity, promptLength: prompt.length });
  return { session, cachedTokens: 0, close: () => session.close() };
}
