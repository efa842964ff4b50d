import { describe, expect, it } from "vitest";
import { MemoryError } from "../../src/errors.ts";
import { createApp, lazyModels } from "../../src/service/app.ts";
import { fakeModel, fakeService, framesOf } from "./fake-model.ts";

const prompt_tokens_details = { cached_tokens: 0, audio_tokens: 0 };

const text = async (response: Response | Promise<Response>) =>
  ((await (await response).json()) as { choices: { text: string }[] }).choices[0].text;

describe("health and models", () => {
  it("answers without loading a model", async () => {
    const app = createApp({
      models: lazyModels({
        lazy: () => {
          throw new Error("loaded");
        },
      }),
    });
    expect(await (await app.request("/health")).json()).toEqual({
      status: "ok",
      running: 0,
      waiting: 0,
      decoded_tokens: 0,
    });
    const model = { id: "lazy", object: "model", created: 0, owned_by: "edgewise" };
    expect(await (await app.request("/v1/models")).json()).toEqual({ object: "list", data: [model] });
    expect(await (await app.request("/v1/models/lazy")).json()).toEqual(model);
  });

  it("refuses a default model that is not there", () => {
    expect(() => createApp({ models: lazyModels({}) })).toThrow('"models" must hold at least one model');
    const models = lazyModels({ a: async () => fakeModel() });
    expect(() => createApp({ models, defaultModel: "x" })).toThrow(
      '"defaultModel" must be one of a, got "x"',
    );
  });
});

describe("completions", () => {
  it("answers in one piece", async () => {
    const { post, model } = fakeService();
    const response = await post("/v1/completions", { model: "fake", prompt: "ab" });
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({
      id: expect.stringMatching(/^cmpl-/),
      object: "text_completion",
      created: expect.any(Number),
      model: "fake",
      system_fingerprint: model.requestFingerprint(),
      choices: [{ index: 0, text: "Hello, world", logprobs: null, finish_reason: "stop" }],
      usage: { prompt_tokens: 3, completion_tokens: 12, total_tokens: 15, prompt_tokens_details },
    });
  });

  it("streams one chunk per text, then the reason, usage and [DONE]", async () => {
    const { post, model } = fakeService();
    const body = { prompt: "ab", max_tokens: 3, stream: true, stream_options: { include_usage: true } };
    const response = await post("/v1/completions", body);
    expect(response.headers.get("content-type")).toContain("text/event-stream");
    const frames = framesOf(await response.text()) as {
      id: string;
      usage: unknown;
      choices: { text: string; finish_reason: string | null }[];
    }[];
    expect(new Set(frames.map(({ id }) => id)).size).toBe(1);
    expect(frames.map(({ choices }) => choices.map((c) => [c.text, c.finish_reason]))).toEqual([
      [["H", null]],
      [["e", null]],
      [["l", null]],
      [["", "length"]],
      [],
    ]);
    expect(frames.map(({ usage }) => usage)).toEqual([
      null,
      null,
      null,
      null,
      { prompt_tokens: 3, completion_tokens: 3, total_tokens: 6, prompt_tokens_details },
    ]);
    expect(model.live).toBe(0);
  });

  it.each([
    ["a text", "ab", [[256, 97, 98]]],
    ["token ids", [97, 98], [[97, 98]]],
    [
      "texts",
      ["a", "b"],
      [
        [256, 97],
        [256, 98],
      ],
    ],
    ["arrays of token ids", [[97], [98]], [[97], [98]]],
    ["nothing", undefined, [[256]]],
    ["an empty text", "", [[256]]],
  ])("takes %s as prompt", async (_, prompt, prompts) => {
    const { post, model } = fakeService();
    const response = await post("/v1/completions", { prompt });
    const { choices } = (await response.json()) as { choices: { index: number }[] };
    expect(choices.map(({ index }) => index)).toEqual(prompts.map((_, index) => index));
    expect(model.asked.map((asked) => asked.prompt)).toEqual(prompts);
  });

  it("makes n choices per prompt, choice i with seed + i, and counts each prompt once", async () => {
    const { post } = fakeService(fakeModel({ reply: "{seed}" }));
    const response = await post("/v1/completions", {
      prompt: ["a", "b"],
      n: 2,
      seed: Number.MAX_SAFE_INTEGER,
    });
    const answer = (await response.json()) as { choices: { index: number; text: string }[]; usage: unknown };
    expect(answer.choices.map(({ index, text }) => [index, text])).toEqual([
      [0, "9007199254740991"],
      [1, "0"],
      [2, "9007199254740991"],
      [3, "0"],
    ]);
    expect(answer.usage).toMatchObject({ prompt_tokens: 4 });
  });

  it("streams several choices with their indexes", async () => {
    const { post } = fakeService(fakeModel({ reply: "{seed}" }));
    const response = await post("/v1/completions", { prompt: "a", n: 3, seed: 5, stream: true });
    const frames = framesOf(await response.text()) as { choices: { index: number; text: string }[] }[];
    expect(frames.map(({ choices }) => choices.map(({ index, text }) => [index, text])[0])).toEqual([
      [0, "5"],
      [1, "6"],
      [2, "7"],
      [0, ""],
      [1, ""],
      [2, ""],
    ]);
  });

  it("returns the best n of best_of", async () => {
    const { post, model } = fakeService(fakeModel({ reply: "{seed}" }));
    const response = await post("/v1/completions", { prompt: ["a", "b"], n: 2, best_of: 5, seed: 1 });
    const { choices } = (await response.json()) as { choices: { index: number; text: string }[] };
    expect(choices.map(({ index, text }) => [index, text])).toEqual([
      [0, "4"],
      [1, "5"],
      [2, "4"],
      [3, "5"],
    ]);
    expect(model.asked.map(({ options }) => [options.n, options.bestOf])).toEqual([
      [2, 5],
      [2, 5],
    ]);
  });

  it("does not mind the content type, as curl -d sends a form's", async () => {
    const { post } = fakeService();
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    expect(await text(post("/v1/completions", { prompt: "a" }, { headers }))).toBe("Hello, world");
  });
});

