/** Verification where the session lives: rounds of `decoding/generate.ts`, of drafts that others made, or the session's own. */
import type { Draft } from "../../decoding/draft.ts";
import { decide, keepsText, type Outcome, type TextPolicy } from "../../decoding/outcome.ts";
import { denseProbabilities } from "../../decoding/pipeline.ts";
import { Sampler } from "../../decoding/sampler.ts";
import { backendOf } from "../../engine/model-backend.ts";
import type { Rows } from "../../engine/source.ts";
import { clientError } from "../engine-errors.ts";
import { apiError } from "../errors.ts";
import { describeOutcome, placeOf, type VerificationAnswer } from "../verification.ts";
import type { Progress, SessionCache } from "./caches.ts";
import { cutText, type SessionRecord, stateOf } from "./record.ts";

/** Why a session's text does not go on. */
export type SessionFinish = "stop" | "length";

export interface SessionAnswer extends VerificationAnswer {
  readonly finish: SessionFinish | null;
  /** The token that ended the text, which is not part of it. */
  readonly endToken: number | null;
  /** Logits of the place that the last token was chosen at, and the law that was made of them. */
  readonly row?: Float32Array;
  readonly probs?: Float64Array;
}

export interface SessionVerification {
  /** Of the client; the session's own come after it. */
  readonly draft: Draft;
  readonly policy: TextPolicy;
  /** Tokens to emit at most; one round, if there is no such limit. */
  readonly maxTokens: number | undefined;
  /** Tokens that the session's own drafter drafts in a round. */
  readonly gamma: number;
  readonly wants: { readonly row: boolean; readonly probs: boolean };
}

export interface SessionProgress extends Progress {
  /** A round is over. */
  round(drafted: number, tested: number, accepted: number, emitted: number): void;
}

/** Goes back to `position`, if the client knows of no more: it asks again, or anew. @throws {HTTPException} 409 or 400. */
export function rewind(record: SessionRecord, position: number | null | undefined): void {
  const { length } = record.tokens;
  if (position === undefined || position === null) return;
  if (position > length) {
    throw apiError(
      409,
      `"position" is ${position}, but the session holds ${length} tokens; append the others`,
      {
        param: "position",
        code: "session_behind",
      },
    );
  }
  if (position < record.promptLength) {
    throw apiError(
      400,
      `"position" must be at least ${record.promptLength}, the prompt's length, got ${position}`,
      {
        param: "position",
        code: "invalid_value",
      },
    );
  }
  cutText(record, position);
}

/** Verifies, and appends what is emitted to the record. */
export async function verifyInSession(
  record: SessionRecord,
  cache: SessionCache,
  verification: SessionVerification,
  progress: SessionProgress,
): Promise<SessionAnswer> {
  const { maxTokens = Number.POSITIVE_INFINITY, gamma } = verification;
  const isOneRound = verification.maxTokens === undefined;
  const most = Math.min(record.capacity - record.tokens.length, maxTokens);
  const before = record.tokens.length;
  let answer: SessionAnswer | undefined;
  do {
    const room = most - (record.tokens.length - before) - 1;
    if (room < 0) break;
    const own = answer !== undefined || verification.draft.tokens.length === 0;
    // What a rule drafts is chosen, and in a chain: every verifier that takes it is given one.
    const draft = own ? cache.draft(record, Math.min(gamma, room)) : firstNodes(verification.draft, room);
    const round = await verifyRound(record, cache, draft, verification, progress);
    progress.round(draft.tokens.length, round.stats.tested, round.accepted, round.tokens.length);
    answer = answer === undefined ? round : joined(answer, round);
    progress.signal.throwIfAborted();
  } while (!isOneRound && answer.finish === null && answer.pending === null);
  answer ??= nothing(verification);
  const isFull = answer.finish === null && record.tokens.length >= record.capacity;
  return isFull ? { ...answer, finish: "length" } : answer;
}

