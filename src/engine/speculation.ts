import { SpeculationController } from "../decoding/drafter/controller.ts";
import type { Drafter } from "../decoding/drafter/drafter.ts";
import { PromptLookupDrafter } from "../decoding/drafter/prompt-lookup.ts";
import { SuffixDrafter } from "../decoding/drafter/suffix.ts";
import type { Speculation } from "../decoding/generate.ts";
import type { DraftMethod, SpeculationSummary } from "./model.ts";

const DRAFTERS: Readonly<Record<Exclude<DraftMethod, "none">, (vocab: number) => Drafter>> = {
  "prompt-lookup": (vocab) => new PromptLookupDrafter({ vocab }),
  suffix: (vocab) => new SuffixDrafter({ vocab }),
};

/** One request's drafter and controller; none for "none". @throws {RangeError} If `method` is not known. */
export function createSpeculation(method: DraftMethod, vocab: number): Speculation | undefined {
  if (method === "none") return undefined;
  if (!Object.hasOwn(DRAFTERS, method)) {
    throw new RangeError(`"draft" must be one of none, ${Object.keys(DRAFTERS).join(", ")}, got "${method}"`);
  }
  return {
    drafter: DRAFTERS[method](vocab),
    controller: new SpeculationController({ byMatchLength: true }),
    now: () => performance.now(),
    stats: { drafted: 0, tested: 0, accepted: 0, targetCalls: 0 },
  };
}

export function summarize(drafter: DraftMethod, { stats }: Speculation): SpeculationSummary {
  const { drafted, tested, accepted, targetCalls } = stats;
  return {
    drafter,
    drafted,
    accepted,
    targetCalls,
    tokensPerCall: targetCalls === 0 ? 1 : 1 + accepted / targetCalls,
    acceptanceRate: tested === 0 ? 0 : accepted / tested,
  };
}
