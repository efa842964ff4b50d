import * as z from "zod/mini";
import { apiError, show } from "./errors.ts";
import { formatFields } from "./schemas/format.ts";
import { messages, toolFields } from "./schemas/messages.ts";
import { samplingFields } from "./schemas/sampling.ts";
import { speculationFields } from "./schemas/speculation.ts";
import { UNSUPPORTED_IN_CHAT, UNSUPPORTED_IN_COMPLETIONS, type Unsupported } from "./schemas/unsupported.ts";
import { ANY, boolean, expects, integer, texts } from "./schemas/values.ts";

/** Most texts that one request may ask for: prompts x n, or x best_of. */
export const MAX_CHOICES = 16;

/** Most alternatives that are told of a token. */
const MAX_TOP = 20;

/** Fields of both routes. Unknown ones pass. */
const common = {
  model: z.nullish(z.string(expects("the name of a model"))),
  stream: boolean(),
  stream_options: z.nullish(z.looseObject({ include_usage: boolean() }, expects("an object"))),
  stop: texts(4, 1000),
  /** vLLM's; checked against the vocabulary by `options.ts`. */
  stop_token_ids: z.optional(z.unknown()),
  ignore_eos: boolean(),
  ...formatFields,
  n: integer(1, MAX_CHOICES),
  ...samplingFields,
  ...speculationFields,
};

export type CommonBody = z.infer<z.ZodMiniObject<typeof common & ReturnType<typeof lengths>>>;

/** 0: nothing is decoded, where only the prompt is to be told. */
const lengths = (least: number) => ({
  max_tokens: integer(least, ANY),
  max_completion_tokens: integer(least, ANY),
});

export const completionBody = z.looseObject({
  ...common,
  ...lengths(0),
  /** Has four forms and may be long: `readPrompts` checks it, against the vocabulary too. */
  prompt: z.optional(z.unknown()),
  best_of: integer(1, MAX_CHOICES),
  /** The answer begins with the prompt, and `logprobs` with those of its tokens. */
  echo: boolean(),
  // What asks for nothing in a chat does so here.
  logprobs: z.optional(
    z.pipe(
      z.transform((value) => (value === false ? null : value)),
      integer(0, MAX_TOP),
    ),
  ),
});

export const chatBody = z.looseObject({
  ...common,
  ...lengths(1),
  messages,
  ...toolFields,
  logprobs: boolean(),
  top_logprobs: integer(0, MAX_TOP),
});

export type ChatBody = z.infer<typeof chatBody>;

export const checkCompletion = (body: unknown) => check(completionBody, body, UNSUPPORTED_IN_COMPLETIONS);
export const checkChat = (body: unknown) => check(chatBody, body, UNSUPPORTED_IN_CHAT);

/**
 * A parsed JSON body, checked.
 *
 * @throws {HTTPException} 400 that names the first field which is wrong, missing, or not supported.
 */
export function check<T extends z.ZodMiniType>(
  schema: T,
  body: unknown,
  unsupported: Unsupported = {},
): z.infer<T> {
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    throw apiError(400, `The request body must be a JSON object, got ${show(body)}`, {
      code: "invalid_type",
    });
  }
  for (const [param, asksForNothing] of Object.entries(unsupported)) {
    const value = (body as Record<string, unknown>)[param];
    if (value !== undefined && value !== null && !asksForNothing(value)) {
      throw apiError(400, `"${param}" is not supported by this server, got ${show(value)}`, {
        param,
        code: "unsupported_parameter",
      });
    }
  }
  const result = z.safeParse(schema, body, { reportInput: true });
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const unknown = issue.code === "unrecognized_keys" ? issue.keys.slice(0, 1) : [];
  const param = paramOf([...issue.path, ...unknown]);
  throw apiError(400, `"${param}" ${issue.message}`, { param, code: codeOf(issue) });
}

function codeOf(issue: z.core.$ZodIssue): string {
  if (issue.code === "unrecognized_keys") return "unknown_parameter";
  if (issue.code === "custom" && issue.params?.isMissing) return "missing_required_parameter";
  if (issue.code !== "invalid_type") return "invalid_value";
  return issue.input === undefined ? "missing_required_parameter" : "invalid_type";
}

/** The path of a field as OpenAI writes it in `param`: `messages[0].content`. */
function paramOf(path: readonly PropertyKey[]): string {
  let param = "";
  for (const key of path) {
    if (typeof key === "number") param += `[${key}]`;
    else param += param === "" ? String(key) : `.${String(key).slice(0, 40)}`;
  }
  return param;
}
