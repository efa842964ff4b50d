import { describe, expect, it } from "vitest";
import { fakeModel, fakeService, framesOf, logitOf } from "./fake-model.ts";

interface Logprobs {
  tokens: string[];
  token_logprobs: (number | null)[];
  top_logprobs: (Record<string, number> | null)[];
  text_offset: number[];
}

interface Answer {
  choices: { index: number; text: string; logprobs: Logprobs | null; finish_reason: string | null }[];
  usage: { prompt_tokens: number; completion_tokens: number };
}

async function complete(body: object, model = fakeModel()) {
  const { post, errors } = fakeService(model);
  const response = await post("/v1/completions", body);
  expect(errors).toEqual([]);
  expect(response.status).toBe(200);
  expect(model.live).toBe(0);
  return (await response.json()) as Answer;
}

/** ln p of `token` after `before`, by the definition: in the model's own law. */
function expected(before: number, token: number): number {
  let sum = 0;
  for (let id = 0; id < 258; id++) sum += Math.exp(logitOf(before, id));
  return logitOf(before, token) - Math.log(sum);
}

describe("echo", () => {
  it("tells the prompt before its continuation, each choice alike", async () => {
    const { choices } = await complete({ prompt: ["ab", "c"], echo: true, n: 2, max_tokens: 2 });
    expect(choices.map(({ index, text }) => [index, text])).toEqual([
      [0, "abHe"],
      [1, "abHe"],
      [2, "cHe"],
      [3, "cHe"],
    ]);
  });

  it("tells a text as it was sent, and token ids as they are spelled", async () => {
    const text = async (prompt: unknown) =>
      (await complete({ prompt, echo: true, max_tokens: 1 })).choices[0].text;
    expect(await text(" é\n")).toBe(" é\nH");
    expect(await text([256, 97, 0xc3, 0xa9])).toBe("aéH");
    expect(await text([0xc3])).toBe("\ufffdH");
    expect(await text("")).toBe("H");
  });

  it.each([0, 1])(
    "with logprobs and max_tokens %i scores the prompt, without decoding for 0",
    async (max) => {
      const model = fakeModel();
      const body = { prompt: "abz", echo: true, logprobs: 2, max_tokens: max, temperature: 0.3, seed: 1 };
      const { choices, usage } = await complete(body, model);
      const [{ text, logprobs, finish_reason }] = choices;
      expect([text, finish_reason]).toEqual([`abz${"H".repeat(max)}`, "length"]);
      expect(usage).toMatchObject({ prompt_tokens: 4, completion_tokens: max });
      expect(logprobs!.tokens.slice(0, 4)).toEqual(["token_id:256", "a", "b", "z"]);
      expect(logprobs!.text_offset).toEqual([0, 0, 1, 2, ...(max ? [3] : [])]);
      const [first, ...others] = logprobs!.token_logprobs.slice(0, 4) as number[];
      expect(first).toBe(null);
      const tokens = [256, 97, 98, 122];
      for (const [i, value] of others.entries())
        expect(value).toBeCloseTo(expected(tokens[i], tokens[i + 1]), 5);
      expect(logprobs!.top_logprobs[0]).toBe(null);
      for (const [i, top] of logprobs!.top_logprobs.slice(1, 4).entries()) {
        // The two best, and the token itself where it is not one of them.
        const best = Math.max(...Array.from({ length: 258 }, (_, id) => expected(tokens[i], id)));
        expect(Math.max(...Object.values(top!))).toBeCloseTo(best, 5);
        expect(Object.keys(top!).length).toBeGreaterThanOrEqual(2);
        expect(top![logprobs!.tokens[i + 1]]).toBe(others[i]);
      }
      expect(model.asked.length).toBe(max);
    },
  );

  it("scores a prompt of many calls as one of few", async () => {
    const prompt = Array.from({ length: 200 }, (_, i) => (i * 37) % 256);
    const body = { prompt, echo: true, logprobs: 0, max_tokens: 0 };
    const { choices } = await complete(body, fakeModel({ contextLength: 256 }));
    const { token_logprobs } = choices[0].logprobs!;
    expect(token_logprobs.length).toBe(200);
    for (let i = 1; i < 200; i++)
      expect(token_logprobs[i]).toBeCloseTo(expected(prompt[i - 1], prompt[i]), 5);
  });

  it("counts offsets in code points, of half characters too, over prompt and answer", async () => {
    const body = { prompt: "é😀", echo: true, logprobs: 0, max_tokens: 2 };
    const { logprobs } = (await complete(body)).choices[0];
    // BOS, two bytes, four bytes, "H", "e".
    expect(logprobs!.text_offset).toEqual([0, 0, 0, 1, 1, 1, 1, 2, 3]);
  });

  it("comes first in a stream, which adds up to the answer in one piece", async () => {
    const body = { prompt: "ab", echo: true, logprobs: 1, max_tokens: 3, n: 2, seed: 1 };
    const whole = await complete(body);
    const { post } = fakeService();
    const frames = framesOf(
      await (await post("/v1/completions", { ...body, stream: true })).text(),
    ) as Answer[];
    const gathered = whole.choices.map(({ index }) => {
      const own = frames.flatMap(({ choices }) => choices).filter((choice) => choice.index === index);
      const all = (name: keyof Logprobs) =>
        own.flatMap(({ logprobs }) => [...(logprobs?.[name] ?? [])] as unknown[]);
      return {
        index,
        text: own.map(({ text }) => text).join(""),
        logprobs: {
          tokens: all("tokens"),
          token_logprobs: all("token_logprobs"),
          top_logprobs: all("top_logprobs"),
          text_offset: all("text_offset"),
        },
        finish_reason: own.at(-1)!.finish_reason,
      };
    });
    expect(gathered).toEqual(whole.choices);
    expect(frames[0].choices[0].text).toBe("ab");
  });

  it("without max_tokens 0 is not needed for an empty answer", async () => {
    const { choices, usage } = await complete({ prompt: "ab", max_tokens: 0 });
    expect(choices).toEqual([{ index: 0, text: "", logprobs: null, finish_reason: "length" }]);
    expect(usage.completion_tokens).toBe(0);
  });
});

it("stop_token_ids end an answer, and min_tokens holds them back", async () => {
  const model = fakeModel();
  await complete({ prompt: "a", stop_token_ids: [111, 108] }, model);
  await complete({ prompt: "a", stop_token_ids: [111], min_tokens: 3 }, model);
  await complete({ prompt: "a", stop_token_ids: [] }, model);
  expect(model.asked.map(({ options }) => [options.stopTokens, options.endTokens])).toEqual([
    [[111, 108], undefined],
    [[111], [257, 111]],
    [undefined, undefined],
  ]);
});
