/**
 * generate: the main path. Prompt in, tokens out.
 *
 *     repeat:  draft   =  what the drafter thinks comes next, gamma tokens, perhaps none
 *              rows    =  forward(pending + draft)                  one pass over the weights for gamma + 1 rows
 *              emit       the sampler's token of each row, as long as the draft had foreseen the one before
 *              truncate   the draft tokens that were not foreseen right
 *
 * Every emitted token is what the sampler makes of the row that plain decoding would have computed, and its randomness
 * depends on the position alone: the text is the same with and without a drafter, bit for bit ("sample and match").
 */
import type { SpeculationController } from "./drafter/controller.ts";
import { type Drafter, NO_DRAFT } from "./drafter/drafter.ts";
import { nextTask } from "./next-task.ts";
import { createPipeline, type PipelineSettings, settingsSteps } from "./pipeline.ts";

/** What is needed of a session here; engine/source.ts has the whole. */
interface Forward {
  readonly length: number;
  readonly capacity: number;
  forward(tokens: ArrayLike<number>, rows?: number): Promise<{ row(index: number): Float32Array }>;
  truncate(length: number): void;
}

export interface GenerateSettings {
  readonly sampling: PipelineSettings;
  /** Tokens to emit at most. */
  readonly maxTokens: number;
  /** Tokens that end the text; they are not emitted. */
  readonly endTokens: ReadonlySet<number>;
  readonly signal?: AbortSignal;
  /** Who drafts, and who decides how much. Absent: plain decoding. */
  readonly speculation?: Speculation;
}

export interface Speculation {
  readonly drafter: Drafter;
  readonly controller: SpeculationController;
  /** Milliseconds, from any start: what the controller weighs. It never decides what is emitted. */
  readonly now: () => number;
  readonly stats: SpeculationStats;
}

/** Counts of one request. Acceptance rate = accepted / tested: what follows a miss was never tested. */
export interface SpeculationStats {
  /** Draft tokens that went through the target. */
  drafted: number;
  tested: number;
  accepted: number;
  /** Forward passes of the target behind the prompt's. */
  targetCalls: number;
}

export type TokenFinish = "end" | "length";

/** Prompt tokens between two looks at the signal. Where a prompt is cut does not change a bit of the result. */
const PROMPT_PIECE = 64;

/** @throws {DOMException} AbortError, when the signal fires. */
export async function* generate(
  session: Forward,
  prompt: readonly number[],
  settings: GenerateSettings,
): AsyncGenerator<number, TokenFinish, void> {
  const { sampling, maxTokens, endTokens, signal, speculation } = settings;
  const pipeline = createPipeline(settingsSteps(sampling));
  let state = pipeline.start();
  const history = [...prompt];
  if (maxTokens === 0) return "length";
  for (let at = 0; at + PROMPT_PIECE < prompt.length; at += PROMPT_PIECE) {
    await session.forward(prompt.slice(at, at + PROMPT_PIECE), 0);
    await nextTask();
    signal?.throwIfAborted();
  }
  speculation?.drafter.append(prompt);
  let pending: readonly number[] = prompt.slice(session.length);
  for (let emitted = 0; emitted < maxTokens; ) {
    signal?.throwIfAborted();
    const start = session.length + pending.length;
    // The last token to emit is not computed on, so drafting as far as it is of no use.
    const room = Math.min(maxTokens - emitted - 1, session.capacity - start);
    const round = speculation && emitted > 0 ? await propose(speculation, room) : PLAIN;
    const rows = await session.forward([...pending, ...round.draft], round.draft.length + 1);

    // All rows are looked at before anything is yielded: they are gone once someone else uses the source.
    const tokens: number[] = [];
    let accepted = -1;
    do {
      accepted++;
      const place = {
        history,
        promptLength: prompt.length,
        position: start + accepted,
        seed: sampling.seed,
        state,
      };
      const choice = pipeline.sample(rows.row(accepted), place);
      state = choice.state;
      tokens.push(choice.token);
      history.push(choice.token);
    } while (tokens[accepted] === round.draft[accepted] && !endTokens.has(tokens[accepted]));
    session.truncate(start + accepted);
    if (speculation && emitted > 0) account(speculation, round, accepted, tokens.length);
    speculation?.drafter.append(tokens);

    for (const token of tokens) {
      if (endTokens.has(token)) return "end";
      emitted++;
      yield token;
    }
    if (session.length === session.capacity) return "length";
    pending = tokens.slice(-1);
  }
  return "length";
}

/** One step's draft, and when its target call began. */
interface Round {
  readonly draft: readonly number[];
  readonly draftCost: number;
  readonly began: number;
}

/** The prompt's: what comes first costs another time and is no measure. */
const PLAIN: Round = { draft: [], draftCost: 0, began: 0 };

async function propose({ drafter, controller, now }: Speculation, room: number): Promise<Round> {
  const asked = Math.min(controller.ask(), room);
  const before = now();
  const draft = asked > 0 ? await drafter.draft(asked) : NO_DRAFT;
  const began = now();
  const verified = Math.min(controller.keep(draft.tokens.length, draft.matchLength ?? 1), room);
  return { draft: Array.from(draft.tokens).slice(0, verified), draftCost: began - before, began };
}

function account(speculation: Speculation, round: Round, accepted: number, emitted: number): void {
  const { controller, now, stats } = speculation;
  const { draft, draftCost, began } = round;
  const verified = draft.length;
  controller.record({ verified, accepted, emitted, targetCost: now() - began, draftCost });
  stats.drafted += verified;
  stats.tested += Math.min(accepted + 1, verified);
  stats.accepted += accepted;
  stats.targetCalls++;
}
