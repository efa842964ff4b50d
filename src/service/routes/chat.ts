import { Hono } from "hono";
import { choiceJobs, readOptions } from "../options.ts";
import { readMessages } from "../prompt.ts";
import { type AnswerFormat, keepAlive, respond } from "../respond.ts";
import { chatBody, check } from "../schemas.ts";
import { findModel, readJson, type Service, type ServiceEnv } from "../service.ts";

/** `POST /v1/chat/completions`: a conversation in, the assistant's next message out. */
export function chatRoutes(service: Service) {
  return new Hono<ServiceEnv>().post("/chat/completions", async (c) => {
    const body = check(chatBody, await readJson(c));
    const { name, model } = await findModel(service, body.model, keepAlive(c));
    const options = readOptions(model, body, undefined);
    const messages = body.messages.map(({ role, content }) => ({
      // OpenAI's newer word for the same thing; templates know the older one.
      role: role === "developer" ? "system" : role,
      content: content.map(({ text }) => text).join("\n"),
    }));
    return respond(c, service, {
      model,
      jobs: choiceJobs([readMessages(model, messages)], body, options),
      format: chatFormat(name, model.fingerprint),
      stream: body.stream ?? false,
      includeUsage: body.stream_options?.include_usage ?? false,
    });
  });
}

function chatFormat(model: string, fingerprint: string): AnswerFormat {
  const id = `chatcmpl-${crypto.randomUUID()}`;
  const created = Math.floor(Date.now() / 1000);
  const base = (object: string) => ({ id, object, created, model, system_fingerprint: fingerprint });
  const chunk = (choices: object[]) => ({ ...base("chat.completion.chunk"), choices });
  const delta = (index: number, content: object, finish_reason: string | null = null) =>
    chunk([{ index, delta: content, logprobs: null, finish_reason }]);
  return {
    whole: (choices, usage) => ({
      ...base("chat.completion"),
      choices: choices.map(({ index, text, finish }) => ({
        index,
        message: { role: "assistant", content: text, refusal: null },
        logprobs: null,
        finish_reason: finish,
      })),
      usage,
    }),
    // Clients that gather a stream into a message refuse one that does not begin with a role.
    first: (index) => delta(index, { role: "assistant", content: "" }),
    text: (index, text) => delta(index, { content: text }),
    finish: (index, reason) => delta(index, {}, reason),
    empty: () => chunk([]),
  };
}
