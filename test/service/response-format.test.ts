/** Answers that must be JSON, or match: over a real model, as clients ask for them. */
import { fileURLToPath } from "node:url";
import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as z from "zod";
import type { Constraint } from "../../src/decoding/constraint.ts";
import type { Model } from "../../src/engine/model.ts";
import { loadModel } from "../../src/node.ts";
import { createApp } from "../../src/service/app.ts";
import { EOS, fakeModel, fakeService } from "./fake-model.ts";

const FILE = fileURLToPath(new URL("../../models/edgewise-stories-q8_0.gguf", import.meta.url));

const Pet = z.object({
  name: z.string().max(20),
  kind: z.enum(["dog", "cat"]),
  age: z.int().min(0).max(30),
  born: z.iso.date(),
  owner: z.union([z.object({ name: z.string().max(10) }), z.null()]),
});
const messages = [{ role: "user" as const, content: "A pet, please" }];

let model: Model;
let openai: OpenAI;
let app: ReturnType<typeof createApp>;
beforeAll(async () => {
  model = await loadModel(FILE);
  app = createApp({ models: { names: ["stories"], get: async () => model }, log: () => {} });
  openai = new OpenAI({
    apiKey: "any",
    baseURL: "http://service/v1",
    fetch: async (url, init) => app.request(String(url), init as RequestInit),
  });
});
afterAll(() => model?.close());

const complete = async (body: object) => {
  const ask = { prompt: "Once upon a time", max_tokens: 200, seed: 3, ...body };
  const response = await app.request("/v1/completions", { method: "POST", body: JSON.stringify(ask) });
  return (await response.json()) as {
    choices: { text: string; finish_reason: string }[];
    error?: { param: string; code: string; message: string };
  };
};

describe("response_format", () => {
  const asked = { model: "stories", messages, max_tokens: 250, seed: 1 };

  it("with a schema of zod goes through .parse() of the official client", async () => {
    const response_format = zodResponseFormat(Pet, "pet");
    const { choices } = await openai.chat.completions.parse({ ...asked, response_format, n: 3 });
    expect(choices.map(({ finish_reason }) => finish_reason)).toEqual(["stop", "stop", "stop"]);
    for (const { message } of choices) {
      expect(Pet.parse(message.parsed)).toEqual(JSON.parse(message.content!));
    }
  });

  it("streams the same, and through .stream()", async () => {
    const response_format = zodResponseFormat(Pet, "pet");
    const whole = await openai.chat.completions.parse({ ...asked, response_format });
    const stream = openai.chat.completions.stream({ ...asked, response_format });
    const final = await stream.finalChatCompletion();
    expect(final.choices[0].message.parsed).toEqual(whole.choices[0].message.parsed);
  });

  it('"json_object" gives an object, or is cut off and says so', async () => {
    for (let seed = 0; seed < 6; seed++) {
      const { choices } = await complete({ response_format: { type: "json_object" }, seed, max_tokens: 60 });
      const { text, finish_reason } = choices[0];
      if (finish_reason === "length") expect(() => JSON.parse(text)).toThrow();
      else expect(JSON.parse(text)).toBeTypeOf("object");
    }
    const { choices } = await complete({ response_format: { type: "json_object" }, max_tokens: 1 });
    expect(choices[0].finish_reason).toBe("length");
  });

  it('"text" asks for nothing', async () => {
    const plain = await complete({});
    expect((await complete({ response_format: { type: "text" } })).choices[0].text).toBe(
      plain.choices[0].text,
    );
  });
});

describe("the words of other servers", () => {
  const schema = {
    type: "object",
    properties: { tags: { type: "array", items: { enum: ["a", "b"] }, maxItems: 3 } },
    required: ["tags"],
  };

  it.each([
    { guided_json: schema },
    { guided_json: JSON.stringify(schema) },
    { json_schema: schema },
    { response_format: { type: "json_object", schema } },
    { response_format: { type: "json_schema", json_schema: { name: "tags", schema } } },
  ])("say the same: %j", async (body) => {
    const { choices } = await complete(body);
    expect(choices[0].finish_reason).toBe("stop");
    expect(choices[0].text).toBe((await complete({ guided_json: schema })).choices[0].text);
    expect(JSON.parse(choices[0].text).tags).toBeInstanceOf(Array);
  });

  it("guided_regex gives what it matches, whoever drafts", async () => {
    const body = { guided_regex: "(Lily|Tom) has \\d{1,3} (cats|dogs)\\.", temperature: 1 };
    for (let seed = 0; seed < 5; seed++) {
      const { choices } = await complete({ ...body, seed });
      expect(choices[0].text).toMatch(/^(Lily|Tom) has \d{1,3} (cats|dogs)\.$/);
      const drafted = await complete({ ...body, seed, draft: "recycling" });
      expect(drafted.choices[0].text).toBe(choices[0].text);
    }
  });

  it.each([
    [
      { guided_json: { type: "object", properties: { a: { unevaluatedItems: false } } } },
      "guided_json.properties.a.unevaluatedItems",
      "unsupported_parameter",
    ],
    [{ guided_json: "{" }, "guided_json", "invalid_value"],
    [{ guided_json: 5 }, "guided_json", "invalid_type"],
    [{ guided_regex: "(" }, "guided_regex", "invalid_type"],
    [{ guided_regex: "a(?!b)" }, "guided_regex", "unsupported_parameter"],
    [{ guided_regex: "" }, "guided_regex", "invalid_value"],
    [{ guided_regex: "a", guided_json: {} }, "guided_regex", "invalid_value"],
    [{ guided_regex: "a", ignore_eos: true }, "ignore_eos", "invalid_value"],
    [
      { response_format: { type: "json_schema" } },
      "response_format.json_schema",
      "missing_required_parameter",
    ],
    [
      {
        response_format: {
          type: "json_schema",
          json_schema: { name: "x", schema: { type: "string", format: "x" } },
        },
      },
      "response_format.json_schema.schema.format",
      "invalid_value",
    ],
    [{ response_format: { type: "xml" } }, "response_format.type", "invalid_value"],
  ])("refuses %j", async (body, param, code) => {
    expect((await complete(body)).error).toMatchObject({ param, code });
  });
});

