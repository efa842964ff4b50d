import type { Context } from "hono";
import { HTTPException } from "hono/http-exception";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { MemoryError, RemoteError } from "../errors.ts";

/** What clients of the OpenAI API parse, for every status and inside a stream; `code` is a string, never the status. */
export interface ErrorBody {
  error: { message: string; type: string; param: string | null; code: string | null };
}

export interface ErrorDetail {
  /** Default: invalid_request_error below 500, server_error from there on. */
  type?: string;
  /** The request field that is wrong, as a path: `messages[0].content`. */
  param?: string | null;
  code?: string | null;
  headers?: Record<string, string>;
}

/**
 * An error to throw from a handler; `createApp` answers it as an OpenAI error object.
 *
 * @example throw apiError(404, `The model "x" does not exist`, { param: "model", code: "model_not_found" });
 */
export function apiError(
  status: ContentfulStatusCode,
  message: string,
  detail: ErrorDetail = {},
): HTTPException {
  return new HTTPException(status, { message, cause: detail });
}

/** The body for any thrown value. What we did not throw ourselves is not told: it may hold internals. */
export function errorBody(thrown: unknown): ErrorBody {
  const error = known(thrown);
  if (!(error instanceof HTTPException)) {
    return { error: { message: "The server had an error", type: "server_error", param: null, code: null } };
  }
  const detail = (error.cause ?? {}) as ErrorDetail;
  const type = detail.type ?? (error.status < 500 ? "invalid_request_error" : "server_error");
  return {
    error: { message: error.message, type, param: detail.param ?? null, code: detail.code ?? null },
  };
}

/** What others than the client are to blame for, and may pass: memory that other sequences hold, a server of a model. */
function known(error: unknown): unknown {
  // Where it is, and what it said, is for whoever runs the service.
  if (error instanceof RemoteError) {
    return apiError(502, "The server of this model does not answer as it should", { code: "bad_gateway" });
  }
  if (!(error instanceof MemoryError)) return error;
  return apiError(503, "The server has no memory left for this request; try again, or ask for fewer tokens", {
    code: "out_of_memory",
    headers: { "retry-after": "1" },
  });
}

export function errorResponse(c: Context, thrown: unknown): Response {
  const error = known(thrown);
  if (!(error instanceof HTTPException)) return c.json(errorBody(error), 500);
  const { headers } = (error.cause ?? {}) as ErrorDetail;
  return c.json(errorBody(error), error.status as ContentfulStatusCode, headers);
}

/** A value for an error message: short, on one line, and never a walk through a deep structure. */
export function show(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (Array.isArray(value)) return value.length === 0 ? "an empty array" : "an array";
  if (typeof value === "object") return "an object";
  if (typeof value === "string") return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  return String(value);
}
