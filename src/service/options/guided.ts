import { ChoiceConstraint, type Constraint } from "../../decoding/constraint.ts";
import type { Model } from "../../engine/model.ts";
import { apiError } from "../errors.ts";
import type { CommonBody } from "../schemas.ts";
import { spelling } from "./tokens.ts";

/**
 * vLLM's `guided_choice`: the answer is one of these texts, as the tokenizer writes it, and then ends. Each text that is
 * decoded needs a constraint of its own.
 *
 * @throws {HTTPException} 400, beside what would keep the answer from ending.
 */
export function readGuidedChoice(model: Model, body: CommonBody): (() => Constraint) | undefined {
  const texts = body.guided_choice;
  if (!texts || texts.length === 0) return undefined;
  const endTokens = [...model.tokenizer.endTokens];
  if (endTokens.length === 0)
    throw refused("guided_choice", "needs a model with an end token, which this one lacks");
  if (body.ignore_eos)
    throw refused("ignore_eos", 'must be left out beside "guided_choice", which ends by itself');
  if (Array.isArray(body.pipeline) && !body.pipeline.some((step) => step?.step === "bitmask")) {
    throw refused("pipeline", 'must have a step "bitmask" beside "guided_choice", got none');
  }
  const choices = texts.map((text) => spelling(model.tokenizer, text));
  return () => new ChoiceConstraint({ vocab: model.vocab, choices, endTokens });
}

function refused(param: string, message: string) {
  return apiError(400, `"${param}" ${message}`, { param, code: "invalid_value" });
}
