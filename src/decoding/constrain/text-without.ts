/** Texts in which another does not occur: whatever comes before a mark. */
import type { Expr, Graph } from "./expr.ts";

/**
 * A state for each number of bytes at the end that the mark begins with. Source: Knuth, Morris and Pratt 1977, "Fast
 * pattern matching in strings".
 *
 * @throws {RangeError} If the mark is empty, and so occurs everywhere.
 */
export function textWithout(mark: string, name: string): Expr {
  const bytes = new TextEncoder().encode(mark);
  if (bytes.length === 0) throw new RangeError(`"${name}" must be a text that is not empty`);
  const edges: [number, number, number, number][] = [];
  /** Where it goes on from the longest beginning that is also an end. */
  const next: number[][] = [];
  let fallback = 0;
  for (const [state, wanted] of bytes.entries()) {
    const row = state === 0 ? new Array<number>(256).fill(0) : [...next[fallback]];
    if (state > 0) fallback = next[fallback][wanted];
    row[wanted] = state + 1;
    next.push(row);
  }
  for (const [state, row] of next.entries()) {
    for (let low = 0, high = 0; low < 256; low = high) {
      while (high < 256 && row[high] === row[low]) high++;
      if (row[low] < bytes.length) edges.push([state, low, high - 1, row[low]]);
    }
  }
  const graph: Graph = { states: bytes.length, edges, finals: [...bytes.keys()] };
  return { kind: "graph", graph };
}
