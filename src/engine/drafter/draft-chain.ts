import type { Draft } from "../../decoding/draft.ts";
import { type Distribution, draw } from "../../decoding/pipeline.ts";
import { log } from "../../math.ts";
import { STAGE, uniform } from "../../philox.ts";
import { type Drafted, type DraftRows, type DraftSampler, lawRows, rounded } from "./draft-sampler.ts";
import type { DraftSession } from "./draft-session.ts";

/** Where rows of a chain come from. Row 0 follows the last token. */
export interface ChainSession {
  follow(committed: readonly number[]): Promise<DraftRows>;
  step(token: number): Promise<DraftRows>;
}

export interface ChainOptions {
  readonly session: ChainSession;
  readonly sampler: DraftSampler;
  /** Committed tokens, at least one. */
  readonly committed: readonly number[];
  /** Tokens, or nodes, at most. */
  readonly gamma: number;
  readonly vocab: number;
  /** Draft less where the draft model is unsure. 0: never. */
  readonly minProbability: number;
}

export interface GrowthOptions extends ChainOptions {
  readonly session: DraftSession;
}

/**
 * Chosen tokens: those the target would draw if the models were equal ("coupled"), or the most likely ones ("greedy").
 *
 * A token that is less likely than `minProbability` ends the draft and is left out. Chosen tokens may be given up for any
 * reason: no verifier of one-hot laws assumes anything of how they, or their number, came about.
 */
export async function chosenChain(options: ChainOptions, coupled: boolean): Promise<Draft> {
  const { sampler, minProbability } = options;
  const least = minProbability > 0 ? log(minProbability) : -Infinity;
  const tokens = await grow(options, async (rows, path) => {
    const { late } = rows;
    let choice: Drafted | null;
    if (coupled) choice = late ? await sampler.raceLate(late, path) : sampler.race(rows, 0, path);
    else choice = mostLikely(late ? await sampler.lawLate(late, path) : sampler.law(rows, 0, path));
    return choice === null || choice.logProbability < least ? null : choice.token;
  });
  return { tokens, law: "one-hot" };
}

/**
 * Tokens drawn from the draft model, with the laws they were drawn from.
 *
 * The draft ends where no token is as likely as `minProbability`, before one is drawn. That depends on the tokens before
 * alone, as it must: would it end after a token for being unlikely, those that are left would be likelier than their law
 * says, and what the verifier does with that law would bias the text.
 */
export async function sampledChain(options: ChainOptions, seed: number): Promise<Draft> {
  const { sampler, committed, minProbability, vocab } = options;
  const laws: Distribution[] = [];
  const tokens = await grow(options, (rows, path) => {
    const law = sampler.law(rows, 0, path);
    if (law === null || !law.probabilities.some((probability) => probability >= minProbability)) return null;
    laws.push(rounded(law));
    return draw(laws[path.length], uniform(seed, committed.length, STAGE.draft, path.length + 1));
  });
  return { tokens, law: { rows: lawRows(vocab, laws) } };
}

/** One token after the other, until `next` has none. */
async function grow(
  { session, committed, gamma }: ChainOptions,
  next: (rows: DraftRows, path: readonly number[]) => number | null | Promise<number | null>,
): Promise<number[]> {
  const tokens: number[] = [];
  let rows = await session.follow(committed);
  for (;;) {
    const token = await next(rows, tokens);
    if (token === null) return tokens;
    tokens.push(token);
    // The last one is not computed on: its row would be of no use.
    if (tokens.length === gamma) return tokens;
    rows = await session.step(token);
  }
}

/** Of equally likely ones the lowest id. */
function mostLikely(law: Distribution | null): Drafted | null {
  if (law === null) return null;
  const best = law.probabilities.reduce((top, value, i, all) => (value > all[top] ? i : top), 0);
  return { token: law.ids[best], logProbability: log(law.probabilities[best]) };
}
