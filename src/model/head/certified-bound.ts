/**
 * certified-bound: how far the row of a screen may be from the row of the exact head, for one state.
 *
 *     exact[i] = w · x̂ + r      screen[i] = ŵ · x̃ + r̃      x̂, x̃: the state x, or x rounded as kernels do;  r, r̃: roundings
 *
 *     |exact[i] − screen[i]|  ≤  |(w − ŵ) · x|  +  |w · (x̂ − x)|  +  |ŵ · (x̃ − x)|  +  |r|  +  |r̃|
 *                             ≤  ‖w − ŵ‖ · ‖x‖  +  2 norm · δ  +  2 γ · norm · (‖x‖ + δ)
 *
 *     δ     ≥ ‖x − x̂‖, ‖x − x̃‖: blocks of 32 are rounded to multiples of their largest / 127, or of less, or not at all
 *     norm  ≥ ‖w‖ + ‖w − ŵ‖ of every row, hence ≥ ‖w‖ and ≥ ‖ŵ‖
 *     γ     = 8 (D + 64) · 2^-24: no backend sums in more f32 steps than D + some a block, in whatever order
 *
 * All by Cauchy and Schwarz, hence for certain. Heads of more than 4 bits round x 64 times finer, so that only one of the
 * two δ is as large as that. Numbers of f32 that are tiny may lose all their digits: TINY is far above what that can do.
 *
 * Sources: Teflioudi, Gemulla 2016 and Li et al. 2017 (FEXIPRO), for products that are pruned by bounds and found exactly.
 */

export interface ScreenBound {
  /** |exact − screen| ≤ error · scale + slack, roundings of `raise` included. */
  readonly scale: number;
  readonly slack: number;
}

const BLOCK = 32;
/** Half a step is 1/2; more, for the roundings of the step and the quotient. */
const HALF_STEP = 0.51;
/** Steps up to the largest value of a block: of weights of 4 bits, and of all others. */
const COARSE = 127;
const FINE = 8191;
/** Of one f32 operation, relatively. */
const ROUNDING = 1 / (1 << 24);
const TINY = 1e-25;
/** Of a state's values, and of norm · ‖x‖: beyond, a backend may overflow. */
const MOST_VALUE = 1e8;
const MOST = 1e30;
/** Above the roundings of the few f32 operations that work with a bound. */
const UP = 1 + 1e-5;

/** @returns null if nothing can be said: the state is not finite, or too large. */
export function screenBound(state: Float32Array, norm: number): ScreenBound | null {
  let squares = 0;
  let largest = 0;
  for (let first = 0; first < state.length; first += BLOCK) {
    const end = Math.min(first + BLOCK, state.length);
    let most = 0;
    for (let k = first; k < end; k++) {
      const x = Math.abs(state[k]);
      squares += x * x;
      if (x > most) most = x;
    }
    if (!(most <= MOST_VALUE)) return null;
    largest += BLOCK * most * most;
  }
  const span = HALF_STEP * Math.sqrt(largest) + TINY;
  const delta = span / COARSE;
  const length = Math.sqrt(squares);
  if (!(norm * (length + delta) < MOST)) return null;
  const gamma = 8 * (state.length + 64) * ROUNDING;
  const rounded = delta + span / FINE + 2 * gamma * (length + delta);
  return { scale: length * UP, slack: (norm * rounded + TINY) * UP };
}
