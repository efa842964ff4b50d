import type { Context } from "hono";
import { HTTPException } from "hono/http-exception";
import { nextTask } from "../decoding/next-task.ts";
import { Lease } from "../engine/lease.ts";
import type { FinishReason, Model } from "../engine/model.ts";
import type { TokenEntry } from "./choice-text.ts";
import { deadlineAfter } from "./deadline.ts";
import { type ChoiceResult, decode, type Progress } from "./decode.ts";
import { errorBody } from "./errors.ts";
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
  /** Stream: some text of a choice; null to tell it later. `tokens` is empty unless log-probabilities were asked for. */
  text(index: number, text: string, tokens: readonly TokenEntry[]): object | null;
  /** Stream: the end of a choice. */
  finish(index: number, reason: FinishReason, tokens: readonly TokenEntry[]): object;
  /** Stream: a chunk without choices, for `stream_options.include_usage`. */
  empty(): object;
}

export interface Answer {
  /** What the model goes by here. */
  name: string;
  model: Model;
  jobs: readonly Job[];
  format: AnswerFormat;
  stream: boolean;
  includeUsage: boolean;
}

/** What happened to a request as a whole, beside what `decode` tells. */
interface AnswerProgress extends Progress {
  /** It has its slot. */
  begin(jobs: readonly Job[]): void;
  /** One of its texts is complete. */
  result(result: ChoiceResult, options: Job["options"]): void;
}

/**
 * Waits for a slot, decodes, and answers, in one piece or as a stream; stops when the client goes.
 *
 * @throws {HTTPException} 429, if too many requests are waiting already; 504, if it takes longer than a request may.
 */
export async function respond(c: Context<ServiceEnv>, service: Service, answer: Answer): Promise<Response> {
  const signal = c.get("signal");
  const trace = c.get("trace");
  trace.model(answer.name);
  trace.note({ stream: answer.stream });
  const deadline = deadlineAfter(service.limits.requestMs, signal);
  // A Worker freezes a request whose client has left; kept alive, it can leave the queue and close its session.
  let rest = () => {};
  keepAlive(c)(
    new Promise<void>((resolve) => {
      rest = resolve;
    }),
  );
  let slot: Slot | undefined;
  const end = () => {
    deadline.clear();
    slot?.release();
    rest();
  };
  try {
    slot = await service.slots.acquire(deadline.signal, c.get("caller"));
    const progress = progressOf(c, service, slot, deadline.signal);
    progress.begin(answer.jobs);
    if (answer.stream) {
      const frames = chunks(answer, deadline.signal, progress);
      trace.hold();
      const { body, headers } = eventStream(frames, {
        signal,
        stallMs: service.limits.stallMs,
        onEnd: () => {
          end();
          if (signal?.aborted) trace.note({ client_left: true });
          trace.end();
        },
        onError: (error) => {
          trace.error(errorBody(error));
          // An answer to the client, only late.
          if (!(error instanceof HTTPException)) service.onError(error, c.get("requestId"));
        },
      });
      return c.newResponse(body, { headers });
    }
    const body = await answerWhole(answer, deadline.signal, progress);
    end();
    return c.json(body);
  } catch (error) {
    end();
    throw error;
  }
}

/** Tells everybody who counts how a request gets on. */
function progressOf(
  c: Context<ServiceEnv>,
  { rates, counts, slots }: Service,
  slot: Slot,
  signal: AbortSignal,
): AnswerProgress {
  const trace = c.get("trace");
  const caller = c.get("caller");
  const spend = (tokens: number) => {
    if (caller !== undefined) rates.spend(caller, tokens);
  };
  const lease = new Lease(slots.leaseMs);
  return {
    lease,
    begin(jobs) {
      const tokens = promptsOf(jobs).reduce((sum, prompt) => sum + prompt.length, 0);
      trace.begin(tokens);
      spend(tokens);
    },
    alive() {
      slot.touch();
      lease.touch();
    },
    memory: () => slot.waitForMemory(signal),
    token() {
      slot.touch();
      counts.tokens++;
      trace.token();
      spend(1);
    },
    result(result, { n, bestOf = n }) {
      trace.result(result);
      // Those that were not chosen.
      spend(result.tokens.length * (bestOf / n - 1));
    },
  };
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
  progress: AnswerProgress,
): Promise<object> {
  const choices: FinishedChoice[] = [];
  const results: ChoiceResult[] = [];
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
        progress.result(event.result, job.options);
      }
      await nextTask();
    }
  }
  return { ...format.whole(choices, usageOf(promptsOf(jobs), results)), ...reportOf(results) };
}

async function* chunks(
  { model, jobs, format, includeUsage }: Answer,
  signal: AbortSignal | undefined,
  progress: AnswerProgress,
): AsyncGenerator<object, void, void> {
  // OpenAI's streams have `usage` in every chunk or in none; null until the last.
  const chunk = (body: object): object => (includeUsage ? { ...body, usage: null } : body);
  const results: ChoiceResult[] = [];
  const total = jobs.reduce((sum, { options }) => sum + options.n, 0);
  for (const job of jobs) {
    for (let i = 0; i < job.options.n; i++) {
      const first = format.first(job.first + i);
      if (first !== null) yield chunk(first);
    }
    for await (const event of decode(model, job, signal, progress)) {
      const { index, tokens, result } = event;
      if (result === undefined) {
        const part = format.text(index, event.text, tokens);
        if (part !== null) yield chunk(part);
      } else {
        results.push(result);
        progress.result(result, job.options);
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
function reportOf(results: readonly ChoiceResult[]): object {
  const speculation = speculationOf(results);
  return speculation === undefined ? {} : { speculation };
}
