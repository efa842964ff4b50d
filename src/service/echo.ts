import { nextTask } from "../decoding/next-task.ts";
import type { Model } from "../engine/model.ts";
import type { Rows, SessionOptions } from "../engine/source.ts";
import { codePoints, type TokenEntry } from "./choice-text.ts";
import { apiError } from "./errors.ts";

/** What is wanted of a prompt that is told again. */
export interface EchoRequest {
  /** As it was sent; undefined where token ids were. */
  readonly text: string | undefined;
  /** Alternatives to tell of each of its tokens; undefined: nothing of it. */
  readonly logProbabilities: number | undefined;
}

/** A prompt as the beginning of an answer. */
export interface Echo {
  readonly text: string;
  /** Empty unless log-probabilities are wanted. The first has none: nothing stands before it. */
  readonly tokens: readonly TokenEntry[];
}

/** Logits that are held at one time. */
const MOST_LOGITS = 1 << 20;
const MOST_ROWS = 64;

/**
 * The prompt, and how likely the model thought each of its tokens: in the model's own law, whatever the pipeline does to what
 * is decoded. So the sum over a text is its likelihood, which evaluations compare.
 *
 * @throws What `signal` was aborted with.
 */
export async function readEcho(
  model: Model,
  prompt: readonly number[],
  { text, logProbabilities }: EchoRequest,
  { signal, lease }: Pick<SessionOptions, "signal" | "lease">,
): Promise<Echo> {
  const { offsets, spelled } = spell(model, prompt);
  const told = text ?? spelled;
  if (logProbabilities === undefined) return { text: told, tokens: [] };
  if (model.known !== undefined) {
    throw apiError(
      400,
      `"echo" must be false beside "logprobs": of this model's rows, ${model.known} tokens are known and perhaps not the prompt's`,
      { param: "echo", code: "unsupported_value" },
    );
  }
  // A tokenizer may write a space before the first word, which was not sent.
  const shift = codePoints(told) - codePoints(spelled);
  const at = (index: number) => Math.max(0, offsets[index] + shift);
  const tokens: TokenEntry[] = [{ token: prompt[0], logProbability: null, top: [], offset: at(0) }];
  if (prompt.length === 1) return { text: told, tokens };
  const session = model.open({ capacity: prompt.length - 1, signal, lease });
  try {
    const piece = Math.max(1, Math.min(MOST_ROWS, Math.floor(MOST_LOGITS / model.vocab)));
    for (let start = 0; start < prompt.length - 1; start += piece) {
      const read = prompt.slice(start, Math.min(start + piece, prompt.length - 1));
      const rows = await session.forward(read, read.length);
      for (let i = 0; i < read.length; i++) {
        const index = start + i + 1;
        tokens.push({ ...likelihood(rows, i, prompt[index], logProbabilities), offset: at(index) });
      }
      await nextTask();
      signal?.throwIfAborted();
    }
  } finally {
    session.close();
  }
  return { text: told, tokens };
}

function likelihood(rows: Rows, index: number, token: number, count: number) {
  const total = rows.logSumExp(index);
  const logProbability = rows.row(index)[token] - total;
  const { ids, logits } = rows.top(index, count);
  const top = Array.from(ids, (id, i) => ({ token: id, logProbability: logits[i] - total }));
  return { token, logProbability, top };
}

/** The text of tokens, and where in it, in code points, each begins. */
function spell({ tokenizer }: Model, tokens: readonly number[]): { offsets: number[]; spelled: string } {
  const stream = tokenizer.stream();
  const offsets: number[] = [];
  let spelled = "";
  let length = 0;
  for (const token of tokens) {
    offsets.push(length);
    // Rows that only pad the embedding have no token in the vocabulary, hence no text.
    const text = token < tokenizer.vocab ? stream.push(token) : "";
    spelled += text;
    length += codePoints(text);
  }
  return { offsets, spelled: spelled + stream.end() };
}
