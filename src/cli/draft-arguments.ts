import { DRAFTER_NAMES, type DrafterName, draftsTrees } from "../decoding/drafter/registry.ts";
import { type Policy, VERIFIERS, type VerifierName } from "../decoding/verify/registry.ts";
import { tryPolicy } from "../decoding/verify/try-policy.ts";
import type { Verifier } from "../decoding/verify/verifier.ts";
import type { GenerateOptions } from "../node.ts";
import type { Values } from "./values.ts";

const MODEL_PREFIX = "model:";

/** Longest draft that the engine can be asked for. */
const MAX_DRAFT = 64;

const METHODS = ["none", "self", ...DRAFTER_NAMES];

export interface DraftArguments {
  /** A method by name. */
  draft?: Exclude<GenerateOptions["draft"], object>;
  /** Path or URL of a draft model, instead of a method. */
  draftModel?: string;
  /** Path of a text; "-" is standard input. */
  predictionFile?: string;
  speculation: Pick<GenerateOptions, "verifier" | "speculation">;
}

type OptionName<Name extends VerifierName> = Exclude<keyof Extract<Policy, { verifier: Name }>, "verifier">;

/** The numbers that a verifier takes, under the names it gives them. */
const VERIFIER_OPTIONS: { readonly [Name in VerifierName]?: readonly OptionName<Name>[] } = {
  "target-only-threshold": ["acceptThreshold", "singleThreshold"],
  threshold: ["threshold"],
  typical: ["epsilon", "delta"],
  relaxed: ["topK", "ratio", "boundary"],
  reverse: ["threshold"],
};

/**
 * Who guesses tokens ahead and who decides on the guesses.
 *
 * @throws {TypeError | RangeError} If a name is unknown, or an option is out of range or nothing without another.
 */
export function draftArguments(values: Values): DraftArguments {
  const draft = values.text("draft");
  const draftModel = draft?.startsWith(MODEL_PREFIX) ? draft.slice(MODEL_PREFIX.length) : undefined;
  if (draft !== undefined && draftModel === undefined) expectOneOf(values, "draft", draft, METHODS);
  if (draftModel === "") throw new RangeError('"--draft" must name a file after "model:", got nothing');
  values.expectBeside(["draft-max", "draft-fixed", "verifier"], ["draft", "prediction"]);
  if (values.has("draft-tree") && draftModel === undefined) {
    throw new TypeError('"--draft-tree" needs a draft model beside it, "--draft model:FILE"');
  }
  const verifier = values.text("verifier");
  const policy = verifier === undefined ? undefined : readPolicy(values, verifier);
  if (policy !== undefined && draftModel === undefined) expectFit(policy, draft as DrafterName | undefined);
  const gamma = values.integer("draft-max", 1, MAX_DRAFT);
  return {
    ...(draftModel !== undefined
      ? { draftModel }
      : draft !== undefined && { draft: draft as DraftArguments["draft"] }),
    ...(values.has("prediction") && { predictionFile: values.text("prediction") }),
    speculation: {
      ...(policy !== undefined && { verifier: policy }),
      ...((gamma !== undefined || values.has("draft-tree") || values.has("draft-fixed")) && {
        speculation: {
          ...(gamma !== undefined && { gamma }),
          tree: values.has("draft-tree"),
          ...(values.has("draft-fixed") && { adaptive: false }),
        },
      }),
    },
  };
}

/** `NAME` or `NAME:key=value,key=value`. */
function readPolicy(values: Values, text: string): VerifierName | Policy {
  const [name, ...rest] = text.split(":");
  expectOneOf(values, "verifier", name, Object.keys(VERIFIERS));
  const verifier = name as VerifierName;
  const options = rest.length === 0 ? {} : verifierOptions(verifier, rest.join(":"));
  const policy = { verifier, ...options } as Policy;
  tryPolicy(policy, (option) => `--verifier ${verifier}:${option}`);
  return rest.length === 0 ? verifier : policy;
}

/** Of methods that run no model: what they draft is chosen, not drawn, and some of them draft trees. */
function expectFit(policy: VerifierName | Policy, draft: DrafterName | "none" | "self" = "none"): void {
  const name = typeof policy === "string" ? policy : policy.verifier;
  const { laws, shape } = VERIFIERS[name] as Verifier;
  if (!laws.includes("one-hot")) {
    throw new RangeError(`"--verifier ${name}" must have a draft model, "--draft model:FILE"`);
  }
  if (shape === "chain" && draftsTrees(draft)) {
    throw new RangeError(`"--verifier ${name}" must have a drafter of chains, got "${draft}"`);
  }
}

function verifierOptions(verifier: VerifierName, text: string): Record<string, number> {
  const known: readonly string[] = VERIFIER_OPTIONS[verifier] ?? [];
  return Object.fromEntries(
    text.split(",").map((part) => {
      const [key, value, ...more] = part.split("=");
      if (!known.includes(key)) {
        const may = known.length === 0 ? "must have no options" : `may have the options ${known.join(", ")}`;
        throw new RangeError(`"--verifier ${verifier}" ${may}, got "${key}"`);
      }
      if (!value?.trim() || more.length > 0 || Number.isNaN(Number(value))) {
        throw new TypeError(`"--verifier ${verifier}" must have a number after "${key}=", got "${part}"`);
      }
      return [key, Number(value)];
    }),
  );
}

function expectOneOf(values: Values, option: string, got: string, names: readonly string[]): void {
  if (names.includes(got)) return;
  const more = option === "draft" ? ", model:FILE" : "";
  throw new RangeError(`"${values.label(option)}" must be one of ${names.join(", ")}${more}, got "${got}"`);
}
