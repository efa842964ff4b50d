import { readTokens } from "../decoding/read-tokens.ts";
import { expectInteger } from "../errors.ts";
import type { GenerateManyOptions, GenerateResult, IndexedPiece, Piece } from "./model.ts";
import { seedAfter } from "./options.ts";
import type { TextRequest } from "./request.ts";
import type { Session } from "./source.ts";

/** Most texts of one prompt. */
const MAX_TEXTS = 64;

type Text = AsyncGenerator<Piece, GenerateResult, void>;

/** @throws {RangeError} If `bestOf` is below `n`, or there are too many. */
export function textCounts({ n = 1, bestOf = n, constraint }: GenerateManyOptions): {
  n: number;
  bestOf: number;
} {
  expectInteger("n", n, 1, MAX_TEXTS);
  expectInteger("bestOf", bestOf, n, MAX_TEXTS);
  if (bestOf > 1 && typeof constraint === "object") {
    throw new TypeError('"constraint" must be a function that makes one for each text, got one for all');
  }
  return { n, bestOf };
}

/**
 * Several texts of one prompt, together: the prompt is computed once, and each text goes on from it.
 *
 * @param base Holds a beginning of the prompt; closed by the caller.
 * @param begin Starts the text of a request on a session that holds the prompt but for its last token.
 */
export async function* decodeMany(
  request: TextRequest,
  { n, bestOf }: { n: number; bestOf: number },
  base: Session,
  begin: (request: TextRequest, session: Session) => Text,
): AsyncGenerator<IndexedPiece, readonly GenerateResult[], void> {
  await readTokens(base, request.promptTokens.slice(0, -1), request.options.signal);
  const sessions: Session[] = [];
  const texts: Text[] = [];
  try {
    for (let i = 0; i < bestOf; i++) {
      const seed = seedAfter(request.seed, i);
      const session = i === 0 ? base : base.fork({ capacity: base.capacity, seed });
      if (i > 0) sessions.push(session);
      texts.push(begin({ ...request, seed }, session));
    }
    if (bestOf === n) return yield* interleave(texts);
    return yield* bestTexts(texts, n);
  } finally {
    for (const text of texts) await text.return(undefined as never);
    for (const session of sessions) session.close();
  }
}

/** Pieces as they come. All texts are asked at once, so that their next tokens come out of one pass. */
async function* interleave(
  texts: readonly Text[],
): AsyncGenerator<IndexedPiece, readonly GenerateResult[], void> {
  if (texts.length === 1) return [yield* only(texts[0])];
  const results: GenerateResult[] = [];
  const ask = (index: number) => {
    const answer = texts[index].next().then((step) => ({ index, step }));
    // Whoever reads may stop before it is looked at.
    answer.catch(() => {});
    return answer;
  };
  const waiting = new Map(texts.map((_, index) => [index, ask(index)]));
  while (waiting.size > 0) {
    const { index, step } = await Promise.race(waiting.values());
    if (step.done) {
      results[index] = step.value;
      waiting.delete(index);
      continue;
    }
    // Asked for before it is told of: the others need not wait for whoever reads.
    waiting.set(index, ask(index));
    yield { index, ...step.value };
  }
  return results;
}

/** Of one text the next token is computed when it is asked for, so that nobody waits with a token for the one behind it. */
async function* only(text: Text): AsyncGenerator<IndexedPiece, GenerateResult, void> {
  for (;;) {
    const step = await text.next();
    if (step.done) return step.value;
    yield { index: 0, ...step.value };
  }
}

/** The `count` texts with the highest mean log-probability, best first; of equal ones the earlier. */
async function* bestTexts(
  texts: readonly Text[],
  count: number,
): AsyncGenerator<IndexedPiece, readonly GenerateResult[], void> {
  const pieces: Piece[][] = texts.map(() => []);
  const all = interleave(texts);
  let results: readonly GenerateResult[];
  for (;;) {
    const step = await all.next();
    if (step.done) {
      results = step.value;
      break;
    }
    const { index, ...piece } = step.value;
    pieces[index].push(piece);
  }
  const mean = ({ logProbability, tokens }: GenerateResult) => logProbability / Math.max(1, tokens.length);
  const order = [...results.keys()].sort((a, b) => mean(results[b]) - mean(results[a]) || a - b);
  const best = order.slice(0, count);
  for (const [index, text] of best.entries()) {
    for (const piece of pieces[text]) yield { index, ...piece };
  }
  return best.map((text) => results[text]);
}
