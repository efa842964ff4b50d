/** What users of the official openai client rely on, against a service with a real model; only shapes and laws, no texts. */
import OpenAI from "openai";
import { describe, expect, it } from "vitest";

export interface Served {
  /** Without `/v1`. */
  readonly url: string;
  readonly fetch: typeof fetch;
  /** Keys that are known. */
  readonly key: string;
  readonly model: string;
}

const PROMPT = "Once upon a time";
const messages = [{ role: "user" as const, content: "Tell me a story" }];

export function conformance(name: string, open: () => Served): void {
  const client = (options: object = {}) => {
    const { url, fetch, key } = open();
    return new OpenAI({ apiKey: key, baseURL: `${url}/v1`, fetch, ...options });
  };
  const running = async () => {
    const { url, fetch } = open();
    return ((await (await fetch(`${url}/health`)).json()) as { running: number }).running;
  };

  describe(`the official openai client against ${name}`, () => {
    it("lists models and finds one", async () => {
      const { model } = open();
      const [first] = (await client().models.list()).data;
      expect(first).toEqual({ id: model, object: "model", created: 0, owned_by: "edgewise" });
      expect(await client().models.retrieve(model)).toEqual(first);
      await expect(client().models.retrieve("none")).rejects.toBeInstanceOf(OpenAI.NotFoundError);
    });

    it("completes, the same in one piece and as a stream", async () => {
      const ask = { model: open().model, prompt: PROMPT, max_tokens: 16, seed: 5, n: 2 };
      const whole = await client().completions.create(ask);
      expect(whole).toMatchObject({ object: "text_completion", model: ask.model });
      expect(whole.id).toMatch(/^cmpl-/);
      expect(whole._request_id).toMatch(/^[\w-]{36}$/);
      expect(whole.system_fingerprint).toMatch(/./);
      expect(whole.usage!.total_tokens).toBe(whole.usage!.prompt_tokens + whole.usage!.completion_tokens);
      const texts = ["", ""];
      const reasons: (string | null)[] = [null, null];
      const stream = await client().completions.create({
        ...ask,
        stream: true,
        stream_options: { include_usage: true },
      });
      let usage: unknown;
      const ids = new Set<string>();
      for await (const chunk of stream) {
        ids.add(chunk.id);
        usage = chunk.usage ?? usage;
        for (const { index, text, finish_reason } of chunk.choices) {
          texts[index] += text;
          reasons[index] = finish_reason ?? reasons[index];
        }
      }
      expect(texts).toEqual(whole.choices.map(({ text }) => text));
      expect(reasons).toEqual(whole.choices.map(({ finish_reason }) => finish_reason));
      expect(usage).toEqual(whole.usage);
      expect(ids.size).toBe(1);
    });

    it("scores a text: echo, log-probabilities, nothing decoded", async () => {
      const ask = { model: open().model, prompt: PROMPT, echo: true, logprobs: 1, seed: 1 };
      const { choices, usage } = await client().completions.create({ ...ask, max_tokens: 0 });
      const { tokens, token_logprobs, top_logprobs, text_offset } = choices[0].logprobs!;
      expect(choices[0].text).toBe(PROMPT);
      expect(usage!.completion_tokens).toBe(0);
      expect(token_logprobs![0]).toBe(null);
      expect(top_logprobs![0]).toBe(null);
      for (const value of token_logprobs!.slice(1)) expect(value).toBeLessThanOrEqual(0);
      expect(
        new Set([tokens, token_logprobs, top_logprobs, text_offset].map((list) => list!.length)).size,
      ).toBe(1);
      // A text that the model itself wrote, word by word, is as likely read as it was written.
      const wrote = await client().completions.create({ ...ask, max_tokens: 8, temperature: 1 });
      const ids = await tokenize(wrote.choices[0].text);
      const read = await client().completions.create({ ...ask, prompt: ids, max_tokens: 0 });
      const count = ids.length - tokens!.length;
      if (count === 8) {
        const written = wrote.choices[0].logprobs!.token_logprobs!.slice(-count);
        const again = read.choices[0].logprobs!.token_logprobs!.slice(-count);
        for (const [i, value] of again.entries()) expect(value).toBeCloseTo(written[i]!, 4);
      }
    });

    async function tokenize(prompt: string): Promise<number[]> {
      const { url, fetch, key } = open();
      const response = await fetch(`${url}/tokenize`, {
        method: "POST",
        headers: { authorization: `Bearer ${key}` },
        body: JSON.stringify({ prompt }),
      });
      return ((await response.json()) as { tokens: number[] }).tokens;
    }

    it("chats, streams, gathers and parses the same message", async () => {
      const ask = { model: open().model, messages, max_tokens: 16, seed: 2, logprobs: true, top_logprobs: 2 };
      const { choices } = await client().chat.completions.create(ask);
      const [{ message, logprobs }] = choices;
      expect(message.role).toBe("assistant");
      expect(logprobs!.content!.every(({ top_logprobs }) => top_logprobs.length === 2)).toBe(true);
      const gathered = await client().chat.completions.stream(ask).finalChatCompletion();
      expect(gathered.choices[0].message.content).toBe(message.content);
      expect(gathered.choices[0].logprobs).toEqual(logprobs);
      const format = { response_format: { type: "text" as const } };
      const parse = (extra: object) => client().chat.completions.parse({ ...ask, ...format, ...extra });
      await expect(parse({})).rejects.toThrow("the length limit was reached");
      const stop = message.content!.slice(4, 7);
      const parsed = (await parse({ stop })).choices[0].message;
      expect(parsed.content).toBe(message.content!.slice(0, message.content!.indexOf(stop)));
    });

    it("steers: stop, stop_token_ids, logit_bias, best_of", async () => {
      const { model } = open();
      const create = async (extra: object) => {
        const ask = { model, prompt: PROMPT, max_tokens: 12, temperature: 0, seed: 1, ...extra };
        return (await client().completions.create(ask)).choices[0];
      };
      const plain = await create({});
      const stop = plain.text.slice(4, 7);
      expect(await create({ stop })).toMatchObject({
        text: plain.text.slice(0, plain.text.indexOf(stop)),
        finish_reason: "stop",
      });
      const last = (await tokenize(PROMPT + plain.text)).at(-1)!;
      const stopped = await create({ stop_token_ids: [last] } as object);
      expect(plain.text.startsWith(stopped.text)).toBe(true);
      expect(stopped.text.length).toBeLessThan(plain.text.length);
      expect((await create({ logit_bias: { [last]: -100 } })).text).not.toBe(plain.text);
      expect((await create({ best_of: 2 })).text).toBe(plain.text);
    });

    it("throws its own classes for our errors", async () => {
      const { model } = open();
      const ask = (extra: object, options: object = {}) =>
        client({ maxRetries: 0, ...options }).completions.create({ model, prompt: PROMPT, ...extra });
      await expect(ask({}, { apiKey: "wrong-key-of-ours" })).rejects.toBeInstanceOf(
        OpenAI.AuthenticationError,
      );
      await expect(ask({}, { apiKey: "wrong-key-of-ours" })).rejects.toMatchObject({
        code: "invalid_api_key",
      });
      await expect(ask({ suffix: "x" })).rejects.toMatchObject({ status: 400, param: "suffix" });
      await expect(ask({ temperature: -1 })).rejects.toBeInstanceOf(OpenAI.BadRequestError);
      await expect(ask({ model: "none" })).rejects.toBeInstanceOf(OpenAI.NotFoundError);
      await expect(ask({ prompt: "a".repeat(2e6) })).rejects.toMatchObject({ status: 413 });
      await expect(ask({ prompt: "a ".repeat(4e5) })).rejects.toMatchObject({
        code: "context_length_exceeded",
      });
    });

    it("tries again where it may, and not where it would be in vain", async () => {
      const statuses = async (statusOf: number, headers: Record<string, string>) => {
        let calls = 0;
        const { fetch } = open();
        const faulty: typeof fetch = async (url, init) => {
          if (calls++ > 0) return fetch(url, init);
          const error = { message: "m", type: "t", param: null, code: null };
          return Response.json({ error }, { status: statusOf, headers });
        };
        const ask = { model: open().model, prompt: PROMPT, max_tokens: 1 };
        const done = await client({ fetch: faulty })
          .completions.create(ask)
          .then(
            () => true,
            () => false,
          );
        return [done, calls];
      };
      expect(await statuses(429, { "retry-after": "0" })).toEqual([true, 2]);
      expect(await statuses(503, { "retry-after": "0" })).toEqual([true, 2]);
      expect(await statuses(504, { "x-should-retry": "false" })).toEqual([false, 1]);
    });

    it("aborts, and the service stops", async () => {
      const ask = { model: open().model, messages, stream: true as const, max_tokens: 200 };
      const stream = await client().chat.completions.create({
        ...ask,
        seed: 1,
        n: 8,
        ignore_eos: true,
      } as typeof ask);
      let chunks = 0;
      for await (const _ of stream) if (++chunks === 12) stream.controller.abort();
      expect(chunks).toBeLessThan(100);
      await expect.poll(running, { timeout: 30_000 }).toBe(0);
    });
  });
}
