import { Hono } from "hono";
import type { FinishReason, Model } from "../../engine/model.ts";
import type { TokenEntry } from "../choice-text.ts";
import { type Conversation, readConversation } from "../conversation.ts";
import { apiError } from "../errors.ts";
import { readCallRule } from "../forced-call.ts";
import { chatLogprobs } from "../logprobs.ts";
import { readJobs, readOptions } from "../options.ts";
import { readMessages, toolsError } from "../prompt.ts";
import { type AnswerFormat, keepAlive, respond } from "../respond.ts";
import { type ChatBody, checkChat } from "../schemas.ts";
import { findDraftModel, findModel, readJson, type Service, type ServiceEnv } from "../service.ts";
import { asksForToolCalls, type Spoken, ToolCallReader } from "../tool-calls.ts";

/** `POST /v1/chat/completions`: a conversation in, the assistant's next message out. */
export function chatRoutes(service: Service) {
  return new Hono<ServiceEnv>().post("/chat/completions", async (c) => {
    const body = checkChat(await readJson(c));
    const { name, model } = await findModel(service, body.model, keepAlive(c));
    const logProbabilities = readLogprobs(body);
    const call = readCallRule(body);
    const draftModel = await findDraftModel(service, name, body.draft, keepAlive(c));
    const request = readOptions(model, body, { logProbabilities, call, draftModel });
    const conversation = readConversation(body);
    const prompt = readMessages(model, conversation);
    const hasTools = conversation.tools.length > 0;
    if (hasTools) expectKnownCalls(model, conversation);
    const describe =
      logProbabilities === undefined
        ? () => null
        : (tokens: readonly TokenEntry[]) => chatLogprobs(model.tokenizer, tokens);
    return respond(c, service, {
      name,
      model,
      jobs: readJobs([prompt], body, request, service.limits.maxTokens),
      format: chatFormat(name, request.fingerprint, describe, hasTools ? ToolCallReader : PlainReader),
      stream: body.stream ?? false,
      includeUsage: body.stream_options?.include_usage ?? false,
    });
  });
}

/** How many alternatives to tell of each token; undefined: nothing of it. */
function readLogprobs({ logprobs, top_logprobs }: ChatBody): number | undefined {
  if (logprobs) return top_logprobs ?? 0;
  if (!top_logprobs) return undefined;
  throw apiError(400, '"top_logprobs" is allowed only where "logprobs" is true', {
    param: "top_logprobs",
    code: "invalid_value",
  });
}

/** @throws {HTTPException} 400, if calls would not be found in the answer. */
function expectKnownCalls(model: Model, conversation: Conversation): void {
  if (asksForToolCalls(model.chatText(conversation.messages, conversation))) return;
  throw toolsError(conversation.tools, "the model's chat template has calls in a form that is not known");
}

/** Where nothing can be called, all is text. */
class PlainReader {
  readonly count = 0;
  push(text: string): Spoken {
    return { text, calls: [] };
  }
  end(): Spoken {
    return { text: "", calls: [] };
  }
}

function chatFormat(
  model: string,
  fingerprint: string,
  logprobs: (tokens: readonly TokenEntry[]) => object | null,
  Reader: new () => PlainReader | ToolCallReader,
): AnswerFormat {
  const id = `chatcmpl-${crypto.randomUUID()}`;
  const created = Math.floor(Date.now() / 1000);
  const base = (object: string) => ({ id, object, created, model, system_fingerprint: fingerprint });
  const chunk = (choices: object[]) => ({ ...base("chat.completion.chunk"), choices });
  const delta = (
    index: number,
    content: object,
    tokens: readonly TokenEntry[] = [],
    finish_reason: string | null = null,
  ) =>
    chunk([
      { index, delta: content, logprobs: tokens.length === 0 ? null : logprobs(tokens), finish_reason },
    ]);
  /** Of a stream, by choice. */
  const readers = new Map<number, PlainReader | ToolCallReader>();
  const spokenDelta = ({ text, calls }: Spoken, count: number) => ({
    ...(text !== "" && { content: text }),
    ...(calls.length > 0 && {
      tool_calls: calls.map((call, i) => ({ index: count - calls.length + i, ...call })),
    }),
  });
  return {
    whole: (choices, usage) => ({
      ...base("chat.completion"),
      choices: choices.map(({ index, text, tokens, finish }) => ({
        index,
        ...messageOf(new Reader(), text, finish),
        logprobs: logprobs(tokens),
      })),
      usage,
    }),
    // Clients that gather a stream into a message refuse one that does not begin with a role.
    first: (index) => {
      readers.set(index, new Reader());
      return delta(index, { role: "assistant", content: "" });
    },
    text: (index, text, tokens) => {
      const reader = readers.get(index)!;
      const content = spokenDelta(reader.push(text), reader.count);
      if (Object.keys(content).length === 0 && tokens.length === 0) return null;
      return delta(index, content, tokens);
    },
    finish: (index, reason, tokens) => {
      const reader = readers.get(index)!;
      const content = spokenDelta(reader.end(), reader.count);
      return delta(index, content, tokens, reader.count > 0 ? "tool_calls" : reason);
    },
    empty: () => chunk([]),
  };
}

function messageOf(reader: PlainReader | ToolCallReader, text: string, finish: FinishReason) {
  const spoken = reader.push(text);
  const last = reader.end();
  const content = spoken.text + last.text;
  const calls = [...spoken.calls, ...last.calls];
  if (calls.length === 0) {
    return { message: { role: "assistant", content, refusal: null }, finish_reason: finish };
  }
  return {
    message: { role: "assistant", content: content || null, refusal: null, tool_calls: calls },
    finish_reason: "tool_calls",
  };
}
