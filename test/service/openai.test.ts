import OpenAI from "openai";
import { describe, expect, it } from "vitest";
import type { SpeculationSummary } from "../../src/engine/model.ts";
import { fakeModel, fakeService } from "./fake-model.ts";

const prompt_tokens_details = { cached_tokens: 0, audio_tokens: 0 };

/** The official client, its requests going straight to the app. */
function client(model = fakeModel(), options: Parameters<typeof fakeService>[1] = {}) {
  const service = fakeService(model, options);
  const calls: string[] = [];
  const openai = new OpenAI({
    apiKey: "any",
    baseURL: "http://service/v1",
    fetch: async (url, init) => {
      calls.push(String(url));
      return service.app.request(String(url), init as RequestInit);
    },
  });
  return { ...service, openai, calls };
}

const messages = [{ role: "user" as const, content: "hi" }];

describe("the official openai client", () => {
  it("lists and retrieves models", async () => {
    const { openai } = client();
    expect((await openai.models.list()).data.map(({ id }) => id)).toEqual(["fake"]);
    expect((await openai.models.retrieve("fake")).id).toBe("fake");
    await expect(openai.models.retrieve("none")).rejects.toMatchObject({
      status: 404,
      code: "model_not_found",
    });
  });

  it("completes, in one piece and as a stream", async () => {
    const { openai } = client();
    const answer = await openai.completions.create({ model: "fake", prompt: "hi" });
    expect(answer.choices[0]).toMatchObject({ text: "Hello, world", finish_reason: "stop" });
    expect(answer._request_id).toMatch(/^[\w-]{36}$/);
    let text = "";
    for await (const chunk of await openai.completions.create({
      model: "fake",
      prompt: "hi",
      stream: true,
    })) {
      text += chunk.choices[0].text;
    }
    expect(text).toBe("Hello, world");
  });

  it("chats, in one piece and as a stream with usage", async () => {
    const { openai } = client();
    const answer = await openai.chat.completions.create({
      model: "fake",
      messages,
      max_completion_tokens: 5,
    });
    expect(answer.choices[0].message).toEqual({ role: "assistant", content: "Hello", refusal: null });
    expect(answer.choices[0].finish_reason).toBe("length");
    expect(answer.usage).toEqual({
      prompt_tokens: 10,
      completion_tokens: 5,
      total_tokens: 15,
      prompt_tokens_details,
    });

    let text = "";
    let usage: unknown;
    const stream = await openai.chat.completions.create({
      model: "fake",
      messages,
      stream: true,
      stream_options: { include_usage: true },
    });
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? "";
      usage = chunk.usage ?? usage;
    }
    expect(text).toBe("Hello, world");
    expect(usage).toEqual({
      prompt_tokens: 10,
      completion_tokens: 12,
      total_tokens: 22,
      prompt_tokens_details,
    });
  });

  it("gathers a stream with its helper, several choices too", async () => {
    const { openai } = client(fakeModel({ reply: "seed {seed}" }));
    const stream = openai.chat.completions.stream({ model: "fake", messages, n: 2, seed: 1 });
    const { choices } = await stream.finalChatCompletion();
    expect(choices.map(({ message, finish_reason }) => [message.content, finish_reason])).toEqual([
      ["seed 1", "stop"],
      ["seed 2", "stop"],
    ]);
  });

  it("reads log-probabilities of a chat, in one piece and gathered from a stream", async () => {
    const { openai } = client(fakeModel({ reply: "é!" }));
    const ask = { model: "fake", messages, logprobs: true, top_logprobs: 2 };
    const { choices } = await openai.chat.completions.create(ask);
    const entries = choices[0].logprobs!.content!;
    expect(entries.flatMap(({ bytes }) => bytes)).toEqual([...new TextEncoder().encode("é!")]);
    expect(entries.map(({ top_logprobs }) => top_logprobs.length)).toEqual([2, 2, 2]);
    const gathered = await openai.chat.completions.stream(ask).finalChatCompletion();
    expect(gathered.choices[0].logprobs).toEqual(choices[0].logprobs);
    expect(gathered.choices[0].message.content).toBe("é!");
  });

  it("reads log-probabilities of completions, each choice its own", async () => {
    const { openai } = client(fakeModel({ reply: "no {seed}" }));
    const ask = { model: "fake", prompt: "hi", logprobs: 1, n: 2, seed: 4 };
    const { choices } = await openai.completions.create(ask);
    expect(choices.map(({ text, logprobs }) => [text, logprobs!.tokens!.join("")])).toEqual([
      ["no 4", "no 4"],
      ["no 5", "no 5"],
    ]);
    const tokens: string[][] = [[], []];
    for await (const chunk of await openai.completions.create({ ...ask, stream: true })) {
      for (const { index, logprobs } of chunk.choices) tokens[index].push(...(logprobs?.tokens ?? []));
    }
    expect(tokens).toEqual(choices.map(({ logprobs }) => logprobs!.tokens));
  });

  it("gets the best of several", async () => {
    const { openai, model } = client(fakeModel({ reply: "seed {seed}" }));
    const ask = { model: "fake", prompt: "hi", best_of: 3, seed: 1 };
    const { choices, usage } = await openai.completions.create(ask);
    expect(choices.map(({ text }) => text)).toEqual(["seed 3"]);
    expect(usage).toEqual({ prompt_tokens: 3, completion_tokens: 6, total_tokens: 9, prompt_tokens_details });
    expect(model.asked[0].options).toMatchObject({ n: 1, bestOf: 3 });
    await expect(openai.completions.create({ ...ask, stream: true })).rejects.toMatchObject({
      status: 400,
      param: "best_of",
    });
  });

  it("predicts an output, and reads what came of it", async () => {
    const speculation: SpeculationSummary = {
      drafter: "prediction",
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
    const { openai, model } = client(fakeModel({ speculation }));
    const ask = {
      model: "fake",
      messages,
      prediction: { type: "content" as const, content: [{ type: "text" as const, text: "Hello, moon" }] },
    };
    const { usage } = await openai.chat.completions.create(ask);
    expect(model.asked[0].options.prediction).toBe("Hello, moon");
    expect(usage!.completion_tokens_details).toEqual({
      accepted_prediction_tokens: 7,
      rejected_prediction_tokens: 2,
      reasoning_tokens: 0,
      audio_tokens: 0,
    });
    const stream = openai.chat.completions.stream({ ...ask, stream_options: { include_usage: true } });
    const gathered = await stream.finalChatCompletion();
    expect(gathered.usage).toEqual(usage);
    expect(gathered.choices[0].message.content).toBe("Hello, world");
  });

  it("sends penalties and biases", async () => {
    const { openai, model } = client();
    const ask = { model: "fake", presence_penalty: 0.5, frequency_penalty: -0.5, logit_bias: { "72": -100 } };
    const options = { presencePenalty: 0.5, frequencyPenalty: -0.5, logitBias: { 72: -100 } };
    await openai.chat.completions.create({ ...ask, messages });
    await openai.completions.create({ ...ask, prompt: "hi" });
    expect(model.asked.map((asked) => asked.options)).toMatchObject([options, options]);
  });

  it("throws its own classes for our errors", async () => {
    const { openai } = client();
    const ask = (extra: object) => openai.chat.completions.create({ model: "fake", messages, ...extra });
    await expect(ask({ temperature: 9 })).rejects.toBeInstanceOf(OpenAI.BadRequestError);
    await expect(ask({ temperature: 9 })).rejects.toMatchObject({
      status: 400,
      param: "temperature",
      code: "invalid_value",
      type: "invalid_request_error",
      requestID: expect.any(String),
    });
    await expect(ask({ model: "none" })).rejects.toBeInstanceOf(OpenAI.NotFoundError);
    await expect(openai.embeddings.create({ model: "fake", input: "x" })).rejects.toMatchObject({
      status: 404,
      message: expect.stringContaining("Invalid URL (POST /v1/embeddings)"),
    });
    await expect(ask({ messages: [{ role: "user", content: "a".repeat(99) }] })).rejects.toMatchObject({
      code: "context_length_exceeded",
    });
  });

  it("sees an error inside a stream", async () => {
    const { openai } = client(fakeModel({ failure: new Error("trap"), failAt: 2 }));
    let text = "";
    const read = async () => {
      const stream = await openai.chat.completions.create({ model: "fake", messages, stream: true });
      for await (const chunk of stream) text += chunk.choices[0].delta.content ?? "";
    };
    await expect(read()).rejects.toMatchObject({ type: "server_error" });
    expect(text).toBe("He");
  });

  it("tries a busy server again, as retry-after says", async () => {
    let block = () => {};
    const blocked = new Promise<void>((resolve) => {
      block = resolve;
    });
    const { openai, calls, post } = client(fakeModel({ before: () => blocked }), {
      maxRunning: 1,
      maxWaiting: 0,
    });
    const first = post("/v1/completions", { prompt: "a" });
    await new Promise((resolve) => setTimeout(resolve, 10));
    const second = openai.completions.create({ model: "fake", prompt: "hi" });
    while (calls.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    block();
    expect((await first).status).toBe(200);
    expect((await second).choices[0].text).toBe("Hello, world");
    expect(calls.length).toBe(2);
  });

  it("aborts a stream", async () => {
    const model = fakeModel({ reply: "x".repeat(50) });
    const { openai, app } = client(model);
    const stream = await openai.chat.completions.create({ model: "fake", messages, stream: true });
    let chunks = 0;
    for await (const _ of stream) if (++chunks === 5) stream.controller.abort();
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(model.live).toBe(0);
    expect(model.pieces).toBeLessThan(10);
    expect(await (await app.request("/health")).json()).toMatchObject({ running: 0 });
  });
});
