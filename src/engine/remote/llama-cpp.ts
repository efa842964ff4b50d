/**
 * llama.cpp's server: `POST /completion` of one token, whose `n_probs` likeliest tokens it tells before sampling, that is by
 * the softmax of all logits. Several rows are several prompts of one request; each finds its beginning in a slot's cache.
 *
 * Source: tools/server/README.md and server-task.cpp of llama.cpp.
 */

import { Field, knownTokens } from "./fields.ts";
import type { RemoteClient } from "./http.ts";
import { rowsOf, summed } from "./prompts.ts";
import type { KnownTokens, RowCall, RowServer } from "./server.ts";
import type { Speech } from "./speech.ts";

/** Prompts of one request. */
const MAX_PROMPTS = 16;
/** Bytes of JSON, at most: for a token with its text and bytes, for a row, and for each token of a prompt sent back. */
const TOKEN_BYTES = 512;
const ROW_BYTES = 16_384;
const PROMPT_BYTES = 256;

export interface LlamaCppFacts extends Pick<RowServer, "model" | "fingerprint" | "contextLength"> {
  /** Tokens that a row tells. */
  readonly known: number;
  /** Of our rows. */
  readonly vocab: number;
}

export function llamaCppServer(client: RemoteClient, speech: Speech, facts: LlamaCppFacts): RowServer {
  const { known, vocab } = facts;

  async function ask(paths: readonly (readonly number[])[], signal: AbortSignal): Promise<KnownTokens[]> {
    const prompts = paths.map((path) => speech.prompt(path));
    const body = {
      prompt: prompts.length === 1 ? prompts[0] : prompts,
      n_predict: 1,
      n_probs: known,
      post_sampling_probs: false,
      temperature: 0,
      cache_prompt: true,
      stream: false,
      // Else the prompt and all settings come back.
      response_fields: ["index", "completion_probabilities", "tokens_evaluated", "truncated"],
    };
    const echoed = paths.reduce((sum, path) => sum + path.length, 0) * PROMPT_BYTES;
    const maxBytes = paths.length * (ROW_BYTES + known * TOKEN_BYTES) + echoed;
    const answer = await client.json("/completion", body, { maxBytes, signal });
    const whole = new Field(client.name, answer);
    const found = prompts.length === 1 && !Array.isArray(answer) ? [whole] : whole.list(paths.length);
    if (found.length !== paths.length) throw whole.wrong(`an array of ${paths.length}, one per prompt`);
    return inOrder(found).map((one, index) => readRow(one, paths[index]));
  }

  function readRow(answer: Field, path: readonly number[]): KnownTokens {
    if (answer.at("truncated").value === true) throw answer.at("truncated").wrong("false");
    const evaluated = answer.at("tokens_evaluated");
    if (speech.kind === "ids" && !evaluated.isAbsent) evaluated.integer(path.length, path.length);
    const [first] = answer.at("completion_probabilities").list(8);
    if (first === undefined) throw answer.at("completion_probabilities").wrong("an array of one token");
    const top = first.at("top_logprobs");
    const tokens = top.list(known + 1).flatMap((one): [number, number][] => {
      const id = tokenOf(one);
      return id === undefined ? [] : [[id, one.at("logprob").logProbability()]];
    });
    return knownTokens(top, speech.kind === "ids" ? tokens : summed(tokens), known);
  }

  function tokenOf(one: Field): number | undefined {
    if (speech.kind === "ids") return one.at("id").integer(0, vocab - 1);
    const bytes = one.at("bytes").list(1024);
    return speech.tokenOf(Uint8Array.from(bytes, (byte) => byte.integer(0, 255)));
  }

  return {
    ...facts,
    async rows(call: RowCall, signal) {
      return await rowsOf(call, speech, MAX_PROMPTS, (paths) => ask(paths, signal));
    },
  };
}

/** By `index`, where all have one; else as they came. */
function inOrder(answers: readonly Field[]): readonly Field[] {
  const indexed = answers.map((one) => [one.at("index").value, one] as const);
  const isIndexed = answers.every((_, i) => indexed.some(([index]) => index === i));
  if (!isIndexed) return answers;
  return indexed.sort(([a], [b]) => (a as number) - (b as number)).map(([, one]) => one);
}
