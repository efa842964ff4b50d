import { expectInteger } from "../../errors.ts";
import { MAX_GAMMA } from "./drafter.ts";

/** Milliseconds by what they went to. */
export interface SpentTime {
  /** The drafter: feeding it, asking it, telling it of rows. */
  readonly draft: number;
  /** Forward passes of the target. */
  readonly target: number;
  /** Sampling and verifying. */
  readonly sample: number;
}

/** One target call behind the prompt's, with or without a draft. */
export interface VerifiedRound {
  /** Draft tokens, or nodes of a tree, that went through the target. */
  readonly drafted: number;
  /** Places that had a proposal and were looked at: accepted, and one more if that one was rejected. */
  readonly tested: number;
  readonly accepted: number;
  /** Tokens added to the text, 1 … accepted + 1. */
  readonly emitted: number;
  readonly ms?: Partial<SpentTime>;
}

/**
 * What speculation did for one text. Counts add up over its rounds.
 *
 *     acceptance rate  =  accepted / tested         what follows a wrong guess was never tested
 *     tokens per call  =  emitted / target calls
 *
 * @example
 * ```ts
 * const stats = new SpeculationStats();
 * stats.record({ drafted: 4, tested: 3, accepted: 2, emitted: 3 });
 * stats.testedAt; // [1, 1, 1]
 * stats.acceptedAt; // [1, 1]
 * ```
 */
export class SpeculationStats {
  drafted = 0;
  tested = 0;
  accepted = 0;
  emitted = 0;
  /** Forward passes of the target behind the prompt's. */
  targetCalls = 0;
  /** [i]: how often the i-th token of a draft was tested; in a tree, a node on level i. */
  readonly testedAt: number[] = [];
  /** [i]: how often it was accepted. */
  readonly acceptedAt: number[] = [];
  readonly ms = { draft: 0, target: 0, sample: 0 };

  /** Tokens per target call; 1 before the first one. */
  get tokensPerCall(): number {
    return this.targetCalls === 0 ? 1 : this.emitted / this.targetCalls;
  }

  /** accepted / tested; 0 if nothing was tested. */
  get acceptanceRate(): number {
    return this.tested === 0 ? 0 : this.accepted / this.tested;
  }

  /** @throws {RangeError} If the counts do not fit together. */
  record({ drafted, tested, accepted, emitted, ms = {} }: VerifiedRound): void {
    expectInteger("drafted", drafted, 0, MAX_GAMMA);
    expectInteger("tested", tested, 0, drafted);
    expectInteger("accepted", accepted, 0, tested);
    expectInteger("emitted", emitted, 1, accepted + 1);
    this.drafted += drafted;
    this.tested += tested;
    this.accepted += accepted;
    this.emitted += emitted;
    this.targetCalls++;
    for (let i = 0; i < tested; i++) this.testedAt[i] = (this.testedAt[i] ?? 0) + 1;
    for (let i = 0; i < accepted; i++) this.acceptedAt[i] = (this.acceptedAt[i] ?? 0) + 1;
    this.spend(ms);
  }

  /** Adds time to the split; a clock that broke or went back adds none. */
  spend(ms: Partial<SpentTime>): void {
    this.ms.draft += usableTime(ms.draft);
    this.ms.target += usableTime(ms.target);
    this.ms.sample += usableTime(ms.sample);
  }

  toJSON() {
    const { drafted, tested, accepted, emitted, targetCalls, tokensPerCall, acceptanceRate } = this;
    return {
      drafted,
      tested,
      accepted,
      emitted,
      targetCalls,
      tokensPerCall,
      acceptanceRate,
      testedAt: [...this.testedAt],
      // As long as `testedAt`: a place that was never accepted is 0, not missing.
      acceptedAt: this.testedAt.map((_, i) => this.acceptedAt[i] ?? 0),
      ms: { ...this.ms },
    };
  }
}

function usableTime(time = 0): number {
  return time > 0 && time < Infinity ? time : 0;
}
