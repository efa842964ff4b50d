/**
 * Servers of rows, with a local model behind them: they read requests and write answers in the documented shapes of
 * llama.cpp's server and of vLLM's, down to what those add unasked, and share no code with what reads them.
 */
import type { Model, Tokenizer } from "../../src/node.ts";

export interface AskedRequest {
  readonly path: string;
  readonly body: Record<string, unknown>;
  readonly headers: Headers;
}

export interface FakeServer {
  readonly asked: AskedRequest[];
  fetch(url: string, init: RequestInit): Promise<Response>;
}

/** A part of an answer, for tests to break. */
// biome-ignore lint/suspicious/noExplicitAny: answers are broken in all ways.
type Part = any;

type Routes = Record<string, (body: Record<string, unknown>) => unknown>;

function server(routes: Routes): FakeServer {
  const asked: AskedRequest[] = [];
  return {
    asked,
    async fetch(url, init) {
      init.signal?.throwIfAborted();
      const path = new URL(url).pathname;
      const body = typeof init.body === "string" ? JSON.parse(init.body) : {};
      asked.push({ path, body, headers: new Headers(init.headers) });
      const route = routes[`${init.method} ${path}`];
      if (route === undefined) {
        return Response.json(
          { error: { code: 404, message: "File Not Found", type: "not_found_error" } },
          { status: 404 },
        );
      }
      const answer = await route(body);
      return answer instanceof Response ? answer : Response.json(answer);
    },
  };
}

/** ln p of every token after some, by f64. */
export async function lawAfter(model: Model, tokens: readonly number[]): Promise<number[]> {
  const session = model.open({ capacity: tokens.length });
  try {
    const rows = await session.forward(tokens);
    const row = Array.from(rows.row(0));
    const best = Math.max(...row);
    const total = best + Math.log(row.reduce((sum, z) => sum + Math.exp(z - best), 0));
    return row.map((z) => z - total);
  } finally {
    session.close();
  }
}

function likeliest(law: readonly number[], count: number): number[] {
  return [...law.keys()].sort((a, b) => law[b] - law[a] || a - b).slice(0, count);
}

const textOf = (tokenizer: Tokenizer, id: number) => new TextDecoder().decode(tokenizer.bytes(id));

/** A prompt, or several: texts or lists of ids. */
function promptsOf(tokenizer: Tokenizer, prompt: unknown): number[][] {
  const read = (one: unknown) =>
    typeof one === "string" ? tokenizer.encode(one) : (one as number[]).map((id) => Number(id));
  const isList = Array.isArray(prompt) && typeof prompt[0] !== "number";
  return isList ? prompt.map(read) : [read(prompt)];
}

/** llama.cpp's: https://github.com/ggml-org/llama.cpp/tree/master/tools/server. */
export function llamaCppFake(model: Model, change: (row: Part, answer: Part) => void = () => {}): FakeServer {
  const { tokenizer } = model;
  const entry = (law: readonly number[], id: number) => ({
    id,
    token: textOf(tokenizer, id),
    bytes: Array.from(tokenizer.bytes(id)),
    logprob: law[id] === -Infinity ? -3.4028234663852886e38 : law[id],
  });
  return server({
    "GET /v1/models": () => ({
      models: [{ name: "fake", model: "fake", type: "model" }],
      object: "list",
      data: [
        {
          id: "fake",
          object: "model",
          created: 1763700000,
          owned_by: "llamacpp",
          meta: { vocab_type: 2, n_vocab: model.vocab, n_ctx: 512, n_ctx_train: 2048, n_embd: 64 },
        },
      ],
    }),
    "POST /tokenize": ({ content, add_special = false }) => ({
      tokens: tokenizer.encode(String(content), { special: add_special === true, parseSpecial: true }),
    }),
    "POST /completion": async ({ prompt, n_probs, n_predict, post_sampling_probs, response_fields }) => {
      if (n_predict !== 1 || post_sampling_probs !== false) throw new Error("Not what this test knows");
      const prompts = promptsOf(tokenizer, prompt);
      const answers = [];
      for (const [index, tokens] of prompts.entries()) {
        const law = await lawAfter(model, tokens);
        const [best] = likeliest(law, 1);
        const row = {
          ...entry(law, best),
          top_logprobs: likeliest(law, n_probs as number).map((id) => entry(law, id)),
        };
        const answer: Record<string, unknown> = {
          index,
          content: textOf(tokenizer, best),
          tokens: [best],
          id_slot: index,
          stop: true,
          tokens_predicted: 1,
          tokens_evaluated: tokens.length,
          truncated: false,
          stop_type: "limit",
          prompt: tokenizer.decode(tokens),
          generation_settings: { n_probs },
          completion_probabilities: [row],
        };
        change(row, answer);
        const fields = response_fields as string[];
        answers.push(
          Object.fromEntries(fields.filter((name) => name in answer).map((name) => [name, answer[name]])),
        );
      }
      return answers.length === 1 ? answers[0] : answers;
    },
  });
}