async function verifyRound(
  record: SessionRecord,
  cache: SessionCache,
  draft: Draft,
  { policy, wants }: SessionVerification,
  progress: SessionProgress,
): Promise<SessionAnswer> {
  const { seed, promptLength } = record;
  const { model, pipeline } = cache;
  const tokens = [...record.tokens];
  const endTokens = record.ignoreEos ? NONE : model.tokenizer.endTokens;
  const { constraint } = cache;
  const sampler = new Sampler(tokens.slice(0, promptLength), { pipeline, seed, constraint });
  sampler.commit(tokens.slice(promptLength), stateOf(record, pipeline));
  const rows = await cache.readDraft(tokens, draft, progress);
  let outcome: Outcome;
  let told: Pick<SessionAnswer, "row" | "probs">;
  try {
    const math = keepsText(policy) ? undefined : backendOf(model)?.rowMath();
    outcome = decide(draft, rows, tokens.length, { sampler, policy, seed, endTokens, math });
    told = tell(rows, sampler, outcome, wants);
  } catch (error) {
    throw clientError(error);
  }
  const last = outcome.emitted.at(-1)?.token;
  const isEnd = last !== undefined && endTokens.has(last);
  const emitted = isEnd ? outcome.emitted.slice(0, -1) : outcome.emitted;
  const accepted = outcome.accepted.slice(0, emitted.length);
  cache.keep(tokens, draft, accepted);
  const described = describeOutcome(draft, { ...outcome, accepted, emitted }, policy);
  record.tokens.push(...described.tokens);
  for (const { state } of emitted) if (state.memory.length > 0) record.memory.push(state.memory);
  return {
    ...described,
    // Of rows of which only the top is known, the law is another one.
    lossless: described.lossless && model.known === undefined,
    pending: isEnd ? null : described.pending,
    finish: isEnd ? "stop" : null,
    endToken: isEnd ? last : null,
    ...told,
  };
}

/** Copies: rows are gone with the next call. */
function tell(
  rows: Rows,
  sampler: Sampler,
  outcome: Outcome,
  wants: SessionVerification["wants"],
): Pick<SessionAnswer, "row" | "probs"> {
  const isPending = outcome.emitted.length === outcome.accepted.length;
  if (!(wants.row || wants.probs || isPending)) return {};
  const row = rows.row(placeOf(outcome)).slice();
  const path = outcome.emitted.slice(0, outcome.accepted.length).map(({ token }) => token);
  const law = wants.probs || isPending ? sampler.law({ values: row }, path, sampler.state) : null;
  return { ...(wants.row && { row }), ...(law && { probs: denseProbabilities(law) }) };
}

const NONE: ReadonlySet<number> = new Set();

/** Parents come first, so of a tree the first nodes are a tree. What is left out could not be emitted. */
function firstNodes(draft: Draft, room: number): Draft {
  const { tokens, parents, law } = draft;
  if (tokens.length <= room) return draft;
  const first = (values: ArrayLike<number>) => Array.from(values).slice(0, room);
  return {
    tokens: first(tokens),
    ...(parents && { parents: first(parents) }),
    law: typeof law === "object" && "scalars" in law ? { scalars: first(law.scalars) } : law,
  };
}

/** `accepted` and `path` are of the client's draft, so of the first round. */
function joined(first: SessionAnswer, next: SessionAnswer): SessionAnswer {
  return {
    ...next,
    accepted: first.accepted,
    path: first.path,
    tokens: [...first.tokens, ...next.tokens],
    logprobs: [...first.logprobs, ...next.logprobs],
    stats: {
      drafted: first.stats.drafted + next.stats.drafted,
      tested: first.stats.tested + next.stats.tested,
      accepted: first.stats.accepted + next.stats.accepted,
    },
  };
}

function nothing({ draft, policy }: SessionVerification): SessionAnswer {
  const outcome: Outcome = { accepted: [], emitted: [], tested: 0 };
  return { ...describeOutcome(draft, outcome, policy), pending: null, finish: null, endToken: null };
}
