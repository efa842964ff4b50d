/** tree-shape: which nodes a draft tree has before anything is known of its tokens. */

export interface ShapeNode {
  /** Index in the shape; −1: after the last committed token. */
  readonly parent: number;
  /** Which child of its parent, from 0; lower ranks come first. */
  readonly rank: number;
}

export interface ShapeOptions {
  readonly nodes: number;
  /** Longest path. */
  readonly depth: number;
  /** Most children of a node. */
  readonly branches: number;
}

/** How often the first child is taken to be accepted: what makes a tree of 80 nodes 6 deep. */
const FIRST_ACCEPTED = 0.6;

/**
 * The most promising paths, best first, so a beginning of a shape is a smaller shape. The child of rank r is taken to be
 * accepted 1 / (r + 1) times as often as the first one (Zipf's law).
 */
export function treeShape({ nodes, depth, branches }: ShapeOptions): readonly ShapeNode[] {
  const shape: ShapeNode[] = [];
  const childrenOf = (parent: number, weight: number, level: number) =>
    Array.from({ length: branches }, (_, rank) => ({
      parent,
      rank,
      weight: (weight * FIRST_ACCEPTED) / (rank + 1),
      level,
    }));
  let open = childrenOf(-1, 1, 1);
  while (shape.length < nodes && open.length > 0) {
    const best = open.reduce((top, node, i) => (node.weight > open[top].weight ? i : top), 0);
    const [{ parent, rank, weight, level }] = open.splice(best, 1);
    shape.push({ parent, rank });
    if (level < depth) open = [...open, ...childrenOf(shape.length - 1, weight, level + 1)];
  }
  return shape;
}
