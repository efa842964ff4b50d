import { Hono } from "hono";
import { choiceJobs, readOptions } from "../options.ts";
import { readPrompts } from "../prompt.ts";
import { type AnswerFormat, keepAlive, respond } from "../respond.ts";
import { check, completionBody, MAX_CHOICES } from "../schemas.ts";
import { findModel, readJson, type Service, type ServiceEnv } from "../service.ts";

/** `POST /v1/completions`: text or token ids in, their continuation out. */
export function completionRoutes(service: Service) {
  return new Hono<ServiceEnv>().post("/completions", async (c) => {
    const body = check(completionBody, await readJson(c));
    const { name, model } = await findModel(service, body.model, keepAlive(c));
    const options = readOptions(model, body, 16);
    return respond(c, service, {
      model,
      jobs: choiceJobs(readPrompts(model, body.prompt, MAX_CHOICES), body, options),
      format: completionFormat(name, model.fingerprint),
      stream: body.stream ?? false,
      includeUsage: body.stream_options?.include_usage ?? false,
    });
  });
}

function completionFormat(model: string, fingerprint: string): AnswerFormat {
  const base = {
    id: `cmpl-${crypto.randomUUID()}`,
    object: "text_completion",
    created: Math.floor(Date.now() / 1000),
    model,
    system_fingerprint: fingerprint,
  };
  const choice = (index: number, text: string, finish_reason: string | null) => ({
    index,
    text,
    logprobs: null,
    finish_reason,
  });
  return {
    whole: (choices, usage) => ({
      ...base,
      choices: choices.map(({ index, text, finish }) => choice(index, text, finish)),
      usage,
    }),
    first: () => null,
    text: (index, text) => ({ ...base, choices: [choice(index, text, null)] }),
    finish: (index, reason) => ({ ...base, choices: [choice(index, "", reason)] }),
    empty: () => ({ ...base, choices: [] }),
  };
}
