import type { HTTPException } from "hono/http-exception";
import { describe, expect, it } from "vitest";
import type { Caller } from "../../../src/service/access/keys.ts";
import { Rates } from "../../../src/service/access/rates.ts";
import type { ErrorDetail } from "../../../src/service/errors.ts";
import { fakeModel, fakeService, untilBusy } from "../fake-model.ts";

function limited(limits: Caller["limits"]) {
  let now = 1_000_000;
  const rates = new Rates(() => now);
  const caller = { name: "a", limits };
  const enter = (who: Caller = caller) => {
    try {
      rates.enter(who);
      return null;
    } catch (error) {
      const { headers } = (error as HTTPException).cause as ErrorDetail;
      return Number(headers!["retry-after"]);
    }
  };
  return {
    rates,
    caller,
    enter,
    pass: (ms: number) => {
      now += ms;
    },
  };
}

describe("requests per minute", () => {
  it("come back one by one, a minute's worth at most", () => {
    const { enter, pass } = limited({ requestsPerMinute: 3 });
    expect([enter(), enter(), enter(), enter()]).toEqual([null, null, null, 20]);
    pass(19_000);
    expect(enter()).toBe(1);
    pass(1000);
    expect([enter(), enter()]).toEqual([null, 20]);
    pass(600_000);
    expect([enter(), enter(), enter(), enter()]).toEqual([null, null, null, 20]);
  });

  it("that were refused are not counted", () => {
    const { enter, pass } = limited({ requestsPerMinute: 1 });
    enter();
    for (let i = 0; i < 100; i++) expect(enter()).toBe(60);
    pass(60_000);
    expect(enter()).toBe(null);
  });

  it("of one caller are no other's", () => {
    const { enter } = limited({ requestsPerMinute: 1 });
    const other = { name: "b", limits: { requestsPerMinute: 1 } };
    expect([enter(), enter(other), enter(), enter(other)]).toEqual([null, null, 60, 60]);
  });

  it("do not come from a clock that is set back", () => {
    const { enter, pass } = limited({ requestsPerMinute: 1 });
    enter();
    pass(-3_600_000);
    expect(enter()).toBe(60);
    pass(60_000);
    expect(enter()).toBe(null);
  });
});

describe("tokens per minute", () => {
  it("may be overdrawn by what runs, and must then come back", () => {
    const { rates, caller, enter, pass } = limited({ tokensPerMinute: 60 });
    expect(enter()).toBe(null);
    rates.spend(caller, 59);
    expect(enter()).toBe(null);
    rates.spend(caller, 31);
    expect(enter()).toBe(31);
    pass(30_500);
    expect(enter()).toBe(1);
    pass(500);
    expect(enter()).toBe(null);
  });
});

describe("headers", () => {
  it("are OpenAI's, for the limits there are", () => {
    const { rates, caller, enter, pass } = limited({ requestsPerMinute: 10, tokensPerMinute: 600 });
    enter();
    rates.spend(caller, 100);
    pass(1000);
    expect(rates.headers(caller)).toEqual({
      "x-ratelimit-limit-requests": "10",
      "x-ratelimit-remaining-requests": "9",
      "x-ratelimit-reset-requests": "5s",
      "x-ratelimit-limit-tokens": "600",
      "x-ratelimit-remaining-tokens": "510",
      "x-ratelimit-reset-tokens": "9s",
    });
    expect(rates.headers({ name: "free", limits: {} })).toEqual({});
  });
});

describe("over HTTP", () => {
  const keys = [
    { name: "a", key: "key-of-a-1", requestsPerMinute: 2 },
    { name: "b", key: "key-of-b-1", tokensPerMinute: 20 },
    { name: "c", key: "key-of-c-1", concurrency: 1 },
  ];
  const as = (name: string) => ({ headers: { authorization: `Bearer key-of-${name}-1` } });
  const body = { prompt: "ab", max_tokens: 12 };
  const limit = { type: "rate_limit_error", param: null, code: "rate_limit_exceeded" };

  it("429 past the requests, with when to come back; others go on", async () => {
    const { app, post } = fakeService(undefined, { keys });
    for (const left of ["1", "0"]) {
      const { status, headers } = await post("/v1/completions", body, as("a"));
      expect([status, headers.get("x-ratelimit-remaining-requests")]).toEqual([200, left]);
    }
    const refused = await post("/v1/completions", body, as("a"));
    expect([refused.status, await refused.json()]).toEqual([
      429,
      { error: { ...limit, message: "This key may take 2 requests per minute; try again in 30 s" } },
    ]);
    expect(refused.headers.get("retry-after")).toBe("30");
    expect(refused.headers.get("x-ratelimit-limit-requests")).toBe("2");
    expect((await post("/v1/completions", body, as("c"))).status).toBe(200);
    expect((await app.request("/health")).status).toBe(200);
  });

  it("429 past the tokens: prompt and answer count, also of texts that were not the best", async () => {
    const { post } = fakeService(undefined, { keys });
    expect((await post("/v1/completions", body, as("b"))).status).toBe(200);
    // 3 of the prompt, 12 of the answer: 5 are left.
    const next = await post("/v1/completions", { ...body, max_tokens: 2, best_of: 4 }, as("b"));
    expect(next.headers.get("x-ratelimit-remaining-tokens")).toBe("0");
    const refused = await post("/v1/completions", body, as("b"));
    expect(refused.status).toBe(429);
    // 15 + 3 + 8 of 20 are spent, and there must be one more.
    expect(Number(refused.headers.get("retry-after"))).toBe(21);
  });

  it("429 past the requests at one time, until one of them has ended", async () => {
    let open = () => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const { app, post } = fakeService(fakeModel({ before: () => gate }), { keys });
    const first = post("/v1/completions", { ...body, stream: true }, as("c"));
    await untilBusy({ app }, 1);
    const second = await post("/v1/completions", body, as("c"));
    expect([second.status, await second.json()]).toEqual([
      429,
      { error: { ...limit, message: "This key may have 1 requests at one time; try again in 1 s" } },
    ]);
    open();
    await (await first).text();
    expect((await post("/v1/completions", body, as("c"))).status).toBe(200);
  });

  it("limits hold for everybody together where there are no keys", async () => {
    const { app } = fakeService(undefined, { keyLimits: { requestsPerMinute: 1 } });
    expect((await app.request("/v1/models")).status).toBe(200);
    expect((await app.request("/v1/models")).status).toBe(429);
  });

  it("a Worker's binding is asked with the name of the key", async () => {
    const asked: string[] = [];
    const rateLimiter = {
      limit: async ({ key }: { key: string }) => {
        asked.push(key);
        return { success: asked.length < 2 };
      },
    };
    const { app } = fakeService(undefined, { keys, rateLimiter });
    expect((await app.request("/v1/models", as("a"))).status).toBe(200);
    const refused = await app.request("/v1/models", as("b"));
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([429, "10"]);
    expect(await refused.json()).toMatchObject({ error: limit });
    expect((await app.request("/v1/models")).status).toBe(401);
    expect(asked).toEqual(["a", "b"]);
    const open = fakeService(undefined, { rateLimiter });
    await open.app.request("/v1/models", { headers: { "cf-connecting-ip": "192.0.2.1" } });
    expect(asked.at(-1)).toBe("192.0.2.1");
  });
});
