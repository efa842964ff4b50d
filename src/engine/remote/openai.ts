/**
 * A server with OpenAI's `POST /v1/completions`: one token of each prompt, with the log-probabilities of the likeliest. vLLM
 * names them by id, and tells those of a whole prompt in one pass (`prompt_logprobs`), which pays where the rows of most of a
 * text are asked for: it uses no cache then. Other servers tell texts: see speech.ts.
 *
 * Log-probabilities are of the model itself, before temperature, top-k and penalties; 1 and none are asked for, for servers
 * that tell those they draw from.
 *
 * Source: vllm/entrypoints/openai of vLLM; OpenAI's reference of legacy completions.
 */
import { Field, knownTokens } from "./fields.ts";
import type { RemoteClient } from "./http.ts";
import { rowsOf, summed } from "./prompts.ts";
import type { KnownTokens, RowCall, RowServer } from "./server.ts";
import type { Speech } from "./speech.ts";

/** Prompts of one request. */
const MAX_PROMPTS = 64;
/** Bytes of JSON, at most: for a token, and for the rest of a choice. */
const TOKEN_BYTES = 512;
const CHOICE_BYTES = 16_384;

export interface OpenAiFacts extends Pick<RowServer, "model" | "fingerprint" | "contextLength"> {
  /** Tokens that a row tells. */
  readonly known: number;
  /** Of our rows. */
  readonly vocab: number;
  /** Whether it has `prompt_logprobs` and names tokens by id: vLLM, and what copies it. */
  readonly isVllm: boolean;
}

export function openAiServer(client: RemoteClient, speech: Speech, facts: OpenAiFacts): RowServer {
  const { model, known, vocab, isVllm } = facts;
  const settings = {
    model,
    max_tokens: 1,
    temperature: 1,
    top_p: 1,
    seed: 0,
    logprobs: known,
    stream: false,
    ...(isVllm && speech.kind === "ids" && { return_tokens_as_token_ids: true }),
  };

  async function choices(body: object, count: number, maxBytes: number, signal: AbortSignal) {
    const answer = await client.json("/v1/completions", { ...settings, ...body }, { maxBytes, signal });
    const list = new Field(client.name, answer).at("choices");
    const found = list.list(count);
    const ordered = found.map((_, i) => found.find((choice) => choice.at("index").value === i));
    if (found.length !== count || ordered.includes(undefined))
      throw list.wrong(`an array of ${count}, one per prompt, each with its index`);
    return ordered as Field[];
  }

  async function ask(paths: readonly (readonly number[])[], signal: AbortSignal): Promise<KnownTokens[]> {
    const prompts = paths.map((path) => speech.prompt(path));
    const maxBytes = paths.length * (CHOICE_BYTES + known * TOKEN_BYTES);
    const body = { prompt: prompts.length === 1 ? prompts[0] : prompts };
    return (await choices(body, paths.length, maxBytes, signal)).map(readGenerated);
  }

  /** All rows by one pass over the text. */
  async function askOnce({ text, tokens, rows }: RowCall, signal: AbortSignal): Promise<KnownTokens[]> {
    const all = [...text, ...tokens];
    const maxBytes = CHOICE_BYTES + (all.length + 1) * (known + 1) * TOKEN_BYTES;
    const [choice] = await choices({ prompt: all, prompt_logprobs: known }, 1, maxBytes, signal);
    const field = choice.at("prompt_logprobs");
    const told = field.list(all.length);
    if (told.length !== all.length) throw field.wrong(`an array of ${all.length}, one per token`);
    // What is told of a token is the row after those before it.
    const before = told.slice(all.length - rows + 1).map((row) => {
      const found = row.entries(known + 1).map(([key, entry]): [number, number] => {
        return [readId(row, key), entry.at("logprob").logProbability()];
      });
      return knownTokens(row, found, known);
    });
    return [...before, readGenerated(choice)];
  }

  /** The row after the prompt. */
  function readGenerated(choice: Field): KnownTokens {
    const [row] = choice.at("logprobs").at("top_logprobs").list(2);
    if (row === undefined) throw choice.at("logprobs").at("top_logprobs").wrong("an array of one row");
    const found = row.entries(known + 1).flatMap(([key, value]): [number, number][] => {
      const id = speech.kind === "ids" ? readId(row, key, "token_id:") : speech.tokenOf(bytesOf(key));
      return id === undefined ? [] : [[id, value.logProbability()]];
    });
    return knownTokens(row, speech.kind === "ids" ? found : summed(found), known);
  }

  function readId(row: Field, key: string, before = ""): number {
    const digits = key.startsWith(before) ? key.slice(before.length) : "";
    if (/^\d{1,9}$/.test(digits) && Number(digits) < vocab) return Number(digits);
    const got = JSON.stringify(key.slice(0, 40));
    throw row.wrong(`of tokens like "${before}0", below ${vocab}, and has ${got}`);
  }

  return {
    ...facts,
    async rows(call: RowCall, signal) {
      const { text, tokens, rows, parents } = call;
      const isMost = rows > 1 && 2 * rows > text.length + tokens.length;
      const once = isVllm && speech.kind === "ids" && parents === undefined && isMost;
      return once
        ? await askOnce(call, signal)
        : await rowsOf(call, speech, MAX_PROMPTS, (paths) => ask(paths, signal));
    },
  };
}

/** A token's text; half a character comes as `bytes:\xe6\x9d`. */
function bytesOf(key: string): Uint8Array {
  if (!/^bytes:(\\x[0-9a-f]{2})+$/.test(key)) return new TextEncoder().encode(key);
  return Uint8Array.from(key.slice("bytes:".length).split("\\x").slice(1), (hex) => Number.parseInt(hex, 16));
}
