import { describe, expect, it } from "vitest";
import type { LogLine } from "../../src/service/observe/log.ts";
import { readSettings, type Settings } from "../../src/service/worker-settings.ts";

describe("a Worker's variables", () => {
  it("are absent, or empty", () => {
    for (const env of [{}, { API_KEYS: "", MAX_TOKENS: "", CORS_ORIGINS: "" }]) {
      expect(readSettings(env)).toEqual({
        keys: [],
        keyLimits: {},
        corsOrigins: [],
        log: expect.any(Function),
      });
    }
  });

  it("come as texts or as numbers", () => {
    const rateLimiter = { limit: async () => ({ success: true }) };
    const env: Settings = {
      API_KEYS: "alice:key-of-alice, key-of-bob",
      REQUESTS_PER_MINUTE: "60",
      TOKENS_PER_MINUTE: 1000,
      CONCURRENCY_PER_KEY: 2,
      RATE_LIMITER: rateLimiter,
      CORS_ORIGINS: "https://a.example, https://b.example",
      MAX_RUNNING: "2",
      MAX_WAITING: 0,
      MAX_BODY_BYTES: 1000,
      MAX_HELD_BYTES: 2000,
      MAX_TOKENS: 100,
      REQUEST_MS: "5000",
      BODY_MS: 500,
      MAX_SESSIONS: 20,
      MAX_SESSIONS_PER_KEY: "5",
      MAX_SESSION_CACHES: 2,
      SESSION_IDLE_MS: 60_000,
      LOG: "none",
    };
    expect(readSettings(env)).toEqual({
      keys: ["alice:key-of-alice", "key-of-bob"],
      keyLimits: { requestsPerMinute: 60, tokensPerMinute: 1000, concurrency: 2 },
      rateLimiter,
      corsOrigins: ["https://a.example", "https://b.example"],
      maxRunning: 2,
      maxWaiting: 0,
      maxBodyBytes: 1000,
      maxHeldBytes: 2000,
      maxTokens: 100,
      requestMs: 5000,
      bodyMs: 500,
      maxSessions: 20,
      maxSessionsPerKey: 5,
      maxSessionCaches: 2,
      sessionIdleMs: 60_000,
      log: expect.any(Function),
    });
  });

  it.each<[Settings, string]>([
    [{ MAX_TOKENS: "many" }, '"MAX_TOKENS" must be an integer, got "many"'],
    [{ MAX_RUNNING: 0 }, '"MAX_RUNNING" must be an integer from 1'],
    [{ REQUESTS_PER_MINUTE: 1.5 }, '"REQUESTS_PER_MINUTE" must be an integer'],
    [{ LOG: "loud" }, '"LOG" must be one of all, errors, none, got "loud"'],
    [{ API_KEYS: "[" }, "must be a JSON array"],
  ])("%j is refused", (env, message) => {
    expect(() => readSettings(env)).toThrow(message);
  });

  it("say what is logged", () => {
    const printed: string[] = [];
    const { log } = console;
    console.log = (text: string) => printed.push(text);
    try {
      const info: LogLine = { level: "info", event: "request" };
      const error: LogLine = { level: "error", event: "error" };
      for (const LOG of ["all", "errors", "none"]) {
        const settings = readSettings({ LOG });
        for (const line of [info, error]) settings.log!(line);
      }
      expect(printed).toEqual([JSON.stringify(info), JSON.stringify(error), JSON.stringify(error)]);
    } finally {
      console.log = log;
    }
  });
});