describe("a call that must be made", () => {
  const CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>';
  const Weather = z.object({ city: z.string() });
  const tools = [
    zodFunction({ name: "weather", parameters: Weather }),
    zodFunction({ name: "now", parameters: z.object({}) }),
  ];

  /** The answer is CALL; the constraint is what the model was given. */
  const ask = async (tool_choice: OpenAI.ChatCompletionToolChoiceOption, more: object = {}) => {
    const fake = fakeModel({ reply: CALL, contextLength: 2000, toolPrompt: () => "Write <tool_call>\n" });
    const { app } = fakeService(fake);
    const client = new OpenAI({
      apiKey: "any",
      baseURL: "http://service/v1",
      maxRetries: 0,
      fetch: async (url, init) => app.request(String(url), init as RequestInit),
    });
    const body = { model: "fake", messages, tools, tool_choice, ...more };
    const { choices } = await client.chat.completions.parse(body);
    return { choice: choices[0], constraint: fake.asked[0].options.constraint as Constraint };
  };

  const takes = (constraint: Constraint, text: string) => {
    const tokens = [...new TextEncoder().encode(text), EOS];
    let taken = 0;
    try {
      for (; taken < tokens.length; taken++) constraint.accept(tokens[taken]);
    } catch {}
    constraint.rollback(taken);
    return taken === tokens.length;
  };

  it("is one call, with arguments under its schema", async () => {
    const { choice, constraint } = await ask("required");
    expect(choice.message.tool_calls![0].function.parsed_arguments).toEqual({ city: "Oslo" });
    expect(choice.finish_reason).toBe("tool_calls");
    expect(takes(constraint, CALL)).toBe(true);
    expect(takes(constraint, CALL.replace('"Oslo"', "5"))).toBe(false);
    expect(takes(constraint, CALL.replace("weather", "whether"))).toBe(false);
    expect(takes(constraint, `${CALL}\n${CALL}`)).toBe(false);
    expect(takes(constraint, "No.")).toBe(false);
    expect(takes(constraint, '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>')).toBe(true);
  });

  it("may be one function's", async () => {
    const { constraint } = await ask({ type: "function", function: { name: "weather" } });
    expect(takes(constraint, CALL)).toBe(true);
    expect(takes(constraint, '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>')).toBe(false);
  });

  it("names a function that is there", async () => {
    await expect(ask({ type: "function", function: { name: "none" } })).rejects.toMatchObject({
      status: 400,
      param: "tool_choice",
    });
  });

  it("is under its schema where it may be left out, with any text around it", async () => {
    const { choice, constraint } = await ask("auto");
    expect(choice.message.tool_calls![0].function.parsed_arguments).toEqual({ city: "Oslo" });
    for (const text of ["No.", "", CALL, `Let me see.\n${CALL}`, `${CALL}\n${CALL}`, `${CALL} So. < tool`]) {
      expect([text, takes(constraint, text)]).toEqual([text, true]);
    }
    for (const text of [
      CALL.replace('"Oslo"', "5"),
      CALL.replace("weather", "whether"),
      "a <tool_call> b",
      `${CALL}\n${CALL.slice(0, -5)}`,
      CALL.replace("city", "town"),
    ]) {
      expect([text, takes(constraint, text)]).toEqual([text, false]);
    }
  });

  it("is one at most where calls must not be parallel", async () => {
    const { constraint } = await ask("auto", { parallel_tool_calls: false });
    for (const text of ["No.", CALL, `So: ${CALL}`])
      expect([text, takes(constraint, text)]).toEqual([text, true]);
    for (const text of [`${CALL}\n${CALL}`, `${CALL} more`, CALL.replace('"Oslo"', "5")]) {
      expect([text, takes(constraint, text)]).toEqual([text, false]);
    }
  });
});