export interface VllmOptions {
  /** Names tokens by their texts and has no /tokenize, as OpenAI's own. */
  readonly isPlain?: boolean;
  readonly change?: (choice: Part, answer: Part) => void;
}

/** vLLM's: vllm/entrypoints/openai. It tells the drawn token too, whatever its rank. */
export function vllmFake(model: Model, { isPlain = false, change = () => {} }: VllmOptions = {}): FakeServer {
  const { tokenizer } = model;
  const name = (id: number, asIds: unknown) =>
    asIds === true && !isPlain ? `token_id:${id}` : textOf(tokenizer, id);
  return server({
    "GET /v1/models": () => ({
      object: "list",
      data: [
        isPlain
          ? { id: "fake", object: "model", created: 1763700000, owned_by: "system" }
          : {
              id: "fake",
              object: "model",
              created: 1763700000,
              owned_by: "vllm",
              root: "fake",
              max_model_len: 512,
            },
      ],
    }),
    ...(!isPlain && {
      "POST /tokenize": ({ prompt, add_special_tokens = true }: Record<string, unknown>) => {
        const tokens = tokenizer.encode(String(prompt), { special: add_special_tokens === true });
        return { count: tokens.length, max_model_len: 512, tokens, token_strs: null };
      },
    }),
    "POST /v1/completions": async ({ prompt, logprobs, prompt_logprobs, max_tokens, ...body }) => {
      if (max_tokens !== 1) throw new Error("Not what this test knows");
      const count = logprobs as number;
      const choices = [];
      for (const [index, tokens] of promptsOf(tokenizer, prompt).entries()) {
        const law = await lawAfter(model, tokens);
        // What was drawn comes first, and then the likeliest.
        const drawn = likeliest(law, 40).at(-1)!;
        const told = [...new Set([drawn, ...likeliest(law, count)])];
        const choice: Record<string, unknown> = {
          index,
          text: textOf(tokenizer, drawn),
          logprobs: {
            text_offset: [0],
            token_logprobs: [law[drawn]],
            tokens: [name(drawn, body.return_tokens_as_token_ids)],
            top_logprobs: [
              Object.fromEntries(
                told.map((id) => [name(id, body.return_tokens_as_token_ids), Math.max(law[id], -9999)]),
              ),
            ],
          },
          finish_reason: "length",
          stop_reason: null,
          prompt_logprobs: null,
        };
        if (typeof prompt_logprobs === "number") {
          const rows: unknown[] = [null];
          for (let end = 1; end < tokens.length; end++) {
            const before = await lawAfter(model, tokens.slice(0, end));
            const best = likeliest(before, prompt_logprobs);
            const ids = [...new Set([tokens[end], ...best])];
            const rank = (id: number) => 1 + before.filter((z) => z > before[id]).length;
            rows.push(
              Object.fromEntries(
                ids.map((id) => [
                  String(id),
                  { logprob: before[id], rank: rank(id), decoded_token: textOf(tokenizer, id) },
                ]),
              ),
            );
          }
          choice.prompt_logprobs = rows;
        }
        choices.push(choice);
      }
      const answer = {
        id: "cmpl-1",
        object: "text_completion",
        created: 1763700000,
        model: "fake",
        choices,
        usage: {},
      };
      for (const choice of [...choices]) change(choice, answer);
      return answer;
    },
  });
}
