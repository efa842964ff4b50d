import { SpeculationController } from "../decoding/drafter/controller.ts";
import type { Drafter } from "../decoding/drafter/drafter.ts";
import { PromptLookupDrafter } from "../decoding/drafter/prompt-lookup.ts";
import { SuffixDrafter } from "../decoding/drafter/suffix.ts";
import type { Speculation } from "../decoding/generate.ts";
import type { PipelineSettings } from "../decoding/pipeline.ts";
import type { DraftMethod, Model, SpeculationSummary } from "./model.ts";
import { expectSameVocabulary, ModelDrafter } from "./model-drafter.ts";

const DRAFTERS: Readonly<Record<Exclude<DraftMethod, "none">, (vocab: number) => Drafter>> = {
  "prompt-lookup": (vocab) => new PromptLookupDrafter({ vocab }),
  suffix: (vocab) => new SuffixDrafter({ vocab }),
};

/** One request's drafter, controller and counts. */
export interface OpenSpeculation extends Speculation {
  readonly name: SpeculationSummary["drafter"];
  close(): void;
}

/**
 * What `draft` asks for; nothing for "none".
 *
 * @param capacity Positions of the target's session.
 * @throws {RangeError} If it is no known method, or a model of another vocabulary.
 */
export function openSpeculation(
  target: Model,
  draft: DraftMethod | Model,
  capacity: number,
  sampling: PipelineSettings,
): OpenSpeculation | undefined {
  if (draft === "none") return undefined;
  const common = {
    now: () => performance.now(),
    stats: { drafted: 0, tested: 0, accepted: 0, targetCalls: 0 },
  };
  if (typeof draft === "string") {
    if (!Object.hasOwn(DRAFTERS, draft)) {
      const known = `none, ${Object.keys(DRAFTERS).join(", ")}`;
      throw new RangeError(`"draft" must be one of ${known}, or a model, got "${draft}"`);
    }
    const controller = new SpeculationController({ byMatchLength: true });
    return { ...common, name: draft, drafter: DRAFTERS[draft](target.vocab), controller, close() {} };
  }
  expectSameVocabulary(target, draft);
  const drafter = new ModelDrafter(draft, capacity, sampling);
  // Until it is measured, a drafted token costs what the weights say.
  const draftCost = Math.min(1, draft.weightBytes / target.weightBytes);
  const controller = new SpeculationController({ draftCost });
  return { ...common, name: `model:${draft.name}`, drafter, controller, close: () => drafter.close() };
}

export function summarize({ name: drafter, stats }: OpenSpeculation): SpeculationSummary {
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
