import type { Constraint } from "../decoding/constraint.ts";
import { type ControllerOptions, SpeculationController } from "../decoding/drafter/controller.ts";
import { createDrafter, type DrafterName, draftsTrees } from "../decoding/drafter/registry.ts";
import { SpeculationStats } from "../decoding/drafter/stats.ts";
import type { TextPolicy } from "../decoding/outcome.ts";
import type { Speculation } from "../decoding/speculation.ts";
import { findVerifier } from "../decoding/verify/registry.ts";
import { expectInteger } from "../errors.ts";
import type { GenerateOptions, Model, SpeculationSummary } from "./model.ts";
import { draftMode, openModelDrafter, sharesVocabulary } from "./model-drafter.ts";
import { capacityOf, type TextRequest } from "./request.ts";

/** One text's drafter, controller and counts. */
export interface OpenSpeculation extends Speculation {
  readonly name: string;
  readonly stats: SpeculationStats;
  close(): void;
}

/** Longest draft that can be asked for. */
const MAX_DRAFT = 64;
const FIXED_DRAFT = 4;

/**
 * What a request asks for; nothing where nobody drafts.
 *
 * @throws {TypeError | RangeError} If the drafter or the verifier is unknown, or they do not go together.
 */
export function openSpeculation(
  target: Model,
  request: TextRequest,
  constraint?: Constraint,
): OpenSpeculation | undefined {
  const { options } = request;
  const { draft } = options;
  const policy = readPolicy(options);
  const { gamma } = options.speculation ?? {};
  if (gamma !== undefined) expectInteger("speculation.gamma", gamma, 1, MAX_DRAFT);
  if (draft === "none") return undefined;
  return typeof draft === "object"
    ? openModel(target, draft, request, policy, constraint)
    : openLookup(target, draft ?? "none", request, policy, constraint);
}

export function summarize({ name: drafter, policy, stats }: OpenSpeculation): SpeculationSummary {
  const { lossless, reproducible } = findVerifier(policy.verifier);
  const { emitted: _, ...counts } = stats.toJSON();
  return { drafter, verifier: policy.verifier, reproducible, lossless, ...counts };
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
  return {
    name: parts.join("+"),
    drafter,
    controller: openController(options, { byMatchLength: shape === "chain", shape }),
    policy,
    ...watch(),
    close() {},
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
    verifier: policy.verifier,
    tree,
  });
  const isTree = sharesVocabulary(target, draft) && draftMode(policy.verifier, tree).endsWith("tree");
  // Until it is measured, a drafted token costs what the weights say.
  const draftCost = Math.min(1, draft.weightBytes / target.weightBytes);
  return {
    name: `model:${draft.name}`,
    drafter,
    controller: openController(options, { draftCost, shape: isTree ? "tree" : "chain" }),
    policy,
    ...watch(),
    close: () => drafter.close(),
  };
}

function openController(
  { speculation = {} }: GenerateOptions,
  options: ControllerOptions,
): Speculation["controller"] {
  const { gamma, adaptive = true } = speculation;
  if (adaptive) return new SpeculationController({ ...options, cap: gamma });
  return { ask: () => gamma ?? FIXED_DRAFT, keep: (drafted) => drafted, record() {} };
}

function watch() {
  return { now: () => performance.now(), stats: new SpeculationStats() };
}

/** The verifier that is asked for, or what keeps the text. */
function readPolicy({ verifier, draft }: GenerateOptions): TextPolicy {
  const fallback = typeof draft === "object" ? "gumbel" : "match";
  const policy = typeof verifier === "object" ? verifier : { verifier: verifier ?? fallback };
  if (typeof policy?.verifier !== "string") {
    throw new TypeError(`"verifier" must be a name, or an object that has one, got ${typeof verifier}`);
  }
  findVerifier(policy.verifier);
  return policy as TextPolicy;
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