describe("chat completions", () => {
  it("answers in one piece, as long as the context allows", async () => {
    const { post, model } = fakeService(fakeModel({ reply: "x".repeat(200) }));
    const response = await post("/v1/chat/completions", { messages: [{ role: "user", content: "hi" }] });
    expect(await response.json()).toEqual({
      id: expect.stringMatching(/^chatcmpl-/),
      object: "chat.completion",
      created: expect.any(Number),
      model: "fake",
      system_fingerprint: model.requestFingerprint(),
      choices: [
        {
          index: 0,
          message: { role: "assistant", content: "x".repeat(54), refusal: null },
          logprobs: null,
          finish_reason: "length",
        },
      ],
      usage: { prompt_tokens: 10, completion_tokens: 54, total_tokens: 64, prompt_tokens_details },
    });
    expect(model.asked[0].options.maxTokens).toBeUndefined();
  });

  it("joins text parts by lines, and takes developer for system", async () => {
    const { post, model } = fakeService();
    const part = (text: string) => ({ type: "text", text });
    await post("/v1/chat/completions", {
      messages: [
        { role: "developer", content: [part("a"), part("b")] },
        { role: "user", content: "c" },
      ],
    });
    expect(model.tokenizer.decode(model.asked[0].prompt)).toBe("system: a\nb\nuser: c\n");
  });
});

