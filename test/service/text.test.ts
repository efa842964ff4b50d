import { describe, expect, it } from "vitest";
import { fakeModel, fakeService } from "./fake-model.ts";

const { post } = fakeService(fakeModel({ toolPrompt: (tools) => `tools: ${JSON.stringify(tools)}\n` }));

async function answer(path: string, body: object) {
  const response = await post(path, body);
  return [response.status, await response.json()];
}
const wrong = (param: string, code: string) => [400, { error: expect.objectContaining({ param, code }) }];

describe("/tokenize", () => {
  it.each([
    ["llama.cpp's content, without BOS", { content: "aé" }, [97, 0xc3, 0xa9]],
    ["with BOS", { content: "a", add_special: true }, [256, 97]],
    ["an empty content", { content: "" }, []],
    ["vLLM's prompt, with BOS", { prompt: "a" }, [256, 97]],
    ["without BOS", { prompt: "a", add_special_tokens: false }, [97]],
  ])("%s", async (_, body, tokens) => {
    expect(await answer("/tokenize", body)).toEqual([
      200,
      { tokens, count: tokens.length, max_model_len: 64 },
    ]);
  });

  it("tells pieces, as bytes where they are no text", async () => {
    const body = { content: "aé", with_pieces: true, add_special: true };
    expect(await answer("/tokenize", body)).toMatchObject([
      200,
      {
        tokens: [
          { id: 256, piece: "" },
          { id: 97, piece: "a" },
          { id: 0xc3, piece: [0xc3] },
          { id: 0xa9, piece: [0xa9] },
        ],
        count: 4,
      },
    ]);
    expect(await answer("/tokenize", { prompt: "ab", return_token_strs: true })).toMatchObject([
      200,
      { token_strs: ["", "a", "b"] },
    ]);
  });

  it("reads a conversation", async () => {
    const messages = [{ role: "user", content: "hi" }];
    const [status, body] = (await answer("/tokenize", { messages })) as [number, { tokens: number[] }];
    expect(status).toBe(200);
    expect(String.fromCharCode(...body.tokens.slice(1))).toBe("user: hi\n");
  });

  it.each([
    [{}, "content", "missing_required_parameter"],
    [{ content: "a", prompt: "b" }, "content", "invalid_value"],
    [{ content: 5 }, "content", "invalid_type"],
    [{ prompt: ["a"] }, "prompt", "invalid_type"],
    [{ messages: [] }, "messages", "invalid_value"],
    [
      { messages: [{ role: "user", content: "a" }], continue_final_message: true },
      "continue_final_message",
      "unsupported_parameter",
    ],
  ])("refuses %j", async (body, param, code) => {
    expect(await answer("/tokenize", body)).toEqual(wrong(param, code));
  });

  it("404 for an unknown model", async () => {
    expect((await post("/tokenize", { model: "x", content: "a" })).status).toBe(404);
  });
});

describe("/detokenize", () => {
  it("gives the text back, in both servers' fields", async () => {
    expect(await answer("/detokenize", { tokens: [256, 97, 0xc3, 0xa9] })).toEqual([
      200,
      { content: "aé", prompt: "aé" },
    ]);
    expect(await answer("/detokenize", { tokens: [] })).toEqual([200, { content: "", prompt: "" }]);
  });

  it.each([
    [{}, "tokens"],
    [{ tokens: "a" }, "tokens"],
    [{ tokens: [258] }, "tokens[0]"],
    [{ tokens: [1, -1] }, "tokens[1]"],
    [{ tokens: [1.5] }, "tokens[0]"],
    [{ tokens: ["1"] }, "tokens[0]"],
  ])("refuses %j", async (body, param) => {
    expect(await answer("/detokenize", body)).toEqual(
      param === "tokens" && !("tokens" in body)
        ? wrong(param, expect.any(String) as unknown as string)
        : wrong(param, "invalid_value"),
    );
  });
});

describe("/apply-template", () => {
  const messages = [
    { role: "developer", content: "x" },
    { role: "user", content: [{ type: "text", text: "a" }] },
  ];

  it("tells the text that a chat would be decoded from", async () => {
    expect(await answer("/apply-template", { messages })).toEqual([200, { prompt: "system: x\nuser: a\n" }]);
  });

  it("tells it with tools, unless none may be called", async () => {
    const tools = [{ type: "function", function: { name: "f" } }];
    const prompt = `tools: ${JSON.stringify(tools)}\nsystem: x\nuser: a\n`;
    expect(await answer("/apply-template", { messages, tools })).toEqual([200, { prompt }]);
    expect(await answer("/apply-template", { messages, tools, tool_choice: "none" })).toEqual([
      200,
      { prompt: "system: x\nuser: a\n" },
    ]);
  });

  it("refuses what the template refuses", async () => {
    const body = { messages: [{ role: "assistant", content: "a" }] };
    expect(await answer("/apply-template", body)).toEqual(wrong("messages", "invalid_value"));
    expect(await answer("/apply-template", {})).toEqual(wrong("messages", "missing_required_parameter"));
    expect(await answer("/apply-template", { messages, chat_template: "{{ 1 }}" })).toEqual(
      wrong("chat_template", "unsupported_parameter"),
    );
  });
});
