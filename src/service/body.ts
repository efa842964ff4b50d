/** Bodies of requests, within limits: no more bytes, time or depth than a request needs. */

import type { Context, MiddlewareHandler } from "hono";
import { joined } from "../format/joined.ts";
import { apiError } from "./errors.ts";
import type { Limits } from "./limits.ts";
import type { ServiceEnv } from "./service.ts";

/** Bytes of bodies that requests hold at this moment. */
export class HeldBytes {
  readonly limit: number;
  #held = 0;

  constructor(limit: number) {
    this.limit = limit;
  }

  get held(): number {
    return this.#held;
  }

  /** @throws {HTTPException} 503, if others hold too much. */
  add(bytes: number): void {
    if (this.#held + bytes > this.limit) {
      throw apiError(
        503,
        `The server holds ${this.#held} bytes of requests, and ${bytes} more would pass its limit of ${this.limit}; try again`,
        { code: "out_of_memory", headers: { "retry-after": "1" } },
      );
    }
    this.#held += bytes;
  }

  remove(bytes: number): void {
    this.#held -= bytes;
  }
}

/** What a route reads its body with. */
export interface BodyReader {
  /** @throws {HTTPException} 413 if it is too large, 408 if it comes too slowly, 503 if others hold too much. */
  bytes(): Promise<Uint8Array>;
  /** @throws {HTTPException} As `bytes` does; 400 if it is no UTF-8, no JSON, or nested too deeply. */
  json(): Promise<unknown>;
  /** JSON that stands in a body. @throws {HTTPException} 400 if it is none, or nested too deeply. */
  parse(text: string): unknown;
}

/** Gives each request its `c.get("body")`. What that has read counts until the answer is there, or has begun. */
export function boundBody(limits: Limits, held: HeldBytes): MiddlewareHandler<ServiceEnv> {
  return async (c, next) => {
    let own = 0;
    const hold = (bytes: number) => {
      held.add(bytes);
      own += bytes;
    };
    const bytes = () => readBytes(c, limits, hold);
    const parse = (text: string) => parseJson(text, limits.maxDepth);
    c.set("body", { bytes, parse, json: async () => parse(readText(await bytes())) });
    try {
      await next();
    } finally {
      held.remove(own);
    }
  };
}

async function readBytes(c: Context, limits: Limits, hold: (bytes: number) => void): Promise<Uint8Array> {
  const { maxBodyBytes, bodyMs } = limits;
  const encoding = c.req.header("content-encoding") ?? "identity";
  if (encoding.toLowerCase() !== "identity") {
    throw apiError(415, "The request body must be sent without a content encoding", {
      code: "unsupported_content_encoding",
    });
  }
  const announced = Number(c.req.header("content-length") ?? 0);
  if (announced > maxBodyBytes) throw tooLarge(maxBodyBytes);
  const reader = c.req.raw.body?.getReader();
  if (reader === undefined) return new Uint8Array();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(tooSlow(bodyMs)), bodyMs);
  });
  const chunks: Uint8Array[] = [];
  let length = 0;
  try {
    for (;;) {
      const { done, value } = await Promise.race([reader.read(), late]);
      if (done) break;
      length += value.length;
      if (length > maxBodyBytes) throw tooLarge(maxBodyBytes);
      hold(value.length);
      chunks.push(value);
    }
  } catch (error) {
    // Not awaited: a sender that hangs may never let go.
    reader.cancel().catch(() => {});
    throw error;
  } finally {
    clearTimeout(timer);
  }
  return joined(...chunks);
}

function readText(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw apiError(400, "The request body must be UTF-8", { code: "invalid_encoding" });
  }
}

function parseJson(text: string, depth: number): unknown {
  if (depthOf(text) > depth) {
    throw apiError(400, `The request body must be nested at most ${depth} levels deep`, {
      code: "json_too_deep",
    });
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw apiError(400, `The request body must be JSON: ${(error as Error).message}`, {
      code: "invalid_json",
    });
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** How deep brackets stand within each other; strings do not count. Right for JSON, and for all else no matter. */
function depthOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      for (at++; at < text.length && text.charCodeAt(at) !== QUOTE; at++) {
        if (text.charCodeAt(at) === BACKSLASH) at++;
      }
    } else if (code === 0x5b || code === 0x7b) {
      deepest = Math.max(deepest, ++depth);
    } else if (code === 0x5d || code === 0x7d) {
      depth--;
    }
  }
  return deepest;
}

function tooLarge(bytes: number) {
  return apiError(413, `The request body must be at most ${bytes} bytes`, { code: "request_too_large" });
}

function tooSlow(ms: number) {
  // A client that tries again would be as slow.
  return apiError(408, `The request body must arrive within ${ms} ms`, {
    code: "request_timeout",
    headers: { "x-should-retry": "false" },
  });
}
