import { describe, expect, it } from "vitest";
import type { SpeculationSummary } from "../../../src/engine/model.ts";
import { withoutPaths } from "../../../src/service/observe/log.ts";
import { EOS, fakeModel, fakeService, untilBusy } from "../fake-model.ts";

/** Samples of a scrape by name and labels, as written. */
async function scrape(app: { request: (path: string) => Response | Promise<Response> }) {
  const response = await app.request("/metrics");
  expect(response.headers.get("content-type")).toContain("text/plain; version=0.0.4");
  const text = await response.text();
  // Each line is a comment or a sample, and each family has its type before its samples.
  for (const line of text.trimEnd().split("\n")) {
    expect(line).toMatch(
      /^(# (HELP|TYPE) edgewise:\w+ .+|edgewise:\w+(\{(\w+="[^"]*",?)+\})? (\d|\+Inf)[\d.e+-]*)$/,
    );
  }
  const samples = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return Object.fromEntries(
    samples.map((line) => [line.slice(9, line.lastIndexOf(" ")), Number(line.split(" ").at(-1))]),
  );
}

const speculation: SpeculationSummary = {
  drafter: "suffix",
  verifier: "match",
  reproducible: true,
  lossless: true,
  drafted: 9,
  tested: 8,
  accepted: 7,
  targetCalls: 5,
  tokensPerCall: 2.4,
  acceptanceRate: 7 / 8,
  testedAt: [5, 3],
  acceptedAt: [4, 3],
  ms: { draft: 0, target: 1, sample: 1 },
};

describe("metrics", () => {
  it("count requests, tokens and times", async () => {
    const { app, post } = fakeService();
    await post("/v1/completions", { prompt: "ab", n: 2 });
    await (await post("/v1/completions", { prompt: "ab", max_tokens: 3, stream: true })).text();
    await post("/v1/completions", "{");
    await app.request("/v1/models/none-of-ours");
    await app.request("/nothing/of/ours");
    const samples = await scrape(app);
    expect(samples).toMatchObject({
      'http_requests_total{route="/v1/completions",status="200"}': 2,
      'http_requests_total{route="/v1/completions",status="400"}': 1,
      'http_requests_total{route="/v1/models/:id{.+}",status="404"}': 1,
      'http_requests_total{route="none",status="404"}': 1,
      'prompt_tokens_total{model_name="fake"}': 6,
      'generation_tokens_total{model_name="fake"}': 27,
      'request_success_total{model_name="fake",finished_reason="stop"}': 2,
      'request_success_total{model_name="fake",finished_reason="length"}': 1,
      'time_to_first_token_seconds_count{model_name="fake"}': 2,
      'inter_token_latency_seconds_count{model_name="fake"}': 25,
      'e2e_request_latency_seconds_count{model_name="fake"}': 2,
      'request_queue_time_seconds_count{model_name="fake"}': 2,
      num_requests_running: 0,
      num_requests_waiting: 0,
      request_body_bytes: 0,
      'kv_cache_usage_perc{model_name="fake"}': 0,
    });
    expect(Object.keys(samples).join()).not.toContain("ours");
    expect(Object.keys(samples).join()).toContain('model_info{model_name="fake",architecture="llama"');
  });

  it("count drafts under the names that vLLM and llama.cpp have", async () => {
    const { app, post } = fakeService(fakeModel({ speculation }));
    await post("/v1/completions", { prompt: "ab", draft: "suffix" });
    await (await post("/v1/completions", { prompt: "ab", draft: "suffix", stream: true })).text();
    const labels = 'model_name="fake"';
    expect(await scrape(app)).toMatchObject({
      [`spec_decode_num_drafts_total{${labels}}`]: 10,
      [`spec_decode_num_draft_tokens_total{${labels}}`]: 18,
      [`spec_decode_num_accepted_tokens_total{${labels}}`]: 14,
      [`spec_decode_num_accepted_tokens_per_pos_total{${labels},position="0"}`]: 8,
      [`spec_decode_num_accepted_tokens_per_pos_total{${labels},position="1"}`]: 6,
    });
  });

  it("show what runs and waits", async () => {
    let open = () => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const { app, post } = fakeService(fakeModel({ before: () => gate }), { maxRunning: 1 });
    const both = [post("/v1/completions", { prompt: "a" }), post("/v1/completions", { prompt: "a" })];
    await untilBusy({ app }, 1, 1);
    const samples = await scrape(app);
    expect(samples).toMatchObject({ num_requests_running: 1, num_requests_waiting: 1 });
    expect(samples.request_body_bytes).toBe(2 * '{"prompt":"a"}'.length);
    open();
    await Promise.all(both);
  });
});

describe("the log", () => {
  it("has one line per request, with who asked, what for, and how it went", async () => {
    const { app, post, lines } = fakeService(undefined, { keys: ["alice:key-of-alice"] });
    const headers = { authorization: "Bearer key-of-alice" };
    await post("/v1/completions", { prompt: "my secret" }, { headers });
    expect(lines).toEqual([
      {
        level: "info",
        event: "request",
        time: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
        request_id: expect.stringMatching(/^[\w-]{36}$/),
        method: "POST",
        route: "/v1/completions",
        status: 200,
        key: "alice",
        model: "fake",
        stream: false,
        queue_ms: expect.any(Number),
        first_token_ms: expect.any(Number),
        prompt_tokens: 10,
        completion_tokens: 12,
        ms: expect.any(Number),
      },
    ]);
    expect(JSON.stringify(lines)).not.toMatch(/secret|Hello/);
    await app.request("/v1/models");
    expect(lines[1]).toMatchObject({ status: 401, error_code: "invalid_api_key" });
    await post("/v1/completions", { temperature: 9 }, { headers });
    expect(lines[2]).toMatchObject({ status: 400, error_code: "invalid_value", error_param: "temperature" });
    expect(lines.length).toBe(3);
  });

  it("tells what was wrong where no route was", async () => {
    const { app, lines } = fakeService();
    await app.request("/nothing/of/ours");
    await app.request("/v1/completions");
    const error_type = "invalid_request_error";
    expect(lines.filter(({ event }) => event === "request")).toMatchObject([
      { status: 404, route: "none", error_type },
      { status: 405, error_type, error_code: "method_not_allowed" },
    ]);
  });

  it("tells of a stream when it has ended, well or not", async () => {
    const { post, lines } = fakeService(fakeModel({ failure: new Error("trap"), failAt: 3 }));
    const of = (body: object) => post("/v1/completions", { prompt: "a", stream: true, ...body });
    const requests = () => lines.filter(({ event }) => event === "request");
    const good = await of({ max_tokens: 2 });
    expect(requests()).toEqual([]);
    await good.text();
    expect(requests()).toMatchObject([{ status: 200, stream: true, completion_tokens: 2 }]);
    await (await of({})).text();
    expect(requests()[1]).toMatchObject({ status: 200, error_type: "server_error", completion_tokens: 3 });
  });

  it("tells that a client has left", async () => {
    const { post, lines, model } = fakeService(fakeModel({ reply: "x".repeat(50) }));
    const leave = new AbortController();
    const body = { prompt: "a", stream: true };
    const response = await post("/v1/completions", body, { signal: leave.signal });
    await response.body!.getReader().read();
    leave.abort();
    while (lines.at(-1)?.event !== "request") await new Promise((resolve) => setTimeout(resolve, 1));
    expect(lines.at(-1)).toMatchObject({ event: "request", client_left: true });
    expect(model.live).toBe(0);
  });

  it.each([
    ["/home/me/a.gguf is gone", "…/a.gguf is gone"],
    ['open "/a/b c"', 'open "…/b c"'],
    ["file:///srv/x/y.js:5:3", "…/y.js:5:3"],
    ["C:\\Users\\me\\a.gguf", "…/a.gguf"],
    ["see /v1/models", "see …/models"],
    ["1/2 and/or 3 / 4", "1/2 and/or 3 / 4"],
    ["https://example.org/a/b", "https://example.org/a/b"],
    ['tensor "blk.3.ffn_up.weight"', 'tensor "blk.3.ffn_up.weight"'],
  ])("paths in a message: %s", (message, told) => {
    expect(withoutPaths(message)).toBe(told);
  });
});

it("system_fingerprint changes with model and pipeline, and with nothing else", async () => {
  const { post } = fakeService();
  const of = async (body: object) =>
    (
      (await (await post("/v1/completions", { prompt: "a", ...body })).json()) as {
        system_fingerprint: string;
      }
    ).system_fingerprint;
  const plain = await of({});
  expect(await of({ seed: 5, max_tokens: 3, prompt: "b", stop: "x", draft: "suffix", user: "me" })).toBe(
    plain,
  );
  expect(await of({ temperature: 0.5 })).not.toBe(plain);
  expect(await of({ logit_bias: { [EOS]: 1 } })).not.toBe(plain);
  const other = Object.assign(fakeModel(), { fingerprint: "fp_other" });
  const answer = await fakeService(other).post("/v1/completions", { prompt: "a" });
  expect(((await answer.json()) as { system_fingerprint: string }).system_fingerprint).not.toBe(plain);
});
