import type { Constraint } from "../decoding/constraint.ts";
import type { ControllerOptions } from "../decoding/drafter/controller.ts";
import { createDrafter, type DrafterName, draftsTrees } from "../decoding/drafter/registry.ts";
import { SpeculationStats } from "../decoding/drafter/stats.ts";
import type { TextPolicy } from "../decoding/outcome.ts";
import type { Speculation } from "../decoding/speculation.ts";
import { findVerifier } from "../decoding/verify/registry.ts";
import { aheadOf } from "./ahead.ts";
import { type DraftKind, type LentController, lendController } from "./controllers.ts";
import { HeadDrafter } from "./drafter/head-drafter.ts";
import type { GenerateOptions, Model, SpeculationSummary } from "./model.ts";
import { draftMode, openModelDrafter, sharesVocabulary } from "./model-drafter.ts";
import { capacityOf, type TextRequest } from "./request.ts";
import type { Session } from "./source.ts";

/** One text's drafter, controller and counts. */
export interface OpenSpeculation extends Speculation {
  readonly name: string;
  readonly stats: SpeculationStats;
  /** Whether rows tell all of the target's law. */
  readonly isWhole: boolean;
  close(): void;
}

const FIXED_DRAFT = 4;
/** Of a drafted token, where the target computes elsewhere: against a round trip it is little. */
const REMOTE_COST = 0.1;

/**
 * What a request asks for; nothing where nobody drafts.
 *
 * @param session The text's.
 * @throws {TypeError | RangeError} If drafter and verifier do not go together, or the prediction is not of the vocabulary.
 */
export function openSpeculation(
  target: Model,
  session: Session,
  request: TextRequest,
  constraint?: Constraint,
): OpenSpeculation | undefined {
  const { options, policy } = request;
  const { draft } = options;
  if (draft === "none") return undefined;
  if (draft === "self") return openSelf(target, session, request, policy, constraint);
  return typeof draft === "object"
    ? openModel(target, draft, request, policy, constraint)
    : openLookup(target, draft ?? "none", request, policy, constraint);
}

export function summarize({ name: drafter, policy, stats, isWhole }: OpenSpeculation): SpeculationSummary {
  const { lossless, reproducible } = findVerifier(policy.verifier);
  const { emitted: _, ...counts } = stats.toJSON();
  return { drafter, verifier: policy.verifier, reproducible, lossless: lossless && isWhole, ...counts };
}

/** A drafter without a model, with whatever else is known of the text. */
function openLookup(
  target: Model,
  name: DrafterName | "none",
  { promptTokens, endTokens, options }: TextRequest,
  policy: TextPolicy,
  constraint: Constraint | undefined,
): OpenSpeculation | undefined {
  const { prediction } = options;
  const drafter = createDrafter(name, {
    vocab: target.vocab,
    endTokens,
    prediction: prediction === undefined ? undefined : predictedTokens(target, prediction),
    start: promptTokens.length,
    constraint,
  });
  if (drafter === null) return undefined;
  const shape = draftsTrees(name) ? "tree" : "chain";
  expectFit(name, policy, shape);
  const parts = [
    ...(constraint === undefined ? [] : ["jump-forward"]),
    ...(prediction === undefined ? [] : ["prediction"]),
    ...(name === "none" ? [] : [name]),
  ];
  const kind = { name: parts.join("+"), verifier: policy.verifier };
  return {
    name: kind.name,
    drafter,
    ...openController(target, kind, options, { byMatchLength: shape === "chain", shape }),
    policy,
    ...watch(target),
  };
}

function openModel(
  target: Model,
  draft: Model,
  request: TextRequest,
  policy: TextPolicy,
  constraint: Constraint | undefined,
): OpenSpeculation {
  const { promptTokens, pipeline, seed, options } = request;
  const tree = options.speculation?.tree;
  const drafter = openModelDrafter(target, draft, {
    capacity: capacityOf(request),
    steps: pipeline.steps,
    seed,
    promptLength: promptTokens.length,
    constraint,
    signal: options.signal,
    lease: options.lease,
    verifier: policy.verifier,
    tree,
  });
  const isTree = sharesVocabulary(target, draft) && draftMode(policy.verifier, tree).endsWith("tree");
  // Until it is measured, a drafted token costs what the weights say.
  const draftCost =
    target.weightBytes > 0 ? Math.min(1, draft.weightBytes / target.weightBytes) : REMOTE_COST;
  const kind = { name: `model:${draft.name}`, draft, verifier: policy.verifier };
  const shape = isTree ? "tree" : "chain";
  const { controller, close } = openController(target, kind, options, { draftCost, shape });
  return {
    name: kind.name,
    drafter,
    controller,
    policy,
    ...watch(target),
    close() {
      close();
      drafter.close();
    },
  };
}

/** The target drafts, with a cheaper head. */
function openSelf(
  target: Model,
  session: Session,
  { promptTokens, pipeline, seed, options }: TextRequest,
  policy: TextPolicy,
  constraint: Constraint | undefined,
): OpenSpeculation {
  const ahead = aheadOf(session);
  if (ahead === undefined) {
    throw new RangeError(
      '"draft" must not be "self" here: that takes one model in this process, not a fused or a remote one',
    );
  }
  expectFit("self", policy, "chain");
  const drafter = new HeadDrafter(session, ahead, {
    vocab: target.vocab,
    steps: pipeline.steps,
    seed,
    promptLength: promptTokens.length,
    constraint,
    mode: draftMode(policy.verifier) === "coupled" ? "coupled" : "greedy",
  });
  // A drafted token takes the layers and the small head.
  const draftCost = Math.max(0, 1 - (ahead.headBytes - drafter.headBytes) / target.weightBytes);
  const kind = { name: "self", verifier: policy.verifier };
  const { controller, close } = openController(target, kind, options, { draftCost });
  return {
    name: kind.name,
    drafter,
    controller,
    policy,
    ...watch(target),
    close() {
      close();
      drafter.close();
    },
  };
}

function openController(
  target: Model,
  kind: DraftKind,
  { speculation = {} }: GenerateOptions,
  options: ControllerOptions,
): Pick<Speculation, "controller"> & Pick<LentController, "close"> {
  const { gamma, adaptive = true } = speculation;
  if (adaptive) return lendController(target, kind, { ...options, cap: gamma });
  return {
    controller: { ask: () => gamma ?? FIXED_DRAFT, keep: (drafted) => drafted, record() {} },
    close() {},
  };
}

function watch({ known }: Model) {
  return { now: () => performance.now(), stats: new SpeculationStats(), isWhole: known === undefined };
}

/** Drafts of a rule are chosen, not drawn. */
function expectFit(drafter: string, { verifier }: TextPolicy, shape: "chain" | "tree"): void {
  const { laws, shape: taken } = findVerifier(verifier);
  if (!laws.includes("one-hot")) {
    throw new RangeError(
      `"verifier" ${verifier} must have a draft model, as it compares laws, got "${drafter}"`,
    );
  }
  if (shape === "tree" && taken === "chain") {
    throw new RangeError(`"verifier" ${verifier} must have a drafter of chains, got "${drafter}"`);
  }
}

/** A text stands in the middle of another one: it does not begin like one. */
function predictedTokens({ tokenizer }: Model, prediction: string | readonly number[]): readonly number[] {
  if (typeof prediction !== "string") return prediction;
  const tokens = tokenizer.encode(prediction);
  return tokens[0] === tokenizer.bos ? tokens.slice(1) : tokens;
}