describe("errors", () => {
  const { app, post } = fakeService(undefined, { maxBodyBytes: 5000 });
  const user = [{ role: "user", content: "a" }];
  const tool = { type: "function", function: { name: "now" } };

  it.each([
    ["/v1/completions", "{", "invalid_json", null],
    ["/v1/completions", "", "invalid_json", null],
    ["/v1/completions", "[]", "invalid_type", null],
    ["/v1/completions", "null", "invalid_type", null],
    ["/v1/completions", { temperature: "hot" }, "invalid_type", "temperature"],
    ["/v1/completions", { temperature: 2.1 }, "invalid_value", "temperature"],
    ["/v1/completions", { top_p: -1 }, "invalid_value", "top_p"],
    ["/v1/completions", { top_k: 1.5 }, "invalid_type", "top_k"],
    ["/v1/completions", { max_tokens: -1 }, "invalid_value", "max_tokens"],
    ["/v1/chat/completions", { messages: user, max_tokens: 0 }, "invalid_value", "max_tokens"],
    ["/v1/chat/completions", { messages: user, echo: true }, "unsupported_parameter", "echo"],
    ["/v1/completions", { tools: [{}] }, "unsupported_parameter", "tools"],
    ["/v1/chat/completions", { messages: user, tool_choice: "required" }, "invalid_value", "tool_choice"],
    ["/v1/completions", { reasoning_effort: "high" }, "unsupported_parameter", "reasoning_effort"],
    ["/v1/completions", { max_tokens: 1, max_completion_tokens: 2 }, "invalid_value", "max_tokens"],
    ["/v1/completions", { n: 17 }, "invalid_value", "n"],
    ["/v1/completions", { prompt: ["a", "b"], n: 9 }, "invalid_value", "n"],
    ["/v1/completions", { seed: -2 }, "invalid_value", "seed"],
    ["/v1/completions", { stop: ["a", "b", "c", "d", "e"] }, "invalid_value", "stop"],
    ["/v1/completions", { stop: ["a", ""] }, "invalid_value", "stop[1]"],
    ["/v1/completions", { stop: 5 }, "invalid_type", "stop"],
    ["/v1/completions", { stream: "yes" }, "invalid_type", "stream"],
    ["/v1/completions", { stream_options: {} }, "invalid_value", "stream_options"],
    ["/v1/completions", { prompt: 5 }, "invalid_value", "prompt"],
    ["/v1/completions", { prompt: [] }, "invalid_value", "prompt"],
    ["/v1/completions", { prompt: [1, "a"] }, "invalid_value", "prompt[1]"],
    ["/v1/completions", { prompt: [258] }, "invalid_value", "prompt[0]"],
    ["/v1/completions", { prompt: ["a", []] }, "invalid_value", "prompt[1]"],
    ["/v1/completions", { prompt: [[1], [-1]] }, "invalid_value", "prompt[1][0]"],
    ["/v1/completions", { echo: "yes" }, "invalid_type", "echo"],
    ["/v1/completions", { suffix: "x" }, "unsupported_parameter", "suffix"],
    ["/v1/completions", { stop_token_ids: 5 }, "invalid_value", "stop_token_ids"],
    ["/v1/completions", { stop_token_ids: [5, 258] }, "invalid_value", "stop_token_ids[1]"],
    ["/v1/completions", { n_predict: 5 }, "unsupported_parameter", "n_predict"],
    ["/v1/completions", { top_logprobs: 1 }, "unsupported_parameter", "top_logprobs"],
    ["/v1/completions", { logprobs: true }, "invalid_type", "logprobs"],
    ["/v1/completions", { logprobs: 21 }, "invalid_value", "logprobs"],
    ["/v1/completions", { n: 3, best_of: 2 }, "invalid_value", "best_of"],
    ["/v1/completions", { best_of: 2, stream: true }, "invalid_value", "best_of"],
    ["/v1/completions", { prompt: ["a", "b"], best_of: 9 }, "invalid_value", "best_of"],
    ["/v1/completions", { grammar: "root ::= x" }, "unsupported_parameter", "grammar"],
    ["/v1/chat/completions", {}, "missing_required_parameter", "messages"],
    ["/v1/chat/completions", { messages: [] }, "invalid_value", "messages"],
    ["/v1/chat/completions", { messages: [1] }, "invalid_type", "messages[0]"],
    [
      "/v1/chat/completions",
      { messages: [{ role: "user" }] },
      "missing_required_parameter",
      "messages[0].content",
    ],
    [
      "/v1/chat/completions",
      { messages: [{ role: "function", content: "" }] },
      "invalid_value",
      "messages[0].role",
    ],
    [
      "/v1/chat/completions",
      { messages: [{ role: "user", content: [{ type: "image_url", image_url: "x" }] }] },
      "invalid_value",
      "messages[0].content[0].type",
    ],
    [
      "/v1/chat/completions",
      { messages: [{ role: "assistant", content: "a" }] },
      "invalid_value",
      "messages",
    ],
    ["/v1/chat/completions", { messages: user, tools: [{}] }, "invalid_value", "tools[0].type"],
    ["/v1/chat/completions", { messages: user, tools: [tool] }, "unsupported_parameter", "tools"],
    ["/v1/chat/completions", { messages: user, best_of: 2 }, "unsupported_parameter", "best_of"],
    ["/v1/chat/completions", { messages: user, logprobs: 1 }, "invalid_type", "logprobs"],
    ["/v1/chat/completions", { messages: user, top_logprobs: 2 }, "invalid_value", "top_logprobs"],
    [
      "/v1/chat/completions",
      { messages: user, logprobs: true, top_logprobs: 21 },
      "invalid_value",
      "top_logprobs",
    ],
    [
      "/v1/chat/completions",
      { messages: user, response_format: { type: "xml" } },
      "invalid_value",
      "response_format.type",
    ],
  ])("%s %j -> 400 %s, param %s", async (path, body, code, param) => {
    const response = await post(path, body);
    const { error } = (await response.json()) as { error: { message: string } };
    expect([response.status, error]).toEqual([
      400,
      { message: expect.any(String), type: "invalid_request_error", param, code },
    ]);
    if (param !== null) expect(error.message).toContain(`"${param}"`);
  });

  it.each([
    ["63 characters, which no token joins", "a".repeat(63), "has 64"],
    ["more than the longest tokens could hold", "a".repeat(4900), "has at least"],
    ["token ids", Array(64).fill(1), "has 64"],
  ])("refuses a prompt that leaves no room for a token: %s", async (_, prompt, expected) => {
    const response = await post("/v1/completions", { prompt });
    const { error } = (await response.json()) as { error: { message: string } };
    expect(response.status).toBe(400);
    expect(error).toMatchObject({ code: "context_length_exceeded", param: "prompt" });
    expect(error.message).toContain("maximum context length is 64 tokens");
    expect(error.message).toContain(expected);
    const chat = await post("/v1/chat/completions", {
      messages: [{ role: "user", content: "a".repeat(4900) }],
    });
    expect(await chat.json()).toMatchObject({
      error: { code: "context_length_exceeded", param: "messages" },
    });
  });

  it("bounds the number of prompts", async () => {
    const response = await post("/v1/completions", { prompt: Array(17).fill("a") });
    expect(await response.json()).toMatchObject({ error: { code: "invalid_value", param: "prompt" } });
  });

  it("passes fields that ask for nothing, and unknown ones", async () => {
    const nothing = {
      echo: false,
      best_of: 1,
      logprobs: false,
      top_logprobs: 0,
      logit_bias: {},
      presence_penalty: 0,
      frequency_penalty: 0,
      suffix: "",
      tools: [],
      tool_choice: "none",
      response_format: { type: "text" },
      modalities: ["text"],
      user: "me",
      store: false,
      something_new: { deep: [1] },
    };
    expect((await post("/v1/completions", { prompt: "a", ...nothing })).status).toBe(200);
    expect((await post("/v1/chat/completions", { messages: user, ...nothing })).status).toBe(200);
  });

  it("says what the value is, the expectation and the value that came", async () => {
    const response = await post("/v1/completions", { temperature: 7 });
    expect(((await response.json()) as { error: { message: string } }).error.message).toBe(
      '"temperature" must be a number from 0 to 2, got 7',
    );
  });

  it.each([
    ["POST", "/v1/nope", 404, null],
    ["GET", "/", 404, null],
    ["GET", "/v1/models/none", 404, "model_not_found"],
    ["GET", "/v1/completions", 405, "method_not_allowed"],
    ["DELETE", "/v1/models/fake", 405, "method_not_allowed"],
    ["POST", "/health", 405, "method_not_allowed"],
  ])("%s %s -> %i", async (method, path, status, code) => {
    const response = await app.request(path, { method });
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ error: { type: "invalid_request_error", code } });
    if (status === 405) expect(response.headers.get("allow")).toMatch(/^(POST|GET, HEAD)$/);
  });

  it("404 for an unknown model", async () => {
    const response = await post("/v1/completions", { model: "gpt-4o", prompt: "a" });
    expect([response.status, await response.json()]).toEqual([
      404,
      {
        error: {
          message: 'The model "gpt-4o" does not exist',
          type: "invalid_request_error",
          param: "model",
          code: "model_not_found",
        },
      },
    ]);
  });

  it.each([
    ["announced", "x".repeat(5001)],
    ["chunked", new Blob(["x".repeat(5001)]).stream()],
  ])("413 for a body that is too large, %s", async (_, body) => {
    const response = await app.request("/v1/completions", {
      method: "POST",
      body,
      duplex: "half",
    } as RequestInit);
    expect(response.status).toBe(413);
    expect(await response.json()).toMatchObject({ error: { code: "request_too_large" } });
  });

  it("500 tells nothing of what happened, but the service's owner hears it", async () => {
    const failure = new Error("kernel trap at 0xbeef");
    const { post, errors, model } = fakeService(fakeModel({ failure, failAt: 2 }));
    const response = await post("/v1/completions", { prompt: "a" });
    expect(response.status).toBe(500);
    const error = { message: "The server had an error", type: "server_error", param: null, code: null };
    expect(await response.json()).toEqual({ error });
    expect(errors).toEqual([failure]);

    const stream = await post("/v1/completions", { prompt: "a", stream: true });
    expect(framesOf(await stream.text()).slice(-1)).toEqual([{ error }]);
    expect(errors).toEqual([failure, failure]);
    expect(model.live).toBe(0);
  });

  it.each([
    ['Cannot sample the token at position 9: step "allowed-ids" leaves no token', null, "no_token_left"],
    ['"speculation.gamma" must be an integer from 1 to 64, got 65', "speculation.gamma", "invalid_value"],
    ['Verifier "sequoia" needs a draft law of rows, got one-hot', "verifier", "invalid_value"],
    ['"pipeline[3].breakers" must be an array', "pipeline[3].breakers", "invalid_value"],
  ])("400 for what only decoding can find wrong: %s", async (message, param, code) => {
    const { post, errors } = fakeService(fakeModel({ failure: new RangeError(message), failAt: 2 }));
    const error = { message, type: "invalid_request_error", param, code };
    const response = await post("/v1/completions", { prompt: "a" });
    expect([response.status, await response.json()]).toEqual([400, { error }]);
    const stream = await post("/v1/completions", { prompt: "a", stream: true });
    expect(framesOf(await stream.text()).slice(-1)).toEqual([{ error }]);
    expect(errors).toEqual([]);
  });

  it("503 for memory that others hold, 500 for what names nothing of the request", async () => {
    const status = async (failure: Error) => {
      const { post } = fakeService(fakeModel({ failure, failAt: 0 }));
      return (await post("/v1/completions", { prompt: "a" })).status;
    };
    expect(await status(new MemoryError('"temperature" of the machine'))).toBe(503);
    expect(await status(new RangeError('"weights.blob" must be an array'))).toBe(500);
    expect(await status(new RangeError('"constructor" must not be'))).toBe(500);
    expect(await status(new Error('"temperature" must be lower'))).toBe(500);
  });

  it("a model that cannot be loaded: the loader's message, and another try at the next request", async () => {
    let loads = 0;
    const models = lazyModels({
      fake: async () => {
        if (loads++ === 0) throw new RangeError("Cannot load model: no GGUF");
        return fakeModel();
      },
    });
    const { post } = fakeService(undefined, { models });
    const response = await post("/v1/completions", { prompt: "a" });
    expect([response.status, await response.json()]).toEqual([
      500,
      {
        error: {
          message: "Cannot load model: no GGUF",
          type: "server_error",
          param: null,
          code: "model_load_failed",
        },
      },
    ]);
    expect(await text(post("/v1/completions", { prompt: "a" }))).toBe("Hello, world");
    await post("/v1/completions", { prompt: "a" });
    expect(loads).toBe(2);
  });
});

