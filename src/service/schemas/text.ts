/** Text to tokens and back, in llama.cpp's words (`content`) and in vLLM's (`prompt`, `messages`). */
import * as z from "zod/mini";
import { check } from "../schemas.ts";
import { messages, toolFields } from "./messages.ts";
import type { Unsupported } from "./unsupported.ts";
import { boolean, expects } from "./values.ts";

const model = z.nullish(z.string(expects("the name of a model")));
const text = () => z.nullish(z.string(expects("a text")));

export const tokenizeBody = z.looseObject({
  model,
  content: text(),
  prompt: text(),
  messages: z.nullish(messages),
  ...toolFields,
  /** llama.cpp's; default false. */
  add_special: boolean(),
  /** vLLM's; default true for `prompt`. */
  add_special_tokens: boolean(),
  /** llama.cpp's; default true for `content`. */
  parse_special: boolean(),
  /** llama.cpp's: each token with its text, or its bytes where it has no text of its own. */
  with_pieces: boolean(),
  /** vLLM's: the texts of the tokens as an array of their own. */
  return_token_strs: boolean(),
});

export const detokenizeBody = z.looseObject({
  model,
  /** Ids; checked against the vocabulary. */
  tokens: z.unknown(),
});

export const applyTemplateBody = z.looseObject({ model, messages, ...toolFields });

const isTrue = (value: unknown) => value === true;
const isFalse = (value: unknown) => value === false;
const never = () => false;

/** What would change a conversation's text. */
const UNSUPPORTED: Unsupported = {
  add_generation_prompt: isTrue,
  chat_template: never,
  chat_template_kwargs: never,
  continue_final_message: isFalse,
};

export const checkTokenize = (body: unknown) => check(tokenizeBody, body, UNSUPPORTED);
export const checkDetokenize = (body: unknown) => check(detokenizeBody, body);
export const checkApplyTemplate = (body: unknown) => check(applyTemplateBody, body, UNSUPPORTED);

export type TokenizeBody = z.infer<typeof tokenizeBody>;
