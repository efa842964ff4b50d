/** The tree layout of SGLang and TensorRT-LLM, with links instead of parents. */
import { expectInteger } from "../../errors.ts";
import type { RowSet } from "../draft.ts";
import { MAX_DRAFT, ROOT } from "./tree.ts";

/** (nodes + 1) entries each. Entry 0 is the last committed token; −1 means none. */
export interface SiblingLinks {
  readonly candidates: ArrayLike<number>;
  readonly firstChild: ArrayLike<number>;
  readonly nextSibling: ArrayLike<number>;
}

export interface LinkedDraft {
  /** As in `Draft`, breadth first; siblings in the order of their links. */
  readonly tokens: readonly number[];
  readonly parents: readonly number[];
  /** Entry of each row in the layout: order[0] is 0, order[i + 1] the entry of node i. */
  readonly order: readonly number[];
}

/**
 * Renumbers the tree so that parents come before their children. Entries that no link leads to are left out.
 *
 * @throws {TypeError | RangeError} If a link leads outside, or two lead to the same entry.
 */
export function fromSiblingLinks({ candidates, firstChild, nextSibling }: SiblingLinks): LinkedDraft {
  const count = expectInteger("candidates.length", candidates.length, 1, MAX_DRAFT + 1);
  expectInteger("firstChild.length", firstChild.length, count, count);
  expectInteger("nextSibling.length", nextSibling.length, count, count);
  const order = [0];
  const parents: number[] = [];
  const seen = new Set(order);
  // `order` grows while it is read: each entry appends its children.
  for (const [row, entry] of order.entries()) {
    let child = expectInteger(`firstChild[${entry}]`, firstChild[entry], -1, count - 1);
    while (child !== -1) {
      if (seen.has(child)) throw new RangeError(`Entry ${child} must be linked to once, is linked to twice`);
      seen.add(child);
      order.push(child);
      parents.push(row + ROOT);
      child = expectInteger(`nextSibling[${child}]`, nextSibling[child], -1, count - 1);
    }
  }
  return { tokens: order.slice(1).map((entry) => candidates[entry]), parents, order };
}

/** The rows of the layout in the order of its nodes; nothing is copied. */
export function orderRows(rows: RowSet, order: readonly number[]): RowSet {
  return { count: order.length, vocab: rows.vocab, row: (index) => rows.row(order[index]) };
}
