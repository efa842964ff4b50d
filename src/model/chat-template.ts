/**
 * Conversations as the text a model was trained to answer, by the Jinja template in its file.
 *
 * A model without a template was not trained on conversations. It gets the messages' contents joined by newlines, with
 * no role names: it reads on where the last message ends, which is all that such a model can do.
 */
import { grouped, UnsupportedError } from "../errors.ts";
import type { Metadata } from "../format/gguf.ts";
import { metadataNumber, metadataString } from "../format/metadata.ts";
import { LIMIT, parseTemplate, renderTemplate, type Template } from "./chat-template/bounded-jinja.ts";
import { strftime } from "./chat-template/strftime.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface ChatMessage {
  /** Usually "system", "user" or "assistant"; which ones are allowed is the template's decision. */
  role: string;
  content: string;
  /** Functions that the assistant called in this message. */
  toolCalls?: readonly ToolCall[];
  /** Of a message of role "tool": which call it answers. */
  toolCallId?: string;
}

/** A call of a function, as models of that kind write it. */
export interface ToolCall {
  /** Default: none. */
  id?: string;
  name: string;
  /** Arguments by name; a text where the model wrote no object. */
  arguments: unknown;
}

export interface ChatOptions {
  /** Functions that the assistant may call: OpenAI's `tools`, which is the form that templates know. */
  tools?: readonly object[];
  /** What the template's `strftime_now` tells, in UTC. Default: now. */
  now?: Date;
}

const KEY = "tokenizer.chat_template";
const MAX_ROLE = 64;
/** A message costs a template some hundred steps of its budget, empty or not. */
const MAX_MESSAGES = 4_096;

/** Parsing takes longer than rendering, and a server renders the same template again and again. */
const parsed = new WeakMap<Metadata, Template>();

/**
 * The text of a conversation, ending where the assistant's answer begins.
 *
 * Special tokens are spelled out in it, BOS too if the template writes one; `encodeChat` makes tokens of it. Contents
 * are not escaped: a content that spells a control token becomes that token, as in every runtime of such templates.
 *
 * @throws {UnsupportedError} If there are tools, calls or their answers, and the template knows nothing of tools.
 * @throws {TypeError | RangeError} If a message is malformed, or all together are too long.
 * @throws {RangeError} If the template is malformed, refuses the messages, or does more work than a template needs.
 *
 * @example
 * ```ts
 * renderChat(gguf.metadata, [{ role: "user", content: "Hi" }]);
 * // "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
 * ```
 */
export function renderChat(
  metadata: Metadata,
  messages: readonly ChatMessage[],
  { tools = [], now = new Date() }: ChatOptions = {},
): string {
  const checked = checkMessages(messages, tools.length > 0 ? JSON.stringify(tools).length : 0);
  const source = metadataString(metadata, KEY, { default: null });
  const needsTools =
    tools.length > 0 || checked.some(({ role, tool_calls }) => role === "tool" || tool_calls);
  if (needsTools && !/\btools?\b/.test(source ?? "")) {
    throw new UnsupportedError("The model's chat template knows nothing of tools");
  }
  if (source === null) return checked.map(({ content }) => content).join("\n");
  try {
    const template = parsed.get(metadata) ?? parseTemplate(source);
    parsed.set(metadata, template);
    return renderTemplate(template, {
      messages: checked,
      add_generation_prompt: true,
      bos_token: tokenText(metadata, "bos", 1),
      eos_token: tokenText(metadata, "eos", 2),
      // Null rather than missing, as in the library that templates are written for.
      tools: tools.length > 0 ? tools : null,
      documents: null,
      strftime_now: (format: unknown) => strftime(now, format),
    });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new RangeError(`Cannot render chat template "${KEY}": ${reason.slice(0, 300)}`, { cause: error });
  }
}

/** Token ids of a rendered conversation: control tokens recognised, BOS once if the file adds one, no EOS. */
export function encodeChat(tokenizer: Tokenizer, text: string): number[] {
  const tokens = tokenizer.encode(text, { special: false, parseSpecial: true });
  const { bos } = tokenizer;
  const addsBos = bos !== null && tokenizer.encode("")[0] === bos;
  return addsBos && tokens[0] !== bos ? [bos, ...tokens] : tokens;
}

/** A message under the names that templates know. */
interface TemplateMessage {
  role: string;
  content: string;
  tool_calls?: readonly object[];
  tool_call_id?: string;
}

/** @param rest Characters of all else that the template gets. */
function checkMessages(messages: readonly ChatMessage[], rest: number): TemplateMessage[] {
  if (!Array.isArray(messages)) throw new TypeError(`"messages" must be an array, got ${typeof messages}`);
  if (messages.length === 0 || messages.length > MAX_MESSAGES) {
    const expected = `1 to ${grouped(MAX_MESSAGES)} messages`;
    throw new RangeError(`"messages" must hold ${expected}, got ${grouped(messages.length)}`);
  }
  let total = rest;
  const checked = messages.map((message: unknown, index) => {
    const { role, content, toolCalls, toolCallId } = (message ?? {}) as Partial<ChatMessage>;
    if (typeof role !== "string") {
      throw new TypeError(`"messages[${index}].role" must be a string, got ${typeof role}`);
    }
    if (typeof content !== "string") {
      throw new TypeError(`"messages[${index}].content" must be a string, got ${typeof content}`);
    }
    if (role === "" || role.length > MAX_ROLE) {
      const got = `${grouped(role.length)} characters`;
      throw new RangeError(`"messages[${index}].role" must have 1 to ${MAX_ROLE} characters, got ${got}`);
    }
    const calls = toolCalls?.map(templateCall);
    total += role.length + content.length + (calls === undefined ? 0 : JSON.stringify(calls).length);
    return {
      role,
      content,
      ...(calls && calls.length > 0 && { tool_calls: calls }),
      ...(toolCallId !== undefined && { tool_call_id: toolCallId }),
    };
  });
  if (total > LIMIT) {
    throw new RangeError(`"messages" must have at most ${grouped(LIMIT)} characters, got ${grouped(total)}`);
  }
  return checked;
}

/** Both ways in which templates look for it: OpenAI's, and the function itself. */
function templateCall({ id = "", name, arguments: given }: ToolCall): object {
  return { id, type: "function", function: { name, arguments: given }, name, arguments: given };
}

/** The spelling of BOS or EOS; empty where there is none, which is what templates then write. */
function tokenText(metadata: Metadata, name: "bos" | "eos", sentencePieceId: number): string {
  const isSentencePiece = metadata.get("tokenizer.ggml.model") === "llama";
  const key = `tokenizer.ggml.${name}_token_id`;
  const fallback = isSentencePiece ? sentencePieceId : null;
  const id = metadataNumber(metadata, key, { integer: true, min: 0, max: 2 ** 32 - 1, default: fallback });
  const texts = metadata.get("tokenizer.ggml.tokens");
  const text = id !== null && Array.isArray(texts) ? texts[id] : undefined;
  return typeof text === "string" ? text : "";
}
