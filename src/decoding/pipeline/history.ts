import type { Fields } from "./fields.ts";
import type { Place } from "./step.ts";

/** Which tokens before count. */
export interface Scope {
  /** Prompt and output, or the output alone. Default "all". */
  scope?: "all" | "output";
  /** Only the last n of those; 0 for all. Default 0. */
  lastN?: number;
}

export function readScope(fields: Fields): Required<Scope> {
  return {
    scope: fields.choice("scope", ["all", "output"], "all"),
    lastN: fields.integer("lastN", 0, 2 ** 31 - 1, 0),
  };
}

/** The history from here to its end is in scope. */
export function scopeStart({ scope, lastN }: Required<Scope>, { history, promptLength }: Place): number {
  const start = scope === "all" ? 0 : promptLength;
  return lastN === 0 ? start : Math.max(start, history.length - lastN);
}

/** Calls once for each token of the vocabulary that occurs in scope. */
export function forEachToken(
  scope: Required<Scope>,
  place: Place,
  call: (token: number, count: number) => void,
): void {
  const { history, counts } = place;
  const start = scopeStart(scope, place);
  for (let i = start; i < history.length; i++) counts[history[i]]++;
  for (let i = start; i < history.length; i++) {
    const count = counts[history[i]];
    if (!(count > 0)) continue;
    counts[history[i]] = 0;
    call(history[i], count);
  }
}
