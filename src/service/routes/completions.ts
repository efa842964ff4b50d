import { Hono } from "hono";
import type { TokenEntry } from "../choice-text.ts";
import { completionLogprobs } from "../logprobs.ts";
import { type Job, readJobs, readOptions } from "../options.ts";
import { type Prompt, readPrompts } from "../prompt.ts";
import { type AnswerFormat, keepAlive, respond } from "../respond.ts";
import { checkCompletion, MAX_CHOICES } from "../schemas.ts";
import { findDraftModel, findModel, readJson, type Service, type ServiceEnv } from "../service.ts";

/** `POST /v1/completions`: text or token ids in, their continuation out. */
export function completionRoutes(service: Service) {
  return new Hono<ServiceEnv>().post("/completions", async (c) => {
    const body = checkCompletion(await readJson(c));
    const { name, model } = await findModel(service, body.model, keepAlive(c));
    const logProbabilities = body.logprobs ?? undefined;
    const draftModel = await findDraftModel(service, name, body.draft, keepAlive(c));
    const request = readOptions(model, body, { defaultMaxTokens: 16, logProbabilities, draftModel });
    const describe =
      logProbabilities === undefined
        ? () => null
        : (tokens: readonly TokenEntry[]) => completionLogprobs(model.tokenizer, tokens);
    const prompts = readPrompts(model, body.prompt, MAX_CHOICES);
    const tokens = prompts.map((prompt) => prompt.tokens);
    const jobs = readJobs(tokens, body, request, service.limits.maxTokens);
    return respond(c, service, {
      name,
      model,
      jobs: body.echo ? withEcho(jobs, prompts, logProbabilities) : jobs,
      format: completionFormat(name, request.fingerprint, describe),
      stream: body.stream ?? false,
      includeUsage: body.stream_options?.include_usage ?? false,
    });
  });
}

function withEcho(
  jobs: readonly Job[],
  prompts: readonly Prompt[],
  logProbabilities: number | undefined,
): readonly Job[] {
  const texts = new Map(prompts.map(({ tokens, text }) => [tokens as readonly number[], text]));
  return jobs.map((job) => ({ ...job, echo: { text: texts.get(job.prompt), logProbabilities } }));
}

function completionFormat(
  model: string,
  fingerprint: string,
  logprobs: (tokens: readonly TokenEntry[]) => object | null,
): AnswerFormat {
  const base = {
    id: `cmpl-${crypto.randomUUID()}`,
    object: "text_completion",
    created: Math.floor(Date.now() / 1000),
    model,
    system_fingerprint: fingerprint,
  };
  const chunk = (index: number, text: string, tokens: readonly TokenEntry[], reason: string | null) => ({
    ...base,
    choices: [
      { index, text, logprobs: tokens.length === 0 ? null : logprobs(tokens), finish_reason: reason },
    ],
  });
  return {
    whole: (choices, usage) => ({
      ...base,
      choices: choices.map(({ index, text, tokens, finish }) => ({
        index,
        text,
        logprobs: logprobs(tokens),
        finish_reason: finish,
      })),
      usage,
    }),
    first: () => null,
    text: (index, text, tokens) => chunk(index, text, tokens, null),
    finish: (index, reason, tokens) => chunk(index, "", tokens, reason),
    empty: () => ({ ...base, choices: [] }),
  };
}
