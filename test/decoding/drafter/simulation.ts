/** Decoding under a model of costs: time is simulated, so that it can be asserted. */
import { type ControllerOptions, SpeculationController } from "../../../src/decoding/drafter/controller.ts";
import { createRandom } from "../../support/random.ts";

export interface SimulatedCosts {
  /** Of a call of n tokens, sampling included. */
  target(n: number): number;
  draft(gamma: number): number;
}

/** What the drafter gives when asked for `gamma` tokens at a position, and how many of them are right. */
export type SimulatedDrafter = (
  position: number,
  gamma: number,
) => { drafted: number; right: number; matchLength?: number };

export interface Simulation {
  readonly costs: SimulatedCosts;
  readonly tokens: number;
  readonly draft: SimulatedDrafter;
  /** Default: one with `options`. */
  readonly controller?: Pick<SpeculationController, "ask" | "keep" | "record">;
  readonly options?: ControllerOptions;
  /** What asking the drafter costs beside its draft. */
  readonly overhead?: number;
  /** Factor on what a call costs, for machines that are not steady. */
  readonly noise?: () => number;
  /** The clock tells multiples of this; 0: the exact time. */
  readonly grain?: number;
}

export interface Outcome {
  readonly cost: number;
  readonly plain: number;
  /** Rounds with a draft. */
  readonly rounds: number;
  readonly asks: number;
  readonly longest: number;
  /** Plain decoding's time over this one's. */
  readonly speed: number;
}

/** Calls `check` after every step with what speculation and plain decoding cost so far. */
export function simulate(
  { costs, tokens, draft, options, controller, noise = () => 1, overhead: perAsk = 0, grain = 0 }: Simulation,
  check?: (cost: number, plain: number) => void,
): Outcome {
  const decider = controller ?? new SpeculationController(options);
  const clock = (time: number) => (grain === 0 ? time : Math.floor(time / grain) * grain);
  let [cost, emitted, rounds, asks, longest] = [0, 0, 0, 0, 0];
  while (emitted < tokens) {
    const asked = decider.ask();
    const { drafted, right, matchLength } = asked > 0 ? draft(emitted, asked) : { drafted: 0, right: 0 };
    const verified = decider.keep(Math.min(drafted, asked), matchLength);
    const accepted = Math.min(right, verified);
    const began = cost;
    const drafting = began + (asked > 0 ? perAsk * noise() : 0);
    const verifying = drafting + (asked > 0 ? costs.draft(Math.min(asked, drafted + 1)) * noise() : 0);
    cost = verifying + costs.target(verified + 1) * noise();
    decider.record({
      verified,
      accepted,
      emitted: accepted + 1,
      targetCost: grain === 0 ? cost - verifying : clock(cost) - clock(verifying),
      draftCost: grain === 0 ? verifying - drafting : clock(verifying) - clock(drafting),
      overhead: grain === 0 ? drafting - began : clock(drafting) - clock(began),
    });
    emitted += accepted + 1;
    if (verified > 0) rounds++;
    if (asked > 0) asks++;
    longest = Math.max(longest, verified);
    check?.(cost, emitted * costs.target(1));
  }
  const plain = emitted * costs.target(1);
  return { cost, plain, rounds, asks, longest, speed: plain / cost };
}

/** Chains of independent acceptance. */
export function independent(acceptance: number, seed: number): SimulatedDrafter {
  const random = createRandom(seed);
  return (_position, gamma) => {
    let right = 0;
    while (right < gamma && random.uniform() < acceptance) right++;
    return { drafted: gamma, right };
  };
}

/**
 * Copies: runs of 5 … 60 right tokens, then one that was not there. As with a suffix automaton the match is as long as the
 * run so far, from two tokens on, and the draft no longer than the match.
 */
export function bursts(seed: number): SimulatedDrafter {
  const random = createRandom(seed);
  let [begin, end] = [0, 0];
  return (position, gamma) => {
    while (position > end) [begin, end] = [end + (end > 0 ? 1 : 0), end + 5 + random.below(56)];
    const matchLength = position - begin;
    const drafted = matchLength < 2 ? 0 : Math.min(gamma, matchLength);
    return { drafted, right: end - position, matchLength };
  };
}

/** Straight lines between measured points. */
function measuredCosts(
  points: readonly (readonly [n: number, cost: number])[],
  extra: (n: number) => number,
) {
  const last = points[points.length - 1];
  return (n: number): number => {
    if (n > last[0]) return (last[1] * n) / last[0] + extra(n);
    const above = points.findIndex(([size]) => size >= n);
    const [size, cost] = points[above];
    if (size === n) return cost + extra(n);
    const [below, low] = points[above - 1];
    return low + ((cost - low) * (n - below)) / (size - below) + extra(n);
  };
}

/** Milliseconds measured of a model of 2M parameters: three columns cost what four do. */
export const EMBEDDED: SimulatedCosts = {
  target: measuredCosts(
    // biome-ignore format: a table
    [[1, 0.099], [2, 0.182], [3, 0.262], [4, 0.272], [5, 0.352], [6, 0.437], [8, 0.53], [9, 0.611], [12, 0.793],
      [16, 1.056], [17, 1.139], [24, 1.596], [32, 2.201]],
    (n) => 0.01 + 0.003 * n,
  ),
  draft: () => 0.004,
};

/** The same of 135M parameters. */
export const LARGER: SimulatedCosts = {
  target: measuredCosts(
    // biome-ignore format: a table
    [[1, 9.25], [2, 13.7], [3, 17.06], [4, 17.64], [5, 21.7], [6, 29.2], [8, 34.5], [9, 40.4], [12, 50.8],
      [16, 66], [17, 71.1], [24, 96.6], [32, 125.8]],
    (n) => 0.01 + 0.003 * n,
  ),
  draft: () => 0.004,
};

/** Always drafts `gamma` tokens. */
export function fixed(gamma: number): Pick<SpeculationController, "ask" | "keep" | "record"> {
  return { ask: () => gamma, keep: (drafted) => drafted, record() {} };
}
