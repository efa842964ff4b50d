/**
 * outcome: from the rows of a draft to the tokens that are emitted.
 *
 * Verifiers that keep the text (match, gumbel, greedy) let the sampler of plain decoding choose at every place, for as
 * long as the draft has its choice. It draws by the exponential race, with noise that a drafter can share: sample-and-match
 * and Gumbel coupling are one and the same then. All others compare laws, so each row they look at is made into one.
 */
import type { LawKernels } from "../backend/law-kernels.ts";
import type { RowMath } from "../backend/row-math.ts";
import { log } from "../math.ts";
import type { Draft, Row, RowSet } from "./draft.ts";
import {
  type Choice,
  type Distribution,
  denseProbabilities,
  type PipelineState,
  probabilityOf,
  type SparedRow,
  topLogProbabilities,
} from "./pipeline.ts";
import type { LogitsRow, Sampler } from "./sampler.ts";
import { seededRandom } from "./verify/random.ts";
import { type Policy, VERIFIERS } from "./verify/registry.ts";
import type { Verdict } from "./verify/types.ts";
import { verify } from "./verify/verify.ts";

/** Rows of the target: row 0 follows the emitted text, row i + 1 follows draft node i. */
export interface DraftRows {
  readonly count: number;
  readonly vocab: number;
  row(index: number): Row;
  top?(index: number, count: number): { ids: Uint32Array; logits: Float32Array };
  law?(index: number): LawKernels;
  /** What is told of a row without making it, where rows are made when they are first looked at. */
  spared?(index: number): SparedRow;
}

/** A verifier and its options. The sampler of "match" is the text's own. */
export type TextPolicy = Exclude<Policy, { readonly verifier: "match" }> | { readonly verifier: "match" };

export interface Verification {
  readonly sampler: Sampler;
  readonly policy: TextPolicy;
  readonly seed: number;
  /** Nothing is drawn after one of these. */
  readonly endTokens: ReadonlySet<number>;
  /** Default: f64 in TypeScript. */
  readonly math?: RowMath;
}

export interface Outcome {
  /** Nodes of the accepted path, first to last. */
  readonly accepted: readonly number[];
  /** Their tokens and the one that follows; nothing after an end token. */
  readonly emitted: readonly Choice[];
  /** Places on that path that had a proposal. */
  readonly tested: number;
}

/** @param start Position of the first token that is emitted. */
export function decide(draft: Draft, rows: DraftRows, start: number, verification: Verification): Outcome {
  const { policy } = verification;
  return keepsText(policy)
    ? decideBySampler(draft, rows, start, verification)
    : decideByLaws(draft, rows, start, verification);
}

/** Whether a verifier gives the text of plain decoding: its tokens are the sampler's own. */
export function keepsText({ verifier }: TextPolicy): boolean {
  return VERIFIERS[verifier].reproducible;
}

function decideBySampler(draft: Draft, rows: DraftRows, start: number, verification: Verification): Outcome {
  const { sampler, endTokens, seed } = verification;
  if (draft.tokens.length === 0) {
    return { accepted: [], emitted: [sampler.choose(rowAt(rows, 0))], tested: 0 };
  }
  const emitted: Choice[] = [];
  let isStuck = false;
  const sample = (_row: Row, _position: number, path: readonly number[], index: number) => {
    const last = path.at(-1);
    // The text is over: no row is made sense of behind its end.
    if (last !== undefined && (isStuck || endTokens.has(last))) return last;
    try {
      const choice = sampler.choose(rowAt(rows, index), path, emitted.at(-1)?.state);
      emitted.push(choice);
      return choice.token;
    } catch (error) {
      // No token may follow what was drafted. The text may end before, at a stop text: if not, the next round says so.
      if (last === undefined || !(error instanceof RangeError)) throw error;
      isStuck = true;
      return last;
    }
  };
  const verdict = verify({
    rows: rows.spared === undefined ? rows : unseen(rows),
    draft: { ...draft, law: "one-hot" },
    start,
    random: seededRandom(seed),
    policy: { verifier: "match", sample },
  });
  const path = pathOf(verdict, emitted.length);
  // The last token is then computed on once more.
  const accepted = isStuck ? path.accepted.slice(0, -1) : path.accepted;
  return { ...path, accepted, emitted };
}

