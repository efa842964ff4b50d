import type { Context, MiddlewareHandler } from "hono";
import { apiError } from "../errors.ts";
import type { ServiceEnv } from "../service.ts";
import type { KeyLimits } from "./key-limits.ts";
import type { ApiKeys, Caller } from "./keys.ts";
import { type Rates, rateError } from "./rates.ts";

/** A Worker's rate-limit binding, which counts across isolates. */
export interface RateLimiter {
  limit(options: { key: string }): Promise<{ success: boolean }>;
}

export interface AccessOptions {
  readonly keys: ApiKeys;
  /** Of all callers together, where the service is open. */
  readonly openLimits: KeyLimits;
  readonly rates: Rates;
  readonly rateLimiter?: RateLimiter;
}

/** The only path without a key: whoever watches over the service need not be one of its users. */
const OPEN_PATHS: ReadonlySet<string> = new Set(["/health"]);

/** The shortest period of a rate-limit binding. */
const BINDING_MS = 10_000;

/** Lets in who has a key and has not used it up; `c.get("caller")` says who it is. */
export function authenticate(options: AccessOptions): MiddlewareHandler<ServiceEnv> {
  const { rates, rateLimiter, openLimits } = options;
  const anyone: Caller = { name: "anyone", limits: openLimits };
  return async (c, next) => {
    if (OPEN_PATHS.has(c.req.path)) return next();
    const caller = options.keys.isOpen ? anyone : await identify(c, options.keys);
    c.set("caller", caller);
    rates.enter(caller);
    // Where nobody has a name, each address is one.
    const name = options.keys.isOpen ? (c.req.header("cf-connecting-ip") ?? caller.name) : caller.name;
    if (rateLimiter !== undefined && !(await rateLimiter.limit({ key: name })).success) {
      throw rateError("Too many requests", BINDING_MS);
    }
    await next();
    for (const [header, value] of Object.entries(rates.headers(caller))) c.res.headers.set(header, value);
  };
}

/** @throws {HTTPException} 401, without a hint of what would be right. */
async function identify(c: Context<ServiceEnv>, keys: ApiKeys): Promise<Caller> {
  const key = /^Bearer +(\S+) *$/i.exec(c.req.header("authorization") ?? "")?.[1];
  const caller = key === undefined ? undefined : await keys.find(key);
  if (caller !== undefined) return caller;
  const message =
    key === undefined
      ? 'An API key must be sent, in a header "Authorization: Bearer KEY"'
      : "Incorrect API key provided";
  throw apiError(401, message, { code: "invalid_api_key", headers: { "www-authenticate": "Bearer" } });
}
