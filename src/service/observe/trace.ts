import type { Context, MiddlewareHandler } from "hono";
import { routePath } from "hono/route";
import type { GenerateResult } from "../../engine/model.ts";
import { type ErrorBody, errorBody } from "../errors.ts";
import type { Service, ServiceEnv } from "../service.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import type { Counter, Histogram } from "./prometheus.ts";

type Result = Pick<GenerateResult, "finishReason" | "speculation">;

/** How one request went: counted as it goes, and logged when its answer has ended. */
export class Trace {
  readonly #metrics: Metrics;
  readonly #log: Log;
  readonly #started = performance.now();
  #lastToken = 0;
  #fields: Record<string, unknown> = {};
  #labels: { model_name: string } | undefined;
  #nextToken: ReturnType<Histogram["at"]> | undefined;
  #generated: ReturnType<Counter["at"]> | undefined;
  #tokens = 0;
  #isHeld = false;
  #isEnded = false;

  constructor(metrics: Metrics, log: Log) {
    this.#metrics = metrics;
    this.#log = log;
  }

  /** Fields of the log line. */
  note(fields: Readonly<Record<string, unknown>>): void {
    Object.assign(this.#fields, fields);
  }

  model(name: string): void {
    this.#labels = { model_name: name };
    this.note({ model: name });
  }

  /** The request has its slot, and begins. */
  begin(promptTokens?: number): void {
    const ms = performance.now() - this.#started;
    this.#metrics.queued.observe(ms / 1000, this.#labels);
    this.note({ queue_ms: rounded(ms) });
    if (promptTokens === undefined) return;
    this.#metrics.promptTokens.add(promptTokens, this.#labels);
    this.note({ prompt_tokens: promptTokens });
  }

  token(): void {
    const now = performance.now();
    if (this.#tokens++ === 0) {
      this.#metrics.firstToken.observe((now - this.#started) / 1000, this.#labels);
      this.note({ first_token_ms: rounded(now - this.#started) });
    } else {
      this.#nextToken ??= this.#metrics.nextToken.at(this.#labels);
      this.#nextToken.observe((now - this.#lastToken) / 1000);
    }
    this.#lastToken = now;
    this.#generated ??= this.#metrics.generatedTokens.at(this.#labels);
    this.#generated.add(1);
  }

  /** A text is complete. */
  result({ finishReason, speculation }: Result): void {
    this.#metrics.finished.add(1, { ...this.#labels, finished_reason: finishReason });
    if (speculation !== undefined) this.#metrics.speculated(this.#labels ?? {}, speculation);
  }

  /** What was answered instead, in full or as the end of a stream. */
  error({ error: { type, code, param } }: ErrorBody): void {
    this.note({ error_type: type, error_code: code, error_param: param });
  }

  /** The answer goes on after the handler: whoever writes it calls `end`. */
  hold(): void {
    this.#isHeld = true;
  }

  get isHeld(): boolean {
    return this.#isHeld;
  }

  /** Once, when the last byte is out or the client has left. */
  end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    const ms = performance.now() - this.#started;
    const { route, status } = this.#fields;
    this.#metrics.requests.add(1, { route: String(route), status: String(status) });
    if (this.#labels !== undefined) this.#metrics.latency.observe(ms / 1000, this.#labels);
    this.#log({
      level: Number(status) >= 500 ? "error" : "info",
      event: "request",
      time: new Date().toISOString(),
      ...this.#fields,
      ...(this.#tokens > 0 && { completion_tokens: this.#tokens }),
      ms: rounded(ms),
    });
  }
}

/** Gives each request its `c.get("trace")`. */
export function traceRequests({ metrics, log }: Service): MiddlewareHandler<ServiceEnv> {
  return async (c, next) => {
    const trace = new Trace(metrics, log);
    c.set("trace", trace);
    trace.note({ request_id: c.get("requestId"), method: c.req.method });
    await next();
    trace.note({ key: c.get("caller")?.name, route: routeOf(c), status: c.res.status });
    if (c.error !== undefined) trace.error(errorBody(c.error));
    if (!trace.isHeld) trace.end();
  };
}

/** As it is registered: what a client puts into a URL is its own affair, and would make a counter of each. */
function routeOf(c: Context): string {
  const route = routePath(c, -1);
  return route.includes("*") ? "none" : route;
}

function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
