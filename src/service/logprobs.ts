/** Log-probabilities as OpenAI writes them: one shape for chats, an older one for completions. */
import type { TokenLogProbability } from "../decoding/pipeline.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import type { TokenEntry } from "./choice-text.ts";

/** What OpenAI says for a token without a chance; JSON has no −∞. */
const LEAST = -9999;

/** Bytes of half a character become U+FFFD in `token`; `bytes` has them. Null: a control token, which has none. */
export function chatLogprobs(tokenizer: Tokenizer, tokens: readonly TokenEntry[]) {
  const describe = ({ token, logProbability }: Pick<TokenEntry, "token" | "logProbability">) => {
    const bytes = bytesOf(tokenizer, token);
    return {
      token: new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes),
      logprob: finite(logProbability ?? LEAST),
      bytes: bytes.length === 0 ? null : Array.from(bytes),
    };
  };
  return {
    content: tokens.map((entry) => ({ ...describe(entry), top_logprobs: entry.top.map(describe) })),
    refusal: null,
  };
}

/**
 * Parallel arrays. `top_logprobs[i]` is keyed by text and always has the token that was chosen, so each token needs a text
 * of its own: see `keyOf`. `text_offset` counts code points of the choice's text, over all chunks of a stream.
 */
export function completionLogprobs(tokenizer: Tokenizer, tokens: readonly TokenEntry[]) {
  const key = ({ token }: { token: number }) => keyOf(token, bytesOf(tokenizer, token));
  const pair = ({ token, logProbability }: TokenLogProbability) => [key({ token }), finite(logProbability)];
  return {
    tokens: tokens.map(key),
    token_logprobs: tokens.map(({ logProbability }) => logProbability && finite(logProbability)),
    top_logprobs: tokens.map(({ token, logProbability, top }) =>
      logProbability === null
        ? null
        : // Backwards, so that of two tokens with one text the likelier is told.
          Object.fromEntries([...top, { token, logProbability }].reverse().map(pair)),
    ),
    text_offset: tokens.map(({ offset }) => offset),
  };
}

/** Its text; `bytes:\xf0\x9f` for a part of a character, as OpenAI has it; vLLM's `token_id:2` where there is no text. */
function keyOf(token: number, bytes: Uint8Array): string {
  if (bytes.length === 0) return `token_id:${token}`;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return `bytes:${Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("")}`;
  }
}

/** Rows that only pad the embedding have no token in the vocabulary. */
function bytesOf(tokenizer: Tokenizer, token: number): Uint8Array {
  return token < tokenizer.vocab ? tokenizer.bytes(token) : new Uint8Array();
}

function finite(logProbability: number): number {
  return Math.max(logProbability, LEAST);
}
