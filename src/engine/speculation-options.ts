/** speculation-options: what a request says of drafts, checked before anything is computed. */
import { DRAFTER_NAMES } from "../decoding/drafter/registry.ts";
import type { TextPolicy } from "../decoding/outcome.ts";
import { type Policy, VERIFIERS } from "../decoding/verify/registry.ts";
import { tryPolicy } from "../decoding/verify/try-policy.ts";
import { expectInteger } from "../errors.ts";
import type { GenerateOptions, SpeculationOptions } from "./model.ts";

/** Longest draft that can be asked for. */
const MAX_DRAFT = 64;

const METHODS = ["none", "self", ...DRAFTER_NAMES];

/**
 * Checks the options that are about drafts.
 *
 * @param vocab Of the target.
 * @returns Who decides on them.
 * @throws {TypeError | RangeError} If one is wrong; the message names it.
 */
export function readSpeculation(
  { draft, verifier, speculation = {}, prediction }: GenerateOptions,
  vocab: number,
): TextPolicy {
  expectDraft(draft);
  expectPrediction(prediction);
  expectSettings(speculation);
  return readPolicy(verifier, typeof draft === "object" ? "gumbel" : "match", vocab);
}

/** The verifier that is asked for, or what keeps the text. */
function readPolicy(
  verifier: GenerateOptions["verifier"],
  fallback: "gumbel" | "match",
  vocab: number,
): TextPolicy {
  const policy = isObject(verifier) ? verifier : { verifier: verifier === undefined ? fallback : verifier };
  const name: unknown = policy.verifier;
  if (typeof name !== "string") {
    throw new TypeError(`"verifier" must be a name, or an object that has one, got ${kindOf(verifier)}`);
  }
  if (!Object.hasOwn(VERIFIERS, name)) {
    const names = Object.keys(VERIFIERS).join(", ");
    throw new RangeError(`"verifier" must be one of ${names}, got ${JSON.stringify(name)}`);
  }
  tryPolicy(policy as Policy, (option) => `verifier.${option}`, vocab);
  return policy as TextPolicy;
}

function expectDraft(draft: unknown): void {
  if (draft === undefined || (isObject(draft) && "open" in draft)) return;
  if (typeof draft !== "string") {
    throw new TypeError(`"draft" must be a name or a model, got ${kindOf(draft)}`);
  }
  if (METHODS.includes(draft)) return;
  throw new RangeError(
    `"draft" must be one of ${METHODS.join(", ")}, or a model, got ${JSON.stringify(draft)}`,
  );
}

/** Of token ids the drafter checks each. */
function expectPrediction(prediction: unknown): void {
  if (prediction === undefined || typeof prediction === "string") return;
  if (isObject(prediction) && typeof prediction.length === "number") return;
  throw new TypeError(`"prediction" must be a text or token ids, got ${kindOf(prediction)}`);
}

function expectSettings(speculation: SpeculationOptions): void {
  if (!isObject(speculation)) {
    throw new TypeError(`"speculation" must be an object, got ${kindOf(speculation)}`);
  }
  const { gamma, tree, adaptive } = speculation;
  if (gamma !== undefined) expectInteger("speculation.gamma", gamma, 1, MAX_DRAFT);
  for (const [name, value] of Object.entries({ tree, adaptive })) {
    if (value === undefined || typeof value === "boolean") continue;
    throw new TypeError(`"speculation.${name}" must be true or false, got ${kindOf(value)}`);
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

function kindOf(value: unknown): string {
  return value === null ? "null" : typeof value;
}
