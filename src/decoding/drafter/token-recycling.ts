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
import { chain, expectGamma, type LookupDraft, MAX_GAMMA, NO_DRAFT } from "./drafter.ts";
import { type ShapeNode, treeShape } from "./tree-shape.ts";
import { TokenList, TokenWindow } from "./window.ts";
import { WindowDrafter } from "./window-drafter.ts";

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

/** Taking tokens back does not take back what was learned of rows. */
export class TokenRecyclingDrafter extends WindowDrafter<TokenList> {
  readonly #shape: "chain" | "tree";
  readonly #maxDepth: number;
  /** (vocab, SUCCESSORS), best first; NONE after the last. */
  readonly #table: Int32Array;
  readonly #nodes: readonly ShapeNode[];

  constructor({ vocab, shape = "chain", maxDepth }: TokenRecyclingOptions) {
    if (shape !== "chain" && shape !== "tree") {
      throw new RangeError(`"shape" must be "chain" or "tree", got ${JSON.stringify(shape)}`);
    }
    super(new TokenWindow(new TokenList(), { vocab, capacity: HISTORY }));
    this.#shape = shape;
    const usual = shape === "tree" ? TREE_DEPTH : CHAIN_DEPTH;
    this.#maxDepth = expectInteger("maxDepth", maxDepth ?? usual, 1, MAX_GAMMA);
    this.#table = new Int32Array(vocab * SUCCESSORS).fill(NONE);
    this.#nodes =
      shape === "tree" ? treeShape({ nodes: TREE_NODES, depth: this.#maxDepth, branches: SUCCESSORS }) : [];
  }

  override get bytes(): number {
    return this.#table.byteLength + this.window.index.bytes;
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
    const { index } = this.window;
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
    /** Per node of the shape: its index in the draft, NONE if it has no token. */
    const placed: number[] = [];
    for (const { parent, rank } of this.#nodes) {
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
