/**
 * The draft as a tree, checked and cleaned, so that verifiers can walk it without a second thought.
 *
 * A token outside the vocabulary (−1 as a placeholder, an id that only the drafter's vocabulary has) cannot be the
 * target's, and nothing may be indexed by it: the node and all below it are left out, as if never drafted.
 */
import { expectInteger } from "../../errors.ts";
import type { Draft } from "../draft.ts";

/** The committed text: the parent of the first drafted tokens. */
export const ROOT = -1;

/** Bounds time and recursion. Published trees have 60 to 800 nodes. */
export const MAX_DRAFT = 1024;

export interface DraftTree {
  /** Nodes as drafted, those that are left out included. */
  readonly drafted: number;
  /** Token of each node; read only those reached by `children`. */
  readonly tokens: readonly number[];
  readonly parents: readonly number[];
  /** Nodes directly after `node` (or ROOT), in the order drawn. */
  children(node: number): readonly number[];
}

/** @throws {TypeError | RangeError} If the draft is too long, or its parents do not come before their children. */
export function readDraft(draft: Draft, vocab: number): DraftTree {
  const drafted = expectInteger("draft.tokens.length", draft.tokens?.length, 0, MAX_DRAFT);
  if (draft.parents !== undefined && draft.parents.length !== drafted) {
    throw new RangeError(
      `"draft.parents" must have one entry per token, ${drafted}, got ${draft.parents.length}`,
    );
  }
  const tokens: number[] = [];
  const parents: number[] = [];
  const children: number[][] = Array.from({ length: drafted + 1 }, () => []);
  for (let node = 0; node < drafted; node++) {
    const token = expectInteger(
      `draft.tokens[${node}]`,
      draft.tokens[node],
      Number.MIN_SAFE_INTEGER,
      Number.MAX_SAFE_INTEGER,
    );
    const parent =
      draft.parents === undefined
        ? node - 1
        : expectInteger(`draft.parents[${node}]`, draft.parents[node], ROOT, node - 1);
    tokens.push(token);
    parents.push(parent);
    // A node that its parent does not list is never reached, and neither is what lies below.
    if (token >= 0 && token < vocab) children[parent + 1].push(node);
  }
  return { drafted, tokens, parents, children: (node) => children[node + 1] };
}

/** Nodes of a tree that is a chain, first to last. */
export function chainOf(tree: DraftTree): number[] {
  const chain: number[] = [];
  for (let [node] = tree.children(ROOT); node !== undefined; [node] = tree.children(node)) chain.push(node);
  return chain;
}
