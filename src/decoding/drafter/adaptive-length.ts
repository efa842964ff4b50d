/**
 * adaptive-length: finds the draft length with the best throughput, by trying its neighbours.
 *
 * High acceptance probes a longer one, low acceptance a shorter one: by one token up to 8, then by an eighth, and by half
 * where next to nothing is rejected. A probe is kept if after two rounds its throughput is
 * not clearly worse, and dropped at once if it is much worse. Then some rounds pass before the next.
 *
 * Source: the controller of ONNX Runtime GenAI, and its values. Added here: a length that was tried before is not tried
 * again while the formula for expected tokens says that it is slower (two rounds are too few to see that, and lengths that
 * are each 3 % worse than the last would be kept one after the other), and the retreat.
 */
import { smooth } from "./cost-curve.ts";
import { expectedTokens } from "./expected-length.ts";

const HIGH_ACCEPTANCE = 0.75;
const LOW_ACCEPTANCE = 0.5;
/** A copy that holds: its end, not the chance of a token, is what limits the draft. */
const SURE_ACCEPTANCE = 0.95;
/** Up to here lengths differ by one. */
const SHORT = 8;
/** Of the throughput before: what a probe must reach to be kept, and below what it is dropped at once. */
const KEEP = 0.97;
const ABANDON = 0.8;
/** Rounds at one length before anything is concluded from them. */
const SAMPLES = 2;
/** Weight of a round in the acceptance that the formula takes: all lengths share it, so it can be a long mean. */
const LONG_WEIGHT = 1 / 32;
/** Rounds to wait after a probe that was kept, and after one that was not. */
const WAIT_KEPT = 1;
const WAIT_DROPPED = 6;

/** Probes refused by the formula before one is made all the same: what it knows of that length may be an accident. */
const PATIENCE = 100;

export interface LengthOptions {
  readonly min: number;
  readonly max: number;
  readonly initial: number;
  /** Of what the lengths are: tokens of a chain, or nodes of a tree. Default "chain". */
  readonly shape?: "chain" | "tree";
}

/** A verified draft of exactly `length` tokens. */
export interface FullRound {
  readonly accepted: number;
  /** Accepted ones, and one more if it was rejected. What follows a rejected token was never looked at. */
  readonly tested: number;
  readonly emitted: number;
  /** Time of drafting and verifying. */
  readonly cost: number;
}

interface Estimate {
  readonly samples: number;
  readonly emitted: number;
  readonly cost: number;
  readonly acceptance: number;
}

export class AdaptiveLength {
  readonly min: number;
  readonly max: number;
  readonly #shape: "chain" | "tree";
  #length: number;
  #estimates: (Estimate | undefined)[] = [];
  /** The length before the probe that is going on, or null. */
  #origin: number | null = null;
  /** Rounds since the length last changed, or a probe ended. */
  #rounds = 0;
  #wait = 0;
  #refused = 0;
  /** Long means of what a round accepts and tests, at any length. */
  #accepted = 0;
  #tested = 0;

  constructor({ min, max, initial, shape = "chain" }: LengthOptions) {
    this.min = min;
    this.max = max;
    this.#shape = shape;
    this.#length = Math.min(Math.max(initial, min), max);
  }

  get length(): number {
    return this.#length;
  }

  record(round: FullRound): void {
    const estimate = this.#update(round);
    this.#rounds++;
    if (this.#origin !== null) {
      this.#judgeProbe(estimate, this.#origin);
    } else if (this.#wait > 0) {
      this.#wait--;
    } else if (estimate.samples >= SAMPLES) {
      this.#considerProbe(estimate);
    }
  }

  /** Half the length at once, where speculation has become slower than plain decoding: stepping down costs too much. */
  retreat(): void {
    this.#length = Math.max(this.min, this.#length >> 1);
    this.#endProbe(this.#length, false);
  }

  #considerProbe(estimate: Estimate): void {
    if (estimate.acceptance < LOW_ACCEPTANCE && this.#length > this.min) {
      this.#probeUnlessWorse(this.#length - stride(this.#length));
    } else if (this.#goesUp(estimate)) {
      const sure = estimate.acceptance >= SURE_ACCEPTANCE && this.#length >= SHORT;
      this.#probeUnlessWorse(this.#length + (sure ? this.#length >> 1 : stride(this.#length)));
    }
  }

  #probeUnlessWorse(wanted: number): void {
    const length = Math.min(Math.max(wanted, this.min), this.max);
    if (this.#promisesLess(length) && ++this.#refused < PATIENCE) return;
    this.#refused = 0;
    this.#probe(length);
  }

  /** Whether a length that was tried before is expected to be slower than the present one. */
  #promisesLess(length: number): boolean {
    const [there, here] = [this.#estimates[length], this.#estimates[this.#length]];
    if (there === undefined || here === undefined) return false;
    // How many levels a tree of so many nodes has, nobody says here.
    if (this.#shape === "tree") return throughput(there) < throughput(here);
    const acceptance = this.#accepted / this.#tested;
    return (
      expectedTokens(acceptance, length) / there.cost < expectedTokens(acceptance, this.#length) / here.cost
    );
  }

  #goesUp({ acceptance }: Estimate): boolean {
    return acceptance >= HIGH_ACCEPTANCE && this.#length < this.max && this.#rounds >= SAMPLES;
  }

  #update({ accepted, tested, emitted, cost }: FullRound): Estimate {
    const old = this.#estimates[this.#length];
    this.#accepted += LONG_WEIGHT * (accepted - this.#accepted);
    this.#tested += LONG_WEIGHT * (tested - this.#tested);
    const estimate = {
      samples: (old?.samples ?? 0) + 1,
      emitted: smooth(old?.emitted, emitted),
      cost: smooth(old?.cost, cost),
      acceptance: smooth(old?.acceptance, accepted / tested),
    };
    this.#estimates[this.#length] = estimate;
    return estimate;
  }

  #probe(length: number): void {
    this.#origin = this.#length;
    this.#length = length;
    this.#rounds = 0;
  }

  #judgeProbe(estimate: Estimate, origin: number): void {
    const before = this.#estimates[origin];
    const ratio = before === undefined ? 1 : throughput(estimate) / throughput(before);
    const muchWorse = ratio < ABANDON;
    if (!muchWorse && this.#rounds < SAMPLES) return;
    const accepts = this.#length < origin || estimate.acceptance >= HIGH_ACCEPTANCE;
    this.#endProbe(origin, ratio >= KEEP && accepts);
  }

  #endProbe(origin: number, keep: boolean): void {
    if (!keep) this.#length = origin;
    this.#origin = null;
    this.#rounds = 0;
    this.#wait = keep ? WAIT_KEPT : WAIT_DROPPED;
  }
}

/** Tokens per unit of time; costs are above zero. */
function throughput({ emitted, cost }: Estimate): number {
  return emitted / cost;
}

function stride(length: number): number {
  return Math.max(1, length >> 3);
}
