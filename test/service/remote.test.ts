/** Edgewise against Edgewise: the rows of a model that another process has, and texts that are the same as here. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connectModel, type RemoteModel } from "../../src/engine/remote/model.ts";
import {
  decodeRows,
  fuseModels,
  fusePreset,
  loadModel,
  type Model,
  ROWS_MEDIA_TYPE,
} from "../../src/node.ts";
import { createApp, lazyModels } from "../../src/service/app.ts";

const file = (name: string) => new URL(`../../models/${name}.gguf`, import.meta.url);
const PROMPT = "Once upon a time there was a";
const KEY = "0123456789abcdef0123456789abcdef";
const ADDRESS = "http://peer.test/v1#large";

let large: Model;
let small: Model;
let app: ReturnType<typeof createApp>;
/** Requests of the peer, as method and path. */
const asked: string[] = [];
const fetch = async (url: string, init: RequestInit) => {
  asked.push(`${init.method} ${new URL(url).pathname}`);
  return await app.fetch(new Request(url, init));
};
beforeAll(async () => {
  large = await loadModel(file("edgewise-stories-q8_0"));
  small = await loadModel(file("edgewise-stories-q4_0"));
  const models = lazyModels({ small: async () => small, large: async () => large });
  app = createApp({ models, keys: [KEY], log: () => {} });
});
afterAll(() => {
  large?.close();
  small?.close();
});

/** By a model of this process that lends its tokenizer. */
const connect = (options = {}) =>
  connectModel(ADDRESS, { fetch, like: small, apiKey: KEY, ...options }) as Promise<RemoteModel>;

async function textOf(model: Model, options: Parameters<Model["generate"]>[1]) {
  const pieces = model.generate(PROMPT, { maxTokens: 32, ...options });
  for (;;) {
    const step = await pieces.next();
    if (step.done) return step.value;
  }
}

const SAMPLED = { temperature: 0.9, topP: 0.95, seed: 11 };
const FIXED = { gamma: 4, adaptive: false };

describe("a model of another Edgewise", () => {
  it("decodes as it does there, token by token", async () => {
    const remote = await connect();
    expect(remote.known).toBeUndefined();
    for (const options of [{ temperature: 0 }, SAMPLED, { ...SAMPLED, logProbabilities: 3 }]) {
      const there = await textOf(large, options);
      const here = await textOf(remote, options);
      expect(here.tokens).toEqual(there.tokens);
      expect(here.logProbabilities).toEqual(there.logProbabilities);
    }
  });

  it("verifies drafts of a model here, in fewer requests, without a change of the text", async () => {
    const remote = await connect();
    const { tokens } = await textOf(large, SAMPLED);
    for (const tree of [false, true]) {
      const before = asked.length;
      const drafted = await textOf(remote, { ...SAMPLED, draft: small, speculation: { ...FIXED, tree } });
      expect(drafted.tokens).toEqual(tokens);
      expect(drafted.speculation).toMatchObject({ lossless: true, reproducible: true });
      expect(asked.length - before).toBeLessThan(tokens.length);
    }
  });

  it("is the base of a plan with a private expert here", async () => {
    const plan = fusePreset("proxy-tuning");
    const here = await textOf(
      fuseModels(plan, { base: await connect(), expert: small, anti: large }),
      SAMPLED,
    );
    const there = await textOf(fuseModels(plan, { base: large, expert: small, anti: large }), SAMPLED);
    expect(here.tokens).toEqual(there.tokens);
  });

  it("tells rows in shorter encodings, which are laws of their own", async () => {
    const remote = await connect({ encoding: "top-k" });
    expect(remote.known).toBe(64);
    const greedy = await textOf(remote, { temperature: 0, draft: small, speculation: FIXED });
    expect(greedy.tokens).toEqual((await textOf(large, { temperature: 0 })).tokens);
    expect(greedy.speculation?.lossless).toBe(false);
    const bytes = await connect({ encoding: "int8" });
    expect((await textOf(bytes, { temperature: 0 })).tokens).toHaveLength(greedy.tokens.length);
  });

  it("costs the new tokens of a text that goes on", async () => {
    const tokens = large.tokenizer.encode(`${PROMPT} ${"little dog who ran to the park. ".repeat(20)}`);
    const ask = async (count: number) => {
      const response = await post({ model: "large", tokens: tokens.slice(0, count) });
      const { usage } = (await response.json()) as {
        usage: { prompt_tokens_details: { cached_tokens: number } };
      };
      return usage.prompt_tokens_details.cached_tokens;
    };
    await ask(130);
    expect(await ask(131)).toBe(128);
  });
});

