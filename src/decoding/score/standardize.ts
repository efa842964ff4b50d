import type { Row } from "../draft.ts";
import { Sum } from "./sum.ts";

/**
 * (z − mean) / (epsilon + std), over the tokens above −∞; those at −∞ stay there. All 0 if the tokens do not differ.
 *
 * Two passes, sums by ascending token: one pass of Σz² would cancel for rows far from 0.
 *
 * @param ddof 1: std divides by n − 1 (unbiased); 0: by n.
 */
export function standardized(row: Row, ddof: number, epsilon: number): Float64Array {
  // Relative to the largest, which keeps sums of rows with f64 logits in range.
  let max = -Infinity;
  for (let token = 0; token < row.length; token++) max = Math.max(max, row[token]);
  let count = 0;
  const sum = new Sum();
  for (let token = 0; token < row.length; token++) {
    if (row[token] === -Infinity) continue;
    count++;
    sum.add(row[token] - max);
  }
  const mean = sum.value / count;
  const squares = new Sum();
  for (let token = 0; token < row.length; token++) {
    if (row[token] === -Infinity) continue;
    const distance = row[token] - max - mean;
    squares.add(distance * distance);
  }
  const deviation = count > ddof ? Math.sqrt(squares.value / (count - ddof)) : 0;
  const values = new Float64Array(row.length).fill(-Infinity);
  for (let token = 0; token < row.length; token++) {
    if (row[token] === -Infinity) continue;
    values[token] = deviation > 0 ? (row[token] - max - mean) / (epsilon + deviation) : 0;
  }
  return values;
}
