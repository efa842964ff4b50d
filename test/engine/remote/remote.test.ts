/** Rows from servers in the shapes of llama.cpp and vLLM, against the model behind them. */
import { existsSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connectModel, type RemoteModel } from "../../../src/engine/remote/model.ts";
import { fuseModels, fusePreset, loadModel, type Model } from "../../../src/node.ts";
import { type FakeServer, lawAfter, llamaCppFake, vllmFake } from "../../support/remote-servers.ts";

const file = (name: string) => new URL(`../../../models/${name}.gguf`, import.meta.url);
const PROMPT = "Once upon a time there was a";
const URL_ = "http://rows.test:8080/v1";

let model: Model;
let draft: Model;
beforeAll(async () => {
  model = await loadModel(file("edgewise-stories-q8_0"));
  draft = await loadModel(file("edgewise-stories-q4_0"));
});
afterAll(() => {
  model?.close();
  draft?.close();
});

async function textOf(one: Model, options: Parameters<Model["generate"]>[1]) {
  const pieces = one.generate(PROMPT, { maxTokens: 24, ...options });
  for (;;) {
    const step = await pieces.next();
    if (step.done) return step.value;
  }
}

const connect = (server: FakeServer, options = {}) =>
  connectModel(URL_, { fetch: server.fetch, like: model, ...options }) as Promise<RemoteModel>;

const SERVERS = [
  ["llama.cpp, by id", () => llamaCppFake(model), {}, "ids", 64],
  ["llama.cpp, by text", () => llamaCppFake(model), { speech: "text" }, "text", 64],
  ["vLLM, by id", () => vllmFake(model), {}, "ids", 20],
  ["vLLM, by text", () => vllmFake(model), { speech: "text" }, "text", 20],
  ["OpenAI's completions", () => vllmFake(model, { isPlain: true }), { known: 5 }, "text", 5],
] as const;

describe.each(SERVERS)("a server like %s", (_, open, options, speech, known) => {
  it("gives the likeliest tokens of a row as they are, and the rest evenly", async () => {
    const server = open();
    const remote = await connect(server, options);
    expect(remote.speech).toBe(speech);
    expect(remote.known).toBe(known);
    const tokens = model.tokenizer.encode(PROMPT);
    const session = remote.open();
    const rows = await session.forward(tokens);
    const row = rows.row(0);
    const law = await lawAfter(model, tokens);
    const order = [...law.keys()].sort((a, b) => law[b] - law[a]);
    const isSpoken = (id: number) => speech === "ids" || model.tokenizer.bytes(id).length > 0;
    const told = order.slice(0, known).filter(isSpoken);
    for (const id of told) expect(row[id]).toBeCloseTo(law[id], 5);
    expect(rows.argmax(0)).toBe(order[0]);
    const total = Array.from(row).reduce((sum, z) => sum + Math.exp(z), 0);
    expect(total).toBeGreaterThan(speech === "ids" ? 1 - 1e-5 : 0.9);
    expect(total).toBeLessThan(1 + 1e-5);
    session.close();
  });

  it("decodes the text of its model where that needs no more than the known tokens", async () => {
    const remote = await connect(open(), options);
    const greedy = await textOf(remote, { temperature: 0 });
    expect(greedy.text).toBe((await textOf(model, { temperature: 0 })).text);
    expect(greedy.known).toBe(known);
  });

  it("has its drafts verified, several rows to a request, and says that its law is not whole", async () => {
    const server = open();
    const remote = await connect(server, options);
    const plain = await textOf(remote, { temperature: 0.8, topK: 4, seed: 7 });
    const before = server.asked.length;
    const drafted = await textOf(remote, {
      temperature: 0.8,
      topK: 4,
      seed: 7,
      draft,
      speculation: { gamma: 3, adaptive: false },
    });
    expect(drafted.text).toBe(plain.text);
    expect(drafted.speculation).toMatchObject({ lossless: false, reproducible: true });
    expect(server.asked.length - before).toBeLessThan(drafted.tokens.length);
  });
});

const stranger = new URL("../../../../shared/models/stories3M-q8_0.gguf", import.meta.url);
if (!existsSync(stranger)) console.log("skipped: ../shared/models has no model of another vocabulary");

