/**
 * Top-k: keeps the k most likely tokens. Fan, Lewis, Dauphin 2018, arXiv:1805.04833.
 */
import { kBest } from "./select.ts";
import type { StepKind } from "./step.ts";

export interface TopKStep {
  step: "top-k";
  /** 0 keeps all. */
  k: number;
  /**
   * Of those as likely as the k-th: "lowest" keeps the lower ids, k in all (llama.cpp); "all" keeps them all (vLLM,
   * Hugging Face). Default "lowest".
   */
  ties?: "lowest" | "all";
}

export const topK: StepKind<Required<TopKStep>> = {
  read: (fields) => ({
    step: "top-k",
    k: fields.integer("k", 0, 2 ** 31 - 1),
    ties: fields.choice("ties", ["lowest", "all"], "lowest"),
  }),
  isNeutral: ({ k }) => k === 0,
  apply(candidates, { k, ties }) {
    const { logits, count } = candidates;
    if (k === 0 || k >= count) return;
    const best = kBest(logits, count, k);
    const tied = ties === "all" ? equalsBehind(logits, count, best[0]) : [];
    const kept = new Uint32Array(k + tied.length);
    kept.set(best);
    kept.set(tied, k);
    candidates.pick(kept.sort());
  },
};

/** Indices behind `last` with the same logit. */
function equalsBehind(logits: Float64Array, count: number, last: number): number[] {
  const equal: number[] = [];
  for (let i = last + 1; i < count; i++) if (logits[i] === logits[last]) equal.push(i);
  return equal;
}
