import fc from "fast-check";
import OpenAI from "openai";
import { describe, expect, it } from "vitest";
import { type Constraint, maskAfter } from "../../src/decoding/constraint.ts";
import { ToolCallReader } from "../../src/service/tool-calls.ts";
import { EOS, fakeModel, fakeService } from "./fake-model.ts";

const CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "days": 2}}\n</tool_call>';

/** Text and calls of a text that comes in pieces; ids, which are random, are left out. */
function read(pieces: readonly string[]) {
  const reader = new ToolCallReader();
  const parts = [...pieces.map((piece) => reader.push(piece)), reader.end()];
  const calls = parts.flatMap((part) => part.calls);
  expect(reader.count).toBe(calls.length);
  return {
    text: parts.map(({ text }) => text).join(""),
    calls: calls.map((call) => [call.function.name, call.function.arguments]),
  };
}

const weather = ["weather", '{"city":"Oslo","days":2}'];

describe("ToolCallReader", () => {
  it.each<[string, string, (string | undefined)[][]]>([
    ["just text", "just text", []],
    [CALL, "", [weather]],
    [`Let me see.\n${CALL}\n`, "Let me see.", [weather]],
    [`${CALL}\n${CALL}`, "", [weather, weather]],
    [`${CALL} and then`, " and then", [weather]],
    // Cut off behind the object, or in it.
    [CALL.slice(0, -12), "", [weather]],
    [CALL.slice(0, 40), CALL.slice(0, 40), []],
    // No calls.
    ["<tool_call>nonsense</tool_call>", "<tool_call>nonsense</tool_call>", []],
    ['<tool_call>{"name": 5}</tool_call>', '<tool_call>{"name": 5}</tool_call>', []],
    ["<tool_call>null</tool_call>!", "<tool_call>null</tool_call>!", []],
    ["a < b <tool_cal  <too", "a < b <tool_cal  <too", []],
    ["blanks stay   \n ", "blanks stay   \n ", []],
    // Other ways to write arguments.
    ['<tool_call>{"name":"f"}</tool_call>', "", [["f", "{}"]]],
    ['<tool_call>{"name":"f","parameters":{"a":1}}</tool_call>', "", [["f", '{"a":1}']]],
    ['<tool_call>{"name":"f","arguments":"{\\"a\\":1}"}</tool_call>', "", [["f", '{"a":1}']]],
  ])("%j", (text, said, calls) => {
    expect(read([text])).toEqual({ text: said, calls });
    expect(read([...text])).toEqual({ text: said, calls });
  });

  it("reads the same however the text was cut", () => {
    const parts = fc.array(
      fc.constantFrom(CALL, "<tool_call>", "</tool_call>", "{", "text ", "\n", "<", " "),
    );
    fc.assert(
      fc.property(parts, fc.array(fc.nat(200), { maxLength: 6 }), (chosen, cuts) => {
        const text = chosen.join("");
        const places = [
          0,
          ...cuts.map((cut) => Math.min(cut, text.length)).sort((a, b) => a - b),
          text.length,
        ];
        const pieces = places.slice(1).map((end, i) => text.slice(places[i], end));
        const { calls } = read([text]);
        expect(read(pieces).calls).toEqual(calls);
        // Blanks before a call may or may not be told.
        const words = (said: string) => said.replace(/\s+/g, "");
        expect(words(read(pieces).text)).toBe(words(read([text]).text));
      }),
    );
  });
});

const tools = [
  {
    type: "function" as const,
    function: { name: "weather", parameters: { type: "object", properties: { city: { type: "string" } } } },
  },
];
const messages = [{ role: "user" as const, content: "Weather?" }];
const toolPrompt = () => "Call as <tool_call>{}</tool_call>.\n";

function client(reply: string, options = {}) {
  const model = fakeModel({ reply, contextLength: 400, toolPrompt, ...options });
  const { app } = fakeService(model);
  const openai = new OpenAI({
    apiKey: "any",
    baseURL: "http://service/v1",
    fetch: async (url, init) => app.request(String(url), init as RequestInit),
  });
  return { openai, model };
}

const called = {
  id: expect.stringMatching(/^call_\w{32}$/),
  type: "function",
  function: { name: "weather", arguments: '{"city":"Oslo","days":2}' },
};

