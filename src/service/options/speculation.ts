import { draftsTrees } from "../../decoding/drafter/registry.ts";
import { Fields } from "../../decoding/pipeline/fields.ts";
import { type Policy, VERIFIERS, type VerifierName } from "../../decoding/verify/registry.ts";
import type { GenerateOptions, Model } from "../../engine/model.ts";
import { sharesVocabulary } from "../../engine/model-drafter.ts";
import { apiError, show } from "../errors.ts";
import type { SpeculationBody } from "../schemas/speculation.ts";
import { given } from "./given.ts";

type Read<Name extends VerifierName> = (
  fields: Fields,
  model: Pick<Model, "vocab">,
) => Omit<Extract<Policy, { verifier: Name }>, "verifier">;

/** Options that verifiers have; the others have none. Defaults are the verifiers' own. */
const READ: { readonly [Name in VerifierName]?: Read<Name> } = {
  typical: (fields) => ({
    epsilon: fields.number("epsilon", 0, 1, 0.09),
    delta: fields.number("delta", 0, 1, 0.3),
  }),
  threshold: (fields) => ({ threshold: fields.number("threshold", 0, 1) }),
  reverse: (fields) => ({ threshold: fields.number("threshold", 0, 1) }),
  relaxed: (fields, { vocab }) => {
    const boundary = fields.integer("boundary", -1, vocab - 1, -1);
    return {
      topK: fields.integer("topK", 1, vocab, 3),
      ratio: fields.number("ratio", 0, 1, 0.5),
      ...(boundary >= 0 && { boundary }),
    };
  },
  "target-only-threshold": (fields) => ({
    acceptThreshold: fields.number("acceptThreshold", 0, 1),
    singleThreshold: fields.number("singleThreshold", 0, 1),
  }),
};

/**
 * Speculation fields in the engine's words.
 *
 * @param draftModel Drafts where a request says `draft: "model"`.
 * @throws {HTTPException | RangeError | TypeError} If the verifier is unknown, an option of it wrong, or it cannot work with
 * what is drafted.
 */
export function readSpeculation(
  model: Model,
  body: SpeculationBody,
  draftModel: Model | undefined,
): GenerateOptions {
  const { draft, prediction, speculation } = body;
  const predicted = prediction?.content.map(({ text }) => text).join("");
  const verifier = readVerifier(model, body.verifier);
  if (verifier !== undefined) checkFit(verifier.verifier, draft, draftModel && { model, draftModel });
  return {
    ...(draft && { draft: draft === "model" ? draftModel : draft }),
    ...(predicted && { prediction: predicted }),
    ...(verifier && { verifier }),
    ...(speculation && { speculation: given(speculation) }),
  };
}

/** A verifier by name, or the library's object with its options. @throws {RangeError | TypeError} If it is wrong. */
export function readVerifier(model: Pick<Model, "vocab">, value: unknown): Policy | undefined {
  if (value === undefined || value === null) return undefined;
  const fields = new Fields("verifier", typeof value === "string" ? { verifier: value } : value);
  const names = Object.keys(VERIFIERS) as VerifierName[];
  if (typeof value === "string" && !names.includes(value as VerifierName)) {
    throw new RangeError(`"verifier" must be one of ${names.join(", ")}, got ${show(value)}`);
  }
  const verifier = fields.choice("verifier", names);
  const options = READ[verifier]?.(fields, model) ?? {};
  fields.done();
  return { verifier, ...options } as Policy;
}

/**
 * What rules draft was chosen, not drawn from a law; in a chain, but for one of them. A draft model does as the verifier needs
 * it, if it has the same tokens.
 */
function checkFit(
  name: VerifierName,
  draft: SpeculationBody["draft"],
  pair: { model: Model; draftModel: Model } | undefined,
): void {
  const { laws, shape } = VERIFIERS[name];
  const hasLaws = pair !== undefined && sharesVocabulary(pair.model, pair.draftModel);
  const reason =
    !laws.includes("one-hot") && !hasLaws
      ? `needs laws of the drafted tokens, which only a draft model with the same tokens has (draft "model")`
      : shape === "chain" && draft && draft !== "model" && draftsTrees(draft)
        ? `needs a chain, not the trees of "${draft}"`
        : null;
  if (reason === null) return;
  throw apiError(400, `"verifier" must suit the draft: "${name}" ${reason}`, {
    param: "verifier",
    code: "invalid_value",
  });
}