async function post(body: object, headers: Record<string, string> = {}) {
  return await app.request("/v1/rows", {
    method: "POST",
    body: JSON.stringify(body),
    headers: { authorization: `Bearer ${KEY}`, ...headers },
  });
}

describe("POST /v1/rows", () => {
  it("answers in JSON and as a message, with the rows of the model", async () => {
    const tokens = large.tokenizer.encode(PROMPT);
    const session = large.open();
    const rows = await session.forward(tokens, 2);
    const expected = [0, 1].map((index) => Array.from(rows.row(index)));
    session.close();
    const request = { model: "large", tokens, rows: 2 };
    const json = (await (await post(request)).json()) as { rows: number[][]; vocab: number };
    expect(json.rows).toEqual(expected);
    expect(json.vocab).toBe(large.vocab);
    const response = await post(request, { accept: ROWS_MEDIA_TYPE });
    expect(response.headers.get("content-type")).toBe(ROWS_MEDIA_TYPE);
    const message = decodeRows(new Uint8Array(await response.arrayBuffer()));
    expect([0, 1].map((index) => Array.from(message.row(index)))).toEqual(expected);
    expect(JSON.parse(message.note ?? "")).toMatchObject({
      model: "large",
      system_fingerprint: large.fingerprint,
    });
  });

  it.each([
    [{ tokens: [] }, "tokens"],
    [{}, "tokens"],
    [{ tokens: [1, 1e9] }, "tokens"],
    [{ tokens: "text" }, "tokens"],

    [{ tokens: [1, 2], rows: 3 }, "rows"],
    [{ tokens: [1, 2], rows: 0 }, "rows"],
    [{ tokens: [1, 2, 3], parents: [-1, 1] }, "parents[1]"],
    [{ tokens: [1, 2], parents: [-1, 0] }, "parents"],
    [{ tokens: [1, 2], parents: {} }, "parents"],
    [{ tokens: [1, 2], encoding: "vq" }, "encoding"],
    [{ tokens: [1, 2], more: 1 }, "more"],
  ])("refuses %j", async (body, param) => {
    const response = await post({ model: "large", ...body });
    expect(response.status).toBe(400);
    const { error } = (await response.json()) as { error: { param: string; message: string } };
    expect(error.param.startsWith(param)).toBe(true);
  });

  it("is behind the key", async () => {
    const response = await app.request("/v1/rows", { method: "POST", body: '{"tokens":[1]}' });
    expect(response.status).toBe(401);
  });
});

describe("a service whose model is elsewhere", () => {
  it("says that it may work later while that is away, and tells neither address nor key", async () => {
    const errors: string[] = [];
    let isAway = true;
    const far = async (url: string, init: RequestInit) => {
      if (isAway) throw new TypeError(`connect ECONNREFUSED ${url}`);
      return await fetch(url, init);
    };
    const options = { fetch: far, like: small, apiKey: KEY, retries: 1, wait: async () => {} };
    const front = createApp({
      models: lazyModels({ far: () => connectModel(ADDRESS, { ...options, name: "far" }) }),
      log: () => {},
      onError: (error) => errors.push(String(error)),
    });
    const ask = (body: object) =>
      front.request("/v1/completions", {
        method: "POST",
        body: JSON.stringify({ prompt: PROMPT, temperature: 0, max_tokens: 4, ...body }),
      });
    const statuses: number[] = [];
    const answers: string[] = [];
    for (const away of [true, false, true]) {
      isAway = away;
      const response = await ask({});
      statuses.push(response.status);
      answers.push(await response.text());
    }
    expect(statuses).toEqual([503, 200, 502]);
    // In a stream the head has gone already.
    answers.push(await (await ask({ stream: true })).text());
    expect(answers[3]).toContain('"code":"bad_gateway"');
    for (const answer of answers) expect(answer).not.toMatch(/peer\.test|ECONNREFUSED/);
    expect(errors.length).toBeGreaterThan(1);
    for (const error of [...errors, ...answers]) expect(error).not.toContain(KEY);
    expect(errors.at(-1)).toContain('the server of "far": it cannot be reached; tried 2 times');
  });

  it("tells no likelihood of a prompt by rows that do not have it", async () => {
    const remote = await connect({ encoding: "top-k" });
    const front = createApp({ models: lazyModels({ far: async () => remote }), log: () => {} });
    const ask = (body: object) =>
      front.request("/v1/completions", {
        method: "POST",
        body: JSON.stringify({ prompt: PROMPT, max_tokens: 2, temperature: 0, ...body }),
      });
    expect((await ask({})).status).toBe(200);
    const refused = await ask({ echo: true, logprobs: 1 });
    expect(refused.status).toBe(400);
    expect(await refused.text()).toContain('"param":"echo"');
  });
});