function decideByLaws(draft: Draft, rows: DraftRows, start: number, verification: Verification): Outcome {
  const { sampler, policy, endTokens, seed, math } = verification;
  const laws = new Laws(draft, rows, sampler, endTokens);
  const verdict = verify({
    rows: { count: rows.count, vocab: rows.vocab, row: (index) => laws.row(index, math) },
    draft,
    start,
    random: seededRandom(seed),
    policy: policy as Policy,
    math,
  });
  const emitted: Choice[] = [];
  for (const [i, token] of verdict.emitted.entries()) {
    emitted.push(laws.choice(i === 0 ? 0 : verdict.accepted[i - 1] + 1, token));
    if (endTokens.has(token)) break;
  }
  return { ...pathOf(verdict, emitted.length), emitted };
}

/** Rows that are there and nobody looks at, as `sample` is told the index: to look at the others would make them. */
function unseen({ count, vocab }: DraftRows): RowSet {
  const row = new Float32Array(vocab);
  return { count, vocab, row: () => row };
}

/** What of the verdict lies before the end of the text. */
function pathOf({ accepted, stats }: Verdict, emitted: number): Pick<Outcome, "accepted" | "tested"> {
  return { accepted: accepted.slice(0, emitted), tested: Math.min(stats.tested, emitted) };
}

function rowAt(rows: DraftRows, index: number): LogitsRow {
  const { top } = rows;
  if (rows.spared !== undefined) return lazyRow(rows, index, rows.spared(index));
  // The row last: a view of it.
  const kernels = top && { best: (count: number) => top.call(rows, index, count), law: rows.law?.(index) };
  return { kernels, values: rows.row(index) };
}

function lazyRow(rows: DraftRows, index: number, spared: SparedRow): LogitsRow {
  return {
    spared,
    get kernels() {
      return { best: spared.best, law: rows.law?.(index) };
    },
    get values() {
      return rows.row(index);
    },
  };
}

/** The laws that the target's rows stand for, each made when it is first asked for. */
class Laws {
  readonly #draft: Draft;
  readonly #rows: DraftRows;
  readonly #sampler: Sampler;
  readonly #endTokens: ReadonlySet<number>;
  readonly #laws: (Distribution | null)[] = [];
  readonly #states: PipelineState[] = [];

  constructor(draft: Draft, rows: DraftRows, sampler: Sampler, endTokens: ReadonlySet<number>) {
    this.#draft = draft;
    this.#rows = rows;
    this.#sampler = sampler;
    this.#endTokens = endTokens;
  }

  /** Probabilities after node `index` − 1. Where no text can be, any law will do: nothing is emitted there. */
  row(index: number, math: RowMath | undefined): Row {
    const law = this.#law(index) ?? nowhere(this.#rows.vocab);
    return math?.fromDistribution(law).values ?? denseProbabilities(law);
  }

  /** An emitted token, drawn or accepted from the law at `index`. */
  choice(index: number, token: number): Choice {
    const law = this.#law(index)!;
    const { pipeline, top } = this.#sampler;
    return {
      token,
      logProbability: log(probabilityOf(law, token)),
      top: top === 0 ? [] : topLogProbabilities(law, top),
      state: pipeline.after(this.#state(index), law, token),
    };
  }

  #law(index: number): Distribution | null {
    if (this.#laws[index] === undefined) this.#laws[index] = this.#makeLaw(index);
    return this.#laws[index];
  }

  #makeLaw(index: number): Distribution | null {
    const path = this.#path(index - 1);
    if (path.some((token) => this.#endTokens.has(token))) return null;
    return this.#sampler.law(rowAt(this.#rows, index), path, this.#state(index));
  }

  #state(index: number): PipelineState {
    if (index === 0) return this.#sampler.state;
    if (this.#states[index] === undefined) {
      const node = index - 1;
      const above = this.#parent(node) + 1;
      const law = this.#law(above);
      const before = this.#state(above);
      this.#states[index] =
        law === null ? before : this.#sampler.pipeline.after(before, law, this.#draft.tokens[node]);
    }
    return this.#states[index];
  }

  /** Tokens down to `node`. */
  #path(node: number): number[] {
    const path: number[] = [];
    for (let at = node; at >= 0; at = this.#parent(at)) path.push(this.#draft.tokens[at]);
    return path.reverse();
  }

  #parent(node: number): number {
    return this.#draft.parents === undefined ? node - 1 : this.#draft.parents[node];
  }
}

function nowhere(vocab: number): Distribution {
  return { vocab, ids: Uint32Array.of(0), probabilities: Float64Array.of(1) };
}
