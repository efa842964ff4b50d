import { apiError } from "../errors.ts";
import type { Caller } from "./keys.ts";

const MINUTE_MS = 60_000;

/** Amounts that come back evenly: a minute's worth at most, a minute's worth per minute. May be overdrawn. */
class Bucket {
  readonly limit: number;
  #level: number;
  #at: number;

  constructor(limit: number, now: number) {
    this.limit = limit;
    this.#level = limit;
    this.#at = now;
  }

  level(now: number): number {
    // A clock that was set back gives nothing.
    const passed = Math.max(0, now - this.#at);
    this.#level = Math.min(this.limit, this.#level + (passed * this.limit) / MINUTE_MS);
    this.#at = now;
    return this.#level;
  }

  take(amount: number, now: number): void {
    this.#level = this.level(now) - amount;
  }

  /** Milliseconds until `amount` is there, without what rounding adds. */
  wait(amount: number, now: number): number {
    const ms = ((amount - this.level(now)) * MINUTE_MS) / this.limit;
    return Math.max(0, Math.round(ms * 1000) / 1000);
  }
}

type Kind = "requests" | "tokens";

/**
 * Requests and tokens per minute, per caller.
 *
 * A request is let in while its caller has a token left, and pays for what it really takes as it takes it. So a caller may
 * pass its limit by the tokens of requests that run already, and waits the longer afterwards; nobody has to guess how long
 * an answer will be.
 */
export class Rates {
  readonly #now: () => number;
  readonly #buckets = new Map<string, Partial<Record<Kind, Bucket>>>();

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /**
   * Counts a request.
   *
   * @throws {HTTPException} 429 with retry-after, if the caller has no request or no token left.
   */
  enter(caller: Caller): void {
    const buckets = this.#of(caller);
    const now = this.#now();
    for (const kind of ["requests", "tokens"] as const) {
      const bucket = buckets[kind];
      const ms = bucket?.wait(1, now) ?? 0;
      if (bucket === undefined || ms === 0) continue;
      throw rateError(`This key may take ${bucket.limit} ${kind} per minute`, ms, this.headers(caller));
    }
    buckets.requests?.take(1, now);
  }

  spend(caller: Caller, tokens: number): void {
    this.#of(caller).tokens?.take(tokens, this.#now());
  }

  /** `x-ratelimit-*` as OpenAI has them; none where there is no limit. */
  headers(caller: Caller): Record<string, string> {
    const headers: Record<string, string> = {};
    const now = this.#now();
    for (const [kind, bucket] of Object.entries(this.#of(caller))) {
      headers[`x-ratelimit-limit-${kind}`] = String(bucket.limit);
      headers[`x-ratelimit-remaining-${kind}`] = String(Math.max(0, Math.floor(bucket.level(now))));
      headers[`x-ratelimit-reset-${kind}`] = `${Math.ceil(bucket.wait(bucket.limit, now)) / 1000}s`;
    }
    return headers;
  }

  #of({ name, limits }: Caller): Partial<Record<Kind, Bucket>> {
    const known = this.#buckets.get(name);
    if (known !== undefined) return known;
    const { requestsPerMinute, tokensPerMinute } = limits;
    const now = this.#now();
    const buckets = {
      ...(requestsPerMinute !== undefined && { requests: new Bucket(requestsPerMinute, now) }),
      ...(tokensPerMinute !== undefined && { tokens: new Bucket(tokensPerMinute, now) }),
    };
    this.#buckets.set(name, buckets);
    return buckets;
  }
}

/** 429: come back in `ms`. */
export function rateError(message: string, ms: number, headers: Record<string, string> = {}) {
  const seconds = Math.max(1, Math.ceil(ms / 1000));
  return apiError(429, `${message}; try again in ${seconds} s`, {
    type: "rate_limit_error",
    code: "rate_limit_exceeded",
    headers: { ...headers, "retry-after": String(seconds) },
  });
}