describe.skipIf(!existsSync(stranger))("a server of another vocabulary", () => {
  let other: Model;
  beforeAll(async () => {
    other = await loadModel(stranger);
  });
  afterAll(() => other?.close());

  it.each(["llama.cpp", "OpenAI"])("like %s is read by text, in tokens of ours", async (kind) => {
    const fakeOf = (one: Model) => (kind === "OpenAI" ? vllmFake(one, { isPlain: true }) : llamaCppFake(one));
    const pairs = [
      [model, other],
      [other, model],
    ];
    for (const [there, here] of pairs) {
      const remote = await connect(fakeOf(there), { like: here });
      expect(remote.speech).toBe("text");
      expect(remote.vocab).toBe(here.vocab);
      const result = await textOf(remote, { temperature: 0 });
      expect(result.tokens.every((token) => token < here.vocab)).toBe(true);
      const expected = (await textOf(there, { temperature: 0, maxTokens: 40 })).text;
      expect(expected.slice(0, 48)).toBe(result.text.slice(0, 48));
    }
  });
});

describe("a remote session", () => {
  it("keeps the contract of sessions: truncate, trees, forks", async () => {
    const remote = await connect(llamaCppFake(model));
    const [a, b, c, d] = model.tokenizer.encode(PROMPT);
    const session = remote.open({ capacity: 16 });
    const row = async (tokens: number[]) => Array.from((await lawAfterRows(remote, tokens)).row(0));
    await session.forward([a, b], 0);
    const tree = await session.forward([c, d, a], 3, [-1, 0, -1]);
    expect(session.length).toBe(5);
    expect(Array.from(tree.row(1))).toEqual(await row([a, b, c, d]));
    expect(Array.from(tree.row(2))).toEqual(await row([a, b, a]));
    session.truncate(2, [0, 1]);
    const fork = session.fork();
    expect(Array.from((await session.forward([b])).row(0))).toEqual(await row([a, b, c, d, b]));
    expect(Array.from((await fork.forward([a])).row(0))).toEqual(await row([a, b, c, d, a]));
    expect(() => tree.row(0)).toThrow(TypeError);
    session.close();
    await expect(session.forward([a])).rejects.toThrow("it is closed");
    await expect(fork.forward([model.vocab])).rejects.toThrow(RangeError);
  });

  it("asks vLLM once for the rows of a whole text", async () => {
    const server = vllmFake(model);
    const remote = await connect(server);
    const tokens = model.tokenizer.encode(PROMPT);
    const before = server.asked.length;
    const rows = await remote.open().forward(tokens, tokens.length);
    expect(server.asked.length).toBe(before + 1);
    for (let end = 1; end <= tokens.length; end++) {
      const law = await lawAfter(model, tokens.slice(0, end));
      const order = [...law.keys()].sort((x, y) => law[y] - law[x]).slice(0, 20);
      for (const id of order) expect(rows.row(end - 1)[id]).toBeCloseTo(law[id], 5);
    }
  });

  it("tells no log-probabilities of more tokens than are known", async () => {
    const remote = await connect(vllmFake(model), { known: 5 });
    await expect(textOf(remote, { logProbabilities: 6 })).rejects.toThrow('"logProbabilities"');
    const { logProbabilities } = await textOf(remote, { logProbabilities: 5, maxTokens: 2, temperature: 0 });
    expect(logProbabilities).toHaveLength(2);
  });

  it("is given up with its text, also within a plan", async () => {
    let isSilent = false;
    const fake = llamaCppFake(model);
    const remote = await connectModel(URL_, {
      like: model,
      fetch: async (url, init) =>
        isSilent
          ? await new Promise((_, reject) =>
              init.signal?.addEventListener("abort", () => reject(init.signal?.reason)),
            )
          : await fake.fetch(url, init),
    });
    isSilent = true;
    const plan = fusePreset("proxy-tuning");
    for (const one of [remote, fuseModels(plan, { base: remote, expert: draft, anti: draft })]) {
      const controller = new AbortController();
      const text = textOf(one, { signal: controller.signal });
      setTimeout(() => controller.abort(), 20);
      await expect(text).rejects.toMatchObject({ name: "AbortError" });
    }
  });

  it("is a source of a plan", async () => {
    const remote = await connect(llamaCppFake(model));
    const plan = fusePreset("proxy-tuning");
    const local = fuseModels(plan, { base: model, expert: draft, anti: model });
    const fused = fuseModels(plan, { base: remote, expert: draft, anti: model });
    expect(fused.known).toBe(64);
    const { text, known } = await textOf(fused, { temperature: 0 });
    expect(known).toBe(64);
    expect(text).toBe((await textOf(local, { temperature: 0 })).text);
  });
});

async function lawAfterRows(remote: Model, tokens: number[]) {
  const session = remote.open();
  return await session.forward(tokens);
}
