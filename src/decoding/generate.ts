/**
 * generate: the main path. Prompt in, tokens out.
 *
 *     repeat:  draft   =  what the drafter thinks comes next, gamma tokens, perhaps none
 *              rows    =  forward(pending + draft)                  one pass over the weights for gamma + 1 rows
 *              emit       what the verifier keeps of the draft, and the token that follows
 *              truncate   what it does not keep
 *
 * With the default verifier every emitted token is what the sampler makes of the row that plain decoding would have
 * computed, and its randomness depends on the position alone: the text is the same with and without a drafter, bit for
 * bit. Others keep the law of the text, or say that they do not.
 *
 * Where rows are made on another device the sampler's choices are made there too, as far as it can (drawn-outcome.ts): a few
 * words come back instead of rows.
 */
import type { DrawTask, ScanTask } from "../backend/draw-kernels.ts";
import type { RowMath } from "../backend/row-math.ts";
import type { Draft } from "./draft.ts";
import { type DrawnRows, decideDrawn, questionOf } from "./drawn-outcome.ts";
import { type DraftRows, decide, type Outcome, type TextPolicy, type Verification } from "./outcome.ts";
import type { Choice } from "./pipeline.ts";
import { PIECE, readTokens } from "./read-tokens.ts";
import { Sampler, type SamplerSettings } from "./sampler.ts";
import { NOTHING, type Speculation, SpeculationRun } from "./speculation.ts";

/** What is needed of a session here; engine/source.ts has the whole. */
interface Forward {
  readonly length: number;
  readonly capacity: number;
  /** Told where `draw` is. */
  readonly vocab?: number;
  forward(tokens: ArrayLike<number>, rows?: number, parents?: ArrayLike<number>): Promise<DraftRows>;
  draw?(
    tokens: ArrayLike<number>,
    tasks: readonly DrawTask[],
    parents?: ArrayLike<number>,
    scan?: ScanTask,
  ): Promise<DrawnRows>;
  truncate(length: number, path?: readonly number[]): void;
}

export interface GenerateSettings extends SamplerSettings {
  /** Tokens to emit at most. */
  readonly maxTokens: number;
  /** Tokens that end the text; they are not emitted. */
  readonly endTokens: ReadonlySet<number>;
  readonly signal?: AbortSignal;
  /** Who drafts, and who decides how much. Absent: plain decoding. */
  readonly speculation?: Speculation;
  /** What verifiers work on rows with. Default: f64 in TypeScript. */
  readonly math?: RowMath;
}

export type TokenFinish = "end" | "length";

/** Of plain decoding, whose drafts are empty. */
const MATCH: TextPolicy = { verifier: "match" };

/**
 * @param session Holds nothing, or a beginning of the prompt that was computed before; never all of it.
 * @throws {DOMException} AbortError, when the signal fires.
 */
export async function* generate(
  session: Forward,
  prompt: readonly number[],
  settings: GenerateSettings,
): AsyncGenerator<Choice, TokenFinish, void> {
  const { maxTokens, endTokens, signal, speculation, seed, math } = settings;
  const sampler = new Sampler(prompt, settings);
  const verification = { sampler, policy: speculation?.policy ?? MATCH, seed, endTokens, math };
  if (maxTokens === 0) return "length";
  // The rest, whose last row is wanted, is one call. Where a prompt is cut does not change a bit of the result.
  const rest = ((prompt.length - session.length - 1) % PIECE) + 1;
  await readTokens(session, prompt.slice(0, prompt.length - rest), signal);
  const run = speculation && new SpeculationRun(speculation, prompt);
  await run?.prepare();
  let pending = prompt.slice(session.length);
  for (let emitted = 0; emitted < maxTokens; ) {
    signal?.throwIfAborted();
    const start = session.length + pending.length;
    // The last token to emit is not computed on, so drafting as far as it is of no use.
    const room = Math.min(maxTokens - emitted - 1, session.capacity - start);
    const proposal = run && emitted > 0 ? run.propose(room) : NOTHING;
    const draft = proposal instanceof Promise ? await proposal : proposal;
    const answer = await ask(session, pending, draft, verification, run?.observes);
    run?.computed();

    // All rows are looked at before anything is yielded: they are gone once someone else uses the session.
    const outcome = answer.outcome ?? decide(answer.draft, answer.rows, start, verification);
    const tokens = outcome.emitted.map(({ token }) => token);
    sampler.commit(tokens, outcome.emitted[tokens.length - 1].state);
    run?.account(pending[pending.length - 1], answer.rows, tokens, outcome);
    keep(session, start, draft, outcome.accepted, pending.length);

    for (const choice of outcome.emitted) {
      if (endTokens.has(choice.token)) return "end";
      emitted++;
      yield choice;
    }
    if (session.length === session.capacity) return "length";
    pending = tokens.slice(-1);
  }
  return "length";
}

/** What came of a call: rows, or what can be decided without them. */
type Answer =
  | { readonly outcome: Outcome; readonly rows: null }
  | { readonly outcome: null; readonly rows: DraftRows; readonly draft: Draft };

/** Has the session compute, and draw where rows are far away and nobody needs them. */
async function ask(
  session: Forward,
  pending: readonly number[],
  draft: Draft,
  verification: Verification,
  needsRows = false,
): Promise<Answer> {
  const [tokens, count, parents] = call(pending, draft);
  const start = session.length + pending.length;
  const question = session.draw && !needsRows ? questionOf(draft, start, session.vocab!, verification) : null;
  if (question === null) return { outcome: null, rows: await session.forward(tokens, count, parents), draft };
  const drawn = await session.draw!(tokens, question.tasks, parents, question.scan);
  const outcome = decideDrawn(draft, drawn, verification);
  if (outcome !== null) return { outcome, rows: null };
  return { outcome, rows: await drawn.load(), draft: question.draft };
}

type ForwardCall = [tokens: number[], rows: number, parents?: number[]];

/** The target's call for a draft after `pending`: a row for the last of them and for each node. */
function call(pending: readonly number[], { tokens, parents }: Draft): ForwardCall {
  const all = [...pending, ...Array.from(tokens)];
  const rows = tokens.length + 1;
  if (parents === undefined) return [all, rows];
  const trunk = pending.map((_, i) => i - 1);
  return [all, rows, [...trunk, ...Array.from(parents, (parent) => parent + pending.length)]];
}

/** Takes back what was not accepted. In a tree the accepted nodes move up to where the text goes on. */
function keep(
  session: Forward,
  start: number,
  draft: Draft,
  accepted: readonly number[],
  pending: number,
): void {
  if (draft.parents === undefined) session.truncate(start + accepted.length);
  else
    session.truncate(
      start,
      accepted.map((node) => node + pending),
    );
}
