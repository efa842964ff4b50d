/** Log-probabilities in OpenAI's two shapes: right bytes, right text, beside the text they belong to. */
import { describe, expect, it } from "vitest";
import type { Piece } from "../../src/engine/model.ts";
import { ChoiceText } from "../../src/service/choice-text.ts";
import { EOS, fakeModel, fakeService, framesOf, logProbabilityOf } from "./fake-model.ts";

interface ChatLogprob {
  token: string;
  logprob: number;
  bytes: number[] | null;
  top_logprobs: Omit<ChatLogprob, "top_logprobs">[];
}
interface ChatChoice {
  message: { content: string };
  delta: { content?: string };
  logprobs: { content: ChatLogprob[]; refusal: null } | null;
}
interface CompletionChoice {
  text: string;
  logprobs: {
    tokens: string[];
    token_logprobs: number[];
    top_logprobs: Record<string, number>[];
    text_offset: number[];
  } | null;
}

const messages = [{ role: "user", content: "hi" }];

async function chat(reply: string, body: object = {}) {
  const { post } = fakeService(fakeModel({ reply }));
  const response = await post("/v1/chat/completions", { messages, logprobs: true, ...body });
  return ((await response.json()) as { choices: [ChatChoice] }).choices[0];
}

async function complete(reply: string, body: object = {}) {
  const { post } = fakeService(fakeModel({ reply }));
  const response = await post("/v1/completions", { prompt: "a", logprobs: 1, ...body });
  return ((await response.json()) as { choices: [CompletionChoice] }).choices[0];
}

async function stream<Choice>(path: string, reply: string, body: object) {
  const { post } = fakeService(fakeModel({ reply }));
  const response = await post(path, { prompt: "a", messages, stream: true, ...body });
  return (framesOf(await response.text()) as { choices: [Choice] }[]).map(({ choices }) => choices[0]);
}

const utf8 = (text: string) => [...new TextEncoder().encode(text)];

describe("in a chat", () => {
  it("there is an entry per token, with the alternatives that were asked for", async () => {
    const { logprobs } = await chat("Hi", { top_logprobs: 2 });
    expect(logprobs).toEqual({
      content: [
        {
          token: "H",
          logprob: -72 / 128,
          bytes: [72],
          top_logprobs: [
            // The end of the text, which has no bytes.
            { token: "", logprob: -257 / 128, bytes: null },
            { token: "H", logprob: -72 / 128, bytes: [72] },
          ],
        },
        {
          token: "i",
          logprob: -105 / 128,
          bytes: [105],
          top_logprobs: [
            { token: "", logprob: -257 / 128, bytes: null },
            { token: "i", logprob: -105 / 128, bytes: [105] },
          ],
        },
      ],
      refusal: null,
    });
    const { logprobs: alone } = await chat("Hi");
    expect(alone!.content.map(({ top_logprobs }) => top_logprobs)).toEqual([[], []]);
    expect((await chat("Hi", { logprobs: false })).logprobs).toBeNull();
  });

  it("bytes are right where a character takes several tokens", async () => {
    const { message, logprobs } = await chat("aé🙂");
    expect(message.content).toBe("aé🙂");
    expect(logprobs!.content.map(({ token }) => token)).toEqual(["a", ..."\ufffd".repeat(6)]);
    expect(logprobs!.content.flatMap(({ bytes }) => bytes)).toEqual(utf8("aé🙂"));
  });

  it("no infinity reaches JSON", async () => {
    const { logprobs } = await chat("z", { top_logprobs: 2 });
    expect(logprobs!.content[0]).toMatchObject({ logprob: -9999, top_logprobs: [{}, { logprob: -9999 }] });
  });

  it("a stream has each with the text it begins in", async () => {
    const path = "/v1/chat/completions";
    const choices = await stream<ChatChoice>(path, "aé🙂b", { logprobs: true });
    expect(choices.map(({ delta, logprobs }) => [delta.content, logprobs?.content.length])).toEqual([
      ["", undefined],
      ["a", 1],
      ["é", 2],
      ["🙂", 4],
      ["b", 1],
      [undefined, undefined],
    ]);
  });

  it("a stream has them late where a stop text held the text back", async () => {
    const path = "/v1/chat/completions";
    const choices = await stream<ChatChoice>(path, "xSTayy", { logprobs: true, stop: "STOP" });
    expect(
      choices.map(({ delta, logprobs }) => [delta.content, logprobs?.content.map(({ token }) => token)]),
    ).toEqual([
      ["", undefined],
      ["x", ["x"]],
      ["STa", ["S", "T", "a"]],
      ["y", ["y"]],
      ["y", ["y"]],
      [undefined, undefined],
    ]);
  });

  it.each([false, true])("tokens of a stop text are not told, as it is not, stream: %s", async (streamed) => {
    const body = { logprobs: true, stop: "STOP" };
    const choices = streamed
      ? await stream<ChatChoice>("/v1/chat/completions", "xySTOPz", body)
      : [await chat("xySTOPz", body)];
    expect(choices.flatMap(({ logprobs }) => logprobs?.content ?? []).map(({ token }) => token)).toEqual([
      "x",
      "y",
    ]);
  });
});

