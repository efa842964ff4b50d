/** Sessions whose text depends on more than its last tokens: on what mirostat has learned, or on what the text must be. */
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compileGrammar } from "../../src/decoding/constrain/grammar.ts";
import type { GenerateOptions, Model } from "../../src/engine/model.ts";
import { loadModel } from "../../src/node.ts";
import { createApp } from "../../src/service/app.ts";

const FILE = fileURLToPath(new URL("../../models/edgewise-stories-q8_0.gguf", import.meta.url));
const PROMPT = "Once upon a time there was a little dog";
const SCHEMA = {
  type: "object",
  properties: { name: { enum: ["Tom", "Ann"] }, age: { type: "integer", minimum: 0, maximum: 99 } },
  required: ["name", "age"],
  additionalProperties: false,
};

interface Answer {
  id: string;
  position: number;
  tokens: number[];
  accepted: number;
  finish_reason: string | null;
  error?: { code: string; param: string; message: string };
}

let model: Model;
let app: ReturnType<typeof createApp>;
beforeAll(async () => {
  model = await loadModel(FILE);
  const models = { names: ["stories"], get: async () => model };
  app = createApp({ models, maxSessionCaches: 1, log: () => {} });
});
afterAll(() => model?.close());

async function send(path: string, body: object): Promise<Answer> {
  const response = await app.request(path, { method: "POST", body: JSON.stringify(body) });
  return (await response.json()) as Answer;
}

const create = (body: object) => send("/v1/sessions", { prompt: PROMPT, seed: 7, ...body });
const verify = (id: string, body: object = {}) => send(`/v1/sessions/${id}/verify`, body);

async function plain(options: GenerateOptions, prompt: string | number[] = PROMPT): Promise<number[]> {
  const tokens: number[] = [];
  for await (const { token } of model.generate(prompt, { seed: 7, ...options })) tokens.push(token);
  return tokens;
}

/** The whole text of a session, by drafts of which some are right, asked for again now and then, without its cache at times. */
async function follow(id: string, text: readonly number[], other: string): Promise<number[]> {
  const output: number[] = [];
  for (let round = 0; output.length < text.length; round++) {
    const right = text.slice(output.length, output.length + (round % 4));
    const draft = round % 2 === 0 ? right : [...right, 17];
    const first = await verify(id, { draft });
    expect(first.error).toBe(undefined);
    const position = first.position - first.tokens.length;
    if (round % 3 === 1) await verify(other);
    if (round % 3 !== 0) expect((await verify(id, { draft, position })).tokens).toEqual(first.tokens);
    output.push(...first.tokens);
    if (first.finish_reason !== null) break;
  }
  return output.slice(0, text.length);
}

describe("a session with mirostat", () => {
  const sampling = { mirostat: 2, mirostat_tau: 3, mirostat_eta: 0.4, ignore_eos: true };
  const options = { mirostat: { version: 2, tau: 3, eta: 0.4 }, ignoreEos: true } as const;

  it("goes on as plain decoding does, and can go back", async () => {
    const text = await plain({ ...options, maxTokens: 30 });
    // Mirostat has learned something by then: without what it remembers the text would be another one.
    const { id: other } = await create({ temperature: 0 });
    const { id, position } = await create(sampling);
    expect(await follow(id, text, other)).toEqual(text);
    await verify(id, { draft: [1, 2], position: position + 4 });
    expect((await verify(id, { max_tokens: 10, position: position + 4 })).tokens).toEqual(text.slice(4, 14));
    await send(`/v1/sessions/${id}/truncate`, { length: position + 2 });
    expect((await verify(id, { max_tokens: 10 })).tokens).toEqual(text.slice(2, 12));
  });

  it("learns nothing from tokens that it is given", async () => {
    const { id } = await create(sampling);
    const text = await plain({ ...options, maxTokens: 1 });
    await verify(id);
    const appended = await send(`/v1/sessions/${id}/append`, { tokens: text.concat(text) });
    expect((await verify(id)).tokens.length).toBe(1);
    expect((await verify(id, { position: appended.position, max_tokens: 5 })).tokens.length).toBe(5);
  });
});

describe("a session that must be of a form", () => {
  const format = { type: "json_schema", json_schema: { name: "dog", schema: SCHEMA } };

  it("goes on as plain decoding does, whatever is drafted, and ends", async () => {
    const grammar = compileGrammar({ jsonSchema: SCHEMA }, model);
    const text = await plain({ constraint: () => grammar.open(), temperature: 0.9, maxTokens: 60 });
    const parsed = JSON.parse(model.tokenizer.decode(text));
    expect(Object.keys(parsed)).toEqual(["name", "age"]);
    const { id: other } = await create({ temperature: 0 });
    const { id, position } = await create({ temperature: 0.9, response_format: format });
    expect(await follow(id, text, other)).toEqual(text);
    const end = await verify(id, { position: position + text.length });
    expect(end).toMatchObject({ tokens: [], finish_reason: "stop" });
    const whole = await verify(id, { position, max_tokens: 100 });
    expect([whole.tokens, whole.finish_reason]).toEqual([text, "stop"]);
  });

  it("takes trees, and verifiers that compare laws", async () => {
    const { id, position } = await create({ temperature: 0, guided_choice: [" ran away.", " was happy."] });
    const { tokens } = await verify(id, { max_tokens: 50 });
    expect([" ran away.", " was happy."]).toContain(model.tokenizer.decode(tokens));
    const draft = [17, tokens[0], 18, tokens[1]];
    const tree = await verify(id, { draft, parents: [-1, -1, 1, 1], position });
    expect(tree.tokens).toEqual(tokens.slice(0, 3));
    const law = await verify(id, { draft: [tokens[0], 17], verifier: "token", position });
    expect(law.tokens).toEqual(tokens.slice(0, 2));
  });

  it("refuses tokens that it does not allow, and what cannot be kept", async () => {
    const { id, position } = await create({ guided_regex: "[0-9]{3}" });
    const letter = model.tokenizer.encode("abc", { special: false });
    const refused = await send(`/v1/sessions/${id}/append`, { tokens: letter });
    expect(refused.error).toMatchObject({ param: "tokens", code: "invalid_value" });
    expect((await verify(id, { max_tokens: 9 })).position).toBeGreaterThan(position);
    const cases: [object, string][] = [
      [{ response_format: { type: "json_schema" } }, "response_format.json_schema"],
      [{ response_format: { type: "json_object" }, guided_regex: "a" }, "guided_regex"],
      [{ guided_regex: "(" }, "guided_regex"],
      [{ guided_regex: "a", ignore_eos: true }, "ignore_eos"],
      [{ guided_json: { description: "a".repeat(70_000) } }, "guided_json"],
      [{ guided_regex: "a", prompt: null, tokens: [1, 2, 3], prompt_length: 1 }, "tokens"],
    ];
    for (const [body, param] of cases) expect((await create(body)).error).toMatchObject({ param });
    expect((await create({ response_format: { type: "text" } })).error).toBe(undefined);
  });
});
