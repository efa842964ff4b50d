import type { HTTPException } from "hono/http-exception";
import type { Model } from "../engine/model.ts";
import { UnsupportedError } from "../errors.ts";
import type { Conversation } from "./conversation.ts";
import { apiError, show } from "./errors.ts";

export interface Prompt {
  readonly tokens: number[];
  /** As it was sent; absent where token ids were. */
  readonly text?: string;
}

/**
 * The prompts of a completion request, in order: a text, an array of texts, an array of token ids, or an array of those. An
 * absent or empty text stands for the beginning of a document.
 *
 * @throws {HTTPException} 400, if it is none of these, or does not fit the model.
 */
export function readPrompts(model: Model, prompt: unknown, most: number): Prompt[] {
  const value = prompt ?? "";
  if (typeof value === "string") return [textPrompt(model, value, "prompt")];
  if (!Array.isArray(value) || value.length === 0) {
    throw promptError(
      "prompt",
      `must be a text, an array of texts, or an array of token ids, got ${show(value)}`,
    );
  }
  if (typeof value[0] === "number") return [tokenPrompt(model, value, "prompt")];
  if (value.length > most)
    throw promptError("prompt", `must hold at most ${most} prompts, got ${value.length}`);
  return value.map((one: unknown, index) => {
    const param = `prompt[${index}]`;
    if (typeof one === "string") return textPrompt(model, one, param);
    if (Array.isArray(one) && one.length > 0) return tokenPrompt(model, one, param);
    throw promptError(param, `must be a text or an array of token ids, got ${show(one)}`);
  });
}

/**
 * A conversation as token ids under the model's chat template.
 *
 * @throws {HTTPException} 400, if it does not fit the model, or the template refuses it: see `underTemplate`.
 */
export function readMessages(model: Model, { messages, tools }: Conversation): number[] {
  const characters = messages.reduce((sum, { content }) => sum + content.length, 0);
  refuseHopeless(model, characters, "messages");
  const tokens = underTemplate(tools, () => model.chatPrompt(messages, { tools }));
  return expectFit(model, tokens, "messages");
}

/**
 * What `render` makes of a conversation.
 *
 * @throws {HTTPException} 400, if the template refuses it: roles in an order it does not know, for example, or tools.
 */
export function underTemplate<T>(tools: readonly object[], render: () => T): T {
  try {
    return render();
  } catch (error) {
    const { message } = error as Error;
    if (error instanceof UnsupportedError) throw toolsError(tools, message);
    throw promptError("messages", `do not fit the model's chat template: ${message}`);
  }
}

/** 400: the model cannot call anything. */
export function toolsError(tools: readonly object[], reason: string): HTTPException {
  const param = tools.length > 0 ? "tools" : "messages";
  const message = `"${param}" must not have tools or their calls here: ${reason}`;
  return apiError(400, message, { param, code: "unsupported_parameter" });
}

function textPrompt(model: Model, text: string, param: string): Prompt {
  refuseHopeless(model, text.length, param);
  const tokens = model.tokenizer.encode(text);
  if (tokens.length > 0) return { text, tokens: expectFit(model, tokens, param) };
  const { bos, eos } = model.tokenizer;
  const start = bos ?? eos;
  if (start === null)
    throw promptError(param, "must not be empty: the model has no token that begins a text");
  return { text, tokens: [start] };
}

function tokenPrompt(model: Model, tokens: unknown[], param: string): Prompt {
  for (const [index, token] of tokens.entries()) {
    if (!Number.isInteger(token) || (token as number) < 0 || (token as number) >= model.vocab) {
      throw promptError(
        `${param}[${index}]`,
        `must be a token id from 0 to ${model.vocab - 1}, got ${show(token)}`,
      );
    }
  }
  return { tokens: expectFit(model, tokens as number[], param) };
}

function expectFit(model: Model, tokens: number[], param: string): number[] {
  if (tokens.length >= model.contextLength) throw tooLong(model, String(tokens.length), param);
  return tokens;
}

/** Refuses, before any work is spent on it, a text that cannot fit even if every token were the longest there is. */
function refuseHopeless(model: Model, characters: number, param: string): void {
  const least = Math.ceil(characters / longestToken(model));
  if (least >= model.contextLength) throw tooLong(model, `at least ${least}`, param);
}

const longest = new WeakMap<Model, number>();

/** Bytes, and so at least as many as UTF-16 units, of the model's longest token. */
function longestToken(model: Model): number {
  let bytes = longest.get(model);
  if (bytes === undefined) {
    // 4: a character that the vocabulary lacks can be one token.
    bytes = 4;
    for (let token = 0; token < model.tokenizer.vocab; token++) {
      bytes = Math.max(bytes, model.tokenizer.bytes(token).length);
    }
    longest.set(model, bytes);
  }
  return bytes;
}

function tooLong(model: Model, count: string, param: string): HTTPException {
  return apiError(
    400,
    `This model's maximum context length is ${model.contextLength} tokens, which must hold the prompt and at least one more token; "${param}" has ${count}`,
    { param, code: "context_length_exceeded" },
  );
}

function promptError(param: string, message: string): HTTPException {
  return apiError(400, `"${param}" ${message}`, { param, code: "invalid_value" });
}
