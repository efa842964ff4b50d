import type { Model } from "./model.ts";
import type { PrefixCacheStats } from "./prefix-cache.ts";
import type { OpenText, OpenTextOptions } from "./prompts.ts";

type OpenPrompt = (
  prompt: readonly number[],
  capacity: number,
  options?: OpenTextOptions,
) => Promise<OpenText>;

const openers = new WeakMap<Model, OpenPrompt>();
const counts = new WeakMap<Model, () => PrefixCacheStats>();

/** Says how a model opens sessions that begin with what other texts began with too; users need not know. */
export function setPromptOpener(model: Model, open: OpenPrompt, stats: () => PrefixCacheStats): void {
  openers.set(model, open);
  counts.set(model, stats);
}

/** What the beginnings that a model keeps were good for; undefined where it keeps none of its own. */
export function prefixCacheStats(model: Model): PrefixCacheStats | undefined {
  return counts.get(model)?.();
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
  options: OpenTextOptions = {},
): Promise<OpenText> {
  const open = openers.get(model);
  if (open !== undefined) return await open(prompt, capacity, options);
  const session = model.open({ capacity, promptLength: prompt.length, ...options });
  return { session, cachedTokens: 0, close: () => session.close() };
}
