/**
 * fit: biases for the law that the dense head gives, once it is known which token has which code.
 *
 *     q(j | h)  ∝  exp(c_j · h + β_j)               of codes;  p(j | h): what the dense head gives the tokens of j together
 *     b_i       =  β_j + log(P_i / P_j)             of tokens; P: mean probabilities of a token and of its code
 *
 * The mean of KL(p, q) over the states is convex in β, and least where the mean of q is that of p for every code; within a
 * code no bias comes closer than this one. So V is looked at once, and all that is iterated is K wide.
 *
 * Source: Darroch, Ratcliff 1972 (iterative scaling).
 */
import { expBelow } from "../exp-below.ts";
import { log } from "../math.ts";

/** Most numbers in a table of states and codes: what bounds the states that are used with many codes. */
export const MOST_CELLS = 1 << 25;

/** What the dense head gives codes. */
export interface CodeLaws {
  readonly states: number;
  readonly codes: number;
  /** (states, codes) */
  readonly values: Float32Array;
}

/** Added to mean probabilities: a code may have none. */
const LEAST = 1e-12;
const SCALING_STEPS = 60;

/** Mean of each code. */
function codeMeans({ states, codes, values }: CodeLaws): Float64Array {
  const means = new Float64Array(codes);
  for (let n = 0; n < states; n++) for (let j = 0; j < codes; j++) means[j] += values[n * codes + j] / states;
  return means;
}

/**
 * β, (K), for given scores: makes the mean of q that of p for each code.
 *
 * @param scores (states, codes) c_j · h.
 */
export function fitBias(scores: Float32Array, laws: CodeLaws): Float64Array {
  const { states, codes } = laws;
  const wanted = codeMeans(laws);
  const bias = wanted.map((mean) => log(mean + LEAST));
  const logits = new Float64Array(codes);
  for (let step = 0; step < SCALING_STEPS; step++) {
    const means = new Float64Array(codes);
    for (let n = 0; n < states; n++) {
      const total = softmaxOf(logits, scores, n * codes, bias);
      for (let j = 0; j < codes; j++) means[j] += logits[j] / (total * states);
    }
    let farthest = 0;
    for (let j = 0; j < codes; j++) {
      const change = log((wanted[j] + LEAST) / (means[j] + LEAST));
      bias[j] += change;
      farthest = Math.max(farthest, Math.abs(change) * wanted[j] * codes);
    }
    if (farthest < 1e-4) break;
  }
  return bias;
}

/** exp(scores + bias − most) into `out`, and its sum. */
function softmaxOf(out: Float64Array, scores: Float32Array, from: number, bias: Float64Array): number {
  let most = -Infinity;
  for (let j = 0; j < out.length; j++) {
    out[j] = scores[from + j] + bias[j];
    if (out[j] > most) most = out[j];
  }
  return expBelow(out, out, out.length, most);
}
