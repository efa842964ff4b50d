import type { Context } from "hono";
import { nextTask } from "../decoding/next-task.ts";
import type { FinishReason, Model } from "../engine/model.ts";
import { type ChoiceJob, decode } from "./decode.ts";
import type { KeepAlive } from "./models.ts";
import type { Service, ServiceEnv } from "./service.ts";
import type { Slot } from "./slots.ts";
import { eventStream } from "./sse.ts";

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
}

export interface FinishedChoice {
  index: number;
  text: string;
  finish: FinishReason;
}

/** How one route writes its answer: the two routes differ in these objects and in nothing else. */
export interface AnswerFormat {
  /** The body of an answer in one piece. */
  whole(choices: FinishedChoice[], usage: Usage): object;
  /** Stream: what comes before a choice's text; null for nothing. */
  first(index: number): object | null;
  /** Stream: some text of a choice. */
  text(index: number, text: string): object;
  /** Stream: the end of a choice. */
  finish(index: number, reason: FinishReason): object;
  /** Stream: a chunk without choices, for `stream_options.include_usage`. */
  empty(): object;
}

export interface Answer {
  model: Model;
  jobs: ChoiceJob[];
  format: AnswerFormat;
  stream: boolean;
  includeUsage: boolean;
}

/**
 * Waits for a slot, decodes, and answers, in one piece or as a stream; stops when the client goes.
 *
 * @throws {HTTPException} 429, if too many requests are waiting already.
 */
export async function respond(c: Context<ServiceEnv>, service: Service, answer: Answer): Promise<Response> {
  const signal = c.get("signal");
  // A Worker freezes a request whose client has left; kept alive, it can leave the queue and close its session.
  let rest = () => {};
  keepAlive(c)(
    new Promise<void>((resolve) => {
      rest = resolve;
    }),
  );
  let slot: Slot | undefined;
  const end = () => {
    slot?.release();
    rest();
  };
  try {
    slot = await service.slots.acquire(signal);
    const { touch } = slot;
    const onToken = () => {
      touch();
      service.counts.tokens++;
    };
    if (answer.stream) {
      const frames = chunks(answer, signal, onToken);
      const { body, headers } = eventStream(frames, {
        signal,
        stallMs: service.stallMs,
        onEnd: end,
        onError: service.onError,
      });
      return c.newResponse(body, { headers });
    }
    const body = await answerWhole(answer, signal, onToken);
    end();
    return c.json(body);
  } catch (error) {
    end();
    throw error;
  }
}

/** `waitUntil` where there is one; elsewhere a promise runs to its end by itself. */
export function keepAlive(c: Context): KeepAlive {
  return (work) => {
    try {
      c.executionCtx.waitUntil(work);
    } catch {
      // Hono throws where the platform has no execution context.
    }
  };
}

async function answerWhole(
  { model, jobs, format }: Answer,
  signal: AbortSignal | undefined,
  onToken: () => void,
): Promise<object> {
  const choices: FinishedChoice[] = [];
  let tokens = 0;
  for (const job of jobs) {
    let text = "";
    for await (const event of decode(model, job, signal, onToken)) {
      if (event.finish === undefined) {
        text += event.text;
      } else {
        tokens += event.tokens;
        choices.push({ index: job.index, text, finish: event.finish });
      }
      await nextTask();
    }
  }
  return format.whole(choices, usageOf(jobs, tokens));
}

async function* chunks(
  { model, jobs, format, includeUsage }: Answer,
  signal: AbortSignal | undefined,
  onToken: () => void,
): AsyncGenerator<object, void, void> {
  // OpenAI's streams have `usage` in every chunk or in none; null until the last.
  const chunk = (body: object): object => (includeUsage ? { ...body, usage: null } : body);
  let tokens = 0;
  for (const job of jobs) {
    const first = format.first(job.index);
    if (first !== null) yield chunk(first);
    for await (const event of decode(model, job, signal, onToken)) {
      if (event.finish === undefined) {
        yield chunk(format.text(job.index, event.text));
      } else {
        tokens += event.tokens;
        yield chunk(format.finish(job.index, event.finish));
      }
    }
  }
  if (includeUsage) yield { ...format.empty(), usage: usageOf(jobs, tokens) };
}

/** A prompt counts once, however many choices were made of it. */
function usageOf(jobs: readonly ChoiceJob[], completionTokens: number): Usage {
  const prompts = new Set(jobs.map(({ prompt }) => prompt));
  const promptTokens = [...prompts].reduce((sum, prompt) => sum + prompt.length, 0);
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
  };
}
