/** draft-class: what is learned of drafts of one kind, and the length that promises the most tokens per time. */
import type { Acceptance } from "./acceptance.ts";
import { smooth } from "./cost-curve.ts";
import { Rest } from "./rest.ts";

/** Lengths that can be chosen, shortest first, and what a round costs with each. Costs are in any one unit. */
export interface Choices {
  readonly plainStep: number;
  readonly lengths: readonly number[];
  readonly costs: readonly number[];
  /** Whether it is afforded even if all of the draft is rejected. */
  readonly afforded: readonly boolean[];
}

export interface DraftRound {
  readonly length: number;
  readonly accepted: number;
  /** Accepted ones, and one more if it was rejected. What follows a rejected token was never looked at. */
  readonly tested: number;
  readonly emitted: number;
  /** Nothing was expected of it. */
  readonly isTry: boolean;
}

export interface Decision {
  /** 0: none that promises enough is afforded. */
  readonly length: number;
  /** The shortest that promises enough, afforded or not; 0 while resting, or if none would even if all of it were right. */
  readonly least: number;
  readonly isTry: boolean;
}

/** Times as fast as plain decoding that a draft must promise to be. From ONNX Runtime GenAI: a probe is kept at 97 %. */
const WORTHWHILE = 1 / 0.97;
/** The same of a try, should all of it be right. */
const WORTH_A_TRY = 1.25;
/** Rounds that are slower than this are given up for a while, whatever they promise. From there too. */
const ABANDON = 0.8;
/** Rounds before their mean speed is trusted. */
const SAMPLES = 3;

const NONE: Decision = { length: 0, least: 0, isTry: false };

export class DraftClass {
  readonly rest = new Rest();
  readonly #acceptance: Acceptance;
  /** Rounds since the last rest, and their mean speed: what plain decoding would have taken over what they took. */
  #rounds = 0;
  #speed: number | undefined;

  constructor(acceptance: Acceptance) {
    this.#acceptance = acceptance;
  }

  decide(choices: Choices): Decision {
    if (this.rest.left > 0) return NONE;
    const { plainStep, lengths, costs, afforded } = choices;
    const expected = this.#acceptance.expected(lengths);
    let [length, least, best] = [0, 0, 0];
    for (let i = 0; i < lengths.length; i++) {
      const speed = (expected[i] * plainStep) / costs[i];
      if (speed < WORTHWHILE) continue;
      least ||= lengths[i];
      if (speed <= best || !afforded[i]) continue;
      length = lengths[i];
      best = speed;
    }
    return least > 0 ? { length, least, isTry: false } : this.#try(choices);
  }

  /** @param cost In plain steps. */
  record({ length, accepted, tested, emitted, isTry }: DraftRound, cost: number): void {
    const speed = emitted / cost;
    this.#acceptance.record(length, accepted, tested);
    this.#rounds++;
    this.#speed = smooth(this.#speed, speed);
    if (speed >= 1) {
      this.rest.shorten();
      if (isTry) this.#acceptance.forget();
    } else if (isTry || (this.#rounds >= SAMPLES && this.#speed < ABANDON)) {
      this.rest.begin(cost - emitted);
      this.#rounds = 0;
      this.#speed = undefined;
    }
  }

  /** Another text. */
  restart(): void {
    this.#acceptance.forget();
    this.rest.end();
    this.#rounds = 0;
    this.#speed = undefined;
  }

  /** The shortest draft that would be worth it if all of it were right: the acceptance that was learned may be old. */
  #try({ plainStep, lengths, costs, afforded }: Choices): Decision {
    let [tried, best] = [0, 0];
    for (let i = 0; i < lengths.length && best < WORTH_A_TRY; i++) {
      const speed = (this.#acceptance.most(lengths[i]) * plainStep) / costs[i];
      if (speed <= best) continue;
      tried = i;
      best = speed;
    }
    if (best < WORTHWHILE) return NONE;
    const least = lengths[tried];
    return { length: afforded[tried] ? least : 0, least, isTry: true };
  }
}
