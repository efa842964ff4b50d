import { compileGrammar, type GrammarSpec } from "../../decoding/constrain/grammar.ts";
import { ChoiceConstraint, type Constraint } from "../../decoding/constraint.ts";
import type { Model } from "../../engine/model.ts";
import { apiError } from "../errors.ts";
import type { CallRule } from "../forced-call.ts";
import type { CommonBody } from "../schemas.ts";
import { spelling } from "./tokens.ts";

/** What the answer must be, and which field says so. */
interface Asked {
  readonly param: string;
  /** Of `guided_choice`: the texts are written as the tokenizer does. */
  readonly choices?: readonly string[];
  readonly spec?: GrammarSpec;
}

/**
 * What a request says the answer must be: `response_format`, vLLM's `guided_…` or llama.cpp's `json_schema`. Each text that
 * is decoded needs a constraint of its own.
 *
 * @param call What the answer must be for the sake of its calls.
 * @throws {HTTPException} 400, if it is not supported, or beside what would keep the answer from ending.
 */
export function readConstraint(
  model: Model,
  body: CommonBody,
  call?: CallRule,
): (() => Constraint) | undefined {
  const asked = askedFor(body);
  if (call !== undefined) asked.push({ param: call.param, spec: call.spec });
  if (asked.length === 0) return undefined;
  const [{ param, choices, spec }, other] = asked;
  if (other !== undefined) throw refused(other.param, `must be left out beside "${param}"`);
  if (model.tokenizer.endTokens.size === 0) {
    throw refused(param, "needs a model with an end token, which this one lacks");
  }
  if (body.ignore_eos)
    throw refused("ignore_eos", `must be left out beside "${param}", which ends by itself`);
  if (Array.isArray(body.pipeline) && !body.pipeline.some((step) => step?.step === "bitmask")) {
    throw refused("pipeline", `must have a step "bitmask" beside "${param}", got none`);
  }
  if (spec !== undefined) {
    const grammar = withParam(() => compileGrammar(spec, model), param);
    return () => grammar.open();
  }
  const spelled = choices!.map((text) => spelling(model.tokenizer, text));
  const endTokens = [...model.tokenizer.endTokens];
  return () => new ChoiceConstraint({ vocab: model.vocab, choices: spelled, endTokens });
}

function askedFor(body: CommonBody): Asked[] {
  const asked: Asked[] = [];
  const { response_format: format, guided_choice, guided_regex } = body;
  if (format?.type === "json_schema") {
    const { json_schema } = format;
    if (json_schema == null) {
      throw apiError(
        400,
        '"response_format.json_schema" must be an object with name and schema, got nothing',
        {
          param: "response_format.json_schema",
          code: "missing_required_parameter",
        },
      );
    }
    asked.push(schema("response_format.json_schema.schema", json_schema.schema ?? { type: "object" }));
  } else if (format?.type === "json_object") {
    asked.push(schema("response_format.schema", format.schema ?? { type: "object" }));
  }
  if (body.guided_json != null) asked.push(schema("guided_json", parsed("guided_json", body.guided_json)));
  if (body.json_schema != null && !isEmpty(body.json_schema))
    asked.push(schema("json_schema", body.json_schema));
  if (guided_regex != null) {
    asked.push({ param: "guided_regex", spec: { regex: guided_regex, name: "guided_regex" } });
  }
  if (guided_choice?.length) asked.push({ param: "guided_choice", choices: guided_choice });
  return asked;
}

function schema(param: string, jsonSchema: unknown): Asked {
  return { param: param.split(".")[0], spec: { jsonSchema, name: param } };
}

/** vLLM takes it as a text too. */
function parsed(param: string, value: unknown): unknown {
  if (typeof value !== "string") return value;
  try {
    return JSON.parse(value);
  } catch {
    throw refused(param, "must be a JSON schema, got a text that is no JSON");
  }
}

function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

/** Errors of the compiler begin with the place in the request. */
function withParam<T>(compile: () => T, fallback: string): T {
  try {
    return compile();
  } catch (error) {
    if (!(error instanceof RangeError || error instanceof TypeError)) throw error;
    const param = /^"([^"]{1,400})"/.exec(error.message)?.[1] ?? fallback;
    const isUnsupported = error.message.includes("not supported");
    const code = isUnsupported
      ? "unsupported_parameter"
      : error instanceof TypeError
        ? "invalid_type"
        : "invalid_value";
    throw apiError(400, error.message, { param, code });
  }
}

function refused(param: string, message: string) {
  return apiError(400, `"${param}" ${message}`, { param, code: "invalid_value" });
}
