/** Log-probabilities of a row of logits, f64. */
export function logSoftmax(logits: ArrayLike<number>): Float64Array {
  let largest = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < logits.length; i++) largest = Math.max(largest, logits[i]);
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i] - largest);
  const logPartition = largest + Math.log(sum);
  return Float64Array.from(logits, (logit) => logit - logPartition);
}

/**
 * KL(truth || candidate) in nats, from log-probabilities.
 *
 * Summed as p (e^d - 1 - d) with d = log q - log p: equal to p log(p/q) for normalised rows, and without the
 * cancellation that would hide values below 1e-12.
 */
export function divergence(truth: ArrayLike<number>, candidate: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < truth.length; i++) {
    const difference = candidate[i] - truth[i];
    sum += Math.exp(truth[i]) * (Math.expm1(difference) - difference);
  }
  return sum;
}
