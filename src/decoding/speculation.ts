/**
 * speculation: one text's drafter and what decides how much it drafts; the part of the main path that is only about
 * speed.
 */
import type { Draft } from "./draft.ts";
import type { SpeculationController } from "./drafter/controller.ts";
import type { Drafter } from "./drafter/drafter.ts";
import type { SpeculationStats } from "./drafter/stats.ts";
import { SUCCESSORS } from "./drafter/token-recycling.ts";
import type { DraftRows, Outcome, TextPolicy } from "./outcome.ts";

export interface Speculation {
  readonly drafter: Drafter;
  readonly controller: Pick<SpeculationController, "ask" | "keep" | "record">;
  /** Who decides how much of a draft survives. */
  readonly policy: TextPolicy;
  /** Milliseconds, from any start: what the controller weighs. It never decides what is emitted. */
  readonly now: () => number;
  readonly stats: SpeculationStats;
}

/** One step's draft, and when its parts ended. */
interface Round {
  /** Tokens the drafter was asked for. */
  readonly asked: number;
  readonly draft: Draft;
  readonly began: number;
  /** The drafter knew all that was emitted. */
  readonly fed: number;
  readonly drafted: number;
}

/** No draft: a plain step. */
export const NOTHING: Draft = { tokens: [], law: "one-hot" };

/** The rounds of one text. */
export class SpeculationRun {
  readonly #speculation: Speculation;
  /** Emitted tokens that the drafter was not told of yet: feeding it is put off until it is asked. */
  #unfed: number[];
  #round: Round | null = null;
  #computed = 0;

  constructor(speculation: Speculation, prompt: readonly number[]) {
    this.#speculation = speculation;
    this.#unfed = [...prompt];
  }

  /** Has the drafter read the prompt, so that its first draft takes no longer than others. */
  async prepare(): Promise<void> {
    this.#feed();
    await this.#speculation.drafter.prepare?.();
  }

  /**
   * Asks the drafter for as much as the controller thinks right, at most `room` tokens. A promise only where it is asked:
   * with small models even that is a part of a plain step's time.
   */
  propose(room: number): Draft | Promise<Draft> {
    const { controller, now } = this.#speculation;
    const began = now();
    const asked = Math.min(controller.ask(room), room);
    if (asked > 0) return this.#draft(asked, room, began);
    this.#round = { asked, draft: NOTHING, began, fed: began, drafted: began };
    return NOTHING;
  }

  async #draft(asked: number, room: number, began: number): Promise<Draft> {
    const { drafter, controller, now } = this.#speculation;
    this.#feed();
    const fed = now();
    const proposal = await drafter.draft(asked);
    const usable = proposal === undefined ? 0 : usableNodes(proposal, drafter.vocab);
    const kept = usable === 0 ? 0 : Math.min(controller.keep(usable, proposal?.matchLength ?? 1), room);
    this.#round = { asked, draft: firstNodes(proposal, kept), began, fed, drafted: now() };
    return this.#round.draft;
  }

  /** Whether the drafter learns from rows. */
  get observes(): boolean {
    return this.#speculation.drafter.observe !== undefined;
  }

  /** Says that the target has answered. */
  computed(): void {
    this.#computed = this.#speculation.now();
  }

  /**
   * Tells the drafter what the rows held, and the controller and the statistics how it went.
   *
   * @param last The token before the draft.
   * @param rows Null if nobody has them here.
   */
  account(
    last: number,
    rows: DraftRows | null,
    tokens: readonly number[],
    { accepted, tested }: Outcome,
  ): void {
    const { controller, now, stats } = this.#speculation;
    this.#unfed.push(...tokens);
    const round = this.#round;
    // The prompt's call: what comes first costs another time and is no measure.
    if (round === null) return;
    const { asked, draft, began, fed, drafted } = round;
    const sampled = now();
    // While nothing is asked for, nothing may cost: not even learning.
    if (asked > 0 && rows !== null) this.#observe(last, draft, rows);
    const verified = draft.tokens.length;
    const overhead = asked > 0 ? fed - began + (now() - sampled) : 0;
    controller.record({
      verified,
      tested,
      accepted: accepted.length,
      emitted: tokens.length,
      targetCost: sampled - drafted,
      draftCost: drafted - fed,
      overhead,
    });
    stats.record({
      drafted: verified,
      tested,
      accepted: accepted.length,
      emitted: tokens.length,
      ms: {
        draft: drafted - fed + overhead,
        target: this.#computed - drafted,
        sample: sampled - this.#computed,
      },
    });
  }

  #feed(): void {
    this.#speculation.drafter.append(this.#unfed);
    this.#unfed = [];
  }

  #observe(last: number, { tokens }: Draft, rows: DraftRows): void {
    const { drafter } = this.#speculation;
    if (drafter.observe === undefined || rows.top === undefined) return;
    for (let row = 0; row < rows.count; row++) {
      drafter.observe(row === 0 ? last : tokens[row - 1], rows.top(row, SUCCESSORS).ids);
    }
  }
}

/** Nodes before the first whose token is not of the vocabulary: a target cannot compute on that. */
function usableNodes({ tokens }: Draft, vocab: number): number {
  let count = 0;
  while (
    count < tokens.length &&
    Number.isInteger(tokens[count]) &&
    tokens[count] >= 0 &&
    tokens[count] < vocab
  )
    count++;
  return count;
}

/** The first `count` nodes. Parents come first, so of a tree they are a tree. */
function firstNodes(draft: Draft | undefined, count: number): Draft {
  if (draft === undefined || count === 0) return NOTHING;
  if (count === draft.tokens.length) return draft;
  const first = (values: ArrayLike<number>) => Array.prototype.slice.call(values, 0, count) as number[];
  const { law, parents } = draft;
  return {
    tokens: first(draft.tokens),
    ...(parents && { parents: first(parents) }),
    law: typeof law === "object" && "scalars" in law ? { scalars: first(law.scalars) } : law,
  };
}
