/**
 * token-recycling: the runners-up of rows that were computed anyway are the next draft.
 *
 * A table holds, per token, the best tokens of the latest row that followed it. A chain goes from token to best
 * successor; a tree takes the successors of all its nodes, most promising paths first.
 *
 * Source  Luo et al. 2024, "Turning Trash into Treasure: Accelerating Inference with Token Recycling", arXiv:2408.08696.
 * Memory  vocab × 8 × 4 bytes: 4.9 MB for a vocabulary of 151,936.
 */
import { expectInteger } from "../../errors.ts";
import {
  chain,
  expectGamma,
  expectVocab,
  type LocalDrafter,
  type LookupDraft,
  MAX_GAMMA,
  NO_DRAFT,
} from "./drafter.ts";
import { TokenList, TokenWindow } from "./window.ts";

/** Successors kept per token. */
export const SUCCESSORS = 8;

export interface TokenRecyclingOptions {
  readonly vocab: number;
  /** Default `"chain"`; `"tree"` needs a target that verifies trees. */
  readonly shape?: "chain" | "tree";
  /** Longest path of a draft, default 16 for chains, 6 for trees. */
  readonly maxDepth?: number;
}

const NONE = -1;
/** Committed tokens that are kept for going back; only the last one matters for a draft. */
const HISTORY = 4096;
/** Nodes of the paper's tree; later ones add next to nothing. */
const TREE_NODES = 80;
const TREE_DEPTH = 6;
const CHAIN_DEPTH = 16;
/** How often a token's best successor is taken to be accepted: what makes a tree of 80 nodes 6 deep. */
const BEST_ACCEPTED = 0.6;

export class TokenRecyclingDrafter implements LocalDrafter {
  readonly vocab: number;
  readonly #shape: "chain" | "tree";
  readonly #maxDepth: number;
  readonly #window: TokenWindow<TokenList>;
  /** (vocab, SUCCESSORS), best first; NONE after the last. */
  readonly #table: Int32Array;
  readonly #template: readonly TemplateNode[];

  constructor({ vocab, shape = "chain", maxDepth }: TokenRecyclingOptions) {
    if (shape !== "chain" && shape !== "tree") {
      throw new RangeError(`"shape" must be "chain" or "tree", got ${JSON.stringify(shape)}`);
    }
    this.vocab = expectVocab(vocab);
    this.#shape = shape;
    const usual = shape === "tree" ? TREE_DEPTH : CHAIN_DEPTH;
    this.#maxDepth = expectInteger("maxDepth", maxDepth ?? usual, 1, MAX_GAMMA);
    this.#window = new TokenWindow(new TokenList(), { vocab, capacity: HISTORY });
    this.#table = new Int32Array(vocab * SUCCESSORS).fill(NONE);
    this.#template = shape === "tree" ? treeTemplate(TREE_NODES, this.#maxDepth) : [];
  }

  get length(): number {
    return this.#window.length;
  }

  get bytes(): number {
    return this.#table.byteLength + this.#window.index.bytes;
  }

  append(tokens: ArrayLike<number>): void {
    this.#window.append(tokens);
  }

  /** What was learned of rows stays. */
  truncate(length: number): void {
    this.#window.truncate(length);
  }

  /** Ids outside the vocabulary (the padding of a row) and repeated ones are left out. */
  observe(token: number, successors: ArrayLike<number>): void {
    expectInteger("token", token, 0, this.vocab - 1);
    const best = new Set<number>();
    for (let i = 0; i < successors.length && best.size < SUCCESSORS; i++) {
      const successor = successors[i];
      if (Number.isInteger(successor) && successor >= 0 && successor < this.vocab) best.add(successor);
    }
    const row = this.#table.subarray(token * SUCCESSORS, (token + 1) * SUCCESSORS).fill(NONE);
    row.set([...best]);
  }

  /** In a tree every node comes before its children, and the first nodes are the most promising ones. */
  draft(gamma: number): LookupDraft {
    expectGamma(gamma);
    const { index } = this.#window;
    if (index.length === 0) return NO_DRAFT;
    const root = index.at(index.length - 1);
    return this.#shape === "chain" ? this.#chain(root, gamma) : this.#tree(root, gamma);
  }

  #chain(root: number, gamma: number): LookupDraft {
    const tokens: number[] = [];
    let token = this.#successor(root, 0);
    while (tokens.length < Math.min(gamma, this.#maxDepth) && token !== NONE) {
      tokens.push(token);
      token = this.#successor(token, 0);
    }
    return chain(tokens, 1);
  }

  #tree(root: number, gamma: number): LookupDraft {
    const tokens: number[] = [];
    const parents: number[] = [];
    /** Per node of the template: its index in the draft, NONE if it has no token. */
    const placed: number[] = [];
    for (const { parent, rank } of this.#template) {
      if (tokens.length === gamma) break;
      const above = parent === NONE ? NONE : placed[parent];
      const orphan = parent !== NONE && above === NONE;
      const token = orphan ? NONE : this.#successor(above === NONE ? root : tokens[above], rank);
      placed.push(token === NONE ? NONE : tokens.length);
      if (token === NONE) continue;
      tokens.push(token);
      parents.push(above);
    }
    return tokens.length === 0 ? NO_DRAFT : { tokens, parents, law: "one-hot", matchLength: 1 };
  }

  #successor(token: number, rank: number): number {
    return this.#table[token * SUCCESSORS + rank];
  }
}

interface TemplateNode {
  /** Index in the template; −1: below the last committed token. */
  readonly parent: number;
  /** Which successor of its parent. */
  readonly rank: number;
}

/**
 * The `size` most promising paths of at most `depth` successors. The successor of rank r is taken to be 1 / (r + 1)
 * times as likely as the best one (Zipf's law).
 */
function treeTemplate(size: number, depth: number): readonly TemplateNode[] {
  const template: TemplateNode[] = [];
  let open = [...childrenOf(NONE, 1, 0)];
  while (template.length < size && open.length > 0) {
    const best = open.reduce((top, node, i) => (node.weight > open[top].weight ? i : top), 0);
    const [node] = open.splice(best, 1);
    template.push({ parent: node.parent, rank: node.rank });
    if (node.depth < depth) open = [...open, ...childrenOf(template.length - 1, node.weight, node.depth)];
  }
  return template;
}

function childrenOf(parent: number, weight: number, depth: number) {
  return Array.from({ length: SUCCESSORS }, (_, rank) => ({
    parent,
    rank,
    weight: (weight * BEST_ACCEPTED) / (rank + 1),
    depth: depth + 1,
  }));
}
