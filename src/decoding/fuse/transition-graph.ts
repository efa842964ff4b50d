/**
 * transition-graph: which token followed which in a corpus, and how sure a model was of it there.
 *
 *     E[a → b] += logit of b after a, for each a, b that follow each other
 *
 * One forward pass over the corpus gives all of it. Edges are summed in the order of the corpus.
 *
 * Source: GRAD, arXiv:2511.03900.
 */
import { expectInteger } from "../../errors.ts";
import { LIMITS, type SparseRows } from "./plan.ts";

/** Distinct edges; more say nothing that a larger corpus would need to be decoded with. */
const MAX_EDGES = 1 << 20;

export class TransitionGraph {
  /** Weights by next token, by token. */
  readonly #edges = new Map<number, Map<number, number>>();
  #count = 0;

  /** Distinct edges. */
  get count(): number {
    return this.#count;
  }

  /** Adds what was seen once: `next` after `token`, whose row had this logit for it. */
  add(token: number, next: number, logit: number): void {
    expectInteger("token", token, 0, LIMITS.vocab - 1);
    expectInteger("next", next, 0, LIMITS.vocab - 1);
    if (!Number.isFinite(logit)) throw new RangeError(`"logit" must be finite, got ${logit}`);
    let row = this.#edges.get(token);
    if (row === undefined) {
      row = new Map();
      this.#edges.set(token, row);
    }
    if (!row.has(next) && ++this.#count > MAX_EDGES) {
      throw new RangeError(`The graph must have at most ${MAX_EDGES} edges, got more`);
    }
    row.set(next, (row.get(next) ?? 0) + logit);
  }

  /** @param rows Row i follows tokens[i]; the last token needs none. */
  addSequence(tokens: ArrayLike<number>, rows: (index: number) => ArrayLike<number>): void {
    for (let i = 0; i + 1 < tokens.length; i++) this.add(tokens[i], tokens[i + 1], rows(i)[tokens[i + 1]]);
  }

  weight(token: number, next: number): number {
    return this.#edges.get(token)?.get(next) ?? 0;
  }

  /** The table of a plan, rows by ascending token and ids ascending in them. */
  table(): { readonly kind: "graph" } & SparseRows {
    const tokens = [...this.#edges.keys()].sort((a, b) => a - b);
    const offsets = [0];
    const ids: number[] = [];
    const values: number[] = [];
    for (const token of tokens) {
      while (offsets.length <= token) offsets.push(ids.length);
      const row = [...this.#edges.get(token)!].sort(([a], [b]) => a - b);
      for (const [next, weight] of row) {
        ids.push(next);
        values.push(weight);
      }
      offsets.push(ids.length);
    }
    return { kind: "graph", offsets, ids, values };
  }
}
