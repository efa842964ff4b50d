import type { Draft } from "../../decoding/draft.ts";
import type { Drafter } from "../../decoding/drafter/drafter.ts";
import { expectGamma, expectTokens, NO_DRAFT } from "../../decoding/drafter/drafter.ts";
import { leadOf } from "../../decoding/pipeline/plan.ts";
import type { SparedRow, Step } from "../../decoding/pipeline.ts";
import { expectInteger, MemoryError, UnsupportedError } from "../../errors.ts";
import type { DraftHead } from "../../model/draft-head.ts";
import { type Ahead, aheadOf, MAX_AHEAD } from "../ahead.ts";
import type { Session } from "../source.ts";
import { type ChainSession, chosenChain } from "./draft-chain.ts";
import { type DraftRows, DraftSampler, type DraftSampling } from "./draft-sampler.ts";

export interface HeadDrafterOptions extends DraftSampling {
  /** Every token is below it. */
  readonly vocab: number;
  /** Tokens of the prompt, which penalties may tell from the output. */
  readonly promptLength: number;
  /** "coupled": by the race of the target, for "match" and "gumbel". "greedy": the most likely ones. Default "coupled". */
  readonly mode?: "coupled" | "greedy";
}

/** Tokens that take part in a race: the target's whole vocabulary would take longer than the head does. */
const RACERS = 512;

/**
 * Drafts with the target itself, but for its head: the layers run ahead on the target's own session, and a cheap head
 * looks at their hidden states. To verify, the target's head alone is read, once for all of a draft.
 *
 * Pays where the head is a large part of the weights: V · D, against some 12 D² a layer.
 *
 * @example
 * ```ts
 * const drafter = new HeadDrafter(session, aheadOf(session), { vocab, steps: pipeline.steps, seed: 1, promptLength: 4 });
 * drafter.append(prompt);
 * await drafter.draft(4); // { tokens: [314, 15, 9, 26], law: "one-hot" }
 * ```
 */
export class HeadDrafter implements Drafter {
  readonly vocab: number;
  readonly #session: Session;
  /** Where the head is, and it; null: it cannot be had. */
  #ahead: Ahead;
  #head: DraftHead | null;
  readonly #sampler: DraftSampler;
  readonly #coupled: boolean;
  readonly #committed: number[] = [];

  /**
   * @param session The target's, holding the committed tokens but for a last few when it is asked for a draft.
   * @throws {MemoryError} If there is no room for the head's rows.
   */
  constructor(session: Session, ahead: Ahead, options: HeadDrafterOptions) {
    this.vocab = options.vocab;
    this.#session = session;
    this.#ahead = ahead;
    this.#coupled = options.mode !== "greedy";
    const { steps } = options;
    this.#sampler = new DraftSampler(this.#committed, {
      ...options,
      steps: withRacers(steps),
      wholeSteps: steps,
    });
    this.#sampler.promptLength = options.promptLength;
    this.#head = headOf(ahead);
  }

  get length(): number {
    return this.#committed.length;
  }

  /** Weights that the cheap head reads for a token. */
  get headBytes(): number {
    return this.#head?.bytes ?? 0;
  }

  append(tokens: ArrayLike<number>): void {
    expectTokens("tokens", tokens, this.vocab);
    for (let i = 0; i < tokens.length; i++) this.#committed.push(tokens[i]);
    this.#head?.learn(tokens);
  }

  truncate(length: number): void {
    this.#committed.length = expectInteger("length", length, 0, this.length);
  }

  async draft(gamma: number): Promise<Draft> {
    const pending = this.length - this.#session.length;
    const room = Math.min(this.#session.capacity - this.length, MAX_AHEAD - pending);
    const most = Math.min(expectGamma(gamma), room + 1);
    if (most <= 0 || room < 0 || pending <= 0) return NO_DRAFT;
    try {
      const head = this.#headNow();
      if (head === null) return NO_DRAFT;
      const options = {
        vocab: this.vocab,
        session: new HeadChain(this.vocab, this.#session.length, this.#ahead, head),
        sampler: this.#sampler,
        committed: this.#committed,
        gamma: most,
        minProbability: 0,
      };
      return await chosenChain(options, this.#coupled);
    } catch (error) {
      // A device that failed: whoever verifies finds out too, and goes on without it.
      if (error instanceof UnsupportedError) return NO_DRAFT;
      throw error;
    }
  }

  close(): void {
    this.#head?.close();
  }

  /** The head where the session is now. One that is new there knows nothing yet. */
  #headNow(): DraftHead | null {
    const ahead = aheadOf(this.#session) ?? this.#ahead;
    if (ahead === this.#ahead) return this.#head;
    this.#head?.close();
    this.#head = null;
    this.#ahead = ahead;
    try {
      this.#head = headOf(ahead);
    } catch (error) {
      // The text goes on without drafts.
      if (!(error instanceof MemoryError)) throw error;
    }
    this.#head?.learn(this.#committed);
    return this.#head;
  }
}

/** Null if it is to be on a device that has failed. */
function headOf(ahead: Ahead): DraftHead | null {
  try {
    return ahead.openHead();
  } catch (error) {
    if (error instanceof UnsupportedError) return null;
    throw error;
  }
}

/** Rows of the draft head behind the target's session. */
class HeadChain implements ChainSession {
  readonly #vocab: number;
  readonly #length: number;
  readonly #ahead: Ahead;
  readonly #head: DraftHead;
  /** What is behind the `length` tokens of the session. */
  #path: readonly number[] = [];

  constructor(vocab: number, length: number, ahead: Ahead, head: DraftHead) {
    this.#vocab = vocab;
    this.#length = length;
    this.#ahead = ahead;
    this.#head = head;
  }

  async follow(committed: readonly number[]): Promise<DraftRows> {
    this.#path = committed.slice(this.#length);
    return await this.#read();
  }

  async step(token: number): Promise<DraftRows> {
    this.#path = [...this.#path, token];
    return await this.#read();
  }

  async #read(): Promise<DraftRows> {
    const { late, row, top, own } = await this.#head.read(await this.#ahead.run(this.#path));
    // Where the target draws from rows, so must its draft.
    if (own === undefined || !this.#ahead.drawsOwn) return { late, row, top: (_, count) => top(count) };
    const { logit } = own;
    const draw: SparedRow["draw"] = ({ edits, ...place }, most) => own.draw(place, most, edits);
    const spared = () => ({ vocab: this.#vocab, best: top, logit, draw });
    return { row, top: (_, count) => top(count), spared };
  }
}

/** The best tokens alone, cut off before the first step that looks at all of them. */
function withRacers(steps: readonly Step[]): readonly Step[] {
  const lead = leadOf(steps.map((step, index) => ({ step, index, slot: -1 })));
  return [...steps.slice(0, lead), { step: "top-k", k: RACERS }, ...steps.slice(lead)];
}