describe("headers", () => {
  const { app, post } = fakeService();

  it("gives every answer an x-request-id, streams and errors too", async () => {
    const responses = await Promise.all([
      app.request("/health"),
      app.request("/nope"),
      app.request("/v1/completions"),
      post("/v1/completions", { prompt: "a" }),
      post("/v1/completions", { prompt: "a", stream: true }),
      post("/v1/completions", "{"),
    ]);
    for (const response of responses) {
      expect(response.headers.get("x-request-id")).toMatch(/^[\w-]{36}$/);
      expect(response.headers.get("access-control-allow-origin")).toBe(null);
      expect(response.headers.get("x-content-type-options")).toBe("nosniff");
      expect(response.headers.get("content-security-policy")).toContain("default-src 'none'");
    }
    const own = await app.request("/health", { headers: { "x-request-id": "mine-1" } });
    expect(own.headers.get("x-request-id")).toBe("mine-1");
  });

  const preflight = {
    method: "OPTIONS",
    headers: {
      origin: "https://example.org",
      "access-control-request-method": "POST",
      "access-control-request-headers": "authorization,content-type",
    },
  };

  it("answers a browser's preflight where its origin is allowed, with keys too", async () => {
    for (const corsOrigins of [["*"], ["https://example.org"]]) {
      const { app } = fakeService(undefined, { corsOrigins, keys: ["a-key-of-ours"] });
      const response = await app.request("/v1/completions", preflight);
      expect(response.status).toBe(204);
      expect(response.headers.get("access-control-allow-origin")).toBe(corsOrigins[0]);
      expect(response.headers.get("access-control-allow-headers")).toContain("authorization");
      expect(response.headers.get("access-control-allow-methods")).toContain("POST");
      const { headers } = await app.request("/health", { headers: { origin: "https://example.org" } });
      expect(headers.get("access-control-expose-headers")).toContain("x-request-id");
    }
  });

  it("tells no other origin that it may read", async () => {
    const others = fakeService(undefined, { corsOrigins: ["https://mine.example"] });
    for (const service of [app, others.app]) {
      const { headers } = await service.request("/v1/completions", preflight);
      expect(headers.get("access-control-allow-origin")).toBe(null);
      const answer = await service.request("/health", { headers: { origin: "https://example.org" } });
      expect(answer.headers.get("access-control-allow-origin")).toBe(null);
    }
  });
});