describe("tools, by the official client", () => {
  it("are called, in one piece and as a stream", async () => {
    const { openai } = client(`Let me see.\n${CALL}\n${CALL}`);
    const ask = { model: "fake", messages, tools };
    const { choices } = await openai.chat.completions.create(ask);
    expect(choices).toMatchObject([
      {
        message: { role: "assistant", content: "Let me see.", refusal: null, tool_calls: [called, called] },
        finish_reason: "tool_calls",
      },
    ]);
    const gathered = (await openai.chat.completions.stream(ask).finalChatCompletion()).choices[0];
    expect(gathered.finish_reason).toBe("tool_calls");
    expect(gathered.message.content).toBe("Let me see.");
    expect(gathered.message.tool_calls).toMatchObject([called, called]);
  });

  it("are held to their schema where they are strict, the others to being called with an object", async () => {
    const { openai, model } = client(CALL);
    const strict = { ...tools[0], function: { ...tools[0].function, strict: true } };
    const loose = { type: "function" as const, function: { name: "now" } };
    await openai.chat.completions.create({ model: "fake", messages, tools: [strict, loose] });
    const constraint = model.asked[0].options.constraint as Constraint;
    const takes = (text: string) => {
      const tokens = [...new TextEncoder().encode(text), EOS];
      return maskAfter(constraint, tokens) !== null;
    };
    const call = (name: string, given: unknown) =>
      `<tool_call>\n{"name": "${name}", "arguments": ${JSON.stringify(given)}}\n</tool_call>`;
    expect(takes(call("weather", { city: "Oslo" }))).toBe(true);
    expect(takes(call("weather", { city: 5 }))).toBe(false);
    expect(takes(call("weather", { town: "Oslo" }))).toBe(false);
    expect(takes(`It is ${call("now", { any: [5] })} o'clock`)).toBe(true);
    expect(takes(call("now", 5))).toBe(false);
    expect(takes(call("then", {}))).toBe(false);
  });

  it("are called without a word, each choice for itself", async () => {
    const { openai } = client(CALL);
    const { choices } = await openai.chat.completions.create({ model: "fake", messages, tools, n: 2 });
    expect(choices.map(({ message }) => [message.content, message.tool_calls!.length])).toEqual([
      [null, 1],
      [null, 1],
    ]);
  });

  it("need not be called", async () => {
    const { openai } = client("No idea <tool_c");
    const ask = { model: "fake", messages, tools };
    const { choices } = await openai.chat.completions.create(ask);
    expect(choices[0]).toMatchObject({ message: { content: "No idea <tool_c" }, finish_reason: "stop" });
    expect("tool_calls" in choices[0].message).toBe(false);
    expect(await openai.chat.completions.stream(ask).finalContent()).toBe("No idea <tool_c");
  });

  it("are no calls where none may be called", async () => {
    const { openai, model } = client(CALL);
    for (const given of [{}, { tools, tool_choice: "none" as const }]) {
      const { choices } = await openai.chat.completions.create({ model: "fake", messages, ...given });
      expect(choices[0].message.content).toBe(CALL);
    }
    for (const { prompt } of model.asked) expect(model.tokenizer.decode(prompt)).toBe("user: Weather?\n");
  });

  it("go through .runTools(), with what they answered", async () => {
    const { openai } = client(CALL);
    const cities: unknown[] = [];
    const weather = {
      type: "function" as const,
      function: {
        name: "weather",
        description: "The weather",
        parameters: {},
        parse: JSON.parse,
        function: (given: unknown) => {
          cities.push(given);
          return "Rain";
        },
      },
    };
    const runner = openai.chat.completions.runTools(
      { model: "fake", messages, tools: [weather] },
      { maxChatCompletions: 2 },
    );
    await runner.done();
    expect(cities[0]).toEqual({ city: "Oslo", days: 2 });
  });

  it("read what was called and answered before, arguments as an object", async () => {
    const { openai, model } = client("Rain.");
    await openai.chat.completions.create({
      model: "fake",
      tools,
      messages: [
        ...messages,
        { role: "assistant", tool_calls: [{ ...called, id: "call_1", type: "function" }] },
        { role: "tool", tool_call_id: "call_1", content: "wet" },
      ],
    });
    const calls = [{ id: "call_1", name: "weather", arguments: { city: "Oslo", days: 2 } }];
    expect(model.tokenizer.decode(model.asked[0].prompt)).toBe(
      `${toolPrompt()}user: Weather?\nassistant:  ${JSON.stringify(calls)}\ntool(call_1): wet\n`,
    );
  });

  it("are refused where the template knows nothing of them, or has calls in another form", async () => {
    for (const options of [{ toolPrompt: undefined }, { toolPrompt: () => "Call as [f()]" }]) {
      const { openai, model } = client(CALL, options);
      await expect(openai.chat.completions.create({ model: "fake", messages, tools })).rejects.toMatchObject({
        status: 400,
        param: "tools",
        code: "unsupported_parameter",
      });
      expect(model.asked).toEqual([]);
    }
  });

  it.each([
    [
      {
        tools: [{ type: "function", function: { name: "f", strict: true } }],
        response_format: { type: "json_object" },
      },
      "tools[0].function.strict",
    ],
    [
      {
        tools: [{ type: "function", function: { name: "f", strict: true, parameters: { type: "x" } } }],
      },
      "tools[0].function.parameters.type",
    ],
    [{ tools: [{ type: "web_search" }] }, "tools[0].type"],
    [{ tools: [{ type: "function", function: {} }] }, "tools[0].function.name"],
    [{ tools, tool_choice: { type: "function", function: { name: "f" } } }, "tool_choice"],
    [{ tools, parallel_tool_calls: false, ignore_eos: true }, "ignore_eos"],
    [
      { messages: [{ role: "assistant", tool_calls: [{ function: { name: "f" } }] }] },
      "messages[0].tool_calls[0].function.arguments",
    ],
    [
      {
        messages: [
          { role: "user", content: "a" },
          { role: "assistant", tool_calls: [] },
        ],
      },
      "messages[1].content",
    ],
  ])("refuse %j", async (body, param) => {
    const { post } = fakeService(fakeModel({ toolPrompt }));
    const response = await post("/v1/chat/completions", { messages, ...body });
    expect([response.status, await response.json()]).toMatchObject([400, { error: { param } }]);
  });
});
