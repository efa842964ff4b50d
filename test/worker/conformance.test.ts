/** The official client against the worker as it is deployed, in workerd, with keys; and what only happens there. */
import type { Miniflare } from "miniflare";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { conformance, type Served } from "../service/conformance.case.ts";
import { dryRun, runWorker, type Upload } from "./miniflare.ts";

const KEY = "key-of-the-suite";

let uploads: Upload[];
let worker: Miniflare;
let served: Served;

beforeAll(async () => {
  uploads = await dryRun();
  worker = runWorker(uploads, { bindings: { API_KEYS: `suite:${KEY}`, LOG: "none" } });
  const url = (await worker.ready).origin;
  served = { url, fetch, key: KEY, model: "edgewise-stories-q8_0" };
});
afterAll(() => worker?.dispose());

conformance("the worker", () => served);

const bearer = { authorization: `Bearer ${KEY}` };

describe("the worker", () => {
  it("wants a key for everything but /health", async () => {
    const status = async (path: string, headers = {}) =>
      (await fetch(new URL(path, served.url), { headers })).status;
    expect(await status("/health")).toBe(200);
    for (const path of ["/v1/models", "/metrics", "/openapi.json", "/docs"]) {
      expect([path, await status(path)]).toEqual([path, 401]);
      expect([path, await status(path, bearer)]).toEqual([path, 200]);
    }
  });

  it("counts what it does", async () => {
    const text = await (await fetch(new URL("/metrics", served.url), { headers: bearer })).text();
    const value = (name: string) =>
      Number(new RegExp(`^edgewise:${name}\\{[^}]*\\} (.*)$`, "m").exec(text)![1]);
    expect(value("generation_tokens_total")).toBeGreaterThan(50);
    expect(value("weight_bytes")).toBeGreaterThan(1e6);
    // Nothing runs any more.
    expect(value("kv_cache_bytes")).toBeLessThan(value("weight_bytes"));
    expect(value("kv_cache_usage_perc")).toBeLessThan(0.5);
  });

  it("keeps within limits that are set as variables, and asks the rate-limit binding", async () => {
    const limited = runWorker(uploads, {
      bindings: { MAX_TOKENS: 5, MAX_BODY_BYTES: "500", LOG: "none" },
      ratelimits: { RATE_LIMITER: { simple: { limit: 3, period: 60 } } },
    } as Parameters<typeof runWorker>[1]);
    try {
      const url = new URL("/v1/completions", await limited.ready);
      const post = async (body: object) => {
        const response = await fetch(url, { method: "POST", body: JSON.stringify(body) });
        const { error } = (await response.json()) as { error?: { code: string } };
        return [response.status, error?.code];
      };
      expect(await post({ prompt: "a", max_tokens: 6 })).toEqual([400, "invalid_value"]);
      expect(await post({ prompt: "a".repeat(600) })).toEqual([413, "request_too_large"]);
      expect(await post({ prompt: "a", max_tokens: 5 })).toEqual([200, undefined]);
      expect(await post({ prompt: "a", max_tokens: 5 })).toEqual([429, "rate_limit_exceeded"]);
    } finally {
      await limited.dispose();
    }
  });

  it.each([
    [{ API_KEYS: "short" }, '"keys[0]" must have 8 to 512 characters'],
    [{ MAX_TOKENS: "x" }, '"MAX_TOKENS" must be an integer'],
  ])("serves nothing with wrong variables: %j", async (bindings, message) => {
    const wrong = runWorker(uploads, { bindings });
    try {
      const response = await fetch(new URL("/v1/models", await wrong.ready));
      expect(response.status).toBe(500);
      expect(await response.json()).toMatchObject({
        error: { code: "invalid_configuration", message: expect.stringContaining(message) },
      });
    } finally {
      await wrong.dispose();
    }
  });
});
