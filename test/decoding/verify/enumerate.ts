/**
 * The exact law of whatever a program does with the production verifiers.
 *
 * The program runs once for every way its random decisions can turn out. It gets a random source whose numbers are
 * handles, and a RowMath that knows them: where the production RowMath would compare a number with a threshold, or
 * look it up in a cumulative distribution, the threshold is found by bisection of that very code, and the run splits
 * into one for each side. So all code under test is the production code, and what is integrated over is exactly what
 * it does with each number, rounding included.
 *
 * The same address gives the same handle, and a handle remembers what earlier decisions say about it. A number that is
 * used twice is therefore as correlated here as it would be in use.
 */

import { referenceRowMath } from "../../../src/backend/reference/row-math.ts";
import type { RowMath, VerifyRandom } from "../../../src/backend/row-math.ts";

export interface Chance {
  readonly random: VerifyRandom;
  readonly math: RowMath;
  /** The test's own decision: an index, with the given probabilities. */
  pick(probabilities: ArrayLike<number>): number;
}

interface Branch {
  readonly probability: number;
  /** What the primitive returns here. */
  readonly result: number;
  /** Where the number then lies. */
  readonly from: number;
  readonly to: number;
}

/** Numbers lie in [0, 1); a handle does not. */
const FIRST_HANDLE = 2;
const MAX_RUNS = 2_000_000;

/**
 * Outcome -> probability.
 *
 * @param base The implementation under test.
 */
export function enumerate(
  program: (chance: Chance) => string,
  base: RowMath = referenceRowMath,
): Map<string, number> {
  const law = new Map<string, number>();
  const script: { readonly branches: readonly Branch[]; taken: number }[] = [];
  for (let runs = 0; runs < MAX_RUNS; runs++) {
    let step = 0;
    let weight = 1;
    const handles = new Map<string, number>();
    const intervals: { from: number; to: number }[] = [];

    const decide = (split: () => readonly Branch[]): Branch => {
      if (step === script.length) script.push({ branches: split(), taken: 0 });
      const { branches, taken } = script[step++];
      weight *= branches[taken].probability;
      return branches[taken];
    };
    /** Splits the interval of the number that `u` stands for by the results of `f`, which must not decrease. */
    const decideBy = (u: number, f: (u: number) => number): number => {
      if (u < FIRST_HANDLE) return f(u);
      const interval = intervals[u - FIRST_HANDLE];
      const branch = decide(() => splitBy(f, interval.from, interval.to));
      interval.from = branch.from;
      interval.to = branch.to;
      return branch.result;
    };
    const pick = (probabilities: ArrayLike<number>): number =>
      decide(() =>
        Array.from(probabilities, (probability, result) => ({ probability, result, from: 0, to: 1 })).filter(
          ({ probability }) => probability > 0,
        ),
      ).result;

    const outcome = program({
      pick,
      random: {
        uniform(...address) {
          const key = address.join();
          const handle = handles.get(key) ?? FIRST_HANDLE + intervals.length;
          if (!handles.has(key)) {
            handles.set(key, handle);
            intervals.push({ from: 0, to: 1 });
          }
          return handle;
        },
        noise: () => {
          throw new Error("Races are decided by gumbelArgmax");
        },
      },
      math: {
        ...base,
        accepts: (u, p, q) => decideBy(u, (value) => (base.accepts(value, p, q) ? 0 : 1)) === 0,
        draw: (weights, u) => decideBy(u, (value) => base.draw(weights, value)),
        // A race of as many numbers as there are tokens: its law is tested by drawing, here it is taken for granted.
        gumbelArgmax: ({ values, mass }) => pick(Array.from(values, (value) => value / mass)),
      },
    });
    law.set(outcome, (law.get(outcome) ?? 0) + weight);

    while (
      script.length > 0 &&
      script[script.length - 1].taken === script[script.length - 1].branches.length - 1
    ) {
      script.pop();
    }
    if (script.length === 0) return law;
    script[script.length - 1].taken++;
  }
  throw new Error(`The program has more than ${MAX_RUNS} outcomes`);
}

/** The pieces of [from, to) on which f, a step function that does not decrease, is constant. */
function splitBy(f: (u: number) => number, from: number, to: number): Branch[] {
  const branches: Branch[] = [];
  const last = below(to);
  for (let start = from; start < to; ) {
    const result = f(start);
    let end = to;
    if (f(last) !== result) {
      let inside = start;
      end = last;
      for (;;) {
        const middle = inside + (end - inside) / 2;
        if (middle <= inside || middle >= end) break;
        if (f(middle) === result) inside = middle;
        else end = middle;
      }
    }
    branches.push({ probability: (end - start) / (to - from), result, from: start, to: end });
    start = end;
  }
  return branches;
}

/** A number just below `x`, for 0 < x ≤ 1. */
function below(x: number): number {
  return x * (1 - 2 ** -53);
}
