/** A Worker's variables and bindings as the service's options. Variables come as text from the dashboard, or as numbers. */
import { expectInteger } from "../errors.ts";
import type { RateLimiter } from "./access/authenticate.ts";
import { type KeyOptions, parseKeys } from "./access/keys.ts";
import type { AppOptions } from "./app.ts";
import { show } from "./errors.ts";
import { consoleLog } from "./observe/log.ts";

export type NumberVariable = string | number;

/** All may be absent; see `AppOptions` for what each does. */
export interface Settings {
  /** As `parseKeys` reads them, or already an array. Put it there by `wrangler secret put API_KEYS`. */
  API_KEYS?: string | readonly (string | KeyOptions)[];
  REQUESTS_PER_MINUTE?: NumberVariable;
  TOKENS_PER_MINUTE?: NumberVariable;
  CONCURRENCY_PER_KEY?: NumberVariable;
  /** Rate-limit binding: counts across isolates. */
  RATE_LIMITER?: RateLimiter;
  /** Between commas. */
  CORS_ORIGINS?: string;
  MAX_RUNNING?: NumberVariable;
  MAX_WAITING?: NumberVariable;
  MAX_BODY_BYTES?: NumberVariable;
  MAX_HELD_BYTES?: NumberVariable;
  MAX_TOKENS?: NumberVariable;
  REQUEST_MS?: NumberVariable;
  BODY_MS?: NumberVariable;
  STALL_MS?: NumberVariable;
  /** Sessions that live in an isolate; in Durable Objects those of a key are limited, by the binding `SESSION_COUNTS`. */
  MAX_SESSIONS?: NumberVariable;
  MAX_SESSIONS_PER_KEY?: NumberVariable;
  MAX_SESSION_CACHES?: NumberVariable;
  /** How long a session may be left alone before it is forgotten. */
  SESSION_IDLE_MS?: NumberVariable;
  /** "all" requests, "errors" only, or "none". Default "all". */
  LOG?: string;
}

const LOGS = ["all", "errors", "none"];

/** @throws {TypeError | RangeError} If a variable is malformed; names it, and never tells a key. */
export function readSettings(env: Settings): Omit<AppOptions, "models"> {
  const { API_KEYS = "", RATE_LIMITER, CORS_ORIGINS = "", LOG = "all" } = env;
  const number = (name: keyof Settings, least = 1) =>
    integerVariable(name, env[name] as NumberVariable | undefined, 2 ** 31 - 1, least);
  if (!LOGS.includes(LOG)) throw new RangeError(`"LOG" must be one of ${LOGS.join(", ")}, got "${LOG}"`);
  return given({
    keys: typeof API_KEYS === "string" ? parseKeys(API_KEYS) : API_KEYS,
    keyLimits: given({
      requestsPerMinute: number("REQUESTS_PER_MINUTE"),
      tokensPerMinute: number("TOKENS_PER_MINUTE"),
      concurrency: number("CONCURRENCY_PER_KEY"),
    }),
    rateLimiter: RATE_LIMITER,
    corsOrigins: CORS_ORIGINS.split(/[\s,]+/).filter((origin) => origin !== ""),
    maxRunning: number("MAX_RUNNING"),
    maxWaiting: number("MAX_WAITING", 0),
    maxBodyBytes: number("MAX_BODY_BYTES"),
    maxHeldBytes: number("MAX_HELD_BYTES"),
    maxTokens: number("MAX_TOKENS"),
    requestMs: number("REQUEST_MS"),
    bodyMs: number("BODY_MS"),
    stallMs: number("STALL_MS"),
    maxSessions: number("MAX_SESSIONS"),
    maxSessionsPerKey: number("MAX_SESSIONS_PER_KEY"),
    maxSessionCaches: number("MAX_SESSION_CACHES"),
    sessionIdleMs: number("SESSION_IDLE_MS"),
    log: (line) => {
      if (LOG === "all" || (LOG === "errors" && line.level === "error")) consoleLog(line);
    },
  });
}

/** undefined: absent, or an empty text. */
export function integerVariable(
  name: string,
  value: NumberVariable | undefined,
  most: number,
  least = 1,
): number | undefined {
  if (value === undefined || value === "") return undefined;
  const number = Number(value);
  if (!Number.isNaN(number)) return expectInteger(name, number, least, most);
  throw new TypeError(`"${name}" must be an integer, got ${show(value)}`);
}

/** Without what is undefined. */
function given<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}