describe("in a completion", () => {
  it("there are four arrays, and the token itself is always among the alternatives", async () => {
    const { logprobs } = await complete("Hi");
    expect(logprobs).toEqual({
      tokens: ["H", "i"],
      token_logprobs: [-72 / 128, -105 / 128],
      top_logprobs: [
        { [`token_id:${EOS}`]: -257 / 128, H: -72 / 128 },
        { [`token_id:${EOS}`]: -257 / 128, i: -105 / 128 },
      ],
      text_offset: [0, 1],
    });
    expect((await complete("Hi", { logprobs: 0 })).logprobs!.top_logprobs).toEqual([
      { H: -72 / 128 },
      { i: -105 / 128 },
    ]);
    for (const nothing of [null, undefined, false]) {
      expect((await complete("Hi", { logprobs: nothing })).logprobs).toBeNull();
    }
  });

  it("half characters have keys of their own, and offsets count characters", async () => {
    const { text, logprobs } = await complete("🙂b", { logprobs: 3 });
    expect(text).toBe("🙂b");
    expect(logprobs!.tokens).toEqual(["bytes:\\xf0", "bytes:\\x9f", "bytes:\\x99", "bytes:\\x82", "b"]);
    expect(logprobs!.text_offset).toEqual([0, 0, 0, 0, 1]);
    expect(Object.keys(logprobs!.top_logprobs[0]).sort()).toEqual([
      "bytes:\\xf0",
      "bytes:\\xf1",
      `token_id:${EOS}`,
    ]);
  });

  it("a stream's chunks put together are the whole", async () => {
    const whole = await complete("aé🙂b and more", { logprobs: 2, stop: "ore", max_tokens: 40 });
    const chunks = await stream<CompletionChoice>("/v1/completions", "aé🙂b and more", {
      logprobs: 2,
      stop: "ore",
      max_tokens: 40,
    });
    const parts = chunks.flatMap(({ logprobs }) => logprobs ?? []);
    expect(chunks.map(({ text }) => text).join("")).toBe(whole.text);
    expect(parts.flatMap(({ tokens }) => tokens)).toEqual(whole.logprobs!.tokens);
    expect(parts.flatMap(({ token_logprobs }) => token_logprobs)).toEqual(whole.logprobs!.token_logprobs);
    expect(parts.flatMap(({ top_logprobs }) => top_logprobs)).toEqual(whole.logprobs!.top_logprobs);
    expect(parts.flatMap(({ text_offset }) => text_offset)).toEqual(whole.logprobs!.text_offset);
    expect(whole.text).toBe("aé🙂b and m");
  });

  it("a text that ends in half a character keeps its tokens", async () => {
    const { text, logprobs } = await complete("a🙂", { max_tokens: 3 });
    expect(text).toBe("a\ufffd");
    expect(logprobs!.tokens.length).toBe(3);
  });
});

describe("ChoiceText", () => {
  const { tokenizer } = fakeModel();
  const piece = (token: number, text: string): Piece => ({
    token,
    text,
    logProbability: logProbabilityOf(token),
  });

  it("tells control tokens with the text before which, or at the end of which, they stand", () => {
    const choice = new ChoiceText(tokenizer);
    expect(choice.push(piece(EOS, ""))).toBeNull();
    expect(choice.push(piece(97, "a"))!.tokens.map(({ token }) => token)).toEqual([EOS, 97]);
    expect(choice.push(piece(EOS, ""))).toBeNull();
    expect(choice.end().map(({ token, offset }) => [token, offset])).toEqual([[EOS, 1]]);
  });

  it("takes tokens beyond the vocabulary, which have no text", () => {
    const choice = new ChoiceText({ ...tokenizer, vocab: 98 });
    expect(choice.push(piece(97, "a"))!.tokens.length).toBe(1);
    expect(choice.push(piece(98, ""))).toBeNull();
    expect(choice.end().map(({ token }) => token)).toEqual([98]);
  });

  it("has text alone where nobody asked for more", () => {
    const choice = new ChoiceText(tokenizer);
    expect(choice.push({ token: 97, text: "a" })).toEqual({ text: "a", tokens: [] });
    expect(choice.end()).toEqual([]);
  });
});
