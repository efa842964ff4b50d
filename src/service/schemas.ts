import * as z from "zod";
import { apiError, show } from "./errors.ts";

/** Most texts that one request may ask for: prompts x n. Each is decoded after the other. */
export const MAX_CHOICES = 16;

type Issue = { input?: unknown };
const expects = (what: string) => ({ error: (issue: Issue) => `must be ${what}, got ${show(issue.input)}` });

function number(min: number, max: number) {
  const message = expects(`a number from ${min} to ${max}`);
  return z.number(message).min(min, message).max(max, message).nullish();
}

function integer(min: number, max: number) {
  const message = expects(`an integer from ${min} to ${max}`);
  return z.number(message).int(message).min(min, message).max(max, message).nullish();
}

const boolean = () => z.boolean(expects("true or false")).nullish();

const stopText = expects("a text of 1 to 1000 characters");
const stopTexts = expects("a text, or an array of up to 4 texts");
const stop = z
  .preprocess(
    (value) => (typeof value === "string" ? [value] : value),
    z.array(z.string(stopText).min(1, stopText).max(1000, stopText), stopTexts).max(4, stopTexts).nullish(),
  )
  .optional();

/** Fields of both routes. All may be null, which means absent, as clients send it; unknown fields pass. */
const common = {
  model: z.string(expects("the name of a model")).nullish(),
  stream: boolean(),
  stream_options: z.looseObject({ include_usage: boolean() }, expects("an object")).nullish(),
  max_tokens: integer(1, Number.MAX_SAFE_INTEGER),
  max_completion_tokens: integer(1, Number.MAX_SAFE_INTEGER),
  temperature: number(0, 2),
  top_k: integer(-1, Number.MAX_SAFE_INTEGER),
  top_p: number(0, 1),
  min_p: number(0, 1),
  repetition_penalty: number(0.01, 100),
  seed: integer(0, Number.MAX_SAFE_INTEGER),
  stop,
  ignore_eos: boolean(),
  n: integer(1, MAX_CHOICES),
};

export type CommonBody = z.infer<z.ZodObject<typeof common>>;

/** `prompt` has four forms and may be long: `readPrompts` checks it, against the vocabulary too. */
export const completionBody = z.looseObject({ ...common, prompt: z.unknown().optional() });

const ROLES = ["system", "developer", "user", "assistant"] as const;
const textPart = z.looseObject(
  { type: z.literal("text", expects('"text"')), text: z.string(expects("a text")) },
  expects("an object with a type"),
);
const message = z.looseObject(
  {
    role: z.enum(ROLES, expects("one of system, developer, user, assistant")),
    content: z.preprocess(
      // Parts are what newer clients send for plain text; a template sees them as lines.
      (value) => (typeof value === "string" ? [{ type: "text", text: value }] : value),
      z.array(textPart, expects("a text or an array of text parts")),
    ),
  },
  expects("an object with role and content"),
);
const messages = expects("an array with at least one message");
export const chatBody = z.looseObject({ ...common, messages: z.array(message, messages).min(1, messages) });

/** Fields that would change the answer if we had them, each with the values that ask for nothing. */
const UNSUPPORTED: Record<string, (value: unknown) => boolean> = {
  audio: never,
  best_of: (value) => value === 1,
  echo: isFalse,
  frequency_penalty: isZero,
  function_call: isChoiceOfNothing,
  functions: isEmpty,
  logit_bias: isEmpty,
  logprobs: isFalse,
  modalities: (value) => Array.isArray(value) && value.length === 1 && value[0] === "text",
  prediction: never,
  presence_penalty: isZero,
  response_format: (value) => (value as { type?: unknown }).type === "text",
  suffix: (value) => value === "",
  tool_choice: isChoiceOfNothing,
  tools: isEmpty,
  top_logprobs: isZero,
  web_search_options: never,
  // Of other servers: to ignore a constraint would give text that breaks it.
  allowed_token_ids: isEmpty,
  bad_words: isEmpty,
  grammar: (value) => value === "",
  guided_choice: isEmpty,
  guided_grammar: never,
  guided_json: never,
  guided_regex: never,
  json_schema: isEmpty,
  min_tokens: isZero,
  prompt_logprobs: never,
  stop_token_ids: isEmpty,
  structured_outputs: never,
};

function never(): boolean {
  return false;
}
function isFalse(value: unknown): boolean {
  return value === false;
}
function isZero(value: unknown): boolean {
  return value === 0;
}
function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}
function isChoiceOfNothing(value: unknown): boolean {
  return value === "none" || value === "auto";
}

/** The path of a field as OpenAI writes it in `param`: `messages[0].content`. */
function paramOf(path: readonly PropertyKey[]): string {
  let param = "";
  for (const key of path) {
    if (typeof key === "number") param += `[${key}]`;
    else param += param === "" ? String(key) : `.${String(key)}`;
  }
  return param;
}

/**
 * A parsed JSON body, checked.
 *
 * @throws {HTTPException} 400 that names the first field which is wrong, missing, or not supported.
 */
export function check<T extends z.ZodType>(schema: T, body: unknown): z.infer<T> {
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    throw apiError(400, `The request body must be a JSON object, got ${show(body)}`, {
      code: "invalid_type",
    });
  }
  for (const [param, asksForNothing] of Object.entries(UNSUPPORTED)) {
    const value = (body as Record<string, unknown>)[param];
    if (value !== undefined && value !== null && !asksForNothing(value)) {
      throw apiError(400, `"${param}" is not supported by this server, got ${show(value)}`, {
        param,
        code: "unsupported_parameter",
      });
    }
  }
  const result = schema.safeParse(body, { reportInput: true });
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const param = paramOf(issue.path);
  const missing = issue.code === "invalid_type" && issue.input === undefined;
  const kind = issue.code === "invalid_type" ? "invalid_type" : "invalid_value";
  throw apiError(400, `"${param}" ${issue.message}`, {
    param,
    code: missing ? "missing_required_parameter" : kind,
  });
}
