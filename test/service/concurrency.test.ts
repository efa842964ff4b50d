import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import { eventStream } from "../../src/service/sse.ts";
import { fakeModel, fakeService, framesOf } from "./fake-model.ts";

/** A model that waits for `step()` before each piece. */
function steppedModel() {
  const waiting: (() => void)[] = [];
  const before = () => new Promise<void>((resolve) => waiting.push(resolve));
  const model = fakeModel({ before, reply: "x".repeat(30) });
  return { model, step: () => waiting.splice(0).forEach((resolve) => void resolve()), waiting };
}

const settle = () => new Promise((resolve) => setTimeout(resolve, 20));

async function finish(step: () => void, work: unknown) {
  let done = false;
  void Promise.resolve(work).finally(() => {
    done = true;
  });
  while (!done) {
    step();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe("requests at once", () => {
  it("bounds those that decode, queues the next in order, and refuses the rest", async () => {
    const { model, step } = steppedModel();
    const { app, post } = fakeService(model, { maxRunning: 2, maxWaiting: 2 });
    const order: number[] = [];
    const answers = [0, 1, 2, 3].map(async (i) => {
      const response = await post("/v1/completions", { prompt: "a", seed: i });
      order.push(i);
      return response.status;
    });
    await settle();
    expect(await (await app.request("/health")).json()).toMatchObject({ running: 2, waiting: 2 });

    const refused = await post("/v1/completions", { prompt: "a" });
    expect(refused.status).toBe(429);
    expect(refused.headers.get("retry-after")).toBe("1");
    expect(await refused.json()).toMatchObject({
      error: { type: "rate_limit_error", code: "rate_limit_exceeded", param: null },
    });

    await finish(step, Promise.all(answers));
    expect(await Promise.all(answers)).toEqual([200, 200, 200, 200]);
    expect(model.asked.map(({ options }) => options.seed)).toEqual([0, 1, 2, 3]);
    expect(order).toEqual([0, 1, 2, 3]);
    expect(await (await app.request("/health")).json()).toMatchObject({ running: 0, waiting: 0 });
  });

  it("interleaves streams, each with its own text", async () => {
    const { post } = fakeService(fakeModel({ reply: "seed {seed}" }));
    const streams = await Promise.all(
      [1, 2, 3].map((seed) => post("/v1/completions", { prompt: "a", seed, stream: true })),
    );
    const texts = await Promise.all(streams.map((stream) => stream.text()));
    const joined = texts.map((text) =>
      (framesOf(text) as { choices: { text: string }[] }[]).map(({ choices }) => choices[0].text).join(""),
    );
    expect(joined).toEqual(["seed 1", "seed 2", "seed 3"]);
  });

  it("leaves the queue when its client goes", async () => {
    const { model, step } = steppedModel();
    const { app, post } = fakeService(model, { maxRunning: 1 });
    const first = post("/v1/completions", { prompt: "a" });
    await settle();
    const gone = new AbortController();
    const second = post("/v1/completions", { prompt: "a" }, { signal: gone.signal });
    await settle();
    gone.abort();
    expect((await second).status).toBe(499);
    expect(await (await app.request("/health")).json()).toMatchObject({ running: 1, waiting: 0 });
    await finish(step, first);
    expect(model.asked.length).toBe(1);
  });
});

describe("a client that leaves", () => {
  it("is noticed when its request is garbage already", async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const { model, post } = fakeService(fakeModel({ reply: "x".repeat(1000) }));
    const leave = new AbortController();
    const response = await post("/v1/completions", { prompt: "a", stream: true }, { signal: leave.signal });
    const reader = response.body!.getReader();
    await reader.read();
    for (let i = 0; i < 3; i++) {
      collect();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    expect(model.live).toBe(1);
    leave.abort();
    await expect(reader.read()).rejects.toThrow("aborted");
    expect(model.live).toBe(0);
  });

  it("stops an answer in one piece", async () => {
    const { model, step, waiting } = steppedModel();
    const { app, post, errors } = fakeService(model);
    const gone = new AbortController();
    const answer = post("/v1/completions", { prompt: "a", max_tokens: 30 }, { signal: gone.signal });
    for (let i = 0; i < 3; i++) {
      await settle();
      step();
    }
    await settle();
    gone.abort();
    step();
    expect((await answer).status).toBe(499);
    expect([model.pieces, model.live, waiting.length]).toEqual([3, 0, 0]);
    expect(await (await app.request("/health")).json()).toMatchObject({ running: 0 });
    expect(errors).toEqual([]);
  });

  it.each(["cancel", "signal"])("stops a stream by %s, and closes its session", async (how) => {
    const model = fakeModel({ reply: "x".repeat(30) });
    const { app, post, errors } = fakeService(model);
    const gone = new AbortController();
    const body = { prompt: "a", max_tokens: 30, stream: true };
    const response = await post("/v1/completions", body, { signal: gone.signal });
    const reader = response.body!.getReader();
    for (let i = 0; i < 3; i++) await reader.read();
    expect([model.pieces, model.live]).toEqual([3, 1]);
    if (how === "cancel") await reader.cancel();
    else gone.abort();
    await settle();
    expect([model.pieces, model.live]).toEqual([3, 0]);
    expect(await (await app.request("/health")).json()).toMatchObject({ running: 0 });
    if (how === "signal") await expect(reader.read()).rejects.toThrow(/abort/);
    expect(errors).toEqual([]);
  });

  it("frees a stream that nobody began to read", async () => {
    const { app, post, model } = fakeService();
    const response = await post("/v1/completions", { prompt: "a", stream: true });
    await settle();
    // Nothing is decoded ahead of the reader.
    expect(model.pieces).toBe(0);
    await response.body!.cancel();
    expect(await (await app.request("/health")).json()).toMatchObject({ running: 0 });
  });

  it("gives up a stream that stays unread", async () => {
    const model = fakeModel({ reply: "x".repeat(30) });
    const { app, post } = fakeService(model, { stallMs: 10 });
    const response = await post("/v1/completions", { prompt: "a", stream: true });
    const reader = response.body!.getReader();
    await reader.read();
    await settle();
    expect(model.live).toBe(0);
    expect(await (await app.request("/health")).json()).toMatchObject({ running: 0 });
    await expect(reader.read()).rejects.toThrow("The client stopped reading");
  });
});

describe("eventStream", () => {
  it("ends once, also where the client left before it began", async () => {
    let ends = 0;
    const gone = AbortSignal.abort();
    async function* frames() {
      yield 1;
    }
    const response = eventStream(frames(), {
      signal: gone,
      stallMs: 1000,
      onEnd: () => ends++,
      onError: (error) => {
        throw error;
      },
    });
    await expect(response.text()).rejects.toThrow(/abort/);
    expect(ends).toBe(1);
  });
});
