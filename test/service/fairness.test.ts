/** Many streams over few slots: all get on alike, a long prompt does not hold them up, and nobody is served for ever. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel, type Model } from "../../src/node.ts";
import { createApp, lazyModels } from "../../src/service/app.ts";

let model: Model;
beforeAll(async () => {
  model = await loadModel(new URL("../../models/edgewise-stories-q4_0.gguf", import.meta.url));
});
afterAll(() => model.close());

/** Streams that note in one list whose tokens come when. */
function open(maxRunning: number) {
  const app = createApp({
    models: lazyModels({ stories: async () => model }),
    maxRunning,
    maxWaiting: 100,
    log: () => {},
  });
  const order: string[] = [];
  const stream = async (name: string, body: object) => {
    const request = { ignore_eos: true, temperature: 1, seed: 1, stream: true, logprobs: 0, ...body };
    const init = { method: "POST", body: JSON.stringify(request) };
    const response = await app.request("/v1/completions", init);
    expect(response.status).toBe(200);
    const decoder = new TextDecoder();
    for await (const chunk of response.body!) {
      const data = /^data: (\{.*\})$/m.exec(decoder.decode(chunk))?.[1];
      const tokens: string[] = data === undefined ? [] : (JSON.parse(data).choices[0].logprobs?.tokens ?? []);
      for (const _ of tokens) order.push(name);
    }
  };
  return { order, stream };
}

const counts = (order: readonly string[]) => {
  const all = new Map<string, number>();
  for (const name of order) all.set(name, (all.get(name) ?? 0) + 1);
  return all;
};

describe("streams", () => {
  it("that run at once are never more than a few tokens apart", async () => {
    const { order, stream } = open(16);
    const names = Array.from({ length: 16 }, (_, i) => `stream ${i}`);
    await Promise.all(names.map((name, seed) => stream(name, { prompt: "The king", max_tokens: 50, seed })));
    expect([...counts(order).values()]).toEqual(new Array(16).fill(50));
    const own = new Map(names.map((name) => [name, 0]));
    let furthest = 0;
    for (const name of order) {
      own.set(name, own.get(name)! + 1);
      furthest = Math.max(furthest, Math.max(...own.values()) - Math.min(...own.values()));
    }
    // Text that is half a character comes with the next token's.
    expect(furthest).toBeLessThan(6);
  });

  it("that wait begin in the order in which they came", async () => {
    const { order, stream } = open(4);
    const names = Array.from({ length: 24 }, (_, i) => i);
    await Promise.all(names.map((i) => stream(String(i), { prompt: "A dog", max_tokens: 12, seed: i })));
    const first = [...new Set(order)].map(Number);
    // Those of one turn of four may overtake each other, by a token.
    for (const [place, i] of first.entries()) expect(Math.abs(place - i), `stream ${i}`).toBeLessThan(4);
  });

  it("go on while a long prompt is read, and it comes to its turn", async () => {
    const { order, stream } = open(16);
    const long = Array.from({ length: 200 }, (_, i) => 300 + ((i * 37) % 3000));
    const short = Array.from({ length: 8 }, (_, i) => `short ${i}`);
    const running = short.map((name, seed) => stream(name, { prompt: "She said", max_tokens: 120, seed }));
    while (order.length < 80) await new Promise((resolve) => setTimeout(resolve, 1));
    const begun = order.length;
    await Promise.all([...running, stream("long", { prompt: long, max_tokens: 20 })]);
    const read = order.indexOf("long") - begun;
    expect(order.filter((name) => name === "long").length).toBe(20);
    // 200 tokens in pieces of at least 8: the others had some tokens meanwhile, but had not finished.
    expect(read).toBeGreaterThanOrEqual(8);
    expect(order.lastIndexOf("long")).toBeLessThan(order.length - 1);
  });
});
