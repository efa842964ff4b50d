import { Hono } from "hono";
import type { TokenEntry } from "../choice-text.ts";
import { apiError } from "../errors.ts";
import { chatLogprobs } from "../logprobs.ts";
import { readJobs, readOptions } from "../options.ts";
import { readMessages } from "../prompt.ts";
import { type AnswerFormat, keepAlive, respond } from "../respond.ts";
import { type ChatBody, checkChat } from "../schemas.ts";
import { findModel, readJson, type Service, type ServiceEnv } from "../service.ts";

/** `POST /v1/chat/completions`: a conversation in, the assistant's next message out. */
export function chatRoutes(service: Service) {
  return new Hono<ServiceEnv>().post("/chat/completions", async (c) => {
    const body = checkChat(await readJson(c));
    const { name, model } = await findModel(service, body.model, keepAlive(c));
    const logProbabilities = readLogprobs(body);
    const request = readOptions(model, body, { logProbabilities });
    const messages = body.messages.map(({ role, content }) => ({
      // OpenAI's newer word for the same thing; templates know the older one.
      role: role === "developer" ? "system" : role,
      content: content.map(({ text }) => text).join("\n"),
    }));
    const describe =
      logProbabilities === undefined
        ? () => null
        : (tokens: readonly TokenEntry[]) => chatLogprobs(model.tokenizer, tokens);
    return respond(c, service, {
      model,
      jobs: readJobs([readMessages(model, messages)], body, request),
      format: chatFormat(name, request.fingerprint, describe),
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

function chatFormat(
  model: string,
  fingerprint: string,
  logprobs: (tokens: readonly TokenEntry[]) => object | null,
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
  return {
    whole: (choices, usage) => ({
      ...base("chat.completion"),
      choices: choices.map(({ index, text, tokens, finish }) => ({
        index,
        message: { role: "assistant", content: text, refusal: null },
        logprobs: logprobs(tokens),
        finish_reason: finish,
      })),
      usage,
    }),
    // Clients that gather a stream into a message refuse one that does not begin with a role.
    first: (index) => delta(index, { role: "assistant", content: "" }),
    text: (index, text, tokens) => delta(index, { content: text }, tokens),
    finish: (index, reason, tokens) => delta(index, {}, tokens, reason),
    empty: () => chunk([]),
  };
}
