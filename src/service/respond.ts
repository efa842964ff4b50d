import type { Context } from "hono";
import { HTTPException } from "hono/http-exception";
import { nextTask } from "../decoding/next-task.ts";
import type { FinishReason, GenerateResult, Model } from "../engine/model.ts";
import type { TokenEntry } from "./choice-text.ts";
import { decode, type Progress } from "./decode.ts";
import type { KeepAlive } from "./models.ts";
import type { Job } from "./options.ts";
import type { Service, ServiceEnv } from "./service.ts";
import type { Slot } from "./slots.ts";
import { eventStream } from "./sse.ts";
import { speculationOf, type Usage, usageOf } from "./usage.ts";

export interface FinishedChoice {
  index: number;
  text: string;
  tokens: TokenEntry[];
  finish: FinishReason;
}

/** How one route writes its answer: the two routes differ in these objects and in nothing else. */
export interface AnswerFormat {
  /** The body of an answer in one piece. */
  whole(choices: FinishedChoice[], usage: Usage): object;
  /** Stream: what comes before a choice's text; null for nothing. */
  first(index: number): object | null;
  /** Stream: some text of a choice. `tokens` is empty unless log-probabilities were asked for. */
  text(index: number, text: string, tokens: readonly TokenEntry[]): object;
  /** Stream: the end of a choice. */
  finish(index: number, reason: FinishReason, tokens: readonly TokenEntry[]): object;
  /** Stream: a chunk without choices, for `stream_options.include_usage`. */
  empty(): object;
}

export interface Answer {
  model: Model;
  jobs: readonly Job[];
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
    const progress = {
      alive: touch,
      token() {
        touch();
        service.counts.tokens++;
      },
    };
    if (answer.stream) {
      const frames = chunks(answer, signal, progress);
      const { body, headers } = eventStream(frames, {
        signal,
        stallMs: service.stallMs,
        onEnd: end,
        onError: (error) => {
          // An answer to the client, only late.
          if (!(error instanceof HTTPException)) service.onError(error);
        },
      });
      return c.newResponse(body, { headers });
    }
    const body = await answerWhole(answer, signal, progress);
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
  progress: Progress,
): Promise<object> {
  const choices: FinishedChoice[] = [];
  const results: GenerateResult[] = [];
  for (const job of jobs) {
    for (let i = 0; i < job.options.n; i++) {
      choices.push({ index: job.first + i, text: "", tokens: [], finish: "length" });
    }
    for await (const event of decode(model, job, signal, progress)) {
      const choice = choices[event.index];
      for (const token of event.tokens) choice.tokens.push(token);
      if (event.result === undefined) {
        choice.text += event.text;
      } else {
        choice.finish = event.result.finishReason;
        results.push(event.result);
      }
      await nextTask();
    }
  }
  return { ...format.whole(choices, usageOf(promptsOf(jobs), results)), ...reportOf(results) };
}

async function* chunks(
  { model, jobs, format, includeUsage }: Answer,
  signal: AbortSignal | undefined,
  progress: Progress,
): AsyncGenerator<object, void, void> {
  // OpenAI's streams have `usage` in every chunk or in none; null until the last.
  const chunk = (body: object): object => (includeUsage ? { ...body, usage: null } : body);
  const results: GenerateResult[] = [];
  const total = jobs.reduce((sum, { options }) => sum + options.n, 0);
  for (const job of jobs) {
    for (let i = 0; i < job.options.n; i++) {
      const first = format.first(job.first + i);
      if (first !== null) yield chunk(first);
    }
    for await (const event of decode(model, job, signal, progress)) {
      const { index, tokens, result } = event;
      if (result === undefined) {
        yield chunk(format.text(index, event.text, tokens));
      } else {
        results.push(result);
        const isLast = results.length === total && !includeUsage;
        yield chunk({
          ...format.finish(index, result.finishReason, tokens),
          ...(isLast && reportOf(results)),
        });
      }
    }
  }
  if (includeUsage) {
    yield { ...format.empty(), usage: usageOf(promptsOf(jobs), results), ...reportOf(results) };
  }
}

/** Each once, however many jobs it has. */
function promptsOf(jobs: readonly Job[]): (readonly number[])[] {
  return [...new Set(jobs.map(({ prompt }) => prompt))];
}

/** The field that is ours: what speculation did. On a stream's last chunk, as it is known at the end. */
function reportOf(results: readonly GenerateResult[]): object {
  const speculation = speculationOf(results);
  return speculation === undefined ? {} : { speculation };
}
